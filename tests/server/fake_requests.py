"""Requests to a FakeEngine that keep what they are told."""

import asyncio
from collections.abc import Callable, Mapping

import numpy as np

from yais.engines import Array, Shape
from yais.server.errors import ServiceError
from yais.server.models.model import Model


class FakeRequest:
    """Keeps every answer and refusal, so that a second one shows."""

    def __init__(self, values: Array, deadline: int | None = None, arrived: int = 0) -> None:
        self.values = values
        self.rows = len(values)
        self.shapes: tuple[Shape, ...] = (values.shape[1:],)
        self.deadline = deadline
        self.arrived = self.queued = arrived
        self.cancelled = False
        self.replies: list[Array | ServiceError] = []
        self.on_reply: Callable[[], None] = lambda: None

    @property
    def is_wanted(self) -> bool:
        return not self.cancelled

    def fill(self, inputs: Mapping[str, Array], row: int) -> None:
        inputs["X"][row : row + self.rows] = self.values

    def answer(self, outputs: Mapping[str, Array], row: int) -> None:
        self.replies.append(outputs["Y"][row : row + self.rows].copy())
        self.on_reply()

    def refuse(self, error: ServiceError) -> None:
        self.replies.append(error)
        self.on_reply()


def expected(values: Array) -> Array:
    return 2 * values + 1


def request(*numbers: int, width: int = 1, deadline: int | None = None) -> FakeRequest:
    return FakeRequest(np.array(numbers, np.int64).reshape(-1, width), deadline)


def requests(number: int) -> list[FakeRequest]:
    return [request(i) for i in range(1, number + 1)]


async def replies(*sent: FakeRequest) -> None:
    """Waits until each has its reply."""
    replied = asyncio.Event()
    for each in sent:
        each.on_reply = replied.set
    async with asyncio.timeout(30):
        while not all(each.replies for each in sent):
            replied.clear()
            await replied.wait()


def give_up(model: Model, request: FakeRequest) -> None:
    """Takes `request` back as the service does when its caller has gone."""
    request.cancelled = True
    model.pool.discard(request)


async def idle(model: Model) -> None:
    """Waits until every thread of `model` waits for work.

    One that has handed a batch back could otherwise take what a test means for the loop.
    """
    pool = model.pool
    async with asyncio.timeout(30):
        while len(pool._changed._waiters) < len(pool._threads):  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)


async def answered(model: Model, request: FakeRequest) -> None:
    """Submits `request`, and waits for its answer and for the threads."""
    model.pool.add(request)
    await replies(request)
    await idle(model)
    assert_answered(request)


def assert_answered(*sent: FakeRequest) -> None:
    for each in sent:
        (reply,) = each.replies
        np.testing.assert_array_equal(reply, expected(each.values))
