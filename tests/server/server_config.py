from pathlib import Path
from typing import Any

from yais.server.config import Config, EngineSource


def config(*names: str, **changes: Any) -> Config:
    """The defaults for engines of these names, with `changes`."""
    settings: dict[str, Any] = {
        "engines": tuple(EngineSource(name, Path(f"{name}.onnx")) for name in names or ("m",)),
        "host": "0.0.0.0",
        "port": 50051,
        "metrics": 50078,
        "contexts": 2,
        "buffers": None,
        "threads": None,
        "max_batch_size": None,
        "max_queue_delay": 0.0,
        "max_queue_size": 1024,
        "max_message_size": 2**27,
        "drain_timeout": 30.0,
        "transport": "native",
        "workers": 1,
        "device": "cpu",
        "devices": (0,),
        "workspaces": None,
        "cuda_graphs": True,
        "plan_cache": None,
        "run_timeout": 60.0,
    }
    return Config(**(settings | changes))
