"""MLServer as `make_peers.sh` installs it: its command, and a folder with its one model."""

import json
import shutil
from pathlib import Path

from bench.measure import BUILD, free_port
from bench.service.servers import environment

_RUNTIME = Path(__file__).with_name("models") / "mlserver_identity.py"
_FOLDER = BUILD / "mlserver"

# All in one process, and without a line of log for each request, which is MLServer's default.
_SETTINGS = {"HOST": "127.0.0.1", "PARALLEL_WORKERS": 0, "DEBUG": "false"}


def mlserver(port: int) -> list[str]:
    """The command of an MLServer that serves identity on `port`, with its metrics on."""
    folder = environment("mlserver-1.7")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.copy(_RUNTIME, _FOLDER)
    settings = {"name": "identity", "implementation": "mlserver_identity.Identity"}
    (_FOLDER / "model-settings.json").write_text(json.dumps(settings))
    ports = {"GRPC_PORT": port, "HTTP_PORT": free_port(), "METRICS_PORT": free_port()}
    variables = [f"MLSERVER_{name}={value}" for name, value in {**_SETTINGS, **ports}.items()]
    return ["env", *variables, str(folder / "bin" / "mlserver"), "start", str(_FOLDER)]
