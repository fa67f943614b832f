"""One HTTP/2 connection as a set of streams: nghttp2's callbacks, and the connection that both ends have in common.

nghttp2 keeps HTTP/2's own rules and answers their violations by itself. It calls back for what is left, during
`nghttp2_session_mem_recv` (arrivals) and `nghttp2_session_mem_send` (departures). The callbacks here find the stream
and hand over to its methods; an exception ends the connection, since the session's state is unknown after one.

A stream is kept alive by `Connection.open_streams` for as long as nghttp2 knows it: its address is nghttp2's user data.
"""

from types import MappingProxyType

from libc.stdint cimport int32_t, uint8_t, uint32_t

from yais.transport.address import peer_name
from yais.transport.security import auth_context
from yais.transport.nghttp2 cimport *
from yais.transport.scratch cimport Gather
from yais.transport.stream cimport CONNECTION_LOST, Stream
from yais.transport.wire cimport Wire

cdef enum:
    _FRAME_HEADER = 9
    _MAX_CONTINUATIONS = 64


cdef int begin_frame(nghttp2_session* session, const nghttp2_frame_hd* head, void* user_data) noexcept:
    """Called for every frame, those that nghttp2 ignores among them."""
    cdef Connection connection = <Connection>user_data
    try:
        connection.frames_this_tick += 1
        return connection.on_begin_frame(head)
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) noexcept:
    cdef Connection connection = <Connection>user_data
    try:
        connection.on_begin_headers(frame)
        connection.in_headers = connection.find(frame.hd.stream_id)
        return 0
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int header(
    nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
    const uint8_t* value, size_t value_size, uint8_t flags, void* user_data,
) noexcept:
    cdef Connection connection = <Connection>user_data
    cdef Stream stream
    try:
        # One block of headers comes in one piece: its stream is looked up once.
        stream = connection.in_headers
        if stream is not None:
            stream.on_header(name, name_size, value, value_size)
        return 0
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int data_chunk(
    nghttp2_session* session, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t size, void* user_data,
) noexcept:
    cdef Connection connection = <Connection>user_data
    cdef Stream stream
    try:
        connection.consumed += size
        stream = connection.find(stream_id)
        if stream is not None:
            stream.receive(data, size)
        return 0
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) noexcept:
    cdef Connection connection = <Connection>user_data
    cdef Stream stream
    cdef bint is_last
    try:
        if frame.hd.type != NGHTTP2_DATA and frame.hd.type != NGHTTP2_HEADERS:
            return connection.on_frame(frame)
        stream = connection.find(frame.hd.stream_id)
        if stream is None:
            return 0
        is_last = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
        if frame.hd.type == NGHTTP2_HEADERS:
            connection.in_headers = None
            stream.on_headers_end(is_last)
        if is_last:
            stream.on_remote_end()
        return 0
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) noexcept:
    cdef Connection connection = <Connection>user_data
    try:
        return connection.on_frame_sent(frame)
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int stream_closed(nghttp2_session* session, int32_t stream_id, uint32_t error_code, void* user_data) noexcept:
    cdef Connection connection = <Connection>user_data
    try:
        return connection.on_stream_close(stream_id, error_code)
    except BaseException as error:
        connection.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef int send_data(
    nghttp2_session* session, nghttp2_frame* frame, const uint8_t* head, size_t size, nghttp2_data_source* source,
    void* user_data,
) noexcept:
    """A DATA frame that `provide` did not copy: its header, and then the bytes from where they are."""
    cdef Stream stream = <Stream>source.ptr
    cdef Gather gather = (<Connection>user_data).scratch.gather
    try:
        gather.copy(head, _FRAME_HEADER)
        return stream.refer_to(gather, size)
    except BaseException as error:
        (<Connection>user_data).failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


if nghttp2_session_callbacks_new(&callbacks) or nghttp2_option_new(&options):
    raise MemoryError
nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, begin_frame)
nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers)
nghttp2_session_callbacks_set_on_header_callback(callbacks, header)
nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_chunk)
nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received)
nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_sent)
nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed)
nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data)
# Windows are opened by Stream.grant; closed streams are not kept for the sake of priorities, which gRPC does not use.
nghttp2_option_set_no_auto_window_update(options, 1)
nghttp2_option_set_no_closed_streams(options, 1)
# Headers are limited by `Wire.header_limit`, in words that say so; nghttp2's own limits only end what is far beyond.
nghttp2_option_set_max_continuations(options, _MAX_CONTINUATIONS)
nghttp2_option_set_max_send_header_block_length(options, _MAX_CONTINUATIONS * 16384)
# grpcio sends spaces around a value, which RFC 9113, 8.2.1, forbids; `decode_metadata` takes them off.
nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(options, 1)


cdef class Connection(Wire):
    """A connection of `owner`, whose `connection_closed(connection, error)` is called at its end.

    `settings` are the limits of `yais.transport.options`.
    """

    def __cinit__(self, loop, owner, settings, *_, **__):
        self.owner = owner
        self.settings = settings
        self.open_streams = {}
        self.window = settings.stream_window
        self.message_limit = settings.max_receive_message
        self.send_limit = settings.max_send_message
        self.header_limit = settings.max_metadata
        self.held_limit = settings.max_held

    def connection_made(self, transport):
        self.peer = peer_name(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
        Wire.connection_made(self, transport)

    @property
    def streams(self):
        """The open streams by their identifiers. nghttp2 does not keep them alive, so nobody else may take any out."""
        return MappingProxyType(self.open_streams)

    cdef int lose(self, object error) except -1:
        """Every call that is still open ends with its connection, on which none can be started meanwhile."""
        self.is_busy = self.is_ending = True
        self.in_headers = None
        self.owner.connection_closed(self, error)
        for stream_id in list(self.open_streams):
            self.on_stream_close(stream_id, CONNECTION_LOST)
        return Wire.lose(self, error)

    def ping(self, bytes data):
        """Sends a PING with the eight bytes `data`."""
        if len(data) != 8:
            raise ValueError(f"data must be eight bytes, not {len(data)}")
        if self.session is not NULL:
            nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, <const uint8_t*><char*>data)
            self.schedule()

    def terminate(self, uint32_t error_code=NGHTTP2_NO_ERROR, bytes reason=b""):
        """Ends the connection with all its calls, after a GOAWAY that says why."""
        if self.session is not NULL and not self.is_ending:
            self.is_ending = True
            nghttp2_submit_goaway(
                self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session), error_code,
                <const uint8_t*><char*>reason, len(reason))
            self.schedule()

    cdef int submit_settings(self, nghttp2_settings_entry* entries, size_t count) except -1:
        nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, entries, count)
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, self.settings.connection_window)
        return 0

    @property
    def auth_context(self):
        """What TLS knows of the peer, under grpcio's names."""
        return auth_context(self.transport)

    cdef int push(self) except -1:
        if self.is_busy or self.is_scheduled or len(self.open_streams) > 1:
            self.schedule()
        else:
            self.flush()
        return 0

    cdef Stream find(self, int32_t stream_id):
        cdef void* stream = nghttp2_session_get_stream_user_data(self.session, stream_id)
        return None if stream is NULL else <Stream>stream

    cdef int settle(self) except -1:
        if self.consumed:
            nghttp2_session_consume_connection(self.session, self.consumed)
            self.consumed = 0
        return 0

    cdef int on_begin_frame(self, const nghttp2_frame_hd* head) except -1:
        return 0

    cdef int on_begin_headers(self, const nghttp2_frame* frame) except -1:
        return 0

    cdef int on_frame(self, const nghttp2_frame* frame) except -1:
        return 0

    cdef int on_frame_sent(self, const nghttp2_frame* frame) except -1:
        return 0

    cdef int on_stream_close(self, int32_t stream_id, uint32_t error_code) except -1:
        cdef Stream stream = self.open_streams.pop(stream_id, None)
        if stream is not None:
            if stream is self.in_headers:
                self.in_headers = None
            stream.on_close(error_code)
        return 0
