"""Frames, messages and header fields as bytes, legal or not. hyperframe would refuse to make the illegal ones."""

import struct

from hyperframe.frame import Frame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

Fields = list[tuple[str, str]]
Kind = type[Frame] | int


def raw(kind: Kind, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """A frame of any kind; `length` is what its head says instead of the payload's."""
    size = len(payload) if length is None else length
    number = kind if isinstance(kind, int) else kind.type
    return struct.pack(">I", size)[1:] + bytes((number, flags)) + struct.pack(">I", stream) + payload


def settings(values: dict[int, int] | None = None) -> bytes:
    return raw(SettingsFrame, payload=b"".join(struct.pack(">HI", *pair) for pair in (values or {}).items()))


def number(value: int) -> bytes:
    """As it stands in RST_STREAM, WINDOW_UPDATE and GOAWAY."""
    return struct.pack(">I", value)


def message(body: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """gRPC's five bytes and a body; `length` is what they say instead of the body's."""
    return struct.pack(">BI", flag, len(body) if length is None else length) + body


def request(method: str = "Echo", *extra: tuple[str, str], **changes: str | None) -> Fields:
    """The fields of a call. `changes` replace them, or leave them out where None; `_` stands for `:` or `-`."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/test.Probe/{method}",
        ":authority": "probe",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in changes.items():
        key = f":{name[1:]}" if name.startswith("_") else name.replace("_", "-")
        fields[key] = value
    return [(name, value) for name, value in fields.items() if value is not None] + list(extra)
