"""Identity as a custom runtime of MLServer, through its codec for numpy's arrays."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Identity(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (tensor,) = payload.inputs
        output = NumpyCodec.encode_output("OUTPUT0", NumpyCodec.decode_input(tensor))
        output.shape = tensor.shape  # The codec makes a column of a vector.
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])
