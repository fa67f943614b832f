import asyncio

import pytest

from server.fake_engine import FakeEngine, options
from yais.server.errors import InvalidRequestError, NotFoundError
from yais.server.models.model import Model
from yais.server.models.registry import Registry, parse_version


async def registry(*names: str) -> Registry:
    models = Registry()
    for name in names:
        models.add(Model(name, FakeEngine(), options(), asyncio.get_running_loop()))
    return models


async def test_models_are_found_by_name_in_the_order_they_were_added() -> None:
    models = await registry("b", "a")
    assert [model.name for model in models] == ["b", "a"]
    assert len(list(models)) == 2
    assert models.find("a", "") is models.get("a") is models.find("a", "1")
    assert models.get("c") is None


@pytest.mark.parametrize(
    "version",
    ["", "1", "01", "+1", " 1", "1abc", "1.5", "\t1 ", "0" * 5000 + "1"],
    ids=lambda version: repr(version[:12]),
)
async def test_what_triton_reads_as_version_1_is_version_1(version: str) -> None:
    assert (await registry("m")).find("m", version).name == "m"


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("x", "", "Request for unknown model: 'x' is not found"),
        ("x", "1", "Request for unknown model: 'x' is not found"),
        ("", "", "Request for unknown model: '' is not found"),
        ("M", "", "Request for unknown model: 'M' is not found"),
        ("m", "2", "Request for unknown model: 'm' version 2 is not found"),
        ("m", "0", "Request for unknown model: 'm' version 0 is not found"),
        ("m", "007x", "Request for unknown model: 'm' version 7 is not found"),
        ("m", str(2**63 - 1), f"Request for unknown model: 'm' version {2**63 - 1} is not found"),
    ],
)
async def test_an_unknown_model_or_version_is_not_found(name: str, version: str, text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        (await registry("m")).find(name, version)
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["m", "x"])
@pytest.mark.parametrize(
    "version",
    ["abc", " ", "-", "+", "--1", "x1", "é", str(2**63), "9" * 30, "-" + "9" * 30, "9" * 5000],
    ids=lambda version: repr(version[:12]),
)
async def test_what_is_no_version_is_refused_before_the_model_is_looked_for(name: str, version: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        (await registry("m")).find(name, version)
    assert str(caught.value) == (
        f"failed to get model version from specified version string '{version}' (details: stol), "
        "version should be an integral value > 0"
    )


@pytest.mark.parametrize("version", ["\u0661", "\uff11", "\u00a01", "\u20031"])
async def test_digits_and_blanks_beyond_ascii_are_none_to_triton(version: str) -> None:
    with pytest.raises(InvalidRequestError, match="failed to get model version"):
        (await registry("m")).find("m", version)


@pytest.mark.parametrize("version", ["-1", "-01", " -5x"])
async def test_a_negative_version_is_refused(version: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        (await registry("m")).find("m", version)
    assert str(caught.value) == (
        f"invalid model version specified '{version}' , version should be an integral value > 0"
    )


@pytest.mark.parametrize(("version", "number"), [("", None), ("0", 0), ("12", 12), ("-0", 0), ("3.9", 3)])
def test_a_version_is_the_number_that_it_begins_with(version: str, number: int | None) -> None:
    assert parse_version(version) == number
