import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from e2e.serving import Serving
from yais.proto import grpc_service_pb2 as pb


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


def test_reflection_tells_of_the_services_and_their_messages(server: Serving) -> None:
    with server.channel() as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(database.get_services())
        told = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
    own = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert [method.name for method in told.methods] == [method.name for method in own.methods]
    assert told.methods_by_name["ModelInfer"].input_type.fields_by_name.keys() == (
        pb.ModelInferRequest.DESCRIPTOR.fields_by_name.keys()
    )


@pytest.mark.parametrize(
    "rpc",
    ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "SystemSharedMemoryStatus", "TraceSetting"],
)
def test_an_rpc_that_is_not_served_yet_says_so(server: Serving, rpc: str) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/inference.GRPCInferenceService/{rpc}")(b"", timeout=30)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
