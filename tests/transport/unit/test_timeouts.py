import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yais.transport.metadata import decode_timeout, encode_timeout

LONGEST = 99_999_999 * 3600.0


@settings(deadline=None, max_examples=500)
@given(st.floats(min_value=0, exclude_min=True, max_value=LONGEST))
@example(0.1)
@example(99.999999)
@example(55.926838000000004)
@example(math.nextafter(99.999999, 100))
@example(99_999_999.0)
@example(LONGEST)
def test_a_timeout_is_never_shortened_and_lengthened_by_less_than_its_unit(seconds: float) -> None:
    encoded = encode_timeout(seconds)
    unit = decode_timeout(b"1" + encoded[-1:])
    assert seconds <= decode_timeout(encoded) <= seconds + unit
    assert unit == 1e-9 or unit <= seconds * 1.1e-5


@given(st.integers(0, 99_999_999), st.sampled_from(b"numSMH"))
def test_every_timeout_of_the_protocol_is_read(count: int, unit: int) -> None:
    seconds = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "S": 1, "M": 60, "H": 3600}[chr(unit)]
    assert decode_timeout(b"%d%c" % (count, unit)) == pytest.approx(count * seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("seconds", "encoded"),
    [
        (5, b"5000000u"),
        (0.1, b"100000u"),
        (0.05, b"50000000n"),
        (1e-10, b"1n"),
        (100, b"100000m"),
        (1e6, b"1000000S"),
        (1e8, b"1666667M"),
        (1e10, b"2777778H"),
    ],
)
def test_the_finest_unit_that_holds_a_timeout_is_used(seconds: float, encoded: bytes) -> None:
    assert encode_timeout(seconds) == encoded


@pytest.mark.parametrize("seconds", [0, -0.0, -1, -math.inf])
def test_a_timeout_that_has_run_out_is_the_shortest_there_is(seconds: float) -> None:
    assert encode_timeout(seconds) == b"1n"


@pytest.mark.parametrize("seconds", [LONGEST, LONGEST * 2, 1e300, math.inf])
def test_no_timeout_is_longer_than_eight_digits_of_hours(seconds: float) -> None:
    assert encode_timeout(seconds) == b"99999999H"


def test_a_timeout_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        encode_timeout(math.nan)


@pytest.mark.parametrize(
    "data", [b"", b"5", b"S", b"5s", b"5h", b"-1S", b"+1S", b"5.5S", b" 5S", b"5S ", b"5S\n", b"123456789S", b"1_0S"]
)
def test_a_malformed_timeout_is_refused_by_its_text(data: bytes) -> None:
    with pytest.raises(ValueError, match="grpc-timeout") as caught:
        decode_timeout(data)
    assert repr(data) in str(caught.value)
