"""The memory that an event loop's connections read into and gather their writes in; an idle one owns none.

One for all of them is enough, since a loop reads and hands over before it turns to the next connection, and a flush
ends with nothing gathered. One for several loops is not, although the GIL lets only one of their threads run at a time:
it is released while the system reads, and may go to another thread wherever a call's callbacks run, in the middle of a
read or of a flush. So each loop has its own, and takes it along if it goes on in another thread.
"""

from weakref import WeakKeyDictionary

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

cdef object _scratches = WeakKeyDictionary()


cdef class Gather:
    """What one write hands to a transport: small pieces are copied together, large ones are referred to."""

    def __cinit__(self):
        self.pieces = []

    cdef bint is_empty(self) noexcept:
        return not self.filled and not self.referred

    cdef int copy(self, const uint8_t* data, size_t size) except -1:
        if size > sizeof(self.small) - self.filled:
            self.seal()
            if size > sizeof(self.small):
                return self.refer(PyBytes_FromStringAndSize(<const char*>data, size), size)
        memcpy(self.small + self.filled, data, size)
        self.filled += size
        return 0

    cdef int refer(self, object piece, size_t size) except -1:
        self.seal()
        self.pieces.append(piece)
        self.referred += size
        return 0

    cdef int seal(self) except -1:
        if self.filled:
            self.pieces.append(PyBytes_FromStringAndSize(<const char*>self.small, self.filled))
            self.referred += self.filled
            self.filled = 0
        return 0

    cdef int write_to(self, object transport) except -1:
        """Leaves nothing behind, whatever the transport does."""
        cdef list pieces
        self.seal()
        if not self.referred:
            return 0
        pieces, self.pieces, self.referred = self.pieces, [], 0
        if transport.is_closing():
            return 0
        if len(pieces) == 1:
            transport.write(pieces[0])
        else:
            transport.writelines(pieces)
        return 0

    cdef int forget(self) except -1:
        """Drops what a write that failed has left, which belongs to no other connection."""
        if self.filled or self.referred:
            self.pieces, self.filled, self.referred = [], 0, 0
        return 0


cdef class Scratch:
    """A buffer to read into, as a whole and in the sizes of `Wire.portion`, and what a flush gathers."""

    def __cinit__(self):
        buffer = bytearray(READ_SIZE)
        self.data = <uint8_t*>PyByteArray_AS_STRING(buffer)
        # This view keeps the buffer alive, and its size as it is; the others are handed out, and may be released.
        self.view = memoryview(buffer)
        self.large = self.view[:]
        self.portions = tuple([self.large[:size * 1024] for size in (4, 8, 16, 32, 64)])
        self.gather = Gather()


cdef Scratch scratch_of(object loop):
    scratch = _scratches.get(loop)
    if scratch is None:
        scratch = _scratches[loop] = Scratch()
    return scratch
