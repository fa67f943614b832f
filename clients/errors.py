"""The one error that a call can end with."""

import grpc


class InferenceError(Exception):
    """A call that was not answered with OK.

    `code` is the gRPC status, `details` the text that came with it; the message is both: `NOT_FOUND: Request for ...`.
    """

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


def from_rpc(error: grpc.RpcError) -> InferenceError:
    """What a stub raised, from either of grpcio's two interfaces."""
    if isinstance(error, grpc.aio.AioRpcError | grpc.Call):
        return InferenceError(error.code(), error.details() or "no details given")
    return InferenceError(grpc.StatusCode.UNKNOWN, str(error))
