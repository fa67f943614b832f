"""Our messages are those of tritonclient 2.73, descriptor for descriptor; data/dump_descriptors.py wrote its down."""

from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from yais.proto import grpc_service_pb2, model_config_pb2

DATA = Path(__file__).parent / "data"
OURS = {"model_config.proto": model_config_pb2, "grpc_service.proto": grpc_service_pb2}


def theirs(name: str) -> bytes:
    return (DATA / name).with_suffix(".binpb").read_bytes()


@pytest.mark.parametrize(("name", "module"), OURS.items())
def test_our_descriptors_are_tritonclients_byte_for_byte(name: str, module: ModuleType) -> None:
    described = FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    assert described == FileDescriptorProto.FromString(theirs(name))
    assert module.DESCRIPTOR.serialized_pb == theirs(name)
    assert module.DESCRIPTOR.name == name


@pytest.mark.parametrize("is_first", [True, False], ids=["ours first", "theirs first"])
def test_one_process_can_register_both(is_first: bool) -> None:
    pool = DescriptorPool()
    for name, module in OURS.items():
        both = (module.DESCRIPTOR.serialized_pb, theirs(name))
        for serialized in both if is_first else reversed(both):
            pool.AddSerializedFile(serialized)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert len(service.methods) == 20


def test_the_pool_would_mind_a_difference() -> None:
    changed = FileDescriptorProto.FromString(theirs("model_config.proto"))
    changed.message_type[0].field[0].name += "x"
    pool = DescriptorPool()
    pool.AddSerializedFile(theirs("model_config.proto"))
    with pytest.raises(TypeError, match="duplicate file name"):
        pool.AddSerializedFile(changed.SerializeToString())


@pytest.mark.parametrize("name", OURS)
def test_the_default_pool_takes_theirs_beside_ours(name: str) -> None:
    pool = OURS[name].DESCRIPTOR.pool
    assert pool.AddSerializedFile(theirs(name)).name == name
