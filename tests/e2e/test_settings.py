from pathlib import Path

import pytest

from e2e.calls import ask, mlp_request
from e2e.conftest import Engines
from e2e.serving import Serving, run_server
from yais.proto import grpc_service_pb2 as pb
from yais.proto import model_config_pb2 as config_pb

# Each way of setting --contexts, from the weakest to the strongest: 1 is the default.
FILE, VARIABLE, FLAG = 2, 3, 4

ALL_SETTINGS = {
    "host": "127.0.0.1",
    "contexts": "2",
    "buffers": "5",
    "threads": "1",
    "max-batch-size": "16",
    "max-queue-delay": "1500us",
    "max-queue-size": "77",
    "max-message-size": "2MiB",
    "drain-timeout": "5",
    "log-level": "debug",
}


def config_of(server: Serving, model: str = "mlp") -> config_pb.ModelConfig:
    with server.stub() as stub:
        config: config_pb.ModelConfig = stub.ModelConfig(pb.ModelConfigRequest(name=model)).config
    return config


def contexts_of(server: Serving) -> int:
    return config_of(server).instance_group[0].count


@pytest.mark.parametrize(
    ("ways", "contexts"),
    [((), 1), ((FILE,), FILE), ((FILE, VARIABLE), VARIABLE), ((FILE, VARIABLE, FLAG), FLAG), ((FILE, FLAG), FLAG)],
    ids=["default", "file", "variable over file", "flag over all", "flag over file"],
)
def test_a_flag_beats_a_variable_beats_a_file_beats_the_default(
    engines: Engines, tmp_path: Path, ways: tuple[int, ...], contexts: int
) -> None:
    config = tmp_path / "yais.toml"
    config.write_text(f"contexts = {FILE}" if FILE in ways else "")
    variables = {"YAIS_CONTEXTS": str(VARIABLE)} if VARIABLE in ways else {}
    flags = ["--contexts", str(FLAG)] if FLAG in ways else []
    with run_server("--config", config, *engines.flags("mlp"), *flags, **variables) as server:
        assert contexts_of(server) == contexts
        noun = "context" if contexts == 1 else "contexts"
        assert f"{contexts} {noun}, {contexts + 2} buffers" in server.banner


def all_set(server: Serving) -> None:
    """Asserts that the server runs with ALL_SETTINGS."""
    config = config_of(server)
    assert config.max_batch_size == 16
    assert config.instance_group[0].count == 2
    assert config.dynamic_batching.max_queue_delay_microseconds == 1500
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 77
    assert "2 contexts, 5 buffers" in server.banner
    assert f"127.0.0.1:{server.port}" in server.banner
    assert "\nD" in server.log or server.log.startswith("D")


def test_every_setting_can_be_a_flag(engines: Engines) -> None:
    flags = [word for name, value in ALL_SETTINGS.items() for word in (f"--{name}", value)]
    with run_server(*engines.flags("mlp"), *flags) as server:
        all_set(server)


def test_every_setting_can_be_a_variable(engines: Engines) -> None:
    variables = {f"YAIS_{name.upper().replace('-', '_')}": value for name, value in ALL_SETTINGS.items()}
    paths = f"{engines.path('mlp')} second={engines.path('identity')}"
    with run_server(YAIS_ENGINE=paths, YAIS_PORT="0", YAIS_METRICS="0", **variables) as server:
        all_set(server)
        assert config_of(server, "second").max_batch_size == 0


@pytest.mark.parametrize("hyphen", ["-", "_"])
def test_every_setting_can_be_in_a_file(engines: Engines, tmp_path: Path, hyphen: str) -> None:
    config = tmp_path / "yais.toml"
    numbers = {"contexts", "buffers", "threads", "max-batch-size", "max-queue-size", "drain-timeout"}
    lines = [
        f"{name.replace('-', hyphen)} = {value if name in numbers else repr(value)}"
        for name, value in ALL_SETTINGS.items()
    ]
    config.write_text("\n".join([*lines, f"engine = ['{engines.path('mlp')}', 'second={engines.path('identity')}']"]))
    with run_server("--config", config) as server:
        all_set(server)
        assert config_of(server, "second").max_batch_size == 0


def test_the_file_may_be_named_by_a_variable_and_have_a_single_engine(engines: Engines, tmp_path: Path) -> None:
    config = tmp_path / "yais.toml"
    config.write_text(f"engine = '{engines.path('mlp')}'\ncontexts = 2")
    with run_server(YAIS_CONFIG=str(config)) as server:
        assert contexts_of(server) == 2


def test_the_banner_says_what_is_served_where_and_what_to_try(engines: Engines) -> None:
    with run_server(*engines.flags("mlp"), "--engine", f"ten={engines.path('identity')}") as server:
        lines = [" ".join(line.split()) for line in server.banner.splitlines()]
    assert lines[0].startswith("YAIS ")
    assert lines[0].endswith("is serving")
    assert f"gRPC 0.0.0.0:{server.port}" in lines
    assert f"metrics http://0.0.0.0:{server.metrics_port}/metrics" in lines
    assert "model mlp: onnxruntime_onnx on cpu, batches of up to 64, 1 context, 3 buffers" in lines
    assert "model ten: onnxruntime_onnx on cpu, no batching, 1 context, 3 buffers" in lines
    assert lines[-2].startswith(f"client-sync --port {server.port} --model mlp")
    assert lines[-1].startswith(f"siege --port {server.port} --model mlp")


def test_a_quiet_server_writes_nothing_but_its_banner(engines: Engines) -> None:
    with run_server(*engines.flags("mlp"), "--log-level", "warning") as server:
        with server.stub() as stub:
            assert ask(stub, mlp_request()).code == "OK"
        assert server.stop() == 0
        assert server.log == ""


def test_a_batch_can_be_made_smaller_than_the_engine_declares_but_not_larger(engines: Engines) -> None:
    with run_server(*engines.flags("mlp"), "--max-batch-size", "100") as server:
        assert config_of(server).max_batch_size == 64
    with run_server(*engines.flags("mlp"), "--max-batch-size", "0") as server:
        config = config_of(server)
        assert (config.max_batch_size, list(config.input[0].dims)) == (0, [-1, 64])
        with server.stub() as stub:
            assert ask(stub, mlp_request(3)).code == "OK"
