"""A network, parsed from an ONNX file: what TensorRT makes of it, or what it does not take and where."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yais.engines.builder.profiles import Tensor
from yais.engines.tensorrt.library import Library
from yais.engines.tensorrt.logger import Messages, make_logger
from yais.engines.zoo import BuildError

if TYPE_CHECKING:
    import tensorrt as trt

_DATATYPES = {"FLOAT": "FP32", "HALF": "FP16"}


@dataclass(frozen=True, slots=True)
class Fault:
    """What the parser does not take: a node with its operator, or an input, or the model as a whole."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class UnsupportedError(BuildError):
    """A model that TensorRT's parser does not take, with all that it says of it."""

    def __init__(self, library: Library, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n  ".join((f"{library.title} does not take the model", *map(str, faults))))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Network:
    """A parsed network, with what must live as long as it does: the parser owns the weights."""

    library: Library
    messages: Messages
    builder: "trt.Builder"
    parser: "trt.OnnxParser"
    definition: "trt.INetworkDefinition"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return tuple(_tensor(self.definition.get_input(index)) for index in range(self.definition.num_inputs))

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return tuple(_tensor(self.definition.get_output(index)) for index in range(self.definition.num_outputs))

    @property
    def layers(self) -> "Iterator[trt.ILayer]":
        return (self.definition.get_layer(index) for index in range(self.definition.num_layers))


def parse(path: Path, library: Library) -> Network:
    """The network of the ONNX file `path`. Raises `UnsupportedError`."""
    trt = library.module
    messages = Messages()
    logger = make_logger(trt, messages)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # It is what pybind11 makes of a null pointer.
        raise BuildError(f"{library.title} finds no GPU with a new enough driver: {messages.take()}") from error
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse_from_file(str(path)):
        told = messages.take()
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        faults = tuple(_fault(error, told) for error in errors) or (Fault("the model", told),)
        raise UnsupportedError(library, faults)
    return Network(library, messages, builder, parser, definition)


def datatype(of: "trt.DataType") -> str:
    """As the inference protocol calls it, as far as it knows it."""
    return _DATATYPES.get(of.name, of.name)


def _tensor(tensor: "trt.ITensor") -> Tensor:
    return Tensor(tensor.name, datatype(tensor.dtype), tuple(tensor.shape), tensor.is_shape_tensor)


def _fault(error: "trt.ParserError", told: str) -> Fault:
    if error.func() == "importInput":
        # It is the one kind of error with a tensor's name in place of a file's.
        return Fault(f"input '{error.file()}'", f"{error.code().name}: {error.desc()}")
    if error.node() < 0:
        # The error itself does not say e.g. which file of weights is missing.
        return Fault("the model", f"{error.code().name}: {' '.join(told.split())}")
    name = f"node '{error.node_name()}'" if error.node_name() else f"node {error.node()}"
    functions = "".join(f" in function {function}" for function in error.local_function_stack())
    # The check for operators that are not known at all says no more than this.
    text = "not supported" if error.desc() == "false" else "; ".join(error.desc().splitlines())
    return Fault(f"{name}, operator {error.node_operator()}{functions}", f"{error.code().name}: {text}")
