"""grpc.aio server under uvloop, with default options, that sends back the contents of a ModelInfer."""

import sys

import grpc
import uvloop

from yais.proto import grpc_service_pb2 as pb
from yais.proto.grpc_service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server

Context = grpc.aio.ServicerContext[pb.ModelInferRequest, pb.ModelInferResponse]


class InferenceEcho(GRPCInferenceServiceServicer):
    """Reads and writes the same messages as the server does, and nothing in between."""

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        for tensor in request.inputs:
            response.outputs.add(name="OUTPUT0", datatype=tensor.datatype, shape=tensor.shape)
        # As bytes: no array is made of them.
        response.raw_output_contents.extend(request.raw_input_contents)
        return response


async def serve(port: int) -> None:
    server = grpc.aio.server()
    add_GRPCInferenceServiceServicer_to_server(InferenceEcho(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
