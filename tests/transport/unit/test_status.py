import pytest
from grpc import StatusCode

from yais.transport.status import code, of_http, of_reset


def test_every_status_is_known_by_its_number_and_its_text() -> None:
    for status in StatusCode:
        number = status.value[0]
        assert code(number) is code(str(number).encode()) is status


@pytest.mark.parametrize("number", [17, 99, -1, 2**40, b"17", b"", b"x", b"05", b" 5", b"-1", b"5.0", b"9" * 5000])
def test_any_other_number_is_unknown(number: int | bytes) -> None:
    assert code(number) is StatusCode.UNKNOWN


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([400, 431], StatusCode.INTERNAL),
        ([401], StatusCode.UNAUTHENTICATED),
        ([403], StatusCode.PERMISSION_DENIED),
        ([404], StatusCode.UNIMPLEMENTED),
        ([429, 502, 503, 504], StatusCode.UNAVAILABLE),
        ([0, 100, 200, 204, 301, 405, 415, 500, 501, 999], StatusCode.UNKNOWN),
    ],
)
def test_http_statuses_are_mapped_as_the_document_has_it(statuses: list[int], expected: StatusCode) -> None:
    assert {of_http(status) for status in statuses} == {expected}


@pytest.mark.parametrize(
    ("error_codes", "expected"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 9, 10, 13, 2**32 - 1], StatusCode.INTERNAL),
        ([7], StatusCode.UNAVAILABLE),
        ([8], StatusCode.CANCELLED),
        ([11], StatusCode.RESOURCE_EXHAUSTED),
        ([12], StatusCode.PERMISSION_DENIED),
    ],
)
def test_resets_are_mapped_as_the_protocol_has_it(error_codes: list[int], expected: StatusCode) -> None:
    assert {of_reset(error_code) for error_code in error_codes} == {expected}
