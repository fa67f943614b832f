"""Templates of ModelInfer requests: a request like an earlier one is answered without being parsed.

Clients send the same request again and again, with other elements in its tensors and perhaps another id. All else, as
model, names, datatypes, shapes, parameters and wanted outputs, is the key of a template: the bytes of its top-level
fields apart from `id` and `raw_input_contents`. Fields of a protobuf message do not depend on each other, so that equal
bytes mean the same again. What they mean, and that the request keeps the model's rules, `decode` has found out when
they came for the first time; from then on they are looked up, and only the sizes of the raw contents are checked.

Elements go from the message into the batch buffers, and from there into the reply, without becoming arrays. Whatever is
unusual, from typed contents to an id that is not ASCII, has no template and is left to `decode` and `encode`.
"""

cimport cython
cimport numpy as np
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from yais.proto.grpc_service_pb2 import ModelInferResponse

cdef extern from "numpy/ndarrayobject.h":
    # Whether elements are or hold references to objects, which must not be written as bytes.
    bint PyDataType_REFCHK(np.PyArray_Descr*) nogil

np.import_array()

cdef enum:
    # Tags of ModelInferRequest's fields: their number, and that they are led by a length.
    _MODEL_NAME = 0x0a
    _ID = 0x1a
    _RAW_INPUT = 0x3a
    # The tag of ModelInferResponse's raw_output_contents.
    _RAW_OUTPUT = 0x32
    _MAX_TENSORS = 16
    _MAX_KEY_BYTES = 1024
    _MAX_VARINT = 5
    _MAX_LEAD = 12
    # From here on it pays to let other threads run during a copy.
    _LARGE = 64 * 1024
    # What is copied at a time. glibc copies more by `rep movsb`, which on some processors takes 14 times as long where
    # the target begins up to 15 bytes after the source, modulo 4096.
    _STEP = 4096

# Beyond this many, templates are collected anew.
_MAX_TEMPLATES = 1024
# Inputs of one template give outputs of one shape, or of a few.
_MAX_DESCRIPTIONS = 16
# A WireRequest is made by new_wire_request, which allows it right before.
cdef bint _is_allowed = False


cdef struct Piece:
    const uint8_t* data
    Py_ssize_t size


cdef struct SplitMessage:
    # A message taken apart; `id` is the whole field with its tag and length, or nothing.
    Piece id
    Piece[_MAX_TENSORS] raws
    int count
    uint8_t[_MAX_KEY_BYTES] key
    Py_ssize_t key_size


cdef const uint8_t* read_size(const uint8_t* data, const uint8_t* end, Py_ssize_t* size) noexcept nogil:
    """Reads a length that lies within `end`; returns what follows, or NULL."""
    cdef int shift
    cdef uint8_t byte
    size[0] = 0
    for shift in range(0, 7 * _MAX_VARINT, 7):
        if data == end:
            return NULL
        byte = data[0]
        data += 1
        size[0] |= <Py_ssize_t>(byte & 0x7f) << shift
        if byte < 0x80:
            return data if size[0] <= end - data else NULL
    return NULL


cdef bint split(const uint8_t* data, Py_ssize_t length, SplitMessage* parts) noexcept nogil:
    """Takes a ModelInferRequest apart; false for what is malformed, unusual or too much."""
    cdef const uint8_t* end = data + length
    cdef const uint8_t* field
    cdef Py_ssize_t size
    parts.id = Piece(data, 0)
    parts.count = parts.key_size = 0
    while data < end:
        field = data
        if field[0] < _MODEL_NAME or field[0] > _RAW_INPUT or field[0] & 7 != 2:
            return False
        data = read_size(field + 1, end, &size)
        if data is NULL:
            return False
        data += size
        if field[0] == _RAW_INPUT:
            if parts.count == _MAX_TENSORS:
                return False
            parts.raws[parts.count] = Piece(data - size, size)
            parts.count += 1
        elif field[0] == _ID:
            if parts.id.size or not is_ascii(data - size, size):
                return False
            parts.id = Piece(field, data - field)
        else:
            size = data - field
            if parts.key_size + size > _MAX_KEY_BYTES:
                return False
            memcpy(parts.key + parts.key_size, field, size)
            parts.key_size += size
    return True


cdef bint is_ascii(const uint8_t* data, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t position
    for position in range(size):
        if data[position] & 0x80:
            return False
    return True


cdef int put_varint(uint8_t* target, Py_ssize_t value) noexcept nogil:
    """Writes `value`; returns in how many bytes."""
    cdef int size = 0
    while value >= 0x80:
        target[size] = value & 0x7f | 0x80
        value >>= 7
        size += 1
    target[size] = <uint8_t>value
    return size + 1


cdef class RequestTemplate:
    """What all requests of one template have in common; tensors are in the model's order.

    `places` tells which of the raw contents each input is, `sizes` how many bytes it has.
    """

    cdef readonly object model
    cdef readonly Py_ssize_t rows
    cdef readonly tuple shapes
    cdef tuple inputs
    cdef int[_MAX_TENSORS] places
    cdef Py_ssize_t[_MAX_TENSORS] sizes
    cdef tuple outputs
    cdef list rules
    # The reply before the request's id; behind it, what tells of outputs whose buffers have certain shapes.
    cdef bytes head
    cdef dict described

    def __cinit__(self, model, layout, wanted):
        cdef int index
        self.model = model
        self.rows = layout.rows
        self.shapes = layout.shapes
        tensors = tuple(layout.inputs)
        self.inputs = tuple([tensor.name for tensor in tensors])
        self.rules = [rule for rule in model.signature.outputs if rule.name in wanted]
        self.outputs = tuple([rule.name for rule in self.rules])
        if self.rows < 0 or max(len(tensors), len(self.outputs)) > _MAX_TENSORS:
            raise ValueError(f"layout has {self.rows} rows of {len(tensors)} inputs, for {len(self.outputs)} outputs")
        for index, tensor in enumerate(tensors):
            self.places[index], self.sizes[index] = tensor.position, tensor.nbytes
            if not 0 <= self.places[index] < len(tensors):
                raise ValueError(f"layout: position {tensor.position} is not that of one of {len(tensors)} inputs")
        self.head = ModelInferResponse(model_name=model.name, model_version=model.version).SerializeToString()
        self.described = {}

    cdef bytes describe(self, tuple shapes):
        """The part of the reply that says what outputs follow, given the shapes of their batch buffers."""
        cdef bytes described = self.described.get(shapes)
        if described is None:
            reply = ModelInferResponse()
            for rule, shape in zip(self.rules, shapes):
                own = (self.rows, *shape[1:]) if self.model.signature.max_batch_size else shape[1:]
                reply.outputs.add(name=rule.name, datatype=rule.datatype, shape=own)
            described = reply.SerializeToString()
            if len(self.described) == _MAX_DESCRIPTIONS:
                self.described.clear()
            self.described[shapes] = described
        return described


cdef class RequestTemplateCache:
    """Templates by their keys. `method` is told how the calls end whose requests were found here."""

    cdef dict templates
    cdef object method

    def __cinit__(self, method):
        self.templates = {}
        self.method = method

    def __len__(self):
        return len(self.templates)

    def lookup(self, call, bytes message, long long arrived):
        """The request that `message` is, as `WireRequest`; None when there is no template of it."""
        cdef SplitMessage parts
        cdef RequestTemplate template
        cdef int index
        if not split(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &parts):
            return None
        template = self.templates.get(PyBytes_FromStringAndSize(<const char*>parts.key, parts.key_size))
        if template is None or parts.count != len(template.inputs):
            return None
        for index in range(parts.count):
            if parts.raws[template.places[index]].size != template.sizes[index]:
                return None
        return new_wire_request(self.method, call, message, template, arrived, &parts)

    def insert(self, bytes message, model, layout, wanted):
        """Keeps a template of a request that was found to ask `model` for `wanted`, with inputs of this `layout`."""
        cdef SplitMessage parts
        if not split(<const uint8_t*>PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message), &parts):
            return
        tensors = (*model.engine.inputs, *model.engine.outputs)
        if parts.count != len(layout.inputs) or any([tensor.dtype.hasobject for tensor in tensors]):
            return
        if len(model.engine.outputs) > _MAX_TENSORS:
            return
        if len(self.templates) == _MAX_TEMPLATES:
            self.templates.clear()
        key = PyBytes_FromStringAndSize(<const char*>parts.key, parts.key_size)
        self.templates[key] = RequestTemplate(model, layout, wanted)


cdef WireRequest new_wire_request(
    object method, object call, bytes message, RequestTemplate template, long long arrived, SplitMessage* parts
):
    cdef double deadline = call.deadline
    global _is_allowed
    _is_allowed = True
    cdef WireRequest made = WireRequest.__new__(WireRequest)
    cdef int index
    made.method = method
    made.call = call
    made.template = template
    made.arrived = made.queued = arrived
    made.deadline = None if deadline == INFINITY else int(deadline * 1e9)
    made.message = message
    made.id = parts.id
    for index in range(parts.count):
        made.data[index] = parts.raws[template.places[index]]
    return made


@cython.freelist(256)
cdef class WireRequest:
    """A call of ModelInfer whose request stays as it came: a `Request` for the queue, a listener for the transport."""

    cdef object method
    cdef readonly object call
    cdef RequestTemplate template
    cdef readonly long long arrived
    cdef public long long queued
    cdef readonly object deadline
    # The elements of the inputs lie in the message.
    cdef bytes message
    cdef Piece[_MAX_TENSORS] data
    cdef Piece id

    def __cinit__(self):
        global _is_allowed
        if not _is_allowed:
            raise TypeError("WireRequest is made by RequestTemplateCache.lookup alone")
        _is_allowed = False

    @property
    def model(self):
        return self.template.model

    @property
    def rows(self):
        return self.template.rows

    @property
    def shapes(self):
        return self.template.shapes

    @property
    def is_wanted(self):
        return not self.call.is_over

    def fill(self, inputs, Py_ssize_t row):
        cdef np.ndarray buffer
        cdef Py_ssize_t size
        cdef int index = 0
        cdef uint8_t* target
        for name in self.template.inputs:
            buffer = array_of(inputs, name)
            if not np.PyArray_ISWRITEABLE(buffer):
                raise ValueError("a batch buffer is read-only")
            target = rows_of(buffer, row, self.template.rows, &size)
            if size != self.template.sizes[index]:
                raise misfit(buffer, row, self.template.rows, self.template.sizes[index])
            if size >= _LARGE:
                with nogil:
                    copy(target, self.data[index].data, size)
            else:
                copy(target, self.data[index].data, size)
            index += 1

    def answer(self, outputs, Py_ssize_t row):
        self.method.answer(self, self.reply(outputs, row))

    def refuse(self, error):
        self.method.refuse(self, error)

    def changed(self):
        """There is nothing more to come, and nothing more to send."""

    def closed(self):
        self.method.abandon(self)

    cdef bytes reply(self, outputs, Py_ssize_t row):
        cdef RequestTemplate template = self.template
        cdef Piece[_MAX_TENSORS] raws
        cdef uint8_t[_MAX_TENSORS][_MAX_LEAD] leads
        cdef int[_MAX_TENSORS] lead_sizes
        cdef list buffers = [in_order(array_of(outputs, name)) for name in template.outputs]
        cdef np.ndarray buffer
        cdef int index, count = 0
        cdef bytes described = template.describe(tuple([array.shape for array in buffers]))
        cdef Py_ssize_t size = PyBytes_GET_SIZE(template.head) + self.id.size + PyBytes_GET_SIZE(described)
        for buffer in buffers:
            raws[count].data = rows_of(buffer, row, template.rows, &raws[count].size)
            leads[count][0] = _RAW_OUTPUT
            lead_sizes[count] = 1 + put_varint(leads[count] + 1, raws[count].size)
            size += lead_sizes[count] + raws[count].size
            count += 1
        cdef bytes reply = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t* target = <uint8_t*>PyBytes_AS_STRING(reply)
        target = put(target, PyBytes_AS_STRING(template.head), PyBytes_GET_SIZE(template.head))
        target = put(target, self.id.data, self.id.size)
        target = put(target, PyBytes_AS_STRING(described), PyBytes_GET_SIZE(described))
        for index in range(count):
            target = put(target, leads[index], lead_sizes[index])
            target = put(target, raws[index].data, raws[index].size)
        return reply


cdef inline np.ndarray array_of(arrays, name):
    """The array of that name; numpy's macros do not look at what they are given."""
    array = arrays[name]
    if not isinstance(array, np.ndarray):
        raise TypeError(f"the batch buffer of {name!r} must be a numpy array, not {type(array).__name__}")
    return <np.ndarray>array


cdef np.ndarray in_order(np.ndarray array):
    """`array`, or a copy of it whose elements lie as they do on the wire."""
    return np.PyArray_FROM_OF(array, np.NPY_ARRAY_CARRAY_RO | np.NPY_ARRAY_NOTSWAPPED)


cdef void copy(uint8_t* target, const uint8_t* source, Py_ssize_t size) noexcept nogil:
    while size > _STEP:
        memcpy(target, source, _STEP)
        target += _STEP
        source += _STEP
        size -= _STEP
    memcpy(target, source, size)


cdef uint8_t* put(uint8_t* target, const void* data, Py_ssize_t size) noexcept:
    copy(target, <const uint8_t*>data, size)
    return target + size


cdef Py_ssize_t row_size(np.ndarray buffer) noexcept:
    """The bytes of a row, also of a buffer without rows."""
    cdef Py_ssize_t size = np.PyArray_ITEMSIZE(buffer)
    cdef int axis
    for axis in range(1, np.PyArray_NDIM(buffer)):
        size *= np.PyArray_DIM(buffer, axis)
    return size


cdef uint8_t* rows_of(np.ndarray buffer, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t* size) except? NULL:
    """Where rows of a batch buffer lie, and how many bytes they have. Raises ValueError if it has none there."""
    cdef Py_ssize_t of_row
    if np.PyArray_NDIM(buffer) == 0 or PyDataType_REFCHK(np.PyArray_DESCR(buffer)) \
            or not np.PyArray_ISCARRAY_RO(buffer):
        raise ValueError("a batch buffer is not of numbers in C order, aligned and in the machine's byte order")
    of_row = row_size(buffer)
    if row < 0 or row > np.PyArray_DIM(buffer, 0) - rows:
        raise misfit(buffer, row, rows, rows * <object>of_row)
    # No more than the whole array has, which does not overflow.
    size[0] = rows * of_row
    return <uint8_t*>np.PyArray_BYTES(buffer) + row * of_row


cdef object misfit(np.ndarray buffer, Py_ssize_t row, Py_ssize_t rows, object size):
    shape = (<object>buffer).shape
    return ValueError(f"a batch buffer of shape {shape} has no {rows} rows of {size} bytes at {row}")
