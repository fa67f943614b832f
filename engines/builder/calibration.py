"""Calibration to INT8: a model is run on samples, and the ranges of its tensors are written into it as Q/DQ.

The samples are a folder of pictures, or of arrays in .npy and .npz files, as the model takes them.
"""

import logging
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper

from yais.engines.base import Array
from yais.engines.builder.model import has_quantization, nodes_of
from yais.engines.builder.options import Scaling
from yais.engines.onnxruntime.session import ort
from yais.engines.zoo import BuildError

logger = logging.getLogger("yais.engines.builder")

Feeds = Mapping[str, Array]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
SIDE = 224
_ARRAYS = (".npy", ".npz")
# The shorter side is scaled to 256 and the middle cropped to 224, as ImageNet's models are evaluated.
_MARGIN = 256 / 224
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)

SCALINGS: dict[Scaling, Callable[[Array], Array]] = {
    "lite": lambda x: (x - 127) / 128,
    "inception": lambda x: x / 127.5 - 1,
    "imagenet": lambda x: (x / 255 - _MEAN) / _DEVIATION,
    "unit": lambda x: x / 255,
    "none": lambda x: x,
}

# TensorRT runs these in INT8, and fuses into them what follows where no Q/DQ is in between: only what they read is
# quantised, not what they write. A shortcut over a block reads what the block reads, which is thus quantised too.
_OPERATORS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
# TensorRT's rules for Q/DQ: zero points are 0, weights have a scale for each channel, and biases are not quantised.
_OPTIONS = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "MatMulConstBOnly": True,
    "OpTypesToExcludeOutputQuantization": _OPERATORS,
}
# Without it ONNX Runtime warns that the model should be prepared.
_PREPARED = {"key": "onnx.quant.pre_process", "value": "onnxruntime.quant"}


def quantize(model: ModelProto, pictures: Path, count: int, scaling: Scaling = "lite") -> ModelProto:
    """The model in INT8, with ranges found on `count` samples of the folder `pictures`.

    They are pictures for an input of UINT8 [., H, W, 3], or of FP32 [., 3, H, W] with pixels scaled as `scaling` says,
    and otherwise arrays in .npy or .npz files. Activations are symmetric, weights are so for each channel, and biases
    stay FP32. Raises `BuildError`.
    """
    if has_quantization(model):
        raise BuildError("calibration: the model is quantised already")
    samples = read_samples(find_samples(pictures, count), inputs_of(model), scaling)
    try:
        with tempfile.TemporaryDirectory(prefix="yais-") as folder, _silence():
            made = _quantize(model, samples, Path(folder))
    except BuildError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no narrower base.
        raise BuildError(f"calibration: ONNX Runtime cannot quantise the model: {error}") from error
    return _described(made, model)


@contextmanager
def _silence() -> Iterator[None]:
    """ONNX Runtime's quantiser logs to the root, for which `logging` would make a handler where there is none."""
    handler = logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


def _quantize(model: ModelProto, samples: Iterator[Feeds], folder: Path) -> ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    base: Any = CalibrationDataReader

    class SampleReader(base):  # type: ignore[misc]
        def get_next(self) -> Feeds | None:
            return next(samples, None)

    # With normalisations folded into the convolutions, and constants computed: TensorRT does so before it looks for
    # Q/DQ, so that the ranges have to be those of the tensors which are left.
    optimised = folder / "optimised.onnx"
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(optimised)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    prepared = onnx.load(optimised)
    prepared.metadata_props.add(**_PREPARED)
    made = folder / "quantised.onnx"
    quantize_static(
        prepared, made, SampleReader(), op_types_to_quantize=_OPERATORS, per_channel=True, extra_options=_OPTIONS
    )
    return onnx.load(made)


def _described(made: ModelProto, model: ModelProto) -> ModelProto:
    """The graph of `made` in a model that says of itself what `model` does."""
    described = ModelProto()
    described.CopyFrom(model)
    described.graph.CopyFrom(made.graph)
    described.ir_version = made.ir_version
    # ONNX Runtime's optimiser lists the domains of its own operators, whether the graph has any or not.
    used = {node.domain for node in nodes_of(made)}
    del described.functions[:]
    del described.opset_import[:]
    described.opset_import.extend(entry for entry in made.opset_import if entry.domain in used)
    return described


def fit_picture(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], scaling: Scaling) -> Array | None:
    """One row for an input of FP32 [., 3, H, W] or UINT8 [., H, W, 3]; None for an input that takes no picture.

    A free side is 224.
    """
    sides = tuple(SIDE if dimension == -1 else dimension for dimension in shape[-3:])
    match dtype.name, sides:
        case _ if len(shape) not in (3, 4):
            return None
        case "float32", (3, int(height), int(width)):
            scaled = SCALINGS[scaling](_crop(path, height, width).astype(np.float32))
            return np.ascontiguousarray(scaled.transpose(2, 0, 1))
        case "uint8", (int(height), int(width), 3):
            return _crop(path, height, width)
    return None


def _crop(path: Path, height: int, width: int) -> NDArray[np.uint8]:
    """The middle of the picture, 224/256 of it, as `(height, width, 3)` RGB pixels."""
    try:
        from PIL import Image, ImageOps
    except ModuleNotFoundError as error:
        raise BuildError("the package pillow is missing: pip install 'yais[picture]'") from error
    try:
        with Image.open(path) as image:
            # Cameras store a picture as the sensor lay, and in its metadata how to turn it.
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BuildError(f"{path} cannot be read as a picture: {error}") from error
    scale = _MARGIN * max(height / picture.height, width / picture.width)
    size = round(picture.width * scale), round(picture.height * scale)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height)))


@dataclass(frozen=True, slots=True)
class ModelInput:
    """An input of a model; in `shape`, -1 stands for any size."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def batch(self, array: Array, path: Path) -> Array:
        """`array` as the model takes it: a row without the batch dimension is repeated to fill a batch."""
        if not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise BuildError(f"{path}: input '{self.name}' takes {self.dtype.name}, not {array.dtype.name}")
        if array.ndim == len(self.shape) - 1:
            # A free batch dimension, -1, gets one row.
            array = np.broadcast_to(array, (abs(self.shape[0]), *array.shape))
        if array.ndim != len(self.shape) or any(
            want not in (-1, have) for want, have in zip(self.shape, array.shape, strict=True)
        ):
            raise BuildError(f"{path}: input '{self.name}' has shape {list(self.shape)}, not {list(array.shape)}")
        return array.astype(self.dtype)


def inputs_of(model: ModelProto) -> tuple[ModelInput, ...]:
    weights = {weight.name for weight in model.graph.initializer}
    found = []
    for value in model.graph.input:
        if value.name not in weights:
            kind = value.type.tensor_type
            # A dimension has a number, a name, or nothing at all.
            shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim)
            found.append(ModelInput(value.name, np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)), shape))
    return tuple(found)


def find_samples(folder: Path, count: int) -> list[Path]:
    """`count` files, evenly spread over the folder and those in it, or all when there are no more.

    Raises `BuildError` for a folder that is none, or has none.
    """
    if not folder.is_dir():
        raise BuildError(f"calibration: {folder} is not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (*SUFFIXES, *_ARRAYS))
    if not found:
        raise BuildError(f"calibration: {folder} has no pictures ({', '.join(SUFFIXES)}), nor .npy or .npz")
    if len(found) < count:
        logger.warning("Calibration: %s has %d of the %d samples asked for", folder, len(found), count)
    wanted = min(count, len(found))
    return [found[index * len(found) // wanted] for index in range(wanted)]


def read_samples(paths: Sequence[Path], inputs: Sequence[ModelInput], scaling: Scaling) -> Iterator[Feeds]:
    """What the model is run on for each file. Raises `BuildError` that names a file which does not fit."""
    for path in paths:
        if path.suffix.lower() in _ARRAYS:
            arrays = _arrays(path, inputs)
            yield {tensor.name: tensor.batch(arrays[tensor.name], path) for tensor in inputs}
            continue
        if len(inputs) != 1:
            raise BuildError(f"{path}: a model of {len(inputs)} inputs takes no pictures; calibrate it on .npz files")
        (wanted,) = inputs
        row = fit_picture(path, wanted.dtype, wanted.shape, scaling)
        if row is None:
            raise BuildError(
                f"{path}: input '{wanted.name}', {wanted.dtype.name} {list(wanted.shape)}, takes no picture: it is "
                "neither float32 [., 3, H, W] nor uint8 [., H, W, 3]; calibrate it on .npy files"
            )
        yield {wanted.name: wanted.batch(row, path)}


def _arrays(path: Path, inputs: Sequence[ModelInput]) -> Feeds:
    try:
        with path.open("rb") as file:
            # A pickle in it could run code.
            loaded = np.load(file, allow_pickle=False)
            arrays = {inputs[0].name: loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BuildError(f"{path} cannot be read as arrays: {error}") from error
    missing = [tensor.name for tensor in inputs if tensor.name not in arrays]
    if missing:
        raise BuildError(f"{path}: it has no array for input '{missing[0]}'")
    return arrays
