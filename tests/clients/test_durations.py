import click
import pytest
from click.testing import CliRunner

from yais.clients.durations import DurationOption, parse_duration


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("2", "s", 2),
        ("2", "ms", 2),
        ("0.5", "s", 0.5),
        ("2ms", "ms", 2),
        ("2ms", "s", 0.002),
        ("1.5s", "ms", 1500),
        ("500us", "ms", 0.5),
        ("5m", "s", 300),
        ("1 h", "s", 3600),
        ("1e-6", "ms", 1e-06),
    ],
)
def test_a_duration_has_a_unit_or_is_in_that_of_its_option(text: str, unit: str, value: float) -> None:
    assert parse_duration(text, unit) == pytest.approx(value)


@click.command()
@click.option("--wait", type=DurationOption("ms", 1e6), default="2ms", show_default=True)
def command(wait: float) -> None:
    click.echo(wait)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fast", "'fast' is not a duration: write 500us, 2ms, 30s or 5m"),
        ("", "'' is not a duration"),
        ("nan", "is not a duration"),
        ("infs", "is not a duration"),
        ("2 days", "is not a duration"),
        ("0", "0 is not above 0 and up to 1000000ms"),
        ("-1s", "-1s is not above 0"),
        ("1h", "1h is not above 0"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str, message: str) -> None:
    result = CliRunner().invoke(command, ["--wait", text])
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_a_default_is_shown_as_it_is_written() -> None:
    assert "[default: 2ms]" in CliRunner().invoke(command, ["--help"]).stdout
    assert CliRunner().invoke(command).stdout == "2.0\n"
