"""Examples of the documentation, run as a reader would.

Blocks of `bash` and `python` are run in the order of their page, in one folder. `inference-grpc` runs in the background
until the page's next one. Ports are free ones, and loads last a second; the rest is as written. Blocks that need what a
test lacks (a GPU, root, Docker) are `console` or `py`.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TIMEOUT_S = 90

_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_SERVER = re.compile(r"^(inference-grpc .*)$", flags=re.MULTILINE)
_CLIENT = re.compile(r"^(client-sync|client-async|siege)(?= --)", flags=re.MULTILINE)
_SECONDS = re.compile(r"--(duration|warmup) \d+s")
_MAX_LAG = re.compile(r" --max-lag \S+")
_PORTS = re.compile(r"gRPC\s+\S+:(\d+)\n\s+metrics\s+http://\S+?:(\d+)/")


@dataclass(slots=True)
class Session:
    """A folder to run in, and the ports of the server that runs there."""

    folder: Path
    port: str = "50051"
    metrics: str = "50078"
    servers: ExitStack = field(default_factory=ExitStack)

    def run(self, language: str, text: str) -> None:
        """Raises CalledProcessError, with what it printed, for an example that fails."""
        if language == "python":
            self._call([sys.executable, "-c", self._here(text)])
            return
        for part in _SERVER.split(text):
            if _SERVER.match(part):
                self.servers.close()
                self.port, self.metrics = self.servers.enter_context(served(part, self.folder))
            elif part.strip():
                self._call(["bash", "-euo", "pipefail", "-c", self._here(part)])

    def _here(self, text: str) -> str:
        text = text.replace("50051", self.port).replace("50078", self.metrics)
        text = _MAX_LAG.sub("", _SECONDS.sub(r"--\1 1s", text))
        # How late a busy machine sends is none of the example's affair.
        return _CLIENT.sub(lambda client: f"{client[1]} --port {self.port}", text).replace(
            f"siege --port {self.port}", f"siege --port {self.port} --max-lag 60s"
        )

    def _call(self, command: list[str]) -> None:
        ran = subprocess.run(
            command, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert ran.returncode == 0, f"{command[-1]}\nexited with {ran.returncode}\n{ran.stdout}{ran.stderr}"


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "YAIS_PORT": "0", "YAIS_METRICS": "0"}


@contextmanager
def served(command: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Its ports; at the end it has to drain."""
    with subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        banner = ""
        for line in server.stdout:
            banner += line
            if line.strip().startswith("siege"):
                break
        ports = _PORTS.search(banner)
        assert ports, f"{command}\n{banner}"
        try:
            yield ports[1], ports[2]
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(TIMEOUT_S) == 0, command


def run_page(name: str, folder: Path) -> int:
    """Runs the examples of a page in `folder`, where `demo/` is, too; the number of them."""
    (folder / "demo").symlink_to(ROOT / "demo")
    session = Session(folder)
    blocks = _BLOCK.findall((ROOT / name).read_text())
    with session.servers:
        for language, text in blocks:
            session.run(language, text)
    return len(blocks)
