"""TensorRT's builder: networks and profiles into plans for the GPU of this machine."""

import weakref
from typing import Any

import simulation
import simulation.driver as cuda
from simulation.errors import CudaError
from simulation.plans import About, encode, tensorrt_version

from tensorrt._base import Dims, IHostMemory, ILogger, IProgressMonitor
from tensorrt._enums import BuilderFlag, HardwareCompatibilityLevel, MemoryPoolType, ProfilingVerbosity, Severity
from tensorrt._network import INetworkDefinition
from tensorrt._runtime import check_driver, told

# Phases, each with its parent and the number of its steps.
_PHASES = (("Building engine", None, 2), ("Optimizing graph", "Building engine", 3))
_CACHE_MAGIC = b"simulated timing cache of "


class IOptimizationProfile:
    def __init__(self) -> None:
        self._shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]

    def get_shape(self, input: str) -> list[Dims]:  # noqa: A002
        return [Dims(shape) for shape in self._shapes[input]]

    def _unordered(self) -> list[str]:
        return [
            name
            for name, (low, best, high) in self._shapes.items()
            if not len(low) == len(best) == len(high)
            or not all(a <= b <= c for a, b, c in zip(low, best, high, strict=True))
        ]


class ITimingCache:
    """What a build has measured."""

    def __init__(self, content: bytes = b"") -> None:
        self._content = content

    def serialize(self) -> IHostMemory:
        return IHostMemory(_cache_header() + self._content)

    def combine(self, input_cache: "ITimingCache", ignore_mismatch: bool) -> bool:
        self._content += input_cache._content
        return True

    def reset(self) -> bool:
        self._content = b""
        return True


def _cache_header() -> bytes:
    return _CACHE_MAGIC + ".".join(map(str, tensorrt_version())).encode() + b"\n"


class IBuilderConfig:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger
        self._flags: set[BuilderFlag] = set()
        self._profiles: list[IOptimizationProfile] = []
        self._limits: dict[MemoryPoolType, int] = {}
        self._cache: ITimingCache | None = None
        self._monitor: Any = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY

    @property
    def progress_monitor(self) -> IProgressMonitor | None:
        return self._monitor() if self._monitor else None

    @progress_monitor.setter
    def progress_monitor(self, monitor: IProgressMonitor | None) -> None:
        """It is not kept alive."""
        self._monitor = None if monitor is None else weakref.ref(monitor)

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(BuilderFlag(flag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def get_flag(self, flag: BuilderFlag) -> bool:
        return flag in self._flags

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self._limits[pool] = pool_size

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return self._limits.get(pool, 0)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        wrong = profile._unordered()
        if wrong:
            self._logger.log(
                Severity.ERROR,
                "IOptimizationProfile::isValid: Error Code 4: API Usage Error (Invalid optimization profiles for input "
                f"tensors {', '.join(wrong)}, please ensure that the optimization profiles satisfy MIN<=OPT<=MAX.)",
            )
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache:
        data = bytes(memoryview(serialized_timing_cache))
        if data and not data.startswith(_CACHE_MAGIC):
            self._logger.log(Severity.WARNING, "Failed to deserialize timing cache. Returning an empty timing cache.")
            return ITimingCache()
        header, _, content = data.partition(b"\n")
        made = ITimingCache(content)
        made._is_foreign = bool(data) and header + b"\n" != _cache_header()  # type: ignore[attr-defined]
        return made

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if getattr(cache, "_is_foreign", False) and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder:
    """Builds for the device that is current, or for the first one where none is."""

    def __init__(self, logger: ILogger) -> None:
        check_driver(logger)
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self.logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        why = _fault(network, config)
        if why is None and not _went_through(config):
            why = "Error Code 7: BuildCanceled (Build canceled by user)"
        try:
            simulation.machine().failures.check("build")
        except CudaError as error:
            why = told(error)
        if why is not None:
            self.logger.log(Severity.ERROR, f"IBuilder::buildSerializedNetwork: {why}")
            return None
        return self._built(network, config)

    def _built(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory:
        assert network._network is not None
        simulation.machine().calls.append(("build", network.name))
        inputs = network._network.inputs.values()
        chosen = [profile._shapes for profile in config._profiles] or [{}]
        about = About(
            name=network.name,
            profiles=[
                {each.name: [list(shape) for shape in shapes.get(each.name, [each.shape] * 3)] for each in inputs}
                for shapes in chosen
            ],
            capability=list(_capability()),
            hardware=config.hardware_compatibility_level.name,
            verbosity=config.profiling_verbosity.name,
            has_host_code=config.get_flag(BuilderFlag.VERSION_COMPATIBLE)
            and not config.get_flag(BuilderFlag.EXCLUDE_LEAN_RUNTIME),
        )
        if config._cache:
            config._cache._content += network.name.encode()
        return IHostMemory(encode(about, network._network.data, tensorrt_version()))


def _capability() -> tuple[int, int]:
    try:
        return cuda.current_device().capability
    except CudaError:
        return simulation.machine().devices[0].capability


def _fault(network: INetworkDefinition, config: IBuilderConfig) -> str | None:
    """Why it cannot be built."""
    if not network.num_outputs:
        return "Error Code 4: API Usage Error (Network must have at least one output)"
    varying = [network.get_input(index) for index in range(network.num_inputs)]
    varying = [tensor for tensor in varying if -1 in tuple(tensor.shape)]
    if varying and not config._profiles:
        return (
            "Error Code 4: API Usage Error (Network has dynamic or shape inputs, but no optimization profile has been "
            "defined.)"
        )
    for tensor in varying:
        for profile in config._profiles:
            if not _fits(tensor, profile._shapes.get(tensor.name)):
                return f"Error Code 4: API Usage Error ({tensor.name}: optimization profile is missing or does not fit)"
    return None


def _fits(tensor: Any, bounds: list[tuple[int, ...]] | None) -> bool:
    shape = tuple(tensor.shape)
    return bounds is not None and all(
        len(each) == len(shape) and all(fixed in (-1, dim) for fixed, dim in zip(shape, each, strict=True))
        for each in bounds
    )


def _went_through(config: IBuilderConfig) -> bool:
    """Tells the monitor of each phase and step; False when it wants no more."""
    if config._monitor and config.progress_monitor is None:
        simulation.machine().violations.append("the progress monitor was destroyed before the build")
    monitor: Any = config.progress_monitor
    if monitor is None:
        return True
    for name, parent, steps in _PHASES:
        monitor.phase_start(name, parent, steps)
    goes_on = all(monitor.step_complete(name, step) for name, _, steps in reversed(_PHASES) for step in range(steps))
    for name, _, _ in reversed(_PHASES):
        monitor.phase_finish(name)
    return goes_on
