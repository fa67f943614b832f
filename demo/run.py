"""The tour: a server, a picture classified, a steady load, the metrics that it moved, a clean end."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import click
from engine import MODEL, demo_engine

BIN = Path(sys.executable).parent
PICTURE = Path(__file__).with_name("coffee.jpg")
RATE, SECONDS = 20, 10
DETAIL = re.compile("_bucket|_summary_us")
ASIDE = re.compile(r" \(.*cached requests\)")

Samples = dict[str, float]


@dataclass(frozen=True, slots=True)
class Scrape:
    """The metrics at one moment: what each family means, and its samples."""

    helps: dict[str, str]
    samples: Samples


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: its gRPC port, and where its metrics are."""

    port: str
    metrics: str


def main() -> None:
    """Stops with the exit code of the first command that fails."""
    try:
        with serving(demo_engine()) as served:
            tour(served)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


def tour(served: Served) -> None:
    common = ("--port", served.port, "--model", MODEL, "--picture", str(PICTURE))
    run("client-sync", *common)
    before = scrape(served)
    run("siege", *common, "--rate", str(RATE), "--duration", f"{SECONDS}s", "--max-lag", "50ms")
    title(f"The metrics that moved, from {served.metrics}")
    for line in moved(before, scrape(served)):
        print(line)


@contextmanager
def serving(engine: Path) -> Iterator[Served]:
    """The server on free ports; drained at the end, which must go well."""
    command = [str(BIN / "inference-grpc"), "--engine", str(engine), "--port", "0", "--metrics", "0"]
    title(" ".join(["inference-grpc", *command[1:]]))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield started(server)
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait()
    print(f"The server exited with {code}.")
    if code:
        raise subprocess.CalledProcessError(code, command)


def started(server: "subprocess.Popen[str]") -> Served:
    """Passes the banner on, and reads from it where the server listens."""
    assert server.stdout is not None
    banner = ""
    for line in server.stdout:
        print(line, end="", flush=True)
        banner += line
        if "siege" in line:
            break
    ports = re.search(r"gRPC\s+\S+:(\d+)\n\s+metrics\s+http://\S+?:(\d+)/", banner)
    if ports is None:
        raise subprocess.CalledProcessError(server.wait() or 1, "inference-grpc")
    return Served(ports[1], f"http://127.0.0.1:{ports[2]}/metrics")


def run(name: str, *arguments: str) -> None:
    title(" ".join([name, *arguments]))
    subprocess.run([BIN / name, *arguments], check=True)


def scrape(served: Served) -> Scrape:
    with urlopen(served.metrics) as response:
        lines = response.read().decode().splitlines()
    helps = (line.split(" ", 3)[2:] for line in lines if line.startswith("# HELP "))
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return Scrape(dict(helps), {name: float(value) for name, value in samples})


def moved(before: Scrape, after: Scrape) -> Iterator[str]:
    """Each family of the service that changed, what it means, and its samples; of the many, those for a first look."""
    last = ""
    for name, value in after.samples.items():
        if not name.startswith(("yais_", "nv_inference_")) or DETAIL.search(name) or value == before.samples[name]:
            continue
        base = name.partition("{")[0]
        family = base if base in after.helps else base.rpartition("_")[0]
        if family != last:
            yield f"{family}: {ASIDE.sub('', after.helps[family])}"
            last = family
        yield f"  {name.removeprefix(family):<65} {before.samples[name]:>9.6g} -> {value:.6g}"


def title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
