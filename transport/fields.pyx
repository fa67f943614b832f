"""Header and trailer fields on their way out, in the form that nghttp2 takes."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from yais.transport.nghttp2 cimport *


cdef class Fields:
    """An array of `(name, value)` pairs of bytes, which it keeps alive; nghttp2 copies them when they are submitted."""

    def __cinit__(self, list pairs):
        cdef nghttp2_nv* item
        self.owned = tuple(pairs)
        self.items = <nghttp2_nv*>PyMem_Malloc(max(1, len(self.owned)) * sizeof(nghttp2_nv))
        if self.items is NULL:
            raise MemoryError
        for pair in self.owned:
            # Any other sequence could give bytes that it does not keep.
            if type(pair) is not tuple or len(<tuple>pair) != 2:
                raise TypeError(f"a header field must be a tuple of two bytes, not {type(pair).__name__}")
            name, value = <tuple>pair
            if type(name) is not bytes or type(value) is not bytes:
                raise TypeError(f"a header field must be a tuple of two bytes, not of {type(name).__name__} and "
                                f"{type(value).__name__}")
            item = &self.items[self.count]
            item.name, item.namelen = <uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)
            item.value, item.valuelen = <uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
            item.flags = NGHTTP2_NV_FLAG_NONE
            self.count += 1

    def __dealloc__(self):
        PyMem_Free(self.items)


cdef bint equal(const uint8_t* text, size_t size, const char* expected, size_t expected_size) noexcept:
    return size == expected_size and memcmp(text, expected, size) == 0


cdef bint is_grpc(const uint8_t* content_type, size_t size) noexcept:
    """`application/grpc`, by itself or followed by a message format or a parameter."""
    if size < 16 or memcmp(content_type, b"application/grpc", 16):
        return False
    return size == 16 or content_type[16] == b"+" or content_type[16] == b";"
