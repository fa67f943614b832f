"""Pictures of the documentation: the demo and siege's live view in a terminal, and a report of siege in a browser.

Each is made for light and for dark pages.

python docs/pictures.py    needs Chromium
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import ViewportSize, sync_playwright
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/pictures"
WIDTH = 118
BIN = Path(sys.executable).parent
BROWSER = "/usr/bin/chromium"
VIEWPORT: ViewportSize = {"width": 1000, "height": 760}

LIGHT = TerminalTheme((255, 255, 255), (31, 35, 40), [(31, 35, 40)] * 8)
THEMES = {"light": LIGHT, "dark": DIMMED_MONOKAI}
# Rich's own pictures load their font from a server.
_FONT_FACES = re.compile(r"@font-face \{.*?\}", flags=re.DOTALL)
_COMMAND = re.compile(r"^(client-sync|siege|The metrics) ?")
# Of the one request that client-sync sends.
_PERCENTILES_OF_ONE = re.compile(r"closed loop: .*?\nmax .*?\n", flags=re.DOTALL)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    picture_demo()
    picture_load()


def picture_demo() -> None:
    """The demo as it was just run: a picture classified, the load's report, the first of the metrics."""
    output = subprocess.run(
        [sys.executable, "demo/run.py"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    save_terminal("demo", "make demo", excerpt(output))


def save_terminal(picture: str, title: str, lines: Iterable[Text]) -> None:
    """Lines of a terminal as SVG."""
    shown = list(lines)
    for name, theme in THEMES.items():
        with TemporaryDirectory() as folder, (Path(folder) / "console").open("w") as sink:
            console = Console(record=True, width=WIDTH, file=sink)
            for line in shown:
                console.print(line, no_wrap=True, crop=True)
            svg = console.export_svg(title=title, theme=theme, unique_id=f"{picture}-{name}")
        (FOLDER / f"{picture}-{name}.svg").write_text(_FONT_FACES.sub("", svg))


def excerpt(output: str) -> list[Text]:
    text = output[output.index("\nclient-sync") : output.index("\nyais_inference_request_duration_ms")]
    text = _PERCENTILES_OF_ONE.sub("", text.replace(f"{ROOT}/", ""), count=1)
    return [
        Text(f"$ {line}" if line.startswith(("client", "siege")) else line, Style(bold=bool(_COMMAND.match(line))))
        for line in text.strip().splitlines()
    ]


def picture_load() -> None:
    """Poisson arrivals at a small model: siege's live view at its end, and the head of its report."""
    sys.path.append(str(ROOT / "demo"))
    from run import serving

    with TemporaryDirectory() as folder:
        model, report = Path(folder) / "mlp.onnx", Path(folder) / "run.html"
        subprocess.run([BIN / "engine-build", "mlp", "-o", model], check=True)
        options = ["--rate", "500", "--schedule", "poisson", "--duration", "30s", "--max-lag", "50ms"]
        with serving(model) as served:
            screen = run_in_terminal([str(BIN / "siege"), "--port", served.port, *options, "--report", str(report)])
        # Each frame begins by clearing the one before it.
        frame = re.split(r"\x1b\[2K", screen)[-1]
        save_terminal("live", " ".join(["siege", *options]), Text.from_ansi(frame.replace("\r", "").strip()).split())
        picture_report(report)


def run_in_terminal(command: list[str]) -> str:
    """What `command` writes to its standard error, which is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        # Reading from a terminal whose other side is closed is an error on Linux.
        with suppress(OSError):
            while data := os.read(ours, 65536):
                written += data
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return written.decode()


def picture_report(report: Path) -> None:
    """The head of a report in a browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            tab = browser.new_page(viewport=VIEWPORT, color_scheme=scheme)
            tab.goto(report.as_uri())
            tab.wait_for_function("Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle")
            tab.screenshot(path=FOLDER / f"report-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()
