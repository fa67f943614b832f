"""TensorRT's networks, as the parser makes them of ONNX files. They cannot be made in any other way here."""

from pathlib import Path
from typing import Any, NamedTuple

import onnx
from simulation.networks import Network, Tensor

from tensorrt._base import Dims, ILogger
from tensorrt._enums import TYPES, DataType, ErrorCode, NetworkDefinitionCreationFlag, Severity

# Among the operators that TensorRT's parser does not take.
_UNSUPPORTED = {"Compress", "Unique", "StringNormalizer", "SequenceConstruct", "Det", "TfIdfVectorizer"}


class ITensor:
    is_shape_tensor = False

    def __init__(self, tensor: Tensor, is_input: bool) -> None:
        self.name = tensor.name
        self.dtype: DataType = TYPES[tensor.elem_type]
        self.shape = Dims(tensor.shape)
        self.is_network_input = is_input
        self.is_network_output = not is_input


class LayerOutput(NamedTuple):
    """As much of a tensor as is known of those inside of a network."""

    name: str
    dtype: DataType


class ILayer:
    def __init__(self, node: onnx.NodeProto, types: dict[str, DataType]) -> None:
        self.name = node.name or f"node_of_{node.output[0]}"
        self._outputs = [LayerOutput(name, types.get(name, DataType.FLOAT)) for name in node.output]

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> Any:
        return self._outputs[index]


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.name = "Unnamed Network 0"
        self.flags = flags
        self._network: Network | None = None
        self._tensors: tuple[list[ITensor], list[ITensor]] = ([], [])
        self._layers: list[ILayer] = []

    def get_flag(self, flag: Any) -> bool:
        return bool(self.flags & 1 << int(flag))

    @property
    def is_strongly_typed(self) -> bool:
        return self.get_flag(NetworkDefinitionCreationFlag.__members__["STRONGLY_TYPED"])

    num_inputs = property(lambda self: len(self._tensors[0]))
    num_outputs = property(lambda self: len(self._tensors[1]))
    num_layers = property(lambda self: len(self._layers))

    def get_input(self, index: int) -> ITensor:
        return self._tensors[0][index]

    def get_output(self, index: int) -> ITensor:
        return self._tensors[1][index]

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]

    def _take(self, model: onnx.ModelProto) -> None:
        network = Network(model.SerializeToString())
        self._network = network
        self._tensors = (
            [ITensor(each, is_input=True) for each in network.inputs.values()],
            [ITensor(each, is_input=False) for each in network.outputs.values()],
        )
        types = _types(model)
        self._layers = [ILayer(node, types) for node in model.graph.node]


def _types(model: onnx.ModelProto) -> dict[str, DataType]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    known = {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.input, *graph.output)}
    return {name: TYPES[kind] for name, kind in known.items() if kind in TYPES}


class ParserError:
    """Each of its facts is a method."""

    def __init__(self, code: ErrorCode, text: str, function: str, file: str, node: tuple[int, str, str]) -> None:
        self._facts = (code, text, function, file, node)

    def code(self) -> ErrorCode:
        return self._facts[0]

    def desc(self) -> str:
        return self._facts[1]

    def func(self) -> str:
        return self._facts[2]

    def file(self) -> str:
        return self._facts[3]

    def line(self) -> int:
        return 1000

    def node(self) -> int:
        return self._facts[4][0]

    def node_name(self) -> str:
        return self._facts[4][1]

    def node_operator(self) -> str:
        return self._facts[4][2]

    def local_function_stack(self) -> list[str]:
        return []

    def local_function_stack_size(self) -> int:
        return 0


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._definition = network
        self._logger = logger
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def parse_from_file(self, model: str) -> bool:
        path = Path(model)
        if not path.is_file():
            text = f"Input file cannot be found, or is not a regular file: {model}"
            return self._add(ErrorCode.INVALID_VALUE, text, "parseFromFile", "ModelImporter.cpp", (-1, "", ""))
        return self._parse(onnx.load(path))

    def parse(self, model: bytes, path: str | None = None) -> bool:
        return self._parse(onnx.load_from_string(bytes(model)))

    def _parse(self, model: onnx.ModelProto) -> bool:
        """The first thing that is not taken is the one error."""
        constants = {each.name for each in model.graph.initializer}
        for tensor in model.graph.input:
            if tensor.name not in constants and tensor.type.tensor_type.elem_type not in TYPES:
                text = "Assertion failed: convertDtype(onnxDtype.elem_type(), &trtDtype)"
                return self._add(ErrorCode.UNSUPPORTED_NODE, text, "importInput", tensor.name, (-1, "", ""))
        for index, node in enumerate(model.graph.node):
            if not self._is_taken(index, node):
                return False
        self._definition._take(model)
        return True

    def _is_taken(self, index: int, node: onnx.NodeProto) -> bool:
        place = (index, node.name, node.op_type)
        if node.op_type in _UNSUPPORTED:
            return self._add(ErrorCode.UNSUPPORTED_NODE, "false", "check", "onnxOpCheckers.cpp", place)
        if not node.domain and not onnx.defs.has(node.op_type):
            text = 'creator && "Plugin not found, are the plugin name, version, and namespace correct?"'
            where = ("checkFallbackPluginImporter", "onnxOpCheckers.cpp")
            return self._add(ErrorCode.INVALID_NODE, text, *where, place)
        return True

    def _add(self, code: ErrorCode, text: str, function: str, file: str, node: tuple[int, str, str]) -> bool:
        self._errors.append(ParserError(code, text, function, file, node))
        self._logger.log(Severity.ERROR, f"ModelImporter.cpp:151: ERROR: {file}:1000 In function {function}:\n{text}")
        return False
