import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engines.inspection import fake_plan
from yais.engines.base import EngineError
from yais.engines.inspection import plan_file
from yais.engines.inspection.cli import main
from yais.engines.inspection.plan_file import BindingInfo, ProfileRange, describe_engine
from yais.engines.tensorrt.library import Library


def inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A file that begins as a plan of TensorRT 11.4.0.10 does."""
    path = tmp_path / "model.engine"
    path.write_bytes(b"ftrt" + bytes(20) + bytes([11, 4, 0, 10]) + bytes(1972))
    return path


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> fake_plan.FakeEngine:
    """What any plan is from now on loaded as."""
    engine = fake_plan.classifier()

    def load(data: bytes, library: Library) -> tuple[Any, Any]:
        return fake_plan.FakeRuntime(), engine

    monkeypatch.setattr(plan_file, "find_library", lambda kind: fake_plan.fake_library())
    monkeypatch.setattr(plan_file, "load_plan", load)
    return engine


def describe(engine: Any, with_layers: bool = False) -> plan_file.LoadedInfo:
    return describe_engine(engine, fake_plan.fake_library(), None, with_layers)


def test_bindings_have_the_ranges_of_each_profile() -> None:
    image, sizes, logits = describe(fake_plan.classifier()).bindings
    assert image == BindingInfo(
        name="image",
        is_input=True,
        datatype="FP16",
        shape=(-1, 3, -1, -1),
        format="LINEAR",
        memory="DEVICE",
        ranges=(
            ProfileRange((1, 3, 8, 8), (4, 3, 8, 8), (8, 3, 8, 8)),
            ProfileRange((1, 3, 16, 16), (1, 3, 16, 16), (2, 3, 16, 16)),
        ),
    )
    assert (sizes.is_input, sizes.datatype, sizes.memory, sizes.ranges) == (True, "INT64", "HOST", ())
    assert (logits.is_input, logits.datatype, logits.shape, logits.ranges) == (False, "FP32", (-1, 10), ())


def test_memory_flags_and_name_are_told() -> None:
    described = describe(fake_plan.classifier())
    assert (described.name, described.activations, described.layer_count) == ("classifier", (1000, 2000), 2)
    assert described.flags == {
        "hardware_compatibility": "AMPERE_PLUS",
        "capability": "STANDARD",
        "refittable": False,
        "profiling_verbosity": "DETAILED",
        "auxiliary_streams": 2,
        "weights": 5_000_000,
        "streamable_weights": 3_000_000,
    }


def test_layers_are_told_when_asked_for() -> None:
    engine = fake_plan.classifier()
    assert describe(engine).layers is None
    assert describe(engine, with_layers=True).layers == tuple(engine.layers)


def test_a_loaded_plan_is_printed_in_columns(plan: Path, loads: fake_plan.FakeEngine) -> None:
    result = inspect(plan, "--layers")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "plan                    built by TensorRT 11.4.0.10",
        "size                    2.0 kB",
        "name                    classifier",
        "layers                  2",
        "weights                 5.0 MB",
        "hardware compatibility  ampere_plus",
        "capability              standard",
        "refittable              no",
        "profiling verbosity     detailed",
        "auxiliary streams       2",
        "streamable weights      3.0 MB",
        "",
        "inputs and outputs",
        "          name    datatype  shape         format  memory  profile 0           profile 1",
        "  input   image   FP16      [?, 3, ?, ?]  linear  device  1x3x8x8 to 8x3x8x8  1x3x16x16 to 2x3x16x16",
        "  input   sizes   INT64     [2]           linear  host",
        "  output  logits  FP32      [?, 10]       linear  device",
        "",
        "activations",
        "  profile  memory",
        "  0        1.0 kB",
        "  1        2.0 kB",
        "",
        "layers",
        "     name         kind",
        "  0  conv + relu  CaskConvolution",
        "  1  reformat",
    ]


def test_json_has_all_of_it(plan: Path, loads: fake_plan.FakeEngine) -> None:
    told = json.loads(inspect(plan, "--json", "--layers").stdout)
    assert (told["kind"], told["built_by"], told["size"]) == ("plan", "TensorRT 11.4.0.10", 2000)
    assert told["why_not"] is None
    assert told["loaded"]["bindings"][0]["ranges"][0]["maximum"] == [8, 3, 8, 8]
    assert told["loaded"]["layers"] == loads.layers


def test_rtx_says_how_well_the_plan_fits_the_gpu(
    plan: Path, loads: fake_plan.FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "on this GPU" not in inspect(plan).stdout
    monkeypatch.setattr(plan_file, "find_library", lambda kind: fake_plan.fake_library(checks_validity=True))
    assert "on this GPU             suboptimal" in inspect(plan).stdout.splitlines()


def test_layers_whose_names_look_like_markup_are_printed_as_they_are(
    plan: Path, loads: fake_plan.FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads.layers[:] = ["[red]conv[/red]"]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    printed = inspect(plan, "--layers").stdout
    assert "[red]conv[/red]" in printed
    assert "───" in printed


def test_a_plan_that_cannot_be_loaded_tells_what_its_header_does(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def find(kind: str) -> Library:
        asked.append(kind)
        raise EngineError("TensorRT is not installed: pip install it")

    monkeypatch.setattr(plan_file, "find_library", find)
    result = inspect(plan, "--layers")
    assert (result.exit_code, asked) == (0, ["tensorrt"])
    assert result.stdout.splitlines() == [
        "plan        built by TensorRT 11.4.0.10",
        "size        2.0 kB",
        "not loaded  TensorRT is not installed: pip install it",
    ]
    assert json.loads(inspect(plan, "--json").stdout)["why_not"] == "TensorRT is not installed: pip install it"


def test_a_part_of_a_header_is_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "part.engine"
    path.write_bytes(b"ftrt" + bytes(8))
    result = inspect(path)
    assert result.exit_code == 1
    assert f"Error: {path} is neither a plan nor an ONNX model: not a whole TensorRT plan" in result.stderr
