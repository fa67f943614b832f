"""Our messages are those of tritonclient 2.73, descriptor for descriptor; data/dump_descriptors.py wrote its down."""

import copy
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf import descriptor_pool, json_format, text_format
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from yais.proto import grpc_service_pb2, model_config_pb2

DATA = Path(__file__).parent / "data"
OURS = {"model_config.proto": model_config_pb2, "grpc_service.proto": grpc_service_pb2}


def theirs(name: str) -> bytes:
    return (DATA / name).with_suffix(".binpb").read_bytes()


def types(parents: Iterable[FileDescriptor | Descriptor]) -> Iterator[Descriptor]:
    """The message types in these, and those nested in them."""
    for parent in parents:
        nested = parent.nested_types if isinstance(parent, Descriptor) else parent.message_types_by_name.values()
        yield from nested
        yield from types(nested)


def pickled(message: Message) -> Message:
    again: Message = pickle.loads(pickle.dumps(message))
    return again


@pytest.mark.parametrize(("name", "module"), OURS.items())
def test_our_descriptors_are_tritonclients_byte_for_byte(name: str, module: ModuleType) -> None:
    described = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    assert described == FileDescriptorProto.FromString(theirs(name))
    assert module.DESCRIPTOR.serialized_pb == theirs(name)
    assert module.DESCRIPTOR.name == name


def test_a_pool_would_mind_a_difference() -> None:
    changed = FileDescriptorProto.FromString(theirs("model_config.proto"))
    changed.message_type[0].field[0].name += "x"
    pool = DescriptorPool()
    pool.AddSerializedFile(theirs("model_config.proto"))
    with pytest.raises(TypeError, match="duplicate file name"):
        pool.AddSerializedFile(changed.SerializeToString())


@pytest.mark.parametrize("name", OURS)
def test_the_default_pool_is_left_to_others(name: str) -> None:
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindFileByName(name)


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_messages_of_every_type_are_pickled_and_copied(again: Callable[[Message], Message]) -> None:
    for descriptor in types(module.DESCRIPTOR for module in OURS.values()):
        message = GetMessageClass(descriptor)()
        assert type(again(message)) is type(message)


@pytest.mark.parametrize("again", [pickled, copy.copy, copy.deepcopy])
def test_a_pickled_or_copied_message_has_what_the_first_has(again: Callable[[Message], Message]) -> None:
    tensor = grpc_service_pb2.ModelInferRequest.InferInputTensor(name="X", datatype="INT8", shape=[2])
    assert again(tensor) == tensor
    request = grpc_service_pb2.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[b"ab"])
    assert again(request) == request


@pytest.mark.parametrize(
    ("write", "parse"),
    [(json_format.MessageToJson, json_format.Parse), (text_format.MessageToString, text_format.Parse)],
    ids=["JSON", "text"],
)
def test_messages_are_written_as_text_and_read_again(
    write: Callable[[Message], str], parse: Callable[[str, Message], Message]
) -> None:
    config = model_config_pb2.ModelConfig(name="m", input=[model_config_pb2.ModelInput(name="X", dims=[2])])
    config.parameters["key"].string_value = "value"
    assert parse(write(config), model_config_pb2.ModelConfig()) == config
