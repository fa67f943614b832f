"""A file of either kind, known by what is in it."""

from pathlib import Path

from yais.engines.base import EngineError
from yais.engines.inspection.description import OnnxFile, PlanFile
from yais.engines.inspection.plan_file import describe_plan
from yais.engines.tensorrt.plan import read_header


def describe(path: Path, with_layers: bool = False) -> OnnxFile | PlanFile:
    """Raises `EngineError` for what is neither a plan nor an ONNX model."""
    data = path.read_bytes()
    try:
        header = read_header(data)
    except EngineError as no_plan:
        try:
            return _describe_onnx(path)
        except EngineError as no_model:
            raise EngineError(f"{path} is neither a plan nor an ONNX model: {no_plan}; {no_model}") from no_model
    return describe_plan(header, data, with_layers)


def _describe_onnx(path: Path) -> OnnxFile:
    try:
        from yais.engines.inspection.onnx_file import describe_onnx
    except ModuleNotFoundError as error:
        raise EngineError(f"the package {error.name} is missing: pip install 'yais[build]'") from error
    return describe_onnx(path)
