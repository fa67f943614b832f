from libc.stdint cimport uint8_t

from yais.transport.nghttp2 cimport nghttp2_nv

cdef class Fields:
    cdef nghttp2_nv* items
    cdef size_t count
    cdef tuple owned

cdef bint equal(const uint8_t* text, size_t size, const char* expected, size_t expected_size) noexcept

cdef bint is_grpc(const uint8_t* content_type, size_t size) noexcept
