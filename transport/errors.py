"""Errors of the transport beside grpcio's and Python's own."""


class MessageTooLargeError(OverflowError):
    """A message that may not be sent, because it exceeds the limit of its channel or server."""
