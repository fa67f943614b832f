"""A client's connection: its calls, its draining, and the limits of what the client may do.

Draining takes two GOAWAY frames (RFC 9113, 6.8): the first tells the client to open no more calls here; those that it
had sent before it knew still come, and are served. A PING after it comes back behind them, and the second GOAWAY then
names the last call that is served. The connection closes when that is done.

What costs the server more than the client is limited by a token bucket: PING, SETTINGS, PRIORITY and unknown frames
take a token each, as do errors that make this side reset a stream, and, inside of nghttp2, RST_STREAM frames. A client
that uses them up gets a GOAWAY with ENHANCE_YOUR_CALM. PINGs while nothing else happens have gRPC's stricter rule (its
document on keepalive, "Server Enforcement").
"""

from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memcmp

from yais.transport.connection cimport Connection, callbacks, options
from yais.transport.nghttp2 cimport *
from yais.transport.server_call cimport ServerCall, new_server_call
from yais.transport.wire cimport monotonic

cdef bytes _DRAIN = b"draining"

# The bucket's tokens, for frames that carry no call and for calls that are taken back, and what it gains in a second.
cdef enum:
    _BURST = 10_000
    _TOKENS_PER_S = 2_000
    _PING_STRIKES = 2
    _NO_LAST_STREAM = 0x7fffffff
    _DEADLINE_EXCEEDED = 4
    _UNAVAILABLE = 14
    # How many sweeps a connection may outlive its last GOAWAY.
    _GOAWAY_SWEEPS = 5

nghttp2_option_set_stream_reset_rate_limit(options, _BURST, _TOKENS_PER_S)


cdef class ServerConnection(Connection):
    """Serves `methods`, which map a path to its `Method`; under the empty path, what serves all others."""

    cdef dict methods
    cdef double tokens
    cdef double tokens_at
    cdef double pinged_at
    cdef int strikes
    cdef int stuck_sweeps
    cdef readonly double opened_at
    cdef readonly double busy_at
    # The `ConnectionManager`'s.
    cdef public double drained_at
    cdef public double age_limit
    cdef readonly bint is_draining
    cdef readonly bint has_settings

    def __cinit__(self, loop, owner, settings, dict methods):
        self.methods = methods
        self.tokens = _BURST

    def connection_made(self, transport):
        Connection.connection_made(self, transport)
        self.opened_at = self.busy_at = self.tokens_at = self.read_at
        self.owner.connection_opened(self)

    def drain(self):
        """Takes no more calls than the client has sent by the time it learns of this, and closes after the last."""
        if self.is_draining or self.session is NULL:
            return
        self.is_draining = True
        nghttp2_submit_shutdown_notice(self.session)
        self.schedule()

    def cancel_all(self):
        """Answers every call with UNAVAILABLE, and closes."""
        for call in list(self.open_streams.values()):
            call.finish(_UNAVAILABLE, "Cancelling all calls")
        self.terminate()

    def sweep(self, double begun_before, double stalled_sweeps):
        """Ends calls whose client has not finished what it began before `begun_before`, or takes nothing any more.

        The latter after `stalled_sweeps` calls of this. Raw calls past their deadline are ended as well; those of
        servicers have timers of their own. False when the connection is to be dropped: when nothing can be
        written to it, when its last GOAWAY was long ago, and when it stopped in the middle of headers, until whose end
        no other frame can come (RFC 9113, 6.10).
        """
        cdef ServerCall call
        cdef double now = monotonic()
        self.stuck_sweeps = self.stuck_sweeps + 1 if self.is_write_paused or self.is_ending else 0
        if self.stuck_sweeps > (_GOAWAY_SWEEPS if self.is_ending else stalled_sweeps):
            return False
        for call in list(self.open_streams.values()):
            if call.is_waiting() and (call.began_at < begun_before or call.deadline < now):
                if not call.has_headers:
                    return False
                call.finish(_DEADLINE_EXCEEDED, "The message of the request did not come in time")
            elif call.deadline < now and not call.is_answered and call.method is not None and call.method.is_raw:
                call.finish(_DEADLINE_EXCEEDED, "Deadline Exceeded")
            elif call.is_stalled(stalled_sweeps):
                call.reset(NGHTTP2_CANCEL)
        return True

    cdef int open_session(self) except -1:
        cdef nghttp2_settings_entry[4] entries
        if nghttp2_session_server_new2(&self.session, callbacks, <void*>self, options):
            raise MemoryError
        entries[0].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS
        entries[0].value = self.settings.max_concurrent_streams
        entries[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE
        entries[1].value = self.settings.stream_window
        entries[2].settings_id = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE
        entries[2].value = self.settings.max_metadata
        entries[3].settings_id = NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES
        entries[3].value = 1
        return self.submit_settings(entries, 4)

    cdef int on_begin_frame(self, const nghttp2_frame_hd* head) except -1:
        if head.type == NGHTTP2_PRIORITY and head.stream_id == 0:
            # RFC 9113, 6.3; nghttp2 skips these frames.
            self.terminate(NGHTTP2_PROTOCOL_ERROR, b"PRIORITY on stream 0")
        elif head.type == NGHTTP2_PING or head.type == NGHTTP2_SETTINGS or head.type == NGHTTP2_PRIORITY \
                or head.type > NGHTTP2_CONTINUATION:
            self.take_token()
        return 0

    cdef int on_begin_headers(self, const nghttp2_frame* frame) except -1:
        cdef ServerCall call
        if frame.headers.cat == NGHTTP2_HCAT_REQUEST:
            if self.pending > self.held_limit:
                # A client that takes no answers gets no new ones; the code says that nothing was done about the call.
                nghttp2_submit_rst_stream(
                    self.session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_REFUSED_STREAM)
                return 0
            call = new_server_call(self, self.methods, frame.hd.stream_id)
            self.open_streams[call.id] = call
            nghttp2_session_set_stream_user_data(self.session, call.id, <void*>call)
        return 0

    cdef int on_frame(self, const nghttp2_frame* frame) except -1:
        if frame.hd.type == NGHTTP2_SETTINGS:
            self.has_settings = True
        elif frame.hd.type == NGHTTP2_PING:
            if frame.hd.flags & NGHTTP2_FLAG_ACK:
                self.on_pong(frame)
            else:
                self.on_ping()
        return Connection.on_frame(self, frame)

    cdef int on_pong(self, const nghttp2_frame* frame) except -1:
        if self.is_draining and memcmp(frame.ping.opaque_data, <const char*>_DRAIN, 8) == 0:
            nghttp2_submit_goaway(
                self.session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(self.session),
                NGHTTP2_NO_ERROR, NULL, 0)
        return 0

    cdef int on_ping(self) except -1:
        """A third strike ends the connection; whenever the server sends headers or data, the count begins anew."""
        if self.pinged_at and self.read_at - self.pinged_at < self.settings.min_ping_interval:
            self.strikes += 1
            if self.strikes > _PING_STRIKES:
                self.terminate(NGHTTP2_ENHANCE_YOUR_CALM, b"too_many_pings")
        self.pinged_at = self.read_at
        return 0

    cdef int take_token(self) except -1:
        self.tokens = min(<double>_BURST, self.tokens + (self.read_at - self.tokens_at) * _TOKENS_PER_S) - 1
        self.tokens_at = self.read_at
        if self.tokens < 0:
            self.terminate(NGHTTP2_ENHANCE_YOUR_CALM, b"too many frames")
        return 0

    cdef int on_frame_sent(self, const nghttp2_frame* frame) except -1:
        """A call that was answered before the client had said everything ends here (RFC 9113, 8.1).

        nghttp2 sends a PING ahead of a GOAWAY that was submitted before it; so it has to wait for that.
        """
        if frame.hd.type == NGHTTP2_GOAWAY:
            if self.is_draining and frame.goaway.last_stream_id == _NO_LAST_STREAM:
                self.ping(_DRAIN)
        elif frame.hd.type == NGHTTP2_RST_STREAM:
            if frame.rst_stream.error_code not in (NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_CANCEL):
                self.take_token()
        elif frame.hd.type == NGHTTP2_DATA or frame.hd.type == NGHTTP2_HEADERS:
            self.pinged_at = self.strikes = 0
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM and \
                    nghttp2_session_get_stream_remote_close(self.session, frame.hd.stream_id) == 0:
                nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, frame.hd.stream_id, NGHTTP2_NO_ERROR)
        return 0

    cdef int on_stream_close(self, int32_t stream_id, uint32_t error_code) except -1:
        self.busy_at = self.read_at
        return Connection.on_stream_close(self, stream_id, error_code)
