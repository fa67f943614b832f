"""A call as the client sees it: what it sends, and the answer up to its status.

A call has a status from the moment that its stream is closed: the one that the server sent, or else one that stands for
what happened instead (PROTOCOL-HTTP2.md, "Responses" and "Errors").
"""

from libc.stdint cimport uint8_t, uint32_t

from yais.transport.fields cimport equal, is_grpc
from yais.transport.metadata import percent_decode
from yais.transport.nghttp2 cimport *
from yais.transport.status import code as status_code, of_http, of_reset
from yais.transport.stream cimport CONNECTION_LOST, Stream

cdef enum:
    _NONE = -1
    _OK = 0
    _CANCELLED = 1
    _UNKNOWN = 2
    _RESOURCE_EXHAUSTED = 8
    _UNIMPLEMENTED = 12
    _INTERNAL = 13
    _UNAVAILABLE = 14


cdef class ClientCall(Stream):
    """One call to a server, made by `ClientConnection.start`.

    `callback(call)`, when there is one, is called once it is over, and `timer`, when there is one, is cancelled; what
    comes before goes to the `listener`. From then on `status` is the number of its status, `details` the text about it,
    and `was_refused` whether the server certainly did nothing about it, so that it can be sent again.
    """

    def __cinit__(self):
        self.status = self.answer_status = _NONE

    @property
    def details(self):
        """The text that came with the status, or the reason why there was none."""
        return self.failure if self.failure is not None else percent_decode(self.status_details or b"")

    @property
    def message(self):
        """The message of a unary answer, as a memoryview; None when there is none."""
        return None if self.unread is None else memoryview(self.unread)

    def peek(self):
        """The first message that has not been taken, as bytes, which stays."""
        return self.unread

    @property
    def connection(self):
        return self.wire

    def send(self, *buffers, bint is_compressed=False, bint is_last=False):
        """Appends one message that consists of all `buffers` in turn, which must not change before it has been sent.

        Raises `MessageTooLargeError` past the limit of a message.
        """
        if self.is_closed or self.is_finished:
            return
        self.enqueue(is_compressed, buffers)
        self.is_finished = is_last
        self.resume()
        self.wire.schedule()

    def finish(self):
        """Says that no message follows."""
        if not self.is_closed and not self.is_finished:
            self.is_finished = True
            self.resume()
            self.wire.schedule()

    def cancel(self, int status=_CANCELLED, str details="Locally cancelled by application!"):
        """Gives the call up, with a status of one's own choice."""
        if not self.is_closed:
            self.conclude(status, details)
            self.give_up()

    cdef int give_up(self) except -1:
        """Ends the call at once: a server that reads nothing could hold up the end of the stream."""
        if self.id:
            self.reset(NGHTTP2_CANCEL)
        else:
            self.wire.forget(self)
        return self.on_close(NGHTTP2_CANCEL)

    cdef int conclude(self, int status, str details) except -1:
        """Settles the status, unless it is known already."""
        if self.status == _NONE:
            self.status = status
            self.failure = details
        return 0

    cdef int on_header(self, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size) except -1:
        """Fields past the limit are counted and not kept; the call ends with them."""
        self.header_size += name_size + value_size + 32
        if self.header_size > self.wire.header_limit:
            return 0
        if equal(name, name_size, ":status", 7):
            self.http_status = int(value[:value_size])
        elif equal(name, name_size, "grpc-status", 11):
            self.answer_status = number(value[:value_size])
        elif equal(name, name_size, "grpc-message", 12):
            self.status_details = value[:value_size]
        elif equal(name, name_size, "content-type", 12):
            self.content_type = value[:value_size]
            self.is_grpc = is_grpc(value, value_size)
        elif equal(name, name_size, "grpc-encoding", 13):
            self.encoding = value[:value_size]
        elif name[0] != b":" and not equal(name, name_size, "grpc-accept-encoding", 20):
            if self.fields is None:
                self.fields = []
            self.fields.append((name[:name_size], value[:value_size]))
        return 0

    cdef int on_headers_end(self, bint is_last) except -1:
        if self.header_size > self.wire.header_limit:
            self.status = _NONE
            self.cancel(_RESOURCE_EXHAUSTED, f"Received metadata of {self.header_size} bytes; "
                                             f"at most {self.wire.header_limit} are taken")
        elif is_last:
            self.trailing, self.fields = self.fields, None
            if self.answer_status != _NONE:
                self.conclude(self.answer_status, None)
        elif self.http_status < 200:
            self.forget_fields()
        elif not self.has_headers:
            self.has_headers = True
            self.initial = self.fields
            self.forget_fields()
            if self.http_status != 200 or not self.is_grpc:
                self.cancel(*not_grpc(self.http_status, self.content_type))
            elif self.listener is not None:
                self.run_callback(self.listener.changed)
        return 0

    cdef int forget_fields(self) except -1:
        """A status counts only where a call can end with it."""
        self.fields = self.status_details = None
        self.answer_status = _NONE
        return 0

    cdef int on_message(self) except -1:
        if self.is_single and self.unread_more is not None:
            return self.on_bad_message(_UNIMPLEMENTED, "A unary call is answered by one message; more came")
        return Stream.on_message(self)

    cdef int on_remote_end(self) except -1:
        """The server has answered; what it did not wait for need not be sent (RFC 9113, 8.1)."""
        if self.prefix_filled and not self.discards_input and self.status <= _OK:
            self.status = _NONE
            self.conclude(_INTERNAL, "The stream ended in the middle of a message")
        if not self.is_finished or self.pending:
            self.forget_outbound()
            self.reset(NGHTTP2_NO_ERROR)
        return Stream.on_remote_end(self)

    cdef int on_bad_message(self, int code, str details) except -1:
        self.status = _NONE
        self.cancel(_INTERNAL if code == _UNIMPLEMENTED else code, details)
        return 0

    cdef int on_close(self, uint32_t error_code) except -1:
        if self.is_closed:
            return 0
        if self.status == _NONE:
            self.was_refused = error_code == NGHTTP2_REFUSED_STREAM
            self.status, self.failure = reason(error_code, self.is_ended, self.http_status, self.content_type)
        elif self.is_single and self.status == _OK:
            self.check_single()
        if self.is_starting:
            # `ClientConnection.start` has to return the call before its callback is called.
            self.wire.loop.call_soon(self.end_soon, error_code)
        else:
            self.end(error_code)
        return 0

    def end_soon(self, uint32_t error_code):
        self.end(error_code)

    cdef int end(self, uint32_t error_code) except -1:
        Stream.on_close(self, error_code)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.callback is not None:
            callback, self.callback = self.callback, None
            self.run_callback(callback, (self,))
        return 0

    cdef int check_single(self) except -1:
        """A unary answer with the status OK has one message."""
        if self.unread is None:
            self.status = _INTERNAL
            self.failure = "A unary call is answered by one message; none came"
        return 0


cdef int number(bytes status) except -2:
    """The number of a status; one that is not known, or not spelt as it should be, is UNKNOWN."""
    return status_code(status).value[0]


cdef tuple not_grpc(int http_status, bytes content_type):
    """The status of an answer that another kind of server gave."""
    if http_status != 200:
        return of_http(http_status).value[0], f"The server answered with HTTP status {http_status}"
    return _UNKNOWN, f"The server answered with content-type {content_type!r} instead of application/grpc"


cdef tuple reason(uint32_t error_code, bint is_ended, int http_status, bytes content_type):
    """The status of a call whose server sent none."""
    if error_code == CONNECTION_LOST:
        return _UNAVAILABLE, "The connection was lost"
    if error_code != NGHTTP2_NO_ERROR or not is_ended:
        return of_reset(error_code).value[0], f"The server reset the stream with HTTP/2 error {error_code}"
    if http_status and http_status != 200:
        return not_grpc(http_status, content_type)
    return _UNKNOWN, "The server closed the stream without a status"
