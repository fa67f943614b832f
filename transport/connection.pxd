from libc.stdint cimport int32_t, uint8_t, uint32_t

from yais.transport.nghttp2 cimport (
    nghttp2_frame, nghttp2_frame_hd, nghttp2_option, nghttp2_session_callbacks, nghttp2_settings_entry)
from yais.transport.stream cimport Stream
from yais.transport.wire cimport Wire

cdef nghttp2_session_callbacks* callbacks
cdef nghttp2_option* options

cdef class Connection(Wire):
    cdef dict open_streams
    cdef readonly object owner
    cdef readonly object settings
    cdef readonly str peer
    cdef Stream in_headers
    cdef public double keepalive_sent_at

    cdef Stream find(self, int32_t stream_id)
    cdef int on_begin_frame(self, const nghttp2_frame_hd* head) except -1
    cdef int on_begin_headers(self, const nghttp2_frame* frame) except -1
    cdef int on_frame(self, const nghttp2_frame* frame) except -1
    cdef int on_frame_sent(self, const nghttp2_frame* frame) except -1
    cdef int on_stream_close(self, int32_t stream_id, uint32_t error_code) except -1
    cdef int submit_settings(self, nghttp2_settings_entry* entries, size_t count) except -1
