from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yais.engines import EngineOptions
from yais.server.config import Config, ConfigError


@pytest.mark.parametrize(
    ("names", "changes", "text"),
    [
        (("a", "b", "a"), {}, "--engine: the name 'a' is used more than once; give each as NAME=PATH"),
        ((), {"metrics": 50051}, "--metrics: port 50051 is that of --port"),
        ((), {"buffers": 1}, "--buffers: 1 is less than --contexts 2"),
        (
            (),
            {"max_queue_delay": 0.001, "max_batch_size": 0},
            "--max-queue-delay has no effect when batching is off (--max-batch-size 0)",
        ),
        (
            (),
            {"max_queue_delay": 0.001, "max_batch_size": 1},
            "--max-queue-delay has no effect when batching is off (--max-batch-size 1)",
        ),
        ((), {"devices": (1, 0, 1)}, "--devices: GPU 1 is named more than once"),
        ((), {"devices": (0, 1, 2)}, "--devices: 3 GPUs are more than --contexts 2"),
        ((), {"workspaces": 3}, "--workspaces: 3 is more than --contexts 2"),
    ],
    ids=[
        "names",
        "ports",
        "buffers",
        "delay without batches",
        "delay with batches of one",
        "a GPU twice",
        "GPUs without contexts",
        "workspaces without contexts",
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    names: tuple[str, ...], changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(names or ["m"], **({"contexts": 2} | changes))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0, "metrics": 0},
        {"buffers": 2},
        {"max_queue_delay": 0.0, "max_batch_size": 0},
        {"max_queue_delay": 0.001, "max_batch_size": 2},
        {"max_queue_delay": 0.001, "max_batch_size": None},
        {"devices": (1, 0)},
        {"workspaces": 2},
    ],
    ids=str,
)
def test_settings_at_the_edge_of_a_contradiction_are_none(changes: dict[str, Any]) -> None:
    assert Config(["a", "b"], **({"contexts": 2} | changes)).contexts == 2


def test_engines_are_opened_as_the_settings_say() -> None:
    settings = Config(
        ["a", "b,contexts=4,threads=1,max-batch-size=0"],
        contexts=3,
        workers=4,
        threads=5,
        max_batch_size=6,
        device="cuda",
        devices=(7, 8),
        workspaces=2,
        cuda_graphs=False,
        plan_cache=Path("/plans"),
    )
    first, second = map(settings.engine_options, settings.sources)
    assert first == EngineOptions(
        contexts=3,
        runs=28,
        threads=5,
        max_batch_size=6,
        device="cuda",
        devices=(7, 8),
        workspaces=2,
        graphs=False,
        plan_cache=Path("/plans"),
    )
    assert second == replace(first, contexts=4, threads=1, max_batch_size=0)


@pytest.mark.parametrize(("buffers", "want"), [(None, 4), (2, 2), (9, 9)])
def test_there_are_two_buffers_more_than_contexts_unless_set(buffers: int | None, want: int) -> None:
    settings = Config(["m"], contexts=2, buffers=buffers)
    assert settings.model_settings(settings.sources[0]).buffers == want


def test_a_configuration_error_is_a_value_error_that_names_the_flag() -> None:
    with pytest.raises(ValueError, match=r"^--buffers"):
        Config(["m"], contexts=2, buffers=1)
