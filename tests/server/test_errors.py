import asyncio
import re
from typing import NoReturn, get_args

import grpc
import pytest

from server.fake_context import Aborted, FakeCall
from yais.server import errors
from yais.server.errors import DrainingError, ExpiredError, QueueFullError, Reason, ServiceError
from yais.server.grpc.status import convert_errors

LEAVES = ServiceError.__subclasses__()


def tree() -> dict[str, tuple[str, str]]:
    """The tree in the module's docstring: name of the class -> its status, and what it is counted as."""
    rows = re.findall(r"[├└]── (\w+)\s+(\w+)\s+(\w+)", errors.__doc__ or "")
    return {name: (status, reason) for name, status, reason in rows}


def test_the_documented_tree_is_that_of_the_classes() -> None:
    assert tree() == {leaf.__name__: (leaf.status.name, leaf.reason) for leaf in LEAVES}


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
def test_every_error_has_a_status_and_a_reason_that_triton_knows(leaf: type[ServiceError]) -> None:
    assert isinstance(leaf.status, grpc.StatusCode)
    assert leaf.reason in get_args(Reason)
    assert not leaf.__subclasses__()


def test_the_log_calls_each_error_by_a_name_of_its_own() -> None:
    assert len({leaf.kind for leaf in LEAVES}) == len(LEAVES)


def test_the_texts_are_tritons() -> None:
    assert str(DrainingError()) == "GRPC server is shutting down and has stopped accepting new requests."
    assert str(DrainingError("Server exiting")) == "Server exiting"
    assert str(ExpiredError()) == "Request timeout expired"
    assert str(QueueFullError(7)).startswith("Exceeds maximum queue size: 7 ")


class Servicer:
    @convert_errors
    async def fail(self, message: Exception, context: FakeCall) -> None:
        """Fails with what it is sent."""
        raise message

    @convert_errors
    async def answer(self, message: str, context: FakeCall) -> str:
        return message * 2


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.__name__)
async def test_an_error_reaches_the_caller_as_status_and_text(leaf: type[ServiceError]) -> None:
    error = leaf.__new__(leaf)
    Exception.__init__(error, "the text")
    with pytest.raises(Aborted) as caught:
        await Servicer().fail(error, FakeCall())
    assert (caught.value.status, caught.value.text) == (leaf.status, "the text")


class Ended(FakeCall):
    """A call that is over: its caller has gone, and nobody can be told."""

    async def abort(self, status: grpc.StatusCode, text: str) -> NoReturn:
        raise grpc.aio.InternalError("the call is over")


async def test_an_error_for_a_caller_who_has_gone_ends_the_call_quietly() -> None:
    with pytest.raises(asyncio.CancelledError) as caught:
        await Servicer().fail(ExpiredError(), Ended())
    cause = caught.value.__cause__
    assert isinstance(cause, grpc.aio.InternalError)
    assert isinstance(cause.__context__, ExpiredError)


async def test_other_exceptions_and_replies_pass_through() -> None:
    with pytest.raises(ZeroDivisionError):
        await Servicer().fail(ZeroDivisionError(), FakeCall())
    assert await Servicer().answer("ab", FakeCall()) == "abab"


def test_a_wrapped_method_keeps_its_name_and_docstring() -> None:
    assert (Servicer.fail.__name__, Servicer.fail.__doc__) == ("fail", "Fails with what it is sent.")
