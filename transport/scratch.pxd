from libc.stdint cimport uint8_t

cdef enum:
    # Half of a common core's level-2 cache, all of which is used while a large body comes in.
    READ_SIZE = 256 * 1024

cdef class Gather:
    cdef uint8_t[65536] small
    cdef size_t filled
    cdef size_t referred
    cdef list pieces

    cdef bint is_empty(self) noexcept
    cdef int copy(self, const uint8_t* data, size_t size) except -1
    cdef int refer(self, object piece, size_t size) except -1
    cdef int seal(self) except -1
    cdef int write_to(self, object transport) except -1
    cdef int forget(self) except -1

cdef class Scratch:
    cdef uint8_t* data
    cdef object view
    cdef object large
    cdef tuple portions
    cdef Gather gather

cdef Scratch scratch_of(object loop)
