"""Options that all commands share, and how a command ends: by a signal, or with its report."""

import asyncio
import math
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from types import FrameType
from typing import Any, NoReturn, TypeVar, get_args

import click

from yais import __version__
from yais.clients.channel import HostPort, join_address, parse_target
from yais.clients.command import option_group
from yais.clients.durations import DurationOption
from yais.clients.inputs.generated import Filling, Shapes, Sizes, parse_sizes
from yais.clients.inputs.images import Scaling
from yais.clients.reporters.text import render
from yais.clients.stats.report import Report, RunInfo

Group = TypeVar("Group")
Value = TypeVar("Value")

POSITIVE = click.IntRange(min=1)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FILE_OR_FOLDER = click.Path(exists=True, path_type=Path)
# Seconds.
_DAY = 86_400
_HOST, _PORT = "localhost", 50051

# Ctrl-C, and what a service manager or `docker stop` sends first.
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Number(click.FloatRange):
    """Unlike click's own range it does not let NaN through."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        # NaN is neither below the least nor above the greatest number, and passes click's own test.
        if math.isnan(number):
            self.fail(f"{value!r} is not in the range {self._describe_range()}.", parameter, context)
        return number


class Parsed(click.ParamType[Value]):
    """What `parse` makes of an option's text; a ValueError of it is bad usage, with its message."""

    def __init__(self, name: str, parse: Callable[[str], Value]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Value:
        # Defaults are values already.
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), parameter, context)


class Positive(Number):
    """A number above 0 and up to `most`."""

    def __init__(self, most: float) -> None:
        super().__init__(min=0, max=most, min_open=True)


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """Which server and model to call, and with what; the fields are the options."""

    target: str
    model: str
    model_version: str
    timeout: float
    picture: Path | None
    scaling: Scaling
    npz: Path | None
    json: Path | None
    inputs: Filling
    seed: int
    batch: Sizes | None
    shape: Shapes

    @property
    def host(self) -> str:
        return self._server.host

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def files(self) -> list[str]:
        """The options that say what to send instead of generating it."""
        options = {"--picture": self.picture, "--npz": self.npz, "--json": self.json}
        return [name for name, path in options.items() if path]

    @property
    def _server(self) -> HostPort:
        """Where the target is one server's. Raises click's usage error where it is not."""
        try:
            return parse_target(self.target).server
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--target") from error


def _parse_shapes(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> Shapes:
    shapes = {}
    for value in values:
        # Tensor names may hold colons; dimensions do not.
        name, _, dimensions = value.rpartition(":")
        try:
            shapes[name] = tuple(int(dimension) for dimension in dimensions.split(","))
        except ValueError:
            raise click.BadParameter(f"{value!r} is not NAME:d,d,...") from None
        if not name or min(shapes[name]) < 0:
            raise click.BadParameter(f"{value!r} is not NAME:d,d,... with dimensions of at least 0")
    return shapes


_server_option = option_group("Server")
_input_option = option_group("Model and inputs")

_OPTIONS = (
    _server_option("--host", help=f"Server to call; by default {_HOST}."),
    _server_option("--port", type=click.IntRange(1, 65535), help=f"Its gRPC port; by default {_PORT}."),
    _server_option(
        "--target",
        # Parsed only to be checked: the text itself is what goes to gRPC and into the report.
        type=Parsed("text", lambda text: parse_target(text).text),
        help="Server to call, as gRPC spells it, instead of --host and --port: host:port or unix:path. For several "
        "servers in turn: dns:///host:port calls every address of the host, ipv4:address:port,... and "
        "ipv6:[address]:port,... those listed.",
    ),
    _input_option("--model", default="", help="Model to call; by default the only one that the server has."),
    _input_option("--model-version", default="", help="Its version; by default the newest."),
    _server_option(
        "--timeout",
        type=DurationOption("s", _DAY),
        default="10s",
        show_default=True,
        help="Time for each request; seconds without a unit.",
    ),
    _input_option(
        "--picture",
        type=FILE_OR_FOLDER,
        help="Picture to send, scaled and cropped as the model's input asks; or a folder, whose pictures take turns.",
    ),
    _input_option(
        "--scaling",
        type=click.Choice(get_args(Scaling)),
        default="lite",
        show_default=True,
        help="Pixels x of 0 to 255 become, for an FP32 input: lite (x - 127) / 128; inception x / 127.5 - 1; imagenet "
        "(x / 255 - mean) / deviation of each channel; unit x / 255; none x.",
    ),
    _input_option(
        "--npz",
        type=FILE_OR_FOLDER,
        help="File of arrays to send, each named after its input; or a folder, whose .npz files take turns.",
    ),
    _input_option(
        "--json",
        type=FILE,
        help='File of a KServe v2 request to send, {"inputs": [{"name", "datatype", "shape", "data"}]}, or of a list '
        "of them, which take turns.",
    ),
    _input_option(
        "--inputs",
        type=click.Choice(get_args(Filling)),
        default="random",
        show_default=True,
        help="What to generate without a file: floats in [0, 1), integers from 0 to 127 (UINT8: 255), "
        "booleans, eight letters; or zeros.",
    ),
    _input_option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random."
    ),
    _input_option(
        "--batch",
        type=Parsed("sizes", parse_sizes),
        help="Rows of a request, for a model with a batch dimension: 8, or drawn from 1..16 (evenly), 1:70,8:25,32:5 "
        "(by weight) or geometric:MEAN[:MOST]; default 1.",
    ),
    _input_option(
        "--shape",
        multiple=True,
        callback=_parse_shapes,
        metavar="NAME:d,d,...",
        help="Shape of one row of a generated input; by default a free dimension is 16 (repeatable).",
    ),
)


def take_fields(group: type[Group], values: dict[str, Any]) -> Group:
    """Takes a dataclass's fields out of a command's values."""
    return group(**{field.name: values.pop(field.name) for field in fields(group)})  # type: ignore[arg-type]


def allow_one_of(*options: str) -> None:
    """Of options that exclude each other only one may be given."""
    if len(options) > 1:
        raise click.UsageError(f"{options[0]} and {options[1]} exclude each other")


def common_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the shared options to a command, which gets them as its first argument, a `CommonOptions`."""

    # wraps() also hands on the function's __dict__, in which click keeps the options of the decorators below.
    @wraps(command)
    def call(**values: Any) -> None:
        values["target"] = _find_target(values.pop("host"), values.pop("port"), values["target"])
        common = take_fields(CommonOptions, values)
        allow_one_of(*common.files)
        if common.batch and (common.npz or common.json):
            raise click.UsageError(f"{common.files[0]} and --batch exclude each other: the file has whole requests")
        if common.files and common.shape:
            raise click.UsageError(f"{common.files[0]} and --shape exclude each other: nothing is generated")
        command(common, **values)

    # Decorators apply from the last to the first; --help then has the options in the order of `_OPTIONS`.
    for option in reversed(_OPTIONS):
        call = option(call)
    return call


def run_info(options: CommonOptions) -> RunInfo:
    """What is known of a run that begins now."""
    return RunInfo(
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        target=options.target,
        seed=options.seed,
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        versions={
            "yais": __version__,
            **{name: version(name) for name in ("grpcio", "numpy")},
            "python": python_version(),
        },
    )


def end_command(report: Report) -> NoReturn:
    """Prints the report, and exits with 0 only when all that was offered was answered."""
    click.echo(render(report))
    sys.exit(0 if report.clean else 1)


@contextmanager
def signal_flag() -> Iterator[Callable[[], bool]]:
    """For blocking code: what it yields says whether there was a signal; a second one raises KeyboardInterrupt."""
    received = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            # The main thread is within a blocking call, which only an exception ends.
            raise KeyboardInterrupt
        _announce()

    before = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def handle_signals(stop: Callable[[], None], cancel: Callable[[], None]) -> Iterator[None]:
    """For the running event loop: the first signal calls `stop`, every later one `cancel`."""
    received = []

    def receive(number: int) -> None:
        received.append(number)
        if len(received) > 1:
            cancel()
        else:
            _announce()
            stop()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        # Not signal.signal(): the loop calls `receive` between two callbacks, never within one.
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _find_target(host: str | None, port: int | None, target: str | None) -> str:
    if target is None:
        # --host and --port have no defaults for click, or they would always exclude --target.
        return join_address(host or _HOST, port or _PORT)
    given = {"--host": host, "--port": port}
    allow_one_of("--target", *(name for name, value in given.items() if value))
    return target


def _announce() -> None:
    click.echo("stopping: waiting for the requests in flight; Ctrl-C again cancels them", err=True)
