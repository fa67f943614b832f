from libc.stdint cimport uint32_t

from yais.transport.stream cimport Stream

cdef class ClientCall(Stream):
    cdef object callback
    cdef public object timer
    cdef bint is_single
    cdef bint is_starting
    # The answer.
    cdef readonly int status
    cdef int answer_status
    cdef bytes status_details
    cdef str failure
    cdef readonly list initial
    cdef readonly list trailing
    cdef readonly bint has_headers
    cdef readonly bint was_refused
    cdef list fields
    cdef size_t header_size
    cdef int http_status
    cdef bytes content_type
    cdef bint is_grpc

    cdef int give_up(self) except -1
    cdef int end(self, uint32_t error_code) except -1
    cdef int check_single(self) except -1
    cdef int forget_fields(self) except -1
    cdef int conclude(self, int status, str details) except -1
