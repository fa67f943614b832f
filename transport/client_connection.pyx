"""A connection to a server: the calls that are made on it, and what the server lets it do."""

from libc.stdint cimport int32_t, uint32_t

from yais.transport.client_call cimport ClientCall
from yais.transport.connection cimport Connection, callbacks, options
from yais.transport.fields cimport Fields
from yais.transport.nghttp2 cimport *
from yais.transport.stream cimport Stream
from yais.transport.wire cimport Wire


cdef class ClientConnection(Connection):
    """`owner.connection_ready(self)` is called once the server's SETTINGS have come: before, nothing should be sent.

    `owner.connection_draining(self, error_code, reason)` is called when the server wants no more calls on it.
    """

    cdef readonly bint is_ready
    cdef readonly bint is_draining

    def start(self, list fields, *buffers, callback=None, listener=None, bint is_compressed=False, bint is_last=True,
              bint is_single=False):
        """A call with the header `fields`, pairs of bytes, whose first message consists of all `buffers` in turn.

        `is_last` tells that no message follows, `is_single` that one answer is due. Raises `OverflowError` past the limit
        of a message and `ConnectionError` when the connection takes no calls any more.
        """
        cdef ClientCall call = ClientCall.__new__(ClientCall)
        cdef Fields headers = Fields(fields)
        cdef nghttp2_data_provider source = call.provider()
        if self.session is NULL or self.is_draining or self.is_ending:
            raise ConnectionError("This connection takes no calls any more")
        call.wire = self
        call.callback = callback
        call.listener = listener
        call.is_single = is_single
        if buffers:
            call.enqueue(is_compressed, buffers)
        call.is_finished = is_last
        call.id = nghttp2_submit_request(self.session, NULL, headers.items, headers.count, &source, <void*>call)
        if call.id < 0:
            raise ConnectionError(nghttp2_strerror(call.id).decode())
        self.streams[call.id] = call
        self.schedule()
        return call

    def leave(self):
        """Takes no more calls, and closes after the last."""
        self.is_draining = True
        self.schedule()

    def cancel_all(self):
        """Cancels every call, and closes."""
        for call in list(self.streams.values()):
            call.cancel()
        self.terminate()

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

    cdef int on_frame(self, const nghttp2_frame* frame) except -1:
        if frame.hd.type == NGHTTP2_SETTINGS and not self.is_ready:
            self.is_ready = True
            self.owner.connection_ready(self)
        elif frame.hd.type == NGHTTP2_GOAWAY:
            self.is_draining = True
            self.owner.connection_draining(
                self, frame.goaway.error_code, frame.goaway.opaque_data[:frame.goaway.opaque_data_len])
        return Connection.on_frame(self, frame)

    cdef bint is_wanted(self) noexcept:
        return Connection.is_wanted(self) and not (self.is_draining and not self.streams)
