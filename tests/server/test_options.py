from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from yais.server.options import ByteSize, Duration, IntegerList, read_toml

MS, S = Duration("ms", maximum=10), Duration("s", maximum=86400)


@pytest.mark.parametrize(
    ("kind", "text", "seconds"),
    [
        (MS, "0", 0),
        (MS, "2", 0.002),
        (MS, "2.5", 0.0025),
        (MS, 2, 0.002),
        (MS, 0.5, 0.0005),
        (MS, "500us", 0.0005),
        (MS, "2ms", 0.002),
        (MS, "2 ms", 0.002),
        (MS, "10s", 10),
        (MS, "10000", 10),
        (S, "30", 30),
        (S, "30s", 30),
        (S, "1.5m", 90),
        (S, "1440m", 86400),
        (S, "0s", 0),
    ],
)
def test_a_duration_is_a_number_with_or_without_a_unit(kind: Duration, text: Any, seconds: float) -> None:
    assert kind.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "ms", "-1", "-1ms", "1h", "1 2", "1e-3", ".5", "5.", "1ms ", " 1ms", "1,5s", "inf", "nan", "1MS", True]
)
def test_what_is_no_duration_is_refused(text: Any) -> None:
    with pytest.raises(click.BadParameter) as caught:
        S.convert(text, None, None)
    assert caught.value.message == f"{text!r} is not a duration; write a number and one of us, ms, s, m"


@pytest.mark.parametrize(
    ("kind", "text", "bound"),
    [(MS, "10.001s", "10s"), (MS, "1m", "10s"), (S, "1441m", "86400s"), (S, "9" * 400, "86400s")],
)
def test_a_duration_has_a_bound(kind: Duration, text: str, bound: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert caught.value.message == f"{text} is more than {bound}"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        (4096, 4096),
        ("4096B", 4096),
        ("2K", 2000),
        ("2KB", 2000),
        ("2KiB", 2048),
        ("2Ki", 2048),
        ("2 KiB", 2048),
        ("3M", 3_000_000),
        ("3MiB", 3 * 2**20),
        ("1G", 10**9),
        ("1GiB", 2**30),
        ("2147483647", 2**31 - 1),
    ],
)
def test_a_size_is_a_number_of_bytes_or_their_multiples(text: Any, size: int) -> None:
    assert ByteSize(1024, 2**31 - 1).convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "B", "-1", "1.5M", "1k", "1T", "1MiBs", "0x10", "1iB", " 1M", True])
def test_what_is_no_size_is_refused(text: Any) -> None:
    with pytest.raises(click.BadParameter) as caught:
        ByteSize(0, 100).convert(text, None, None)
    assert caught.value.message == f"{text!r} is not a size; write a number and one of K, M, G, Ki, Mi, Gi"


@pytest.mark.parametrize("text", ["1023", "0", "2147483648", "2GiB", "9" * 5000], ids=lambda text: text[:12])
def test_a_size_has_bounds(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not between 1024 and 2147483647 bytes$|is not a size"):
        ByteSize(1024, 2**31 - 1).convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", (0,)), (3, (3,)), ("0,1", (0, 1)), (" 2 , 0,10", (2, 0, 10)), ("1,1", (1, 1)), ("9999", (9999,))],
)
def test_numbers_have_commas_between_them(text: Any, numbers: tuple[int, ...]) -> None:
    assert IntegerList().convert(text, None, None) == numbers


@pytest.mark.parametrize("text", ["", ",", "0,", ",0", "0 1", "-1", "+1", "1.0", "0x1", "a", "0,a", "10000", True])
def test_what_is_no_list_of_numbers_is_refused(text: Any) -> None:
    with pytest.raises(click.BadParameter) as caught:
        IntegerList().convert(text, None, None)
    assert caught.value.message == f"{text!r} is not a list of numbers such as 0,1"


@click.command()
@click.option("--config", type=click.Path(path_type=Path), callback=read_toml, is_eager=True, expose_value=False)
@click.option("--how-many", type=int, default=1)
@click.option("--name", multiple=True)
@click.option("--quick", type=click.BOOL, default=True)
@click.version_option("7")
def command(how_many: int, name: tuple[str, ...], quick: bool) -> None:
    click.echo(f"{how_many} {list(name)}{'' if quick else ' slowly'}")


def run(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--config", str(path), *arguments])


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("", "1 []"),
        ("how-many = 3", "3 []"),
        ("how_many = 3", "3 []"),
        ('how-many = "3"\nname = ["a", "b"]', "3 ['a', 'b']"),
        ('name = "a"', "1 ['a']"),
        ("name = []", "1 []"),
        ("# nothing", "1 []"),
        ("quick = true", "1 []"),
        ("quick = false", "1 [] slowly"),
        ('quick = "off"', "1 [] slowly"),
        ("quick = 0", "1 [] slowly"),
    ],
)
def test_a_files_settings_are_the_flags_defaults(tmp_path: Path, text: str, output: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    assert run(tmp_path / "c.toml").output == f"{output}\n"


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('how-many = 3\nname = ["a"]')
    assert run(tmp_path / "c.toml", "--how-many", "4", "--name", "b").output == "4 ['b']\n"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"how-many = ", "cannot read"),
        (b"how-many = 1\nhow-many = 2", "cannot read"),
        (b"\xff\xfe", "cannot read"),
        (b"how-mny = 3", "sets 'how-mny', which is no flag of this command"),
        (b"zebra = 3\napple = 3", "sets 'apple', which is no flag of this command"),
        (b'config = "other.toml"', "sets 'config', which is no flag of this command"),
        (b"[how]\nmany = 3", "sets 'how', which is no flag of this command"),
        (b"help = true", "sets 'help', which is no flag of this command"),
        (b"quiet = true", "sets 'quiet', which is no flag of this command"),
        (b"version = true", "sets 'version', which is no flag of this command"),
    ],
    ids=["cut", "twice", "no UTF-8", "typo", "several", "itself", "table", "help", "unknown", "version"],
)
def test_a_file_that_makes_no_sense_is_a_usage_error_that_names_it(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    result = run(tmp_path / "c.toml")
    assert result.exit_code == 2
    assert f"{tmp_path / 'c.toml'}" in result.output.replace("\n", "")
    assert text in result.output


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("how-many = [1]", "Invalid value for '--how-many': [1] is neither a string nor a number"),
        ("how-many = {}", "Invalid value for '--how-many': {} is neither a string nor a number"),
        ("how-many = true", "Invalid value for '--how-many': True is neither a string nor a number"),
        ("how-many = 2001-01-01", "is neither a string nor a number"),
        ("how-many = 1.5", "Invalid value for '--how-many': '1.5' is not a valid integer"),
        ("how-many = inf", "Invalid value for '--how-many': 'inf' is not a valid integer"),
        ("quick = [true]", "Invalid value for '--quick': [True] is neither a string nor a number"),
        ('quick = "perhaps"', "Invalid value for '--quick': 'perhaps' is not a valid boolean"),
        ("name = [1]", "Invalid value for '--name': [1] is not a list of strings"),
        ("name = 1", "Invalid value for '--name': 1 is not a list of strings"),
        ('name = [["a"]]', "Invalid value for '--name': [['a']] is not a list of strings"),
    ],
)
def test_a_value_of_a_wrong_kind_is_a_usage_error_that_names_the_flag(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    result = run(tmp_path / "c.toml")
    assert result.exit_code == 2
    assert problem in result.output


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path, name: str) -> None:
    result = run(tmp_path / name)
    assert result.exit_code == 2
    assert "Invalid value for '--config': cannot read" in result.output
