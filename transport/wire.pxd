from libc.stdint cimport uint8_t

from yais.transport.nghttp2 cimport nghttp2_session
from yais.transport.scratch cimport Scratch

cdef class Wire:
    cdef nghttp2_session* session
    cdef readonly object loop
    cdef readonly object transport
    cdef Scratch scratch
    cdef readonly double read_at
    cdef object failure
    cdef object flush_soon
    cdef bint is_busy
    cdef bint is_ending
    cdef bint is_scheduled
    cdef bint is_write_paused
    cdef bint is_read_paused
    cdef bint is_reading_body
    cdef bint is_throttled
    cdef int frames_this_tick
    cdef double work_this_tick
    cdef int portion
    cdef int largest_portion
    cdef int fast_reads
    # What the calls of this connection may take, in bytes.
    cdef size_t window
    cdef size_t message_limit
    cdef size_t send_limit
    cdef size_t header_limit
    cdef size_t held_limit
    # What its calls have received and not been asked for, and what has not been reported to nghttp2 as consumed.
    cdef size_t held
    cdef size_t consumed
    # What its calls have to send and nghttp2 has not asked for yet.
    cdef size_t pending

    cdef int open_session(self) except -1
    cdef bint is_wanted(self) noexcept
    cdef void schedule(self) noexcept
    cdef int push(self) except -1
    cdef int receive(self, const uint8_t* data, size_t size) except -1
    cdef void adapt_portion(self, double spent) noexcept
    cdef int settle(self) except -1
    cdef int limit_reads(self) except -1
    cdef int fail(self, object error) except -1
    cdef int flush_last(self) except -1
    cdef int lose(self, object error) except -1
    cpdef flush(self)

cdef double monotonic() noexcept nogil
