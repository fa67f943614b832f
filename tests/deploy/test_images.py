import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from yais import __version__

DOCKERFILES = ("Dockerfile", "Dockerfile.gpu")
CONFIGURATION = "deploy/docker/config.toml"
both_images = pytest.mark.parametrize("dockerfile", DOCKERFILES)


def instructions(root: Path, dockerfile: str) -> list[tuple[str, str]]:
    """Every instruction in order, continued lines joined, comments dropped."""
    lines = [line for line in (root / dockerfile).read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def last(root: Path, dockerfile: str, instruction: str) -> str:
    return [rest for word, rest in instructions(root, dockerfile) if word == instruction][-1]


def hadolint() -> str:
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not installed")
    return found


@contextmanager
def health_answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A metrics port that answers every GET with `status`; yields its number, and the paths asked for so far."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, paths
        server.shutdown()
        thread.join()


def exit_code_of_health_check(root: Path, dockerfile: str, port: int) -> int:
    command = json.loads(last(root, dockerfile, "HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    done = subprocess.run([sys.executable, *command[1:]], env={"YAIS_METRICS": str(port)}, capture_output=True)
    return done.returncode


@both_images
def test_hadolint_has_nothing_to_say(root: Path, dockerfile: str) -> None:
    done = subprocess.run([hadolint(), root / dockerfile], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@both_images
def test_server_is_process_one_and_is_stopped_by_sigterm(root: Path, dockerfile: str) -> None:
    assert json.loads(last(root, dockerfile, "ENTRYPOINT")) == ["inference-grpc"]
    assert last(root, dockerfile, "STOPSIGNAL") == "SIGTERM"


@both_images
def test_user_is_the_number_that_the_pods_run_as(root: Path, dockerfile: str, pod: dict[str, Any]) -> None:
    security = pod["securityContext"]
    assert last(root, dockerfile, "USER") == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert security["runAsUser"] > 0


@both_images
def test_exposed_ports_are_the_servers_defaults(
    root: Path, dockerfile: str, server_defaults: dict[str, object], container: dict[str, Any]
) -> None:
    exposed = [int(port) for port in last(root, dockerfile, "EXPOSE").split()]
    assert exposed == [server_defaults["port"], server_defaults["metrics"]]
    assert exposed == [port["containerPort"] for port in container["ports"]]


@both_images
def test_configuration_names_the_engine_that_the_image_carries(root: Path, dockerfile: str) -> None:
    copied = dict(
        rest.rsplit(" ", 1) for word, rest in instructions(root, dockerfile) if word == "COPY" and "opt/yais" in rest
    )
    assert ("ENV", f"YAIS_CONFIG={copied[CONFIGURATION]}config.toml") in instructions(root, dockerfile)
    built = re.search(r"engine-build \S+ -o (/engines)/(\S+)", (root / dockerfile).read_text())
    assert built is not None
    (folder,) = (target for source, target in copied.items() if source.endswith(built[1]))
    assert tomllib.loads((root / CONFIGURATION).read_text()) == {"engine": [f"{folder}/{built[2]}"]}


def test_server_takes_the_engine_of_the_images_configuration(root: Path) -> None:
    command = [Path(sys.executable).with_name("inference-grpc")]
    environment = {"YAIS_CONFIG": str(root / CONFIGURATION)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    (engine,) = tomllib.loads((root / CONFIGURATION).read_text())["engine"]
    assert (done.returncode, f"engine '{engine}'" in done.stderr) == (3, True)


@both_images
def test_onnx_runtime_reports_to_nobody(root: Path, dockerfile: str) -> None:
    assert ("ENV", "ORT_DISABLE_TELEMETRY=1") in instructions(root, dockerfile)


@both_images
def test_base_images_are_pinned(root: Path, dockerfile: str) -> None:
    stages = [rest.split() for word, rest in instructions(root, dockerfile) if word == "FROM"]
    named = {stage[2] for stage in stages if len(stage) > 1}
    bases = {stage[0] for stage in stages} - named
    assert len(bases) == 1
    assert re.fullmatch(r"[\w./-]+:\d[\w.-]+", bases.pop())


@both_images
def test_health_check_passes_when_ready(root: Path, dockerfile: str) -> None:
    with health_answering(200) as (port, paths):
        assert exit_code_of_health_check(root, dockerfile, port) == 0
    assert paths == ["/v2/health/ready"]


@both_images
def test_health_check_fails_when_not_ready(root: Path, dockerfile: str) -> None:
    with health_answering(503) as (port, _):
        assert exit_code_of_health_check(root, dockerfile, port) == 1


@both_images
def test_nghttp2_is_compiled_with_in_the_first_stage_and_there_to_run_with_in_the_last(
    root: Path, dockerfile: str
) -> None:
    stages = re.split(r"^FROM ", (root / dockerfile).read_text(), flags=re.MULTILINE)[1:]
    installed = [set(re.findall(r"\S*(?:nghttp2|pkg-config|gcc)\S*", stage)) for stage in stages]
    assert installed[0] == {"gcc", "libnghttp2-dev", "pkg-config"}
    assert installed[-1] == {"libnghttp2-14"}


def test_gpu_image_runs_onnx_files_on_the_gpu_and_has_a_folder_for_their_plans(
    root: Path, flags: dict[str, str], server_defaults: dict[str, object], pod: dict[str, Any]
) -> None:
    steps = instructions(root, "Dockerfile.gpu")
    (settings,) = (rest for word, rest in steps if word == "ENV" and "YAIS_DEVICE" in rest)
    variables = dict(setting.split("=") for setting in settings.split())
    assert variables == {"YAIS_DEVICE": "cuda", "YAIS_PLAN_CACHE": flags["plan-cache"]}
    assert {name.removeprefix("YAIS_").lower().replace("_", "-") for name in variables} <= server_defaults.keys()
    user = pod["securityContext"]["runAsUser"]
    assert ("RUN", f"install -d -o {user} -g {user} {flags['plan-cache']}") in steps
    assert "YAIS_DEVICE" not in (root / "Dockerfile").read_text()


def test_both_images_end_alike(root: Path) -> None:
    tails = []
    for dockerfile in DOCKERFILES:
        steps = instructions(root, dockerfile)
        tails.append(steps[[word for word, _ in steps].index("USER") :])
    assert tails[0] == tails[1]


def test_build_context_holds_what_the_wheel_needs_and_nothing_more(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    folders = {"src"} | {link.name for link in (root / "src" / "yais").iterdir() if link.is_symlink()}
    files = {"pyproject.toml", "setup.py", project["project"]["readme"], *project["project"]["license-files"]}
    lines = (root / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == folders | files | {"deploy/docker"}
    assert rules[-3:] == ["**/__pycache__", "proto/*_pb2*", "**/*.so"]


def test_image_in_the_manifests_carries_the_version_of_the_project(root: Path, container: dict[str, Any]) -> None:
    assert container["image"] == f"yais:{__version__}-gpu"
    tags = re.findall(r"newTag: (\S+)", "".join(p.read_text() for p in root.glob("deploy/*/kustomization.yaml")))
    assert sorted(tags) == [__version__, f"{__version__}-gpu"]
