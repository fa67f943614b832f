import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import ServiceDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from e2e.serving import Serving
from yais.proto import grpc_service_pb2 as pb

SERVED = [
    service
    for contract in (pb, health_pb2, reflection_pb2)
    for service in contract.DESCRIPTOR.services_by_name.values()
]


@pytest.mark.parametrize("service", ["", "ready", "inference.GRPCInferenceService", "mlp", "two"])
def test_the_server_and_each_model_are_serving(server: Serving, service: str) -> None:
    with server.channel() as channel:
        health = HealthStub(channel)
        request = HealthCheckRequest(service=service)
        assert health.Check(request).status == HealthCheckResponse.SERVING
        watch = health.Watch(request)
        assert next(watch).status == HealthCheckResponse.SERVING
        watch.cancel()


def test_the_health_of_what_does_not_exist_is_not_found_and_unknown_to_a_watcher(server: Serving) -> None:
    with server.channel() as channel:
        health = HealthStub(channel)
        request = HealthCheckRequest(service="nope")
        with pytest.raises(grpc.RpcError) as refused:
            health.Check(request)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND
        assert refused.value.details() == "unknown service 'nope'"
        watch = health.Watch(request)
        assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def described(service: ServiceDescriptor) -> ServiceDescriptorProto:
    description = ServiceDescriptorProto()
    service.CopyToProto(description)
    return description


def test_reflection_tells_of_the_services_and_their_messages(server: Serving) -> None:
    with server.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        told = DescriptorPool(database)
        services = {name: told.FindServiceByName(name) for name in database.get_services()}
    assert {name: described(service) for name, service in services.items()} == {
        service.full_name: described(service) for service in SERVED
    }
    infer = services["inference.GRPCInferenceService"].methods_by_name["ModelInfer"]
    assert infer.input_type.fields_by_name.keys() == pb.ModelInferRequest.DESCRIPTOR.fields_by_name.keys()


@pytest.mark.parametrize(
    "rpc",
    ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus", "TraceSetting"],
)
def test_an_rpc_that_is_not_served_yet_says_so(server: Serving, rpc: str) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/inference.GRPCInferenceService/{rpc}")(b"", timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
