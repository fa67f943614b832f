"""Where `yais.transport` differs from `grpc.aio` on purpose; docs/transport.md tells the same. All else is the same."""

from dataclasses import dataclass
from typing import Any

from grpc import StatusCode

from transport.api.transports import NATIVE, Transport


@dataclass(frozen=True, slots=True)
class Difference:
    """`what` is `grpcio` at grpc.aio's end, and `native` at ours, because of `why`."""

    what: str
    grpcio: Any
    native: Any
    why: str

    def at(self, transport: Transport) -> Any:
        return self.native if transport is NATIVE else self.grpcio


UNREADABLE_REQUEST = Difference(
    "The status of a call whose request cannot be deserialized",
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
    "gRPC's list of status codes and grpcio's synchronous server say so; UNKNOWN is for exceptions of the method.",
)
UNWRITABLE_ANSWER = Difference(
    "The status of a call whose answer cannot be serialized",
    StatusCode.UNKNOWN,
    StatusCode.INTERNAL,
    "As above.",
)
UNREADABLE_ANSWER = Difference(
    "What a call gives whose answer cannot be deserialized",
    None,
    StatusCode.INTERNAL,
    "grpc.aio logs it and gives None, as if that were an answer; ours raises AioRpcError.",
)
UNWRITABLE_REQUEST = Difference(
    "A request that cannot be serialized",
    "is sent as ",
    "raises what the serializer raises",
    "grpc.aio logs the error, and sends an empty message instead.",
)
UNWRITABLE_ITERATED_REQUEST = Difference(
    "The status of a call whose iterator gives a request that cannot be serialized",
    StatusCode.OK,
    StatusCode.CANCELLED,
    "As above; an iterator that fails cancels its call at both.",
)
TOO_LARGE_TO_WRITE = Difference(
    "The status of a stream whose client writes a message above grpc.max_send_message_length",
    StatusCode.INTERNAL,
    StatusCode.RESOURCE_EXHAUSTED,
    "Unary calls get RESOURCE_EXHAUSTED at both; there is no reason why streams should not.",
)
UNCOMPRESSED_CALL = Difference(
    "A call with compression=NoCompression on a channel that compresses",
    "is compressed",
    "is not compressed",
    "In grpc.aio NoCompression, which is 0, counts as no argument.",
)
UNARY_COMPRESSION = Difference(
    "What a method with a unary answer chooses by set_compression",
    "is sent only after send_initial_metadata",
    "is what is sent",
    "grpc.aio forgets it unless initial metadata are sent as well.",
)
CONTEXT_AFTER_A_CANCEL = Difference(
    "ServicerContext.done() and .cancelled() after the client has cancelled",
    (False, False),
    (True, True),
    "grpc.aio only looks at what the method has sent; its documentation promises what ours does.",
)
OWN_CALL_DETAILS = Difference(
    "The status of a call whose interceptor passes HandlerCallDetails of its own on",
    StatusCode.UNKNOWN,
    StatusCode.OK,
    "grpc.aio takes none but those that it has made itself.",
)
STATUS_BEFORE_MESSAGES = Difference(
    "The status of a stream that has ended while its messages were not read yet",
    None,
    StatusCode.OK,
    "grpc.aio waits until they are read, for ever if they never are.",
)
STOP_AND_METHODS = Difference(
    "stop(None) waits for methods that clean up after they were cancelled",
    "does not wait",
    "waits",
    "grpc.aio's documentation promises what ours does.",
)
PORT_OF_ANOTHER = Difference(
    "A port that another server has already",
    "is shared with it",
    "is an error",
    "grpc.so_reuseport is on by default in grpc.aio, and off in ours: two servers on one port are mostly a mistake.",
)
SYNCHRONOUS_METHOD = Difference(
    "Where a method runs that is not asynchronous",
    "in a thread",
    "on the event loop",
    "Ours has no threads; those of generated base classes, which only say that they are not implemented, need none.",
)
