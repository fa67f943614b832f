"""From the outputs of a model to a ModelInferResponse."""

from collections.abc import Collection, Mapping

from yais.engines import Array
from yais.proto.grpc_service_pb2 import ModelInferResponse
from yais.proto.tensors import to_raw
from yais.server.signature import Signature


def encode(
    signature: Signature, version: str, request_id: str, wanted: Collection[str], outputs: Mapping[str, Array]
) -> ModelInferResponse:
    """The response with the `wanted` of `outputs`, arrays of `(rows, *shape)`, in the model's order."""
    response = ModelInferResponse(model_name=signature.model, model_version=version, id=request_id)
    for rule in signature.outputs:
        if rule.name in wanted:
            array = outputs[rule.name]
            shape = array.shape if signature.max_batch_size else array.shape[1:]
            response.outputs.add(name=rule.name, datatype=rule.datatype, shape=shape)
            response.raw_output_contents.append(to_raw(array))
    return response
