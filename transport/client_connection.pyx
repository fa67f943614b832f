"""A connection to a server: the calls that are made on it, and the limits that the server sets."""

from libc.stdint cimport int32_t, uint32_t

from yais.transport.client_call cimport ClientCall
from yais.transport.connection cimport Connection, callbacks, options
from yais.transport.fields cimport Fields
from yais.transport.nghttp2 cimport *
from yais.transport.stream cimport allow_one


cdef class ClientConnection(Connection):
    """`owner.connection_ready(self)` is called when the server's SETTINGS have come; before, nothing should be sent.

    `owner.connection_draining(self, error_code, reason)` is called when the server wants no more calls on it.

    Calls beyond the server's MAX_CONCURRENT_STREAMS wait here, and not inside of nghttp2, which cannot take them back.
    """

    cdef readonly bint is_ready
    cdef readonly bint is_draining
    cdef readonly bint has_answered
    cdef dict waiting

    def __cinit__(self, *_, **__):
        self.waiting = {}

    cdef int lose(self, object error) except -1:
        Connection.lose(self, error)
        return self.refuse_waiting()

    def start(self, list fields, *buffers, callback=None, listener=None, bint is_compressed=False, bint is_last=True,
              bint is_single=False):
        """A call with the header `fields`, pairs of bytes, whose first message consists of all `buffers` in turn.

        `is_last`: no message follows. `is_single`: one answer is due. Raises `MessageTooLargeError` past
        the limit of a message and `ConnectionError` when the connection takes no calls any more.
        """
        cdef Fields headers = Fields(fields)
        allow_one()
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        if not self.is_open():
            # asyncio reports the end only later; until then the owner would offer this connection again and again.
            self.owner.connection_draining(self, NGHTTP2_NO_ERROR, b"")
            raise ConnectionError("This connection takes no calls any more")
        call.wire = self
        call.callback = callback
        call.listener = listener
        call.is_single = is_single
        if buffers:
            call.enqueue(is_compressed, buffers)
        if self.session is NULL:
            # The `__buffer__` method of a buffer has closed it.
            raise ConnectionError("This connection takes no calls any more")
        call.is_finished = is_last
        if self.has_room():
            call.is_starting = True
            self.submit(call, headers)
            self.push()
            call.is_starting = False
        else:
            self.waiting[call] = headers
        return call

    def forget(self, ClientCall call):
        """A call that was given up while it waited."""
        self.waiting.pop(call, None)

    def drain(self):
        """Takes no more calls, and closes after the last."""
        self.is_draining = True
        self.schedule()

    def cancel_all(self):
        """Cancels every call, and closes."""
        for call in [*self.waiting, *self.open_streams.values()]:
            call.cancel()
        self.terminate()

    cdef bint is_open(self) except -1:
        if self.session is NULL or self.is_draining or self.is_ending:
            return False
        if self.transport.is_closing() or self.session is NULL:
            return False
        return nghttp2_session_check_request_allowed(self.session)

    cdef bint has_room(self) noexcept:
        return <uint32_t>len(self.open_streams) < nghttp2_session_get_remote_settings(
            self.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)

    cdef int submit(self, ClientCall call, Fields headers) except -1:
        cdef nghttp2_data_provider source = call.provider()
        cdef int32_t stream_id = nghttp2_submit_request(
            self.session, NULL, headers.items, headers.count, &source, <void*>call)
        if stream_id < 0:
            # After 2^30 calls there are no stream identifiers left.
            self.drain()
            self.owner.connection_draining(self, NGHTTP2_NO_ERROR, b"")
            raise ConnectionError(nghttp2_strerror(stream_id).decode())
        call.id = stream_id
        self.open_streams[stream_id] = call
        return 0

    cdef int submit_waiting(self) except -1:
        while self.waiting and self.has_room() and not self.is_draining and not self.is_ending:
            call = next(iter(self.waiting))
            self.submit(call, self.waiting.pop(call))
            self.schedule()
        return 0

    cdef int refuse_waiting(self) except -1:
        """The server has seen nothing of these: they can be sent again on another connection."""
        cdef ClientCall call
        waiting, self.waiting = self.waiting, {}
        for call in waiting:
            call.on_close(NGHTTP2_REFUSED_STREAM)
        return 0

    cdef int open_session(self) except -1:
        cdef nghttp2_settings_entry[3] entries
        if nghttp2_session_client_new2(&self.session, callbacks, <void*>self, options):
            raise MemoryError
        entries[0].settings_id = NGHTTP2_SETTINGS_ENABLE_PUSH
        entries[0].value = 0
        entries[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        entries[1].value = self.settings.stream_window
        entries[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        entries[2].value = self.settings.max_metadata
        return self.submit_settings(entries, 3)

    cdef int on_begin_headers(self, const nghttp2_frame* frame) except -1:
        self.has_answered = True
        return 0

    cdef int on_frame(self, const nghttp2_frame* frame) except -1:
        if frame.hd.type == NGHTTP2_SETTINGS:
            if not self.is_ready and not frame.hd.flags & NGHTTP2_FLAG_ACK:
                self.is_ready = True
                self.owner.connection_ready(self)
            self.submit_waiting()
        elif frame.hd.type == NGHTTP2_GOAWAY:
            self.is_draining = True
            self.owner.connection_draining(
                self, frame.goaway.error_code, frame.goaway.opaque_data[:frame.goaway.opaque_data_len])
            self.refuse_waiting()
        return Connection.on_frame(self, frame)

    cdef int on_stream_close(self, int32_t stream_id, uint32_t error_code) except -1:
        Connection.on_stream_close(self, stream_id, error_code)
        if self.waiting:
            self.submit_waiting()
        return 0

    cdef bint is_wanted(self) noexcept:
        return Connection.is_wanted(self) and not (self.is_draining and not self.open_streams)
