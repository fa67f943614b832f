"""Header fields of a call, right or not."""

Fields = list[tuple[str, str]]


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
