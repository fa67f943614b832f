from libc.stdint cimport int32_t, uint8_t, uint32_t

from yais.transport.nghttp2 cimport nghttp2_data_provider, nghttp2_frame, nghttp2_session
from yais.transport.scratch cimport Gather
from yais.transport.wire cimport Wire

# Beside HTTP/2's error codes: what a stream is closed with when its connection is lost.
cdef enum:
    CONNECTION_LOST = 0x7fffffff

# Calls are made by their connection: whoever makes one, from C, has to allow it right before.
cdef void allow_one() noexcept

cdef class Stream:
    cdef Wire wire
    cdef readonly int32_t id
    cdef public object listener
    cdef readonly bint is_closed
    cdef readonly bint is_ended
    cdef readonly double began_at

    cdef uint8_t[5] prefix
    cdef size_t prefix_filled
    cdef bytes body
    cdef size_t body_size
    cdef size_t body_filled
    cdef object unread
    cdef object unread_more
    cdef size_t held
    cdef size_t unconsumed
    cdef bint discards_input
    cdef readonly bytes encoding

    cdef list parts
    cdef size_t next_part
    cdef object part
    cdef const uint8_t* part_data
    cdef size_t part_size
    cdef size_t offset
    cdef readonly size_t pending
    cdef bint is_deferred
    cdef bint is_finished
    cdef bint is_full
    cdef int idle_sweeps

    cdef int run_callback(self, object function, tuple arguments=*) except -1
    cdef int receive(self, const uint8_t* data, size_t size) except -1
    cdef int refuse_more(self) except -1
    cdef bint begin_message(self) except -1
    cdef int end_message(self) except -1
    cdef object decompress(self, bytes message)
    cdef int grant(self) except -1
    cdef int hold(self, Py_ssize_t size) except -1
    cdef int stop_receiving(self) except -1

    cdef int enqueue(self, uint8_t flag, tuple buffers) except -1
    cdef int resume(self) except -1
    cdef int load(self) except -1
    cdef bint is_stalled(self, double sweeps) noexcept
    cdef int advance(self, size_t size) except -1
    cdef int copy_to(self, uint8_t* target, size_t size) except -1
    cdef int refer_to(self, Gather target, size_t size) except -1
    cdef int forget_outbound(self) except -1
    cdef nghttp2_data_provider provider(self) noexcept

    cdef int on_header(self, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size) except -1
    cdef int on_headers_end(self, bint is_last) except -1
    cdef int on_message(self) except -1
    cdef int on_remote_end(self) except -1
    cdef int on_bad_message(self, int code, str details) except -1
    cdef int on_last_data(self, nghttp2_session* session, uint32_t* flags) except -1
    cdef int on_close(self, uint32_t error_code) except -1
