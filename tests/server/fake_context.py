"""What a servicer sees of a call, without a transport."""

from typing import NoReturn

import grpc


class Aborted(Exception):  # noqa: N818
    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class FakeCall:
    async def abort(self, status: grpc.StatusCode, text: str) -> NoReturn:
        raise Aborted(status, text)
