"""INT8 by calibration: a model is run on samples, and the ranges of its tensors are written into it as Q/DQ."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from yais.engines.builder.pictures import Scaling
from yais.engines.builder.precision import has_quantization, nodes_of
from yais.engines.builder.samples import Feeds, find_samples, inputs_of, read_samples
from yais.engines.onnxruntime.session import ort
from yais.engines.zoo import BuildError

# TensorRT runs these in INT8, and fuses into them what follows where no Q/DQ is in between: only what they read is
# quantised, not what they write. A shortcut over a block reads what the block reads, which is thus quantised too.
_OPERATORS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
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

    class Reader(base):  # type: ignore[misc]
        def get_next(self) -> Feeds | None:
            return next(samples, None)

    prepared = _optimised(model, folder / "optimised.onnx")
    prepared.metadata_props.add(**_PREPARED)
    made = folder / "quantised.onnx"
    quantize_static(prepared, made, Reader(), op_types_to_quantize=_OPERATORS, per_channel=True, extra_options=_OPTIONS)
    return onnx.load(made)


def _optimised(model: ModelProto, path: Path) -> ModelProto:
    """With normalisations folded into the convolutions, and constants computed."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def _described(made: ModelProto, model: ModelProto) -> ModelProto:
    """The graph of `made` in a model that says of itself what `model` does."""
    described = ModelProto()
    described.CopyFrom(model)
    described.graph.CopyFrom(made.graph)
    described.ir_version = made.ir_version
    used = {node.domain for node in nodes_of(made)}
    del described.functions[:]
    del described.opset_import[:]
    described.opset_import.extend(entry for entry in made.opset_import if entry.domain in used)
    return described
