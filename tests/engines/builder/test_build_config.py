import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yais.engines.builder.build import (
    BuildOptions,
    build_plan,
    load_timing_cache,
    make_config,
    prepare,
    save_timing_cache,
)
from yais.engines.builder.profiles import ShapeRange
from yais.engines.tensorrt.library import Features, Library
from yais.engines.zoo import BuildError
from yais.engines.zoo.catalogue import CATALOGUE


class Cache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data


class Config:
    """Keeps a timing cache as TensorRT does, which has none without a GPU."""

    def __init__(self) -> None:
        self.cache: Cache | None = None

    def create_timing_cache(self, data: bytes) -> Cache | None:
        return None if data == b"damaged" else Cache(data + b" and more")

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache.data.startswith(b"another GPU"):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache


def built(path: Path) -> bytes:
    """The timing cache that a build leaves."""
    config: Any = Config()
    load_timing_cache(config, path)
    save_timing_cache(config, path)
    return path.read_bytes()


def test_a_timing_cache_grows_from_build_to_build(tmp_path: Path) -> None:
    path = tmp_path / "model.timing"
    assert built(path) == b" and more"
    assert built(path) == b" and more and more"


@pytest.mark.parametrize("found", [b"another GPU", b"damaged"])
def test_a_timing_cache_of_another_gpu_is_begun_anew(
    found: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.timing"
    path.write_bytes(found)
    assert built(path) == b" and more"
    assert f"{path} is not used" in caplog.text


def test_a_timing_cache_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    config: Any = Config()
    with pytest.raises(BuildError, match=f"cannot read {tmp_path}: Is a directory"):
        load_timing_cache(config, tmp_path)


def test_a_timing_cache_that_cannot_be_written_costs_no_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config: Any = Config()
    load_timing_cache(config, tmp_path / "absent.timing")
    save_timing_cache(config, tmp_path / "absent" / "model.timing")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the timing cache is lost: cannot write" in caplog.text


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(CATALOGUE["mlp"].build(8, {}))
    return path


@pytest.mark.filterwarnings("ignore:.*Timing cache operations are no-ops:DeprecationWarning")
def test_a_timing_cache_is_kept_through_the_interface_of_tensorrt(mlp: Path, tmp_path: Path, rtx: Library) -> None:
    # RTX has the calls, which do little; no other builds without a GPU.
    tensorrt = replace(rtx, features=replace(rtx.features, has_timing_cache=True))
    options = BuildOptions(timing_cache=tmp_path / "mlp.timing")
    for _ in range(2):
        build_plan(mlp, options, tensorrt)
        assert (tmp_path / "mlp.timing").stat().st_size > 0


def test_rtx_keeps_no_timing_cache(mlp: Path, tmp_path: Path, rtx: Library) -> None:
    build_plan(mlp, BuildOptions(timing_cache=tmp_path / "mlp.timing"), rtx)
    assert list(tmp_path.iterdir()) == [mlp]


def test_all_switches_are_set(mlp: Path, rtx: Library) -> None:
    network = prepare(mlp, BuildOptions(), rtx).network
    trt = rtx.module
    options = BuildOptions(
        workspace=2**28,
        optimization_level=1,
        version_compatible=True,
        weight_streaming=True,
        capabilities=("7.5", "12.0"),
    )
    plain, config = make_config(network, BuildOptions(), []), make_config(network, options, [])
    for flag in (trt.BuilderFlag.VERSION_COMPATIBLE, trt.BuilderFlag.WEIGHT_STREAMING):
        assert (plain.get_flag(flag), config.get_flag(flag)) == (False, True)
    assert config.builder_optimization_level == 1 != plain.builder_optimization_level
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 2**28
    targets = [config.get_compute_capability(index).name for index in range(config.num_compute_capabilities)]
    assert targets == ["SM75", "SM120"]
    assert plain.num_compute_capabilities == 0


def test_the_level_of_compatibility_is_set() -> None:
    library = tensorrt_that_knows("NONE", "AMPERE_PLUS")
    config = SimpleNamespace()
    network: Any = SimpleNamespace(library=library, builder=SimpleNamespace(create_builder_config=lambda: config))
    make_config(network, BuildOptions(hardware_compatible="ampere-plus"), [])
    assert config.hardware_compatibility_level == "AMPERE_PLUS"


def tensorrt_that_knows(*levels: str) -> Library:
    module: Any = SimpleNamespace(
        __version__="10.3.0",
        HardwareCompatibilityLevel=SimpleNamespace(__members__={level: level for level in levels}),
    )
    return Library("tensorrt", module, Features(False, True, False, True, False))


def test_what_tensorrt_lacks_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    library = tensorrt_that_knows("NONE", "AMPERE_PLUS")
    for options, message in (
        (BuildOptions(capabilities=("8.0",)), "--capability: TensorRT 10.3.0 builds for the GPU that it runs on"),
        (
            BuildOptions(hardware_compatible="same-compute-capability"),
            "--hardware-compatible: TensorRT 10.3.0 does not know same-compute-capability",
        ),
    ):
        with pytest.raises(BuildError, match=message):
            build_plan(tmp_path / "absent.onnx", options, library)
    BuildOptions(hardware_compatible="ampere-plus").check(library)


def test_what_rtx_lacks_is_refused_before_anything_is_read(tmp_path: Path, rtx: Library) -> None:
    for options, message in (
        (BuildOptions(capabilities=("8.0", "9.0")), r"--capability: .* knows 7\.5, 8\.0, 8\.6, 8\.9, 12\.0, 12\.1"),
        (BuildOptions(hardware_compatible="ampere-plus"), "--hardware-compatible: the plans of TensorRT-RTX"),
    ):
        with pytest.raises(BuildError, match=message):
            build_plan(tmp_path / "absent.onnx", options, rtx)


def test_a_profile_that_tensorrt_refuses_is_told() -> None:
    shapes: dict[str, Any] = {}
    profile = SimpleNamespace(set_shape=lambda name, *bounds: shapes.update({name: bounds}))
    config = SimpleNamespace(add_optimization_profile=lambda added: -1 if added is profile else 0)
    builder = SimpleNamespace(create_builder_config=lambda: config, create_optimization_profile=lambda: profile)
    network: Any = SimpleNamespace(
        library=tensorrt_that_knows(), builder=builder, messages=SimpleNamespace(take=lambda: "too large")
    )
    bounds = ShapeRange((1, 2), (3, 4), (5, 6))
    with pytest.raises(BuildError, match="refuses the shapes 1x2:3x4:5x6: too large"):
        make_config(network, BuildOptions(), [{"X": bounds}])
    assert shapes == {"X": ((1, 2), (3, 4), (5, 6))}
