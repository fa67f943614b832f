"""ONNX files on their way to a plan: read, and rewritten to a precision."""

from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.base import MAX_BATCH_SIZE_KEY
from yais.engines.builder.options import BuildOptions
from yais.engines.zoo import BuildError

if TYPE_CHECKING:
    from onnx import ModelProto

# No protobuf message can be larger; weights of larger models lie in files beside it.
_LARGEST_MESSAGE = 2**31 - 1


def read_model(path: Path, weights: bool = True) -> "ModelProto":
    """The model in `path`, without the weights in files beside it if they are not asked for. Raises `BuildError`."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise BuildError("the package onnx is missing: pip install 'yais[build]'") from error
    try:
        model = onnx.load(path, "protobuf", load_external_data=weights)
    except Exception as error:  # Those of protobuf and of external data share no narrower base.
        raise BuildError(f"cannot read {path} as an ONNX model: {error}") from error
    if not model.graph.output:
        raise BuildError(f"cannot read {path} as an ONNX model: it has no outputs")
    return model


def rewrite(model: "ModelProto", options: BuildOptions) -> "ModelProto":
    """The model in the precision asked for, by calibration where that is INT8 and it is not quantised yet."""
    from yais.engines.builder.calibration import quantize
    from yais.engines.builder.precision import convert, has_quantization

    if options.precision is None:
        return model
    if options.precision != "int8":
        return convert(model, options.precision)
    if has_quantization(model):
        if options.calibration is not None:
            raise BuildError("--calibrate: the model is quantised already")
        return model
    if options.calibration is None:
        raise BuildError("--precision int8: the model is not quantised; --calibrate FOLDER quantises it on pictures")
    return quantize(model, options.calibration, options.calibration_pictures, options.calibration_scaling)


def encode(model: "ModelProto") -> bytes:
    """The bytes of an ONNX file. Raises `BuildError` for a model that is too large for one."""
    if model.ByteSize() > _LARGEST_MESSAGE:
        raise BuildError("the model is larger than 2 GiB, which one ONNX file cannot be")
    return bytes(model.SerializeToString(deterministic=True))


def save(model: "ModelProto", path: Path) -> None:
    """Writes a model of any size, in two files where one cannot hold it."""
    import onnx

    is_large = model.ByteSize() > _LARGEST_MESSAGE
    try:
        onnx.save(model, path, save_as_external_data=is_large, location=f"{path.name}.data")
    except OSError as error:
        raise BuildError(f"cannot write {path}: {error.strerror}") from error


def declared_batch(model: "ModelProto") -> int | None:
    """The largest batch that the model declares, 0 for no batch dimension; None when it does not say."""
    value = next((entry.value for entry in model.metadata_props if entry.key == MAX_BATCH_SIZE_KEY), None)
    if value is not None and not value.isdecimal():
        raise BuildError(f"{MAX_BATCH_SIZE_KEY} is {value!r}, not a number")
    return None if value is None else int(value)
