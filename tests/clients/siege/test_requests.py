import pickle
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
import pytest
from clients.fake_server import FakeModel, FakeServer, echo

from yais.clients.inputs.workload import WeightedChoice
from yais.clients.options import CommonOptions, common_options
from yais.clients.protocol import MODEL_INFER, TensorMetadata
from yais.clients.siege.requests import (
    MixEntry,
    RequestOptions,
    Requests,
    find_golden,
    open_requests,
    parse_mix,
    request_options,
)
from yais.proto import grpc_service_pb2 as pb

MLP = FakeModel(
    inputs=(TensorMetadata("X", "FP32", (-1, 4)),), outputs=(TensorMetadata("Y", "FP32", (-1, 4)),), max_batch_size=8
)


@pytest.fixture
def seen() -> list[Requests]:
    return []


@pytest.fixture
def siege(seen: list[Requests]) -> click.Command:
    """Prepares the requests, sends each that there is once, and prints what the golden answers say of it."""

    @click.command()
    @common_options
    @request_options
    @click.option("--break", "broken", is_flag=True)
    def main(common: CommonOptions, inputs: RequestOptions, broken: bool) -> None:
        with open_requests(common, inputs) as requests, grpc.insecure_channel(common.target) as channel:
            seen.append(requests)
            golden = find_golden(common, inputs, requests)
            method = channel.unary_unary(requests.method)
            for request in requests.named.values():
                answer = method(request, timeout=common.timeout)
                if golden is not None:
                    click.echo(golden.check(request, answer) or "right")
            if broken:
                raise ValueError("the run itself broke")

    return main


def decoded(requests: Requests) -> list[pb.ModelInferRequest]:
    return [pb.ModelInferRequest.FromString(request) for request in requests.named.values()]


def test_a_single_request_is_drawn_again_and_again(fake: FakeServer, run: Any, siege: Any, seen: Any) -> None:
    result = run(siege)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{fake.target} identity: INPUT0 FP32[-1] -> OUTPUT0 FP32[-1]\n"
    (requests,) = seen
    assert (requests.method, requests.kinds) == (MODEL_INFER, ("identity",))
    ((kind, first), (_, second)) = requests.next(), requests.next()
    assert kind == 0
    assert first is second
    assert pb.ModelInferRequest.FromString(first) == fake.requests[0]


def test_the_models_of_a_mix_are_drawn_by_weight_with_inputs_of_their_own(
    fake: FakeServer, run: Any, siege: Any, seen: Any
) -> None:
    fake.models = {"mlp": MLP, "identity": FakeModel()}
    result = run(siege, "--mix mlp=3,identity:2=1 --batch 2 --shape INPUT0:5")
    assert result.exit_code == 0, result.output
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["mlp:", "identity:"]
    (requests,) = seen
    assert requests.kinds == ("mlp", "identity:2")
    mlp, identity = decoded(requests)
    assert (mlp.model_name, mlp.model_version, [*mlp.inputs[0].shape]) == ("mlp", "", [2, 4])
    assert (identity.model_name, identity.model_version, [*identity.inputs[0].shape]) == ("identity", "2", [5])
    drawn = [requests.next() for _ in range(8000)]
    counts = Counter(kind for kind, _ in drawn)
    assert counts[0] == pytest.approx(6000, abs=200)
    assert {kind: pb.ModelInferRequest.FromString(request).model_name for kind, request in drawn} == {
        0: "mlp",
        1: "identity",
    }


def test_batch_sizes_share_the_weight_of_their_model(fake: FakeServer, run: Any, siege: Any, seen: Any) -> None:
    fake.models = {"mlp": MLP, "identity": FakeModel()}
    assert run(siege, "--mix mlp=1,identity=1 --batch 1:300,8:100").exit_code == 0
    (requests,) = seen
    rows: Counter[Any] = Counter()
    for _, request in (requests.next() for _ in range(8000)):
        message = pb.ModelInferRequest.FromString(request)
        rows[message.model_name, message.inputs[0].shape[0]] += 1
    assert rows["mlp", 1] == pytest.approx(3000, abs=200)
    assert rows["mlp", 8] == pytest.approx(1000, abs=150)
    assert rows["identity", 16] == pytest.approx(4000, abs=250)


def test_one_seed_gives_one_sequence_and_each_process_another() -> None:
    choices = [WeightedChoice(1.0, ((0, b"a"),)), WeightedChoice(1.0, ((1, b"b"),))]
    sequences = [
        list(islice(iter(requests.next, None), 50))
        for requests in (
            Requests(MODEL_INFER, ("a", "b"), choices, 7),
            Requests(MODEL_INFER, ("a", "b"), choices, 7),
            Requests(MODEL_INFER, ("a", "b"), choices, 8),
            Requests(MODEL_INFER, ("a", "b"), choices, 7).for_process(1),
            pickle.loads(pickle.dumps(Requests(MODEL_INFER, ("a", "b"), choices, 7).for_process(1))),
            Requests(MODEL_INFER, ("a", "b"), choices, 7).for_process(2),
        )
    ]
    assert sequences[0] == sequences[1]
    assert sequences[3] == sequences[4]
    assert len({str(sequence) for sequence in sequences}) == 4


def test_requests_are_named_after_their_kind_and_place() -> None:
    choices = [
        WeightedChoice(1.0, ((0, b"a"), (0, b"b"))),
        WeightedChoice(1.0, ((1, b"c"),)),
        WeightedChoice(2.0, ((0, b"d"),)),
    ]
    named = Requests(MODEL_INFER, ("mlp", "identity"), choices).named
    assert named == {"mlp/0": b"a", "mlp/1": b"b", "identity/0": b"c", "mlp/2": b"d"}


def test_any_method_gets_its_messages_as_they_are(
    fake: FakeServer, run: Any, siege: Any, seen: Any, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for name, model in (("single", "a"), ("folder/1", "b"), ("folder/2", "c")):
        (tmp_path / name).write_bytes(pb.ModelReadyRequest(name=model).SerializeToString())
    fake.models = {}
    messages = f"--message {tmp_path}/single --message {tmp_path}/folder"
    result = run(siege, f"--method inference.GRPCInferenceService/ModelReady {messages}")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{fake.target} /inference.GRPCInferenceService/ModelReady\n"
    (requests,) = seen
    assert requests.kinds == ("inference.GRPCInferenceService/ModelReady",)
    drawn = [requests.next() for _ in range(4)]
    assert [pb.ModelReadyRequest.FromString(request).name for _, request in drawn] == ["a", "b", "c", "a"]


def test_a_method_without_messages_gets_an_empty_one(run: Any, siege: Any, seen: Any) -> None:
    result = run(siege, "--method /inference.GRPCInferenceService/ServerLive")
    assert result.exit_code == 0, result.output
    assert seen[0].next() == (0, b"")


def test_a_folder_without_messages_is_bad_usage(run: Any, siege: Any, tmp_path: Path) -> None:
    result = run(siege, f"--method a.B/C --message {tmp_path}")
    assert result.exit_code == 2
    assert f"--message: {tmp_path} holds no files" in "".join(result.stderr.splitlines())


def test_answers_are_written_and_then_checked(fake: FakeServer, run: Any, siege: Any, tmp_path: Path) -> None:
    fake.models = {"mlp": MLP, "identity": FakeModel()}
    arguments = "--mix mlp=1,identity=1 --batch 1..3"
    result = run(siege, f"{arguments} --write-golden {tmp_path}/golden")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-5:] == [f"{tmp_path}/golden: 4 outputs written", *["right"] * 4]
    assert run(siege, f"{arguments} --check {tmp_path}/golden").stdout.count("right\n") == 4
    others = run(siege, f"{arguments} --check {tmp_path}/golden --seed 1").stdout
    assert others.count("right\n") == 0
    assert others.count("mlp/2/X has ") == 1


def test_answers_of_any_method_are_written_and_then_checked(
    fake: FakeServer, run: Any, siege: Any, tmp_path: Path
) -> None:
    (tmp_path / "message").write_bytes(pb.ModelReadyRequest(name="identity").SerializeToString())
    arguments = f"--method inference.GRPCInferenceService/ModelReady --message {tmp_path}/message"
    assert run(siege, f"{arguments} --write-golden {tmp_path}/golden").stdout.endswith("right\n")
    assert run(siege, f"{arguments} --check {tmp_path}/golden").stdout.endswith("right\n")
    fake.models = {}
    assert run(siege, f"{arguments} --check {tmp_path}/golden").stdout.endswith("message has the shape [0], not [2]\n")


def test_a_float_within_the_tolerances_is_right(fake: FakeServer, run: Any, siege: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", INPUT0=np.ones(2, np.float32))
    np.savez(tmp_path / "golden.npz", OUTPUT0=np.full(2, 1.0009))
    arguments = f"--npz {tmp_path}/inputs.npz --check {tmp_path}/golden.npz"
    assert run(siege, arguments).stdout.endswith("right\n")
    assert "OUTPUT0 has 1.0 at [0], not 1.0009" in run(siege, f"{arguments} --rtol 0.0005").stdout
    assert run(siege, f"{arguments} --rtol 0 --atol 0.001").stdout.endswith("right\n")


def test_a_golden_answer_that_does_not_come_ends_with_1(fake: FakeServer, run: Any, siege: Any, tmp_path: Path) -> None:
    def refuse(request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")
        return echo(request, context)

    fake.answer = refuse
    result = run(siege, f"--write-golden {tmp_path}/golden")
    assert result.exit_code == 1
    assert f"{fake.target}: RESOURCE_EXHAUSTED: too much" in result.stderr
    assert not (tmp_path / "golden").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--mix mlp=0", "'--mix': 'mlp=0' is not NAME=WEIGHT with a weight above 0"),
        ("--mix =3", "'--mix': '=3' is not NAME=WEIGHT with a weight above 0"),
        ("--mix mlp,mlp", "'--mix': 'mlp' is there twice"),
        ("--mix mlp,mlp --model mlp", "'mlp' is there twice"),
        ("--mix mlp --model mlp", "--mix and --model exclude each other"),
        ("--mix mlp --model-version 1", "--mix and --model-version exclude each other"),
        ("--mix mlp --npz {file}", "--npz and --mix exclude each other"),
        ("--mix mlp --method a/b", "--mix and --method exclude each other"),
        ("--mix identity --batch 2", "--batch: no model of --mix has a batch dimension"),
        ("--mix mlp --shape INPUT0:5", "--shape INPUT0: no model of --mix has this input"),
        ("--method a.B.C", "'a.B.C' is not /package.Service/Method"),
        ("--method //b", "'//b' is not /package.Service/Method"),
        ("--method a/b --model c", "--method and --model exclude each other"),
        ("--method a/b --batch 1", "--method and --batch exclude each other"),
        ("--method a/b --shape X:1", "--method and --shape exclude each other"),
        ("--method a/b --shared-memory", "--method and --shared-memory exclude each other"),
        ("--method a/b --json {file}", "--json and --method exclude each other"),
        ("--message {file}", "--message needs --method"),
        ("--json {file} --batch 2", "--json and --batch exclude each other: the file has whole requests"),
        ("--npz {file} --json {file}", "--npz and --json exclude each other"),
        ("--picture {file} --shape X:2", "--picture and --shape exclude each other: nothing is generated"),
        ("--json {file} --model mlp", "--json: {file} is not JSON"),
        ("--check {file} --write-golden {file}", "--check and --write-golden exclude each other"),
        ("--check {file} --model mlp", "--check: {file} is not an .npz file"),
        ("--check {golden} --mix mlp,identity", "--check: there is no answer to mlp/0"),
        ("--write-golden {folder}/none/golden --model mlp", "'--write-golden': cannot write"),
        ("--rtol nan", "'--rtol': 'nan' is not in the range x>=0"),
        ("--atol -1", "'--atol': -1.0 is not in the range x>=0"),
        ("--batch 2000..1 --model mlp", "'--batch': 2000..1 is not a range of 1 to 1024 sizes"),
    ],
)
def test_inputs_that_do_not_fit_are_bad_usage(
    fake: FakeServer, run: Any, siege: Any, tmp_path: Path, arguments: str, text: str
) -> None:
    fake.models = {"mlp": MLP, "identity": FakeModel()}
    files = {"file": tmp_path / "file", "golden": tmp_path / "golden.npz", "folder": tmp_path}
    files["file"].write_text("")
    np.savez(files["golden"], Y=np.zeros(1))
    result = run(siege, arguments.format_map(files))
    assert result.exit_code == 2, result.output
    assert "".join(text.format_map(files).split()) in "".join(result.stderr.split())


def test_an_unknown_model_of_a_mix_ends_with_1(fake: FakeServer, run: Any, siege: Any) -> None:
    result = run(siege, "--mix identity=1,flowers=1")
    assert result.exit_code == 1
    assert f"{fake.target}: NOT_FOUND: Request for unknown model: 'flowers' is not found" in result.stderr


def test_errors_of_the_run_itself_are_not_taken_for_bad_usage(run: Any, siege: Any) -> None:
    result = run(siege, "--break")
    assert isinstance(result.exception, ValueError)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("mlp", MixEntry("mlp", "mlp", "", 1)),
        ("mlp=0.5", MixEntry("mlp", "mlp", "", 0.5)),
        ("mlp:2=3", MixEntry("mlp:2", "mlp", "2", 3)),
        ("a:b", MixEntry("a:b", "a:b", "", 1)),
        (":2", MixEntry(":2", ":2", "", 1)),
        ("a=b:1=2", MixEntry("a=b:1", "a=b", "1", 2)),
    ],
)
def test_a_version_stands_behind_the_last_colon(text: str, part: MixEntry) -> None:
    assert parse_mix(text) == (part,)
