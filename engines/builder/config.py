"""A builder's configuration, and the timing cache that it keeps."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.builder.network import Network
from yais.engines.builder.options import BuildOptions, capability_member, hardware_member
from yais.engines.builder.profiles import Profile
from yais.engines.tensorrt.library import Library
from yais.engines.zoo import BuildError
from yais.engines.zoo.output import write_whole

if TYPE_CHECKING:
    import tensorrt as trt

logger = logging.getLogger("yais.engines.builder")


def make_config(network: Network, options: BuildOptions, profiles: list[Profile]) -> "trt.IBuilderConfig":
    """Raises `BuildError` for a profile that TensorRT refuses."""
    config = network.builder.create_builder_config()
    _set_flags(config, options, network.library)
    _set_target(config, options, network.library)
    for profile in profiles:
        _add_profile(config, network, profile)
    if options.timing_cache and network.library.features.has_timing_cache:
        load_timing_cache(config, options.timing_cache)
    return config


def load_timing_cache(config: "trt.IBuilderConfig", path: Path) -> None:
    """Has the builder use the measurements in `path`; none when they are of another TensorRT or GPU, or damaged."""
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror}") from error
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        logger.warning("%s is not used: it was measured by another TensorRT or on another GPU", path)
        config.set_timing_cache(config.create_timing_cache(b""), False)


def save_timing_cache(config: "trt.IBuilderConfig", path: Path) -> None:
    """A cache that cannot be written costs the next build time, but not this one its plan."""
    try:
        write_whole(path, bytes(config.get_timing_cache().serialize()))
    except BuildError as error:
        logger.warning("the timing cache is lost: %s", error)


def _set_flags(config: "trt.IBuilderConfig", options: BuildOptions, library: Library) -> None:
    trt = library.module
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    elif library.features.compiles_at_run_time:
        # A run that takes memory cannot be recorded as a CUDA graph.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)


def _set_target(config: "trt.IBuilderConfig", options: BuildOptions, library: Library) -> None:
    trt = library.module
    if options.hardware_compatible:
        level = trt.HardwareCompatibilityLevel.__members__[hardware_member(options.hardware_compatible)]
        config.hardware_compatibility_level = level
    if options.capabilities:
        config.num_compute_capabilities = len(options.capabilities)
    for index, capability in enumerate(options.capabilities):
        config.set_compute_capability(trt.ComputeCapability.__members__[capability_member(capability)], index)


def _add_profile(config: "trt.IBuilderConfig", network: Network, profile: Profile) -> None:
    made = network.builder.create_optimization_profile()
    for name, shape in profile.items():
        made.set_shape(name, shape.minimum, shape.optimum, shape.maximum)
    if config.add_optimization_profile(made) < 0:
        raise BuildError(
            f"TensorRT refuses the shapes {', '.join(map(str, profile.values()))}: {network.messages.take()}"
        )
