"""A call as the server sees it: from the request's headers to the trailers that answer it.

The rules are those of gRPC's PROTOCOL-HTTP2.md. A call whose request is one message is handed over when that has come
in whole and the client has closed its side; one with a stream of requests as soon as its headers are there.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint8_t, uint32_t

from yais.transport.compression import ACCEPTED
from yais.transport.fields cimport Fields, equal, is_grpc
from yais.transport.metadata import decode_timeout, percent_encode
from yais.transport.nghttp2 cimport *
from yais.transport.stream cimport Stream, allow_one
from yais.transport.wire cimport Wire, monotonic

cdef enum:
    _UNKNOWN = 2
    _DEADLINE_EXCEEDED = 4
    _RESOURCE_EXHAUSTED = 8
    _UNIMPLEMENTED = 12
    _INTERNAL = 13

cdef list _HEADERS = [(b":status", b"200"), (b"content-type", b"application/grpc")]
cdef Fields _USUAL_HEADERS = Fields(_HEADERS)
cdef Fields _USUAL_TRAILERS = Fields([(b"grpc-status", b"0")])
# Trailers-Only responses (PROTOCOL-HTTP2.md) that were sent before; a server at its limit sends the same ones often.
cdef dict _refusals = {}
_MAX_REFUSALS = 64


cdef list status_fields(int code, str details):
    cdef list fields = [(b"grpc-status", b"%d" % code)]
    if details:
        fields.append((b"grpc-message", percent_encode(details)))
    return fields


cdef Fields refusal(int code, str details):
    cdef Fields fields = _refusals.get((code, details))
    if fields is None:
        fields = Fields(_HEADERS + status_fields(code, details))
        if len(_refusals) >= _MAX_REFUSALS:
            _refusals.clear()
        _refusals[code, details] = fields
    return fields


cdef class Method:
    """What serves a path: `callback(call, message)`, with the one message of a unary request, or None for a stream.

    A raw callback gets the message as a memoryview, others as bytes.
    """

    def __init__(self, callback, *, bint takes_stream=False, bint is_raw=False):
        self.callback = callback
        self.takes_stream = takes_stream
        self.is_raw = is_raw


cdef ServerCall new_server_call(Wire wire, dict methods, int32_t stream_id):
    allow_one()
    cdef ServerCall call = ServerCall.__new__(ServerCall)
    call.wire = wire
    call.methods = methods
    call.id = stream_id
    call.deadline = INFINITY
    call.began_at = wire.read_at
    return call


cdef class ServerCall(Stream):
    """One call of a client. It is answered by `respond` or `fail`, or piece by piece: `send_headers`, `send`, `finish`.

    Whatever is given once the call is over, because the client has gone or an answer was given, is not sent.
    """

    @property
    def metadata(self):
        """The request's header fields apart from the protocol's own, as pairs of bytes."""
        return self.fields or []

    @property
    def connection(self):
        return self.wire

    @property
    def is_over(self):
        """Whether nothing will be sent any more."""
        return self.is_closed or self.is_answered

    def respond(self, *buffers):
        """Answers with one message, which consists of all `buffers` in turn, and with the status OK.

        The buffers must not change before they have been sent. Raises `MessageTooLargeError` past the limit.
        """
        if self.is_closed or self.is_answered:
            return
        self.enqueue(0, buffers)
        self.is_answered = self.is_finished = True
        if self.has_begun:
            self.resume()
        else:
            self.begin(None)
        self.wire.push()

    def fail(self, code, str details=""):
        """Answers with the status `code`, a `grpc.StatusCode`."""
        self.finish(code.value[0], details)

    def send_headers(self, list extra):
        """Sends initial metadata, pairs of bytes, ahead of the first message."""
        if not self.is_closed and not self.is_answered and not self.has_begun:
            self.begin(extra)
            self.wire.schedule()

    def send(self, buffer, bint is_compressed=False):
        """Appends one message to the answer. Raises `MessageTooLargeError` past the limit of a message."""
        if self.is_closed or self.is_answered:
            return
        self.enqueue(is_compressed, (buffer,))
        if self.has_begun:
            self.resume()
        else:
            self.begin(None)
        self.wire.schedule()

    def finish(self, int code, str details="", list trailing=None):
        """Ends the answer with the number of a status, a text about it and trailing metadata, pairs of bytes."""
        if self.is_closed or self.is_answered:
            return
        if not self.has_begun and not trailing:
            self.reject(refusal(code, details))
            return
        trailers = status_fields(code, details) + (trailing or [])
        if not self.has_begun:
            self.reject(Fields(_HEADERS + trailers))
            return
        self.trailers = Fields(trailers)
        self.is_answered = self.is_finished = True
        self.resume()
        self.wire.push()

    def hold_back(self):
        """Has nothing more read from this client for a moment, since more of the kind would be refused as well.

        Requests that come one at a time each wake the process, which costs more than to refuse them, and takes the
        core from whatever works off the queue; after a pause they come in one read.
        """
        self.wire.is_throttled = True

    cdef bint is_waiting(self) noexcept:
        """Whether the client has begun something, headers or a message, that it has not ended."""
        if self.is_ended or self.is_answered:
            return False
        return not self.has_headers or self.prefix_filled or self.method is None or not self.method.takes_stream

    cdef int begin(self, list extra) except -1:
        cdef nghttp2_data_provider source = self.provider()
        cdef Fields fields = Fields(_HEADERS + extra) if extra else _USUAL_HEADERS
        if self.is_closed:
            # The `__buffer__` method of a buffer has closed it.
            return 0
        self.has_begun = True
        nghttp2_submit_response(self.wire.session, self.id, fields.items, fields.count, &source)
        return 0

    cdef int reject(self, Fields fields) except -1:
        """Answers by headers only."""
        self.has_begun = self.is_answered = self.is_finished = True
        nghttp2_submit_response(self.wire.session, self.id, fields.items, fields.count, NULL)
        self.wire.push()
        return 0

    cdef int on_last_data(self, nghttp2_session* session, uint32_t* flags) except -1:
        cdef Fields fields = _USUAL_TRAILERS if self.trailers is None else self.trailers
        flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
        nghttp2_submit_trailer(session, self.id, fields.items, fields.count)
        return 0

    cdef int on_header(self, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size) except -1:
        """Fields past the limit are counted and not kept; the call is refused at their end."""
        self.header_size += name_size + value_size + 32
        if self.header_size > self.wire.header_limit:
            return 0
        if equal(name, name_size, ":path", 5):
            self.path = value[:value_size]
        elif equal(name, name_size, ":method", 7):
            self.is_post = equal(value, value_size, "POST", 4)
        elif equal(name, name_size, "content-type", 12):
            self.is_grpc = is_grpc(value, value_size)
        elif equal(name, name_size, "grpc-timeout", 12):
            self.timeout = value[:value_size]
        elif equal(name, name_size, "grpc-encoding", 13):
            self.encoding = value[:value_size]
        elif equal(name, name_size, "grpc-accept-encoding", 20):
            self.accepted_encodings = value[:value_size]
        elif name[0] != b":" and not equal(name, name_size, "te", 2):
            if self.fields is None:
                self.fields = []
            self.fields.append((name[:name_size], value[:value_size]))
        return 0

    cdef int on_headers_end(self, bint is_last) except -1:
        if self.has_headers:
            return 0
        self.has_headers = True
        if self.header_size > self.wire.header_limit:
            self.finish(_RESOURCE_EXHAUSTED, f"Received metadata of {self.header_size} bytes; "
                                             f"at most {self.wire.header_limit} are taken")
        elif not self.is_post:
            self.reject(Fields([(b":status", b"405"), (b"allow", b"POST")]))
        elif not self.is_grpc:
            self.reject(Fields([(b":status", b"415"), (b"accept", b"application/grpc")]))
        else:
            self.accept()
        return 0

    cdef int accept(self) except -1:
        if self.timeout is not None:
            try:
                self.deadline = monotonic() + decode_timeout(self.timeout)
            except ValueError as error:
                self.finish(_INTERNAL, str(error))
                return 0
        self.method = self.methods.get(self.path) or self.methods.get(b"")
        if self.method is None:
            self.finish(_UNIMPLEMENTED, "Method not found!")
        elif self.method.takes_stream:
            self.dispatch(None)
        return 0

    cdef int on_message(self) except -1:
        if not self.method.takes_stream and self.unread_more is not None:
            return self.on_bad_message(_UNIMPLEMENTED, "A unary call takes one message; more came")
        return Stream.on_message(self)

    cdef int on_remote_end(self) except -1:
        if self.is_answered:
            return 0
        if self.prefix_filled:
            return self.on_bad_message(_INTERNAL, "The stream ended in the middle of a message")
        if self.method is not None and not self.method.takes_stream:
            if self.unread is None:
                return self.on_bad_message(_UNIMPLEMENTED, "A unary call takes one message; none came")
            self.is_ended = True
            return self.dispatch(self.take())
        return Stream.on_remote_end(self)

    cdef int on_bad_message(self, int code, str details) except -1:
        self.discards_input = True
        self.finish(code, details, [(b"grpc-accept-encoding", ACCEPTED)] if code == _UNIMPLEMENTED else None)
        return 0

    cdef int dispatch(self, object message) except -1:
        if self.deadline != INFINITY and monotonic() >= self.deadline:
            self.finish(_DEADLINE_EXCEEDED, "Deadline Exceeded")
            return 0
        try:
            self.method.callback(self, memoryview(message) if self.method.is_raw else message)
        except Exception as error:
            self.wire.loop.call_exception_handler(
                {"message": f"The callback of {self.path.decode(errors='replace')} failed", "exception": error})
            self.finish(_UNKNOWN, f"Unexpected {type(error)}: {error}")
        return 0
