"""Memory that requests with a template keep alive, and for how long."""

import gc
import sys
import weakref

import numpy as np

from server.fake_raw_call import FakeRawCall
from server.known_templates import ONE, PAIR, Kept, request, rows


def test_the_bytes_of_the_request_are_kept_for_as_long_as_the_call() -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(2, first=1), request_id="r7"))
    wire = bytes(bytearray(request(rows(2, first=1), request_id="r7").SerializeToString()))
    before = sys.getrefcount(wire)
    call = kept.templates.lookup(FakeRawCall(), wire, 0)
    assert call is not None
    assert sys.getrefcount(wire) == before + 1
    size = len(wire)
    del wire
    gc.collect()
    rubbish = [b"\xff" * size for _ in range(1000)]
    buffer = np.zeros((8, 2), np.float32)
    call.fill({"A": buffer}, 0)
    call.answer({"O0": buffer}, 0)
    assert kept.ends.response.id == "r7"
    assert kept.ends.response.raw_output_contents == [rows(2, first=1).tobytes()]
    assert len(rubbish) == 1000


def test_a_call_that_is_over_leaves_nothing_behind() -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(1)))
    wire = bytes(bytearray(request(rows(1)).SerializeToString()))
    before = sys.getrefcount(wire)
    raw_call = FakeRawCall()
    left = weakref.ref(raw_call)
    call = kept.templates.lookup(raw_call, wire, 0)
    del raw_call, call
    assert left() is None
    assert sys.getrefcount(wire) == before


def test_a_call_and_its_listener_do_not_keep_each_other_alive() -> None:
    kept = Kept(ONE)
    kept.insert(request(rows(1)))
    raw_call = FakeRawCall()
    left = weakref.ref(raw_call)
    raw_call.listener = kept.lookup(request(rows(1)), raw_call)
    del raw_call
    gc.collect()
    assert left() is None


def test_many_calls_take_no_more_memory_than_few() -> None:
    kept = Kept(PAIR)
    sent = request(rows(1), np.zeros((1, 3), np.int32), request_id="r7")
    kept.insert(sent)
    wire = sent.SerializeToString()
    buffers = {"A": np.zeros((8, 2), np.float32), "B": np.zeros((8, 3), np.int32)}
    outputs = {"O0": buffers["A"], "O1": np.asfortranarray(buffers["B"])}

    def answer_one() -> None:
        call = kept.templates.lookup(FakeRawCall(), wire, 0)
        assert call is not None
        call.fill(buffers, 1)
        call.answer(outputs, 1)
        kept.ends.responses.clear()

    for _ in range(1000):
        answer_one()
    before = sys.getallocatedblocks()
    for _ in range(5000):
        answer_one()
    assert sys.getallocatedblocks() - before < 500
