"""Options of a build, and what one TensorRT or another lacks for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from yais.engines.builder.profiles import BatchRange, ProfileBounds, ShapeRange
from yais.engines.tensorrt.library import Library
from yais.engines.zoo import BuildError

Precision = Literal["fp32", "fp16", "bf16", "int8"]
Scaling = Literal["lite", "inception", "imagenet", "unit", "none"]
HardwareLevel = Literal["ampere-plus", "same-compute-capability"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How a plan is to be built; by default as TensorRT does it, in the precision that the model has.

    `calibration`: a folder of pictures, of which `calibration_pictures` make a model INT8 that is not quantised yet,
    their pixels scaled by `calibration_scaling`.
    `max_batch`: the largest batch, if the model declares none smaller; 0 for no batch dimension. `batches`: ranges of
    rows instead, one profile for each. `shapes`: the bounds of inputs' other dimensions. `workspace`: bytes.
    `timing_cache`: a file that is read when it is there, and written. `capabilities`: GPUs to build for, `8.6` or
    `current`.
    """

    precision: Precision | None = None
    calibration: Path | None = None
    calibration_pictures: int = 128
    calibration_scaling: Scaling = "lite"
    max_batch: int | None = None
    batches: tuple[BatchRange, ...] = ()
    shapes: Mapping[str, ShapeRange] = field(default_factory=dict)
    workspace: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: HardwareLevel | None = None
    weight_streaming: bool = False
    timing_cache: Path | None = None
    capabilities: tuple[str, ...] = ()

    @property
    def bounds(self) -> ProfileBounds:
        return ProfileBounds(self.batches, self.max_batch, self.shapes)

    @property
    def is_rewrite(self) -> bool:
        """Whether the model is another one before it is parsed."""
        return self.precision is not None or self.calibration is not None

    def check(self, library: Library) -> None:
        """Raises `BuildError` for what this TensorRT cannot do."""
        if self.calibration is not None and self.precision != "int8":
            raise BuildError("--calibrate: only --precision int8 is calibrated")
        # TensorRT measures kernels where it builds; RTX compiles them where it runs, and needs no GPU to build.
        if self.capabilities and not library.features.builds_without_gpu:
            raise BuildError(f"--capability: {library.title} builds for the GPU that it runs on")
        for capability in self.capabilities:
            if capability_member(capability) not in library.module.ComputeCapability.__members__:
                raise BuildError(f"--capability: {library.title} knows {', '.join(known_capabilities(library))}")
        if self.hardware_compatible is not None:
            if library.features.builds_without_gpu:
                raise BuildError(f"--hardware-compatible: the plans of {library.title} run on each GPU of --capability")
            if hardware_member(self.hardware_compatible) not in library.module.HardwareCompatibilityLevel.__members__:
                raise BuildError(f"--hardware-compatible: {library.title} does not know {self.hardware_compatible}")


def capability_member(capability: str) -> str:
    """TensorRT's name of `8.6`, or of the GPU that is there, which may be one that it has no name for."""
    return "CURRENT" if capability == "current" else f"SM{capability.replace('.', '')}"


def hardware_member(level: str) -> str:
    return level.upper().replace("-", "_")


def known_capabilities(library: Library) -> list[str]:
    # SM86 is 8.6 and SM120 is 12.0.
    names = [name for name in library.module.ComputeCapability.__members__ if name.startswith("SM")]
    return [f"{name[2:-1]}.{name[-1]}" for name in sorted(names, key=lambda name: int(name[2:]))]
