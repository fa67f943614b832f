from itertools import product

import pytest

from conformance.fuzz.connection.client_end import ClientEnd
from conformance.fuzz.connection.invariants import play
from conformance.fuzz.connection.peer import FIELDS
from conformance.fuzz.connection.records import Kind, Setup
from conformance.fuzz.connection.server_end import ServerEnd
from conformance.fuzz.connection.usual import headers, request, trailers
from conformance.fuzz.program import Program, Record

TURN = Record(Kind.TURN, 0)
# A call of a client's with an echo for a listener.
START = Record(Kind.ACTION, 6, bytes((0, 0, 16 + 32)))
# A second call, without which the first has its connection to itself and is written at once.
ANOTHER: dict[type, Record] = {ServerEnd: request(b"/f/echo", 3), ClientEnd: START}
# A call that goes on in both directions; and the end of it from the peer's side.
CALL: dict[type, tuple[Record, ...]] = {ServerEnd: (request(b"/f/echo"),), ClientEnd: (START, TURN, headers())}
PEER_ENDS: dict[type, tuple[Record, ...]] = {
    ServerEnd: (Record(Kind.MESSAGE, 0, bytes((1, 1))),),
    ClientEnd: (trailers(),),
}


@pytest.mark.parametrize("is_alone", [False, True], ids=["beside another", "alone"])
@pytest.mark.parametrize("is_eager", [False, True], ids=["in one turn", "in turns of their own"])
@pytest.mark.parametrize("end", [ServerEnd, ClientEnd])
def test_any_two_actions_on_a_call_leave_nothing_behind(
    end: type[ServerEnd | ClientEnd], is_eager: bool, is_alone: bool
) -> None:
    setup = Setup.GREETED | Setup.EAGER * is_eager | Setup.CLIENT * (end is ClientEnd)
    calls = CALL[end] if is_alone else (*CALL[end], ANOTHER[end])
    first = len(end().connection_actions())
    actions = range(first, first + len(end().call_actions()))
    for one, other in product(actions, actions):
        acts = [Record(Kind.ACTION, action, bytes((0, 40, 1))) for action in (one, other)]
        play(Program(setup, 0, (*calls, *acts, TURN, *PEER_ENDS[end])).encode())


@pytest.mark.parametrize("end", [ServerEnd, ClientEnd])
def test_windows_are_opened_again_before_a_peer_has_used_them_up(end: type[ServerEnd | ClientEnd]) -> None:
    message = Record(Kind.MESSAGE, 0, bytes((0, 1, 0, 9, 0)))
    setup = Setup.GREETED | Setup.CLIENT * (end is ClientEnd)
    play(Program(setup, 1, (*CALL[end], *[message] * 70)).encode())


def test_a_peer_that_floods_and_does_not_read_is_read_again_once_it_does() -> None:
    ping = Record(Kind.FRAME, 0, bytes((6, 0, 0)) + bytes(8))
    echoed = Record(Kind.MESSAGE, 0, bytes((0, 1, 0, 40, 0)))
    records = (*CALL[ServerEnd], echoed, ping, Record(Kind.AGAIN, 255))
    play(Program(Setup.GREETED | Setup.SLOW_SOCKET, 1, records).encode())


def test_a_call_past_the_peers_limit_is_made_when_another_ends() -> None:
    limit = Record(Kind.FRAME, 0, bytes((4, 0, 0)) + b"\0\3\0\0\0\1")
    reset = Record(Kind.FRAME, 0, bytes((3, 0, 1)) + b"\0\0\0\7")
    play(Program(Setup.GREETED | Setup.CLIENT, 0, (limit, START, START, TURN, reset)).encode())


def test_an_answer_with_metadata_past_the_limit_ends_its_call() -> None:
    long = FIELDS.index((b"x-longer", b"~" * 5000))
    answer = Record(Kind.HEADERS, 0, headers().payload + bytes((long,)))
    play(Program(Setup.GREETED | Setup.CLIENT, 1, (START, TURN, answer)).encode())
