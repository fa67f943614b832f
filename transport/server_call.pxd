from libc.stdint cimport int32_t

from yais.transport.fields cimport Fields
from yais.transport.stream cimport Stream
from yais.transport.wire cimport Wire

cdef class Method:
    cdef readonly object callback
    cdef readonly bint takes_stream
    cdef readonly bint is_raw

cdef class ServerCall(Stream):
    cdef dict methods
    cdef Method method
    # The request's headers.
    cdef readonly bytes path
    cdef readonly bytes accepted_encodings
    cdef readonly double deadline
    cdef bint is_post
    cdef bint is_grpc
    cdef bytes timeout
    cdef list fields
    cdef size_t header_size
    cdef bint has_headers
    # The answer.
    cdef readonly bint has_begun
    cdef readonly bint is_answered
    cdef Fields trailers

    cdef bint is_waiting(self) noexcept
    cdef int begin(self, list extra) except -1
    cdef int reject(self, Fields fields) except -1
    cdef int accept(self) except -1
    cdef int dispatch(self, object message) except -1

cdef ServerCall new_server_call(Wire wire, dict methods, int32_t stream_id)
