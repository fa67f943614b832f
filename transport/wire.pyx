"""Bytes of one HTTP/2 connection: what is read goes into an nghttp2 session, and what that produces is written.

Reading. The event loop reads into one buffer that all of its connections share (`scratch.pyx`). nghttp2 parses in
place, and calls back for each frame (`connection.pyx`).

Writing. Whoever has something to send submits it to the session and calls `schedule`. Nothing is written inside of
nghttp2's callbacks: one `flush` follows each read, or ends the loop's tick, and hands everything that is ready to
the socket's transport in one write; `push` does so at once for a call that has its connection to itself. While that
transport's own buffer is full, nothing is taken from the session.

Fairness. A peer that sends as fast as it can would keep the loop to itself: after `_FRAMES_PER_TICK` frames, or
`_WORK_PER_TICK_S` seconds of work, its connection is not read again before the next tick, the loop's next iteration. A
connection whose bytes take long to handle is read in smaller portions; one whose requests are refused for now may be
throttled. A peer that sends but does not read would make the session's queue grow; past `_QUEUED_FRAMES` it is not read
until it has taken what there is.

Re-entry. nghttp2 does not stand being called from its own callbacks, other than to submit; nor may a session go while
it calls back. `is_busy` is true meanwhile: then a flush waits until that is over, and more bytes, or the connection's
end, are refused.
"""

from libc.stdint cimport uint8_t

from yais.transport.nghttp2 cimport *
from yais.transport.scratch cimport READ_SIZE, Gather, scratch_of

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int CLOCK_MONOTONIC

# A read that takes longer than the first makes the next ones smaller, one that takes less than the second larger.
cdef double _SLOW_READ_S = 2e-3
cdef double _FAST_READ_S = 0.5e-3
cdef double _WORK_PER_TICK_S = 2e-3
# How long a throttled connection is not read.
cdef double _THROTTLE_S = 5e-3

cdef enum:
    # Of `Scratch.portions`, what is read at a time; one of those before it when a read of that size takes long.
    _LAST_PORTION = 4
    # So many fast reads make up for a slow one.
    _FAST_READS = 256
    _FRAMES_PER_TICK = 512
    _QUEUED_FRAMES = 1024
    # Written at once, before the transport is asked again whether it can take more.
    _WRITE = 512 * 1024


cdef double monotonic() noexcept nogil:
    """The clock of asyncio's and uvloop's `loop.time()`, in seconds."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef class Wire:
    """An `asyncio.BufferedProtocol` around an nghttp2 session; `connection.pyx` gives it its meaning."""

    # Not `__init__`, which a subclass could fail to call. The subclasses' arguments come here too.
    def __cinit__(self, loop, *_, **__):
        self.loop = loop
        self.scratch = scratch_of(loop)
        self.largest_portion = _LAST_PORTION
        self.flush_soon = self.flush

    def __dealloc__(self):
        if self.session is not NULL:
            nghttp2_session_del(self.session)

    def connection_made(self, transport):
        if self.session is not NULL:
            raise RuntimeError("connection_made was called before")
        self.transport = transport
        self.read_at = monotonic()
        self.open_session()
        self.flush()

    def get_buffer(self, sizehint):
        return self.scratch.large if self.is_reading_body else self.scratch.portions[self.portion]

    def buffer_updated(self, Py_ssize_t size):
        if not 0 <= size <= READ_SIZE:
            raise ValueError(f"size must be from 0 to {READ_SIZE} bytes, not {size}")
        self.receive(self.scratch.data, size)

    def eof_received(self):
        """A half-closed connection is of no use: gRPC peers close both ways."""
        return False

    def connection_lost(self, error):
        if self.is_busy and self.session is not NULL:
            raise RuntimeError("connection_lost was called inside of a callback of the connection")
        self.lose(error)

    cdef int lose(self, object error) except -1:
        """After this nothing is scheduled any more, and no reference cycle is left."""
        if self.session is not NULL:
            nghttp2_session_del(self.session)
            self.session = NULL
        self.is_scheduled = True
        self.flush_soon = None
        return 0

    def pause_writing(self):
        self.is_write_paused = True

    def resume_writing(self):
        self.is_write_paused = False
        self.flush()
        if self.is_read_paused and not self.is_write_paused:
            self.resume_reading()

    def resume_reading(self):
        self.frames_this_tick = 0
        self.work_this_tick = 0
        if self.is_read_paused and not self.transport.is_closing():
            self.is_read_paused = False
            self.transport.resume_reading()

    def abort(self):
        """Drops the connection, with whatever was still to be written."""
        if self.transport is not None:
            self.transport.abort()

    cdef int open_session(self) except -1:
        raise NotImplementedError

    cdef void schedule(self) noexcept:
        """Has everything that was submitted written by the end of this tick."""
        if not self.is_busy and not self.is_scheduled:
            self.is_scheduled = True
            self.loop.call_soon(self.flush_soon)

    cdef int push(self) except -1:
        """Has what was submitted written at once, or by the end of this tick where more may join it."""
        self.schedule()
        return 0

    cdef int receive(self, const uint8_t* data, size_t size) except -1:
        cdef ssize_t taken
        if self.session is NULL or self.is_ending:
            return 0
        if self.is_busy:
            raise RuntimeError("buffer_updated was called inside of a callback of the connection")
        self.read_at = monotonic()
        self.is_busy = True
        taken = nghttp2_session_mem_recv(self.session, data, size)
        self.settle()
        self.is_busy = False
        if taken < 0:
            return self.fail(ConnectionError(nghttp2_strerror(<int>taken).decode()))
        self.flush()
        self.adapt_portion(monotonic() - self.read_at)
        return self.limit_reads()

    cdef void adapt_portion(self, double spent) noexcept:
        """Makes the next read smaller after a slow one, and larger after a fast one; `spent` is in seconds."""
        self.work_this_tick += spent
        if self.is_reading_body:
            return
        if spent > _SLOW_READ_S:
            self.portion = self.largest_portion = max(0, self.portion - 1)
            self.fast_reads = 0
        elif spent < _FAST_READ_S:
            self.fast_reads += 1
            if self.fast_reads == _FAST_READS:
                self.fast_reads = 0
                self.largest_portion = min(self.largest_portion + 1, _LAST_PORTION)
            self.portion = min(self.portion + 1, self.largest_portion)

    cdef int settle(self) except -1:
        """What is due once after each read."""
        return 0

    cdef int limit_reads(self) except -1:
        """Pauses reading, for the other connections' sake, or until the peer has read."""
        if self.is_read_paused or self.session is NULL:
            return 0
        if self.is_write_paused and nghttp2_session_get_outbound_queue_size(self.session) > _QUEUED_FRAMES:
            self.is_read_paused = True
            self.transport.pause_reading()
        elif self.frames_this_tick > _FRAMES_PER_TICK or self.work_this_tick > _WORK_PER_TICK_S:
            self.is_read_paused = True
            self.transport.pause_reading()
            self.loop.call_soon(self.resume_reading)
        elif self.is_throttled:
            self.is_read_paused = True
            self.transport.pause_reading()
            self.loop.call_later(_THROTTLE_S, self.resume_reading)
        self.is_throttled = False
        return 0

    cdef int fail(self, object error) except -1:
        """Ends a connection whose session cannot go on; the error of a callback goes to the loop's handler."""
        failure, self.failure = self.failure, None
        if failure is not None:
            self.loop.call_exception_handler(
                {"message": "A call failed inside of the transport", "exception": failure, "protocol": self})
        self.flush_last()
        self.transport.abort()
        return 0

    cdef int flush_last(self) except -1:
        """A GOAWAY that says why, if the session has one ready."""
        cdef Gather gather = self.scratch.gather
        cdef const uint8_t* data
        cdef ssize_t size
        self.is_busy = True
        size = nghttp2_session_mem_send(self.session, &data)
        if size > 0:
            gather.copy(data, size)
        self.is_busy = False
        return gather.write_to(self.transport)

    cpdef flush(self):
        """Writes all that the session has ready and the transport can take."""
        cdef Gather gather = self.scratch.gather
        cdef const uint8_t* data
        cdef ssize_t size = 0
        if self.session is NULL or self.is_busy:
            return
        if not gather.is_empty():
            # This is inside of another connection's flush: what that has gathered so far would be written here.
            self.schedule()
            return
        self.is_scheduled = False
        self.is_busy = True
        try:
            while not self.is_write_paused:
                size = nghttp2_session_mem_send(self.session, &data)
                if size <= 0:
                    break
                gather.copy(data, size)
                if gather.filled + gather.referred >= _WRITE:
                    gather.write_to(self.transport)
            gather.write_to(self.transport)
        finally:
            gather.forget()
            self.is_busy = False
        if size < 0:
            self.fail(ConnectionError(nghttp2_strerror(<int>size).decode()))
        elif not self.is_write_paused and (self.is_ending or not self.is_wanted()):
            self.transport.close()

    cdef bint is_wanted(self) noexcept:
        """Whether the session still has something to read or to write."""
        return nghttp2_session_want_read(self.session) or nghttp2_session_want_write(self.session)
