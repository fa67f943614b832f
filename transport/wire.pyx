"""The bytes of one HTTP/2 connection: what is read goes into an nghttp2 session, what that has to say is written.

Reading. The event loop reads into one buffer that all of its connections share (`scratch.pyx`). nghttp2 parses in
place, and calls back for each frame (`connection.pyx`).

Writing. Whoever has something to say submits it to the session and calls `schedule`. Nothing is written inside of
nghttp2's callbacks: one `flush` follows each read, or ends the turn of the loop, and hands everything that is ready to
the socket's transport in one write; `push` does so at once for a call that has its connection to itself. While that
transport's own buffer is full, nothing is taken from the session.

Fairness. A peer that sends as fast as it can would keep the loop to itself; after `_FRAMES_A_TURN` frames, or `_TURN`
seconds of work, its connection is not read again before all others had their turn, and one whose bytes are dear is
read in smaller portions. One whose requests are refused for now may be told to rest. A peer that sends but does not
read would make the session's queue grow; past `_QUEUED_FRAMES` it is not read until it has taken what there is.

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

cdef double _DEAR = 2e-3
cdef double _CHEAP = 0.5e-3
cdef double _TURN = 2e-3
# How long a connection that is to rest is not read.
cdef double _REST = 5e-3

cdef enum:
    # Of `Scratch.portions`, what is read at a time; one of those before it when a read of that size takes long.
    _LAST_PORTION = 4
    # So many cheap reads make up for a dear one.
    _FORGIVING = 256
    _FRAMES_A_TURN = 512
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

    # Not `__init__`, which a subclass can leave out. The subclasses' arguments come here too.
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
        """A half-closed connection serves nobody: gRPC peers close both ways."""
        return False

    def connection_lost(self, error):
        if self.is_busy and self.session is not NULL:
            raise RuntimeError("connection_lost was called inside of a callback of the connection")
        self.lose(error)

    cdef int lose(self, object error) except -1:
        """After this nothing is scheduled any more, and nothing refers to itself."""
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
        self.frames_this_turn = 0
        self.spent_this_turn = 0
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
        """Has everything that was submitted written by the end of this turn of the loop."""
        if not self.is_busy and not self.is_scheduled:
            self.is_scheduled = True
            self.loop.call_soon(self.flush_soon)

    cdef int push(self) except -1:
        """Has what was submitted written at once, or by the end of this turn where more may join it."""
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
        self.weigh(monotonic() - self.read_at)
        return self.rest()

    cdef void weigh(self, double spent) noexcept:
        """Learns from the seconds that a read took how much to read the next time."""
        self.spent_this_turn += spent
        if self.is_reading_body:
            return
        if spent > _DEAR:
            self.portion = self.largest_portion = max(0, self.portion - 1)
            self.cheap_reads = 0
        elif spent < _CHEAP:
            self.cheap_reads += 1
            if self.cheap_reads == _FORGIVING:
                self.cheap_reads = 0
                self.largest_portion = min(self.largest_portion + 1, _LAST_PORTION)
            self.portion = min(self.portion + 1, self.largest_portion)

    cdef int settle(self) except -1:
        """What is due once after each read."""
        return 0

    cdef int rest(self) except -1:
        """Gives the other connections their turn, or this one's peer the time to read."""
        if self.is_read_paused or self.session is NULL:
            return 0
        if self.is_write_paused and nghttp2_session_get_outbound_queue_size(self.session) > _QUEUED_FRAMES:
            self.is_read_paused = True
            self.transport.pause_reading()
        elif self.frames_this_turn > _FRAMES_A_TURN or self.spent_this_turn > _TURN:
            self.is_read_paused = True
            self.transport.pause_reading()
            self.loop.call_soon(self.resume_reading)
        elif self.is_to_rest:
            self.is_read_paused = True
            self.transport.pause_reading()
            self.loop.call_later(_REST, self.resume_reading)
        self.is_to_rest = False
        return 0

    cdef int fail(self, object error) except -1:
        """Ends a connection whose session cannot go on; the error of a callback is told to the loop's handler."""
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
            # Inside of another connection's flush, what that has gathered so far would be written here.
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
        """Whether the session still has something to hear or to say."""
        return nghttp2_session_want_read(self.session) or nghttp2_session_want_write(self.session)
