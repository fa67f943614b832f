"""Pictures of the README: the demo in a terminal, and a report of siege in a browser, each for light and dark pages.

python docs/pictures.py    needs Chromium
"""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import ViewportSize, sync_playwright
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import DIMMED_MONOKAI, TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/pictures"
WIDTH = 100
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
    picture_report()


def picture_demo() -> None:
    """The demo as it was just run: a picture classified, the load's report, the first of the metrics."""
    output = subprocess.run(
        [sys.executable, "demo/run.py"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name, theme in THEMES.items():
        with TemporaryDirectory() as folder, (Path(folder) / "console").open("w") as sink:
            console = Console(record=True, width=WIDTH, file=sink)
            for line in excerpt(output):
                console.print(line, no_wrap=True, crop=True)
            svg = console.export_svg(title="make demo", theme=theme, unique_id=f"demo-{name}")
        (FOLDER / f"demo-{name}.svg").write_text(_FONT_FACES.sub("", svg))


def excerpt(output: str) -> list[Text]:
    text = output[output.index("\nclient-sync") : output.index("\nyais_inference_request_duration_ms")]
    text = _PERCENTILES_OF_ONE.sub("", text.replace(f"{ROOT}/", ""), count=1)
    return [
        Text(f"$ {line}" if line.startswith(("client", "siege")) else line, Style(bold=bool(_COMMAND.match(line))))
        for line in text.strip().splitlines()
    ]


def picture_report() -> None:
    """The head of a report of Poisson arrivals at a small model."""
    sys.path.append(str(ROOT / "demo"))
    from run import serving

    with TemporaryDirectory() as folder:
        model, report = Path(folder) / "mlp.onnx", Path(folder) / "run.html"
        subprocess.run([BIN / "engine-build", "mlp", "-o", model], check=True)
        with serving(model) as served:
            schedule = ["--rate", "500", "--schedule", "poisson", "--duration", "30s", "--max-lag", "50ms"]
            command = [BIN / "siege", "--port", served.port, *schedule, "--report", report]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
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
