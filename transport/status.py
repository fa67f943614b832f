"""Statuses of calls: by their number in the trailers, by HTTP's own status, or by the reset of a stream.

Sources: gRPC's statuscodes.md, http-grpc-status-mapping.md, and PROTOCOL-HTTP2.md, "Errors".
"""

from grpc import StatusCode

_CODES = {status.value[0]: status for status in StatusCode}
_CODES_SPELT = {b"%d" % number: status for number, status in _CODES.items()}

# http-grpc-status-mapping.md; whoever sends these is mostly a proxy.
_OF_HTTP = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    431: StatusCode.INTERNAL,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}

# PROTOCOL-HTTP2.md, "Errors"; all others, NO_ERROR among them, are INTERNAL.
_OF_RESET = {
    7: StatusCode.UNAVAILABLE,  # REFUSED_STREAM
    8: StatusCode.CANCELLED,  # CANCEL
    11: StatusCode.RESOURCE_EXHAUSTED,  # ENHANCE_YOUR_CALM
    12: StatusCode.PERMISSION_DENIED,  # INADEQUATE_SECURITY
}


def code(number: int | bytes) -> StatusCode:
    """The status of a number, or of a grpc-status field: decimal, without leading zeros. Any other is UNKNOWN."""
    known = _CODES_SPELT.get(number) if isinstance(number, bytes) else _CODES.get(number)
    return known or StatusCode.UNKNOWN


def of_http(status: int) -> StatusCode:
    """The status of an answer that has a `:status` and no grpc-status."""
    return _OF_HTTP.get(status, StatusCode.UNKNOWN)


def of_reset(error_code: int) -> StatusCode:
    """The status of a call whose stream the peer has reset."""
    return _OF_RESET.get(error_code, StatusCode.INTERNAL)
