"""One gRPC call as an HTTP/2 stream: a sequence of messages in each direction, and the flow control of both.

A message travels as a prefix of five bytes, a flag that tells whether it is compressed and its length, and its body;
frames may cut it anywhere.

Inbound. A body is copied once, from the connection's read buffer into a `bytes` object of the prefix's length. What has
come in full waits as unread until `take`. The peer's window on the stream is opened again as its data comes
in, but only while nothing waits unread: so a reader that is slow holds up to one window and one message, and no more.
The window of the whole connection is always opened again at once, or one slow reader would stop its neighbours; what
one connection can make this side hold is bounded by `Wire.held_limit`.

Outbound. Messages wait as parts, each a buffer of the caller's, which must not change before it has been sent. nghttp2
asks for as much as frame size, windows and the peer's other streams allow. Little is copied into nghttp2's frame; a
large piece is only referred to, and goes from the caller's buffer to the socket.
"""

from collections import deque

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_GET_BUFFER
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy

from yais.transport.compression import inflate
from yais.transport.errors import MessageTooLargeError
from yais.transport.nghttp2 cimport *
from yais.transport.scratch cimport Gather

cdef enum:
    _PREFIX = 5
    # Pieces up to this are cheaper copied than referred to, and so is what ends a message and fits a frame.
    _COPIED = 4096
    _FRAME = 16384
    # A message up to this is joined to its prefix.
    _JOINED = 1024
    # What a message that waits to be taken costs beside its bytes.
    _OBJECT = 64
    # A writer waits while more than this is pending.
    _HIGH_WATER = 64 * 1024
    # A body with more than this to come is read in larger portions.
    _LARGE_BODY = 64 * 1024

    _UNIMPLEMENTED = 12
    _INTERNAL = 13
    _RESOURCE_EXHAUSTED = 8


# A count, since making a stream may collect garbage first (CPython 3.11), and a finalizer may start a call.
cdef int _allowed = 0


cdef void allow_one() noexcept:
    global _allowed
    _allowed += 1


cdef ssize_t provide(
    nghttp2_session* session, int32_t stream_id, uint8_t* buffer, size_t room, uint32_t* flags,
    nghttp2_data_source* source, void* user_data,
) noexcept:
    """nghttp2 asks for up to `room` bytes of DATA."""
    cdef Stream stream = <Stream>source.ptr
    cdef size_t size = min(room, stream.pending)
    cdef bint is_referred = size > _COPIED and stream.pending > _FRAME
    try:
        if not size and not stream.is_finished:
            stream.is_deferred = True
            return NGHTTP2_ERR_DEFERRED
        if size == stream.pending and stream.is_finished:
            flags[0] |= NGHTTP2_DATA_FLAG_EOF
            stream.on_last_data(session, flags)
        if is_referred:
            flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
        else:
            stream.copy_to(buffer, size)
        return size
    except BaseException as error:
        stream.wire.failure = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


cdef bytes joined(const uint8_t* prefix, list parts, size_t size):
    cdef Py_buffer view
    cdef bytes message = PyBytes_FromStringAndSize(NULL, _PREFIX + size)
    cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(message)
    memcpy(target, prefix, _PREFIX)
    target += _PREFIX
    for part in parts:
        PyObject_GetBuffer(part, &view, PyBUF_SIMPLE)
        memcpy(target, view.buf, view.len)
        target += view.len
        PyBuffer_Release(&view)
    return message


cdef class Stream:
    """The two directions of a call. Subclasses give the headers, the trailers and the end their meaning.

    Of `listener`, when there is one, `changed()` is called at each arrival, at the peer's end and when there is room to
    write again, and `closed()` when the stream is gone.
    """

    def __cinit__(self):
        global _allowed
        if not _allowed:
            raise TypeError(f"{type(self).__name__} is made by its connection alone")
        _allowed -= 1

    @property
    def has_message(self):
        """Whether `take` has one to give."""
        return self.unread is not None

    @property
    def is_writable(self):
        """Whether little enough is pending to send more."""
        return self.pending <= _HIGH_WATER

    def take(self):
        """The next message, as bytes; None when none has come in full."""
        message, self.unread = self.unread, None
        if message is None:
            return None
        if self.unread_more:
            self.unread = self.unread_more.popleft()
        if not self.is_closed:
            self.hold(-_OBJECT - <Py_ssize_t>len(message))
            if self.unread is None:
                self.grant()
        return message

    cdef int run_callback(self, object function, tuple arguments=()) except -1:
        """Calls a function of the application, whose errors must not end the connection and all of its other calls."""
        try:
            function(*arguments)
        except Exception as error:
            self.wire.loop.call_exception_handler({"message": "The callback of a call failed", "exception": error})
        return 0

    def reset(self, uint32_t error_code=NGHTTP2_CANCEL):
        """Ends the stream at once, with nothing but `error_code`."""
        if self.is_closed or self.wire.session is NULL:
            return
        self.discards_input = True
        nghttp2_submit_rst_stream(self.wire.session, NGHTTP2_FLAG_NONE, self.id, error_code)
        self.wire.schedule()

    cdef int receive(self, const uint8_t* data, size_t size) except -1:
        cdef size_t taken
        self.unconsumed += size
        while not self.discards_input:
            if self.body is None:
                if not size:
                    break
                taken = min(_PREFIX - self.prefix_filled, size)
                memcpy(self.prefix + self.prefix_filled, data, taken)
                self.prefix_filled += taken
                data += taken
                size -= taken
                if self.prefix_filled < _PREFIX or not self.begin_message():
                    break
            taken = min(self.body_size - self.body_filled, size)
            memcpy(PyBytes_AS_STRING(self.body) + self.body_filled, data, taken)
            self.body_filled += taken
            self.hold(taken)
            data += taken
            size -= taken
            if self.body_filled < self.body_size:
                break
            self.end_message()
        self.wire.is_reading_body = self.body is not None and self.body_size - self.body_filled > _LARGE_BODY
        if self.wire.held > self.wire.held_limit and not self.discards_input:
            self.refuse_more()
        if self.unread is None:
            self.grant()
        return 0

    cdef int refuse_more(self) except -1:
        return self.on_bad_message(
            _RESOURCE_EXHAUSTED,
            f"This connection has {self.wire.held} bytes of unread messages; at most {self.wire.held_limit} are held",
        )

    cdef bint begin_message(self) except -1:
        """Makes room for the message that the prefix announces; false when it is refused."""
        cdef const uint8_t* prefix = self.prefix
        self.body_size = <size_t>prefix[1] << 24 | prefix[2] << 16 | prefix[3] << 8 | prefix[4]
        self.body_filled = 0
        if prefix[0] > 1:
            self.on_bad_message(_INTERNAL, f"A message's first byte is {prefix[0]}; it tells whether the message is "
                                           "compressed and must be 0 or 1")
            return False
        if self.body_size > self.wire.message_limit:
            self.on_bad_message(_RESOURCE_EXHAUSTED, "Received message larger than max "
                                                     f"({self.body_size} vs. {self.wire.message_limit})")
            return False
        self.began_at = self.wire.read_at
        self.body = PyBytes_FromStringAndSize(NULL, self.body_size)
        return True

    cdef int end_message(self) except -1:
        self.hold(_OBJECT)
        message, self.body, self.prefix_filled = self.body, None, 0
        if self.prefix[0]:
            if self.wire.held > self.wire.held_limit:
                return self.refuse_more()
            message = self.decompress(message)
            if message is None:
                return 0
        if self.unread is None:
            self.unread = message
        elif self.unread_more is None:
            self.unread_more = deque((message,))
        else:
            self.unread_more.append(message)
        return self.on_message()

    cdef object decompress(self, bytes message):
        """The message as it was before it was compressed; None when that is refused."""
        try:
            plain = inflate(self.encoding, message, self.wire.message_limit)
        except LookupError as error:
            self.on_bad_message(_UNIMPLEMENTED, str(error.args[0]))
        except OverflowError as error:
            self.on_bad_message(_RESOURCE_EXHAUSTED, str(error))
        except ValueError as error:
            self.on_bad_message(_INTERNAL, str(error))
        else:
            self.hold(<Py_ssize_t>len(plain) - <Py_ssize_t>len(message))
            return plain
        return None

    cdef int grant(self) except -1:
        """Opens the peer's window again by what came in, in portions that are worth a frame."""
        if self.unconsumed >= self.wire.window // 4 and not self.is_closed and not self.is_ended:
            nghttp2_session_consume_stream(self.wire.session, self.id, self.unconsumed)
            self.unconsumed = 0
            self.wire.schedule()
        return 0

    cdef int hold(self, Py_ssize_t size) except -1:
        """Counts what is held for the application, on behalf of the connection."""
        self.held += size
        self.wire.held += size
        return 0

    cdef int stop_receiving(self) except -1:
        """What is unread stays so, but the connection does not answer for it any more."""
        self.discards_input = True
        self.body = None
        self.wire.held -= self.held
        self.held = 0
        return 0

    cdef int enqueue(self, uint8_t flag, tuple buffers) except -1:
        """Appends one message, whose body is that of all `buffers` together."""
        cdef Py_ssize_t length
        cdef size_t size = 0
        cdef list parts = []
        cdef uint8_t[_PREFIX] prefix
        for buffer in buffers:
            if PyBytes_CheckExact(buffer):
                length = PyBytes_GET_SIZE(buffer)
            else:
                # While it is borrowed, Python itself keeps it from changing its size.
                buffer = memoryview(buffer)
                length = buffer.nbytes
                buffer = buffer.cast("B") if length else b""
            if length:
                parts.append(buffer)
                size += length
        if size > self.wire.send_limit:
            raise MessageTooLargeError(f"Sent message larger than max ({size} vs. {self.wire.send_limit})")
        if self.is_closed:
            # The `__buffer__` method of a buffer has closed it.
            return 0
        prefix[0] = flag
        prefix[1], prefix[2], prefix[3], prefix[4] = size >> 24, size >> 16 & 255, size >> 8 & 255, size & 255
        if self.parts is None:
            self.parts = []
        if size <= _JOINED:
            self.parts.append(joined(prefix, parts, size))
        else:
            self.parts.append(PyBytes_FromStringAndSize(<const char*>prefix, _PREFIX))
            self.parts += parts
        self.pending += _PREFIX + size
        self.wire.pending += _PREFIX + size
        self.is_full = self.pending > _HIGH_WATER
        return 0

    cdef int resume(self) except -1:
        """Has nghttp2 ask for data again, if it asked before there was any."""
        if self.is_deferred and not self.is_closed:
            self.is_deferred = False
            nghttp2_session_resume_data(self.wire.session, self.id)
        return 0

    cdef int load(self) except -1:
        """Makes the next part the current one, unless the current one has bytes left."""
        if self.part is not None:
            return 0
        part = self.parts[self.next_part]
        self.parts[self.next_part] = None
        self.next_part += 1
        self.offset = 0
        if PyBytes_CheckExact(part) and PyBytes_GET_SIZE(part) <= _COPIED:
            self.part_data = <const uint8_t*>PyBytes_AS_STRING(part)
            self.part_size = PyBytes_GET_SIZE(part)
        else:
            if PyBytes_CheckExact(part):
                part = memoryview(part)
            # Nobody else has this view and could release it, so the memory can be read where it is.
            self.part_data = <const uint8_t*>PyMemoryView_GET_BUFFER(part).buf
            self.part_size = PyMemoryView_GET_BUFFER(part).len
        self.part = part
        return 0

    cdef bint is_stalled(self, double sweeps) noexcept:
        """Whether nothing that is pending was taken since as many sweeps, each of which calls this once."""
        self.idle_sweeps = self.idle_sweeps + 1 if self.pending else 0
        return self.idle_sweeps > sweeps

    cdef int advance(self, size_t size) except -1:
        self.idle_sweeps = 0
        self.offset += size
        self.pending -= size
        self.wire.pending -= size
        if self.offset == self.part_size:
            self.part = None
            if not self.pending:
                self.parts, self.next_part = None, 0
        if self.is_full and self.pending <= _HIGH_WATER:
            self.is_full = False
            if self.listener is not None:
                self.run_callback(self.listener.changed)
        return 0

    cdef int copy_to(self, uint8_t* target, size_t size) except -1:
        """Moves the next `size` pending bytes into `target`."""
        cdef size_t piece
        while size:
            self.load()
            piece = min(size, self.part_size - self.offset)
            memcpy(target, self.part_data + self.offset, piece)
            target += piece
            size -= piece
            self.advance(piece)
        return 0

    cdef int refer_to(self, Gather target, size_t size) except -1:
        """Has the next `size` pending bytes written from where they are."""
        cdef size_t piece
        while size:
            self.load()
            piece = min(size, self.part_size - self.offset)
            if piece <= _COPIED:
                target.copy(self.part_data + self.offset, piece)
            else:
                target.refer(self.part[self.offset:self.offset + piece], piece)
            size -= piece
            self.advance(piece)
        return 0

    cdef int forget_outbound(self) except -1:
        self.part = self.parts = None
        self.wire.pending -= self.pending
        self.pending = self.next_part = 0
        return 0

    cdef nghttp2_data_provider provider(self) noexcept:
        cdef nghttp2_data_provider result
        result.source.ptr = <void*>self
        result.read_callback = provide
        return result

    cdef int on_header(self, const uint8_t* name, size_t name_size, const uint8_t* value, size_t value_size) except -1:
        raise NotImplementedError

    cdef int on_headers_end(self, bint is_last) except -1:
        raise NotImplementedError

    cdef int on_message(self) except -1:
        if self.listener is not None:
            self.run_callback(self.listener.changed)
        return 0

    cdef int on_remote_end(self) except -1:
        self.is_ended = True
        if self.listener is not None:
            self.run_callback(self.listener.changed)
        return 0

    cdef int on_bad_message(self, int code, str details) except -1:
        """A message that cannot be taken: nothing more of the stream will be."""
        raise NotImplementedError

    cdef int on_last_data(self, nghttp2_session* session, uint32_t* flags) except -1:
        """The last bytes are about to be sent; what must follow them is submitted now."""
        return 0

    cdef int on_close(self, uint32_t error_code) except -1:
        """The stream is gone, or is to be forgotten before nghttp2 knows."""
        if self.is_closed:
            return 0
        self.is_closed = True
        self.stop_receiving()
        self.forget_outbound()
        if self.listener is not None:
            listener, self.listener = self.listener, None
            self.run_callback(listener.closed)
        return 0
