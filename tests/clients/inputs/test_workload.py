from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import Result
from clients.fake_server import FakeModel, FakeServer
from PIL import Image

from yais.clients.protocol import TensorMetadata
from yais.clients.sync_cli import main
from yais.proto import grpc_service_pb2 as pb
from yais.proto.tensors import DTYPES, from_raw


def sent(fake: FakeServer) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of the only request."""
    (request,) = fake.requests
    return {
        tensor.name: from_raw(raw, tensor.datatype, tuple(tensor.shape))
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def serve(fake: FakeServer, max_batch_size: int = 0, **shapes: tuple[str, tuple[int, ...]]) -> None:
    inputs = tuple(TensorMetadata(name, datatype, shape) for name, (datatype, shape) in shapes.items())
    fake.models = {"model": FakeModel(inputs, inputs, max_batch_size)}


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("filling", ["random", "zeros"])
def test_inputs_of_every_datatype_can_be_generated(fake: FakeServer, run: Any, datatype: str, filling: str) -> None:
    serve(fake, A=(datatype, (2, 3)))
    assert run(main, f"--count 1 --inputs {filling}").exit_code == 0
    array = sent(fake)["A"]
    assert array.shape == (2, 3)
    assert array.dtype == DTYPES[datatype]
    assert (filling == "zeros") == (not any(bool(element) for element in array.flat))


def test_the_seed_decides_what_is_random(fake: FakeServer, run: Any) -> None:
    for arguments in ("", "--seed 0", "--seed 1"):
        run(main, f"--count 1 {arguments}")
    first, same, other = (request.raw_input_contents[0] for request in fake.requests)
    assert first == same != other


@pytest.mark.parametrize(
    ("max_batch_size", "shape", "arguments", "expected"),
    [
        (0, (-1,), "", (16,)),
        (0, (-1, 4), "--shape A:3,4", (3, 4)),
        (0, (-1,), "--shape A:0", (0,)),
        (8, (-1, 4), "", (1, 4)),
        (8, (-1, 4), "--batch 8", (8, 4)),
        (8, (-1, 4), "--batch 100", (100, 4)),
        (8, (-1, -1), "--batch 2 --shape A:5", (2, 5)),
        (8, (-1,), "--batch 2", (2,)),
    ],
)
def test_shapes_follow_the_metadata_and_the_options(
    fake: FakeServer,
    run: Any,
    max_batch_size: int,
    shape: tuple[int, ...],
    arguments: str,
    expected: tuple[int, ...],
) -> None:
    serve(fake, max_batch_size, A=("FP32", shape))
    assert run(main, f"--count 1 {arguments}").exit_code == 0
    assert sent(fake)["A"].shape == expected


@pytest.mark.parametrize(("shape", "expected"), [((-1, 4), (3, 4)), ((-1,), (16,))])
def test_without_model_config_the_shapes_tell_the_batch_dimension(
    fake: FakeServer, run: Any, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    fake.has_config = False
    serve(fake, A=("FP32", shape))
    run(main, "--count 1" + (" --batch 3" if len(shape) > 1 else ""))
    assert sent(fake)["A"].shape == expected


def test_tensor_names_may_hold_colons(fake: FakeServer, run: Any) -> None:
    fake.models = {"model": FakeModel((TensorMetadata("x:0", "FP32", (-1,)),))}
    assert run(main, "--count 1 --shape x:0:5").exit_code == 0
    assert sent(fake)["x:0"].shape == (5,)


def test_arrays_of_a_file_are_sent_by_name(fake: FakeServer, run: Any, tmp_path: Path) -> None:
    fake.models["identity"] = FakeModel((TensorMetadata("A", "FP64", (-1,)), TensorMetadata("B", "BYTES", (-1,))))
    np.savez(tmp_path / "inputs.npz", A=np.arange(3.0), B=np.array(["x", "yz"]))
    assert run(main, f"--count 1 --npz {tmp_path / 'inputs.npz'}").exit_code == 0
    assert sent(fake)["A"].tolist() == [0.0, 1.0, 2.0]
    assert sent(fake)["B"].tolist() == [b"x", b"yz"]


def test_a_picture_is_sent_as_often_as_the_batch_asks(fake: FakeServer, run: Any, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (1, 2, 3)).save(tmp_path / "picture.png")
    serve(fake, 4, A=("UINT8", (-1, 8, 8, 3)))
    assert run(main, f"--picture {tmp_path / 'picture.png'} --batch 3").exit_code == 0
    assert sent(fake)["A"].shape == (3, 8, 8, 3)
    assert sent(fake)["A"][2, 5, 5].tolist() == [1, 2, 3]


def test_a_picture_fits_a_model_without_a_batch_dimension(fake: FakeServer, run: Any, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    for shape in ((3, 8, 8), (1, 3, 8, 8)):
        fake.requests.clear()
        serve(fake, A=("FP32", shape))
        assert run(main, f"--picture {tmp_path / 'picture.png'}").exit_code == 0
        assert sent(fake)["A"].shape == shape


def test_the_classes_of_a_picture_are_printed_best_first(fake: FakeServer, run: Any, tmp_path: Path) -> None:
    def classify(request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        logits = np.zeros((2, 1000), np.float32)
        logits[0, [967, 504]] = 10.0, 8.0
        response = pb.ModelInferResponse(raw_output_contents=[logits.tobytes()])
        response.outputs.add(name="scores", datatype="FP32", shape=[2, 1000])
        return response

    fake.answer = classify
    serve(fake, 4, A=("FP32", (-1, 3, 8, 8)))
    Image.new("RGB", (40, 30)).save(tmp_path / "picture.png")
    lines = run(main, f"--picture {tmp_path / 'picture.png'} --top 2").output.splitlines()
    assert lines[1:3] == ["espresso    0.847", "coffee mug  0.115"]
    (tmp_path / "labels").write_text("cat\n")
    picture = f"--picture {tmp_path / 'picture.png'} --top 1 --labels {tmp_path / 'labels'}"
    assert run(main, picture).output.splitlines()[1] == "class 967  0.847"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--shape A:3", "--shape: a row of A is [4, -1], not [3]"),
        ("--shape A:5,1", "--shape: a row of A is [4, -1], not [5, 1]"),
        ("--shape X:5", "--shape X: the inputs of model are A, B"),
        ("--shape A", "'A' is not NAME:d,d,..."),
        ("--shape A:-1,3", "dimensions of at least 0"),
        ("--shape :3", "':3' is not NAME:d,d,..."),
        ("--picture {picture}", "--picture: model has 2 inputs, not one"),
        ("--npz {picture}", "is not an .npz file"),
        ("--npz {complex}", "input 'A': the protocol has no datatype for dtype complex128"),
        ("--npz {pickled}", "cannot be read: Object arrays cannot be loaded"),
        ("--npz {picture} --picture {picture}", "--picture and --npz exclude each other"),
        ("--npz /nowhere.npz", "'/nowhere.npz' does not exist"),
    ],
)
def test_options_that_do_not_fit_are_bad_usage(
    fake: FakeServer, run: Any, tmp_path: Path, arguments: str, text: str
) -> None:
    serve(fake, 8, A=("FP32", (-1, 4, -1)), B=("BOOL", (-1,)))
    files = {"picture": tmp_path / "x.png", "complex": tmp_path / "c.npz", "pickled": tmp_path / "p.npz"}
    Image.new("RGB", (2, 2)).save(files["picture"])
    np.savez(files["complex"], A=np.zeros(1, complex))
    np.savez(files["pickled"], A=np.array([{}]))
    result: Result = run(main, arguments.format_map(files))
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
    assert not fake.requests


def test_a_batch_needs_a_batch_dimension(run: Any) -> None:
    result = run(main, "--batch 4")
    assert result.exit_code == 2
    assert "--batch: identity has no batch dimension (max_batch_size 0)" in result.output


def test_the_only_model_is_found(fake: FakeServer, run: Any) -> None:
    assert run(main, "--count 1").exit_code == 0
    assert fake.requests[0].model_name == "identity"


def test_several_models_have_to_be_told_apart(fake: FakeServer, run: Any) -> None:
    fake.models = {"mlp": FakeModel(), "identity": FakeModel()}
    result = run(main)
    assert result.exit_code == 2
    assert "--model must name one of the server's models: identity, mlp" in result.output
    assert run(main, "--model mlp --model-version 2 --count 1").exit_code == 0
    assert (fake.requests[0].model_name, fake.requests[0].model_version) == ("mlp", "2")


def test_a_server_without_models_is_an_error(fake: FakeServer, run: Any) -> None:
    fake.models = {}
    result = run(main)
    assert result.exit_code == 1
    assert "the server has no model" in result.output


def test_bfloat16_from_a_file_of_raw_pairs_is_not_mistaken(fake: FakeServer, run: Any, tmp_path: Path) -> None:
    # numpy's file format forgets the extension type and yields void pairs, which the protocol cannot carry.
    fake.models["identity"] = FakeModel((TensorMetadata("A", "BF16", (-1,)),))
    np.savez(tmp_path / "inputs.npz", A=np.zeros(2, ml_dtypes.bfloat16))
    result = run(main, f"--npz {tmp_path / 'inputs.npz'}")
    assert result.exit_code == 2
    assert "input 'A': the protocol has no datatype for dtype |V2" in result.output
