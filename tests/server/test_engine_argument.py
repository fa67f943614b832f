import re
from pathlib import Path
from typing import Any

import click
import pytest

from yais.server.config import Config, ConfigError
from yais.server.engine_argument import EngineArgument, EngineSource, read_engine


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("model.onnx", "model", "model.onnx"),
        ("/a/b/model.v2.onnx", "model.v2", "/a/b/model.v2.onnx"),
        ("model", "model", "model"),
        ("m=model.onnx", "m", "model.onnx"),
        ("m=/a/b.onnx", "m", "/a/b.onnx"),
        ("m=a=b.onnx", "m", "a=b.onnx"),
        ("/a=b/c.onnx", "c", "/a=b/c.onnx"),
        ("./a=b.onnx", "a=b", "./a=b.onnx"),
    ],
)
def test_an_engine_is_a_path_with_or_without_a_name(text: str, name: str, path: str) -> None:
    assert EngineArgument().convert(text, None, None) == EngineSource(name, Path(path))


@pytest.mark.parametrize("text", ["", "=", "m=", "=model.onnx"])
def test_what_is_no_engine_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        EngineArgument().convert(text, None, None)
    assert caught.value.message == f"{text!r} is not [NAME=]PATH"


OWN = EngineSource(
    "m",
    Path("m.onnx"),
    contexts=2,
    buffers=5,
    threads=3,
    max_batch_size=0,
    max_queue_delay=0.0005,
    max_queue_size=7,
)


@pytest.mark.parametrize(
    "entry",
    [
        "m.onnx,contexts=2,buffers=5,threads=3,max-batch-size=0,max-queue-delay=500us,max-queue-size=7",
        "m=m.onnx,max_queue_size=7,max_queue_delay=0.5,max_batch_size=0,threads=3,buffers=5,contexts=2",
        {
            "path": "m.onnx",
            "contexts": 2,
            "buffers": 5,
            "threads": 3,
            "max-batch-size": 0,
            "max-queue-delay": "500us",
            "max-queue-size": 7,
        },
        {
            "name": "m",
            "path": "m.onnx",
            "contexts": "2",
            "buffers": 5,
            "threads": 3,
            "max_batch_size": 0,
            "max_queue_delay": 0.5,
            "max_queue_size": 7,
        },
        OWN,
    ],
    ids=["text", "text with underscores", "table", "table with underscores", "itself"],
)
def test_an_engine_may_have_settings_of_its_own(entry: Any) -> None:
    assert read_engine(entry) == OWN


def test_a_path_and_that_of_a_table_may_hold_anything() -> None:
    assert read_engine(Path("a,b=c d.onnx")) == EngineSource("a,b=c d", Path("a,b=c d.onnx"))
    assert read_engine({"path": "a,b=c d.onnx"}) == EngineSource("a,b=c d", Path("a,b=c d.onnx"))


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("m.onnx,contexs=2", "'contexs' is no setting of an engine; did you mean 'contexts'?"),
        ("m.onnx,max_batchsize=2", "'max_batchsize' is no setting of an engine; did you mean 'max-batch-size'?"),
        ("m.onnx,", "'' is no setting of an engine; these are: buffers, contexts, "),
        ("a,b.onnx", "'b.onnx' is no setting of an engine; these are: buffers, contexts, "),
        ("a,b.onnx", 'A path with a comma goes into the file of --config: [[engine]] path = "..."'),
        ("m.onnx,contexts", "contexts: '' is not a valid integer range"),
        ("m.onnx,contexts=0", "contexts: 0 is not in the range 1<=x<=1024"),
        ("m.onnx,max-queue-delay=soon", "max-queue-delay: 'soon' is not a duration"),
        ("m.onnx,contexts=1,contexts=2", "'contexts' is given twice"),
        ("m.onnx,max_batch_size=1,max-batch-size=2", "'max-batch-size' is given twice"),
        ({"path": "m.onnx", "port": 1}, "'port' is no setting of an engine; these are: "),
        ({"path": "m.onnx", "contexts": True}, "contexts: 'True' is not a valid integer range"),
        ({"path": "m.onnx", "contexts": [1]}, "contexts: '[1]' is not a valid integer range"),
        ({"path": 1}, "name and path are strings"),
        ({"path": "m.onnx", "name": ""}, "name and path are strings"),
        ({"contexts": 1}, "{'contexts': 1} has no path"),
    ],
)
def test_a_setting_of_an_engine_that_cannot_be_is_refused_by_name(entry: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        read_engine(entry)
    with pytest.raises(click.BadParameter) as refused:
        EngineArgument().convert(entry, None, None)
    assert refused.value.message == str(caught.value)


def test_settings_in_python_have_the_same_bounds() -> None:
    with pytest.raises(ValueError, match=r"^contexts: 0 is not between 1 and 1024$"):
        EngineSource("m", Path("m.onnx"), contexts=0)


def test_a_variable_holds_engines_quoted_as_in_a_shell() -> None:
    split = EngineArgument().split_envvar_value
    assert split("a.onnx  'b c=d e.onnx' f=g\\ h.onnx,contexts=2") == [
        "a.onnx",
        "b c=d e.onnx",
        "f=g h.onnx,contexts=2",
    ]
    with pytest.raises(click.BadParameter, match=r"No closing quotation; quote engines as in a shell"):
        split("it's.onnx")


def test_the_configuration_takes_engines_in_any_form_and_keeps_them_in_one() -> None:
    config = Config(["a=b.onnx,contexts=2", Path("c,d.onnx"), EngineSource("e", Path("f"))])
    assert config.engines == config.sources
    assert config.sources == (
        EngineSource("a", Path("b.onnx"), contexts=2),
        EngineSource("c,d", Path("c,d.onnx")),
        EngineSource("e", Path("f")),
    )


def test_a_models_own_settings_come_before_those_of_the_server() -> None:
    config = Config(
        ["a,contexts=2", "b,max-queue-delay=2,max-queue-size=9,threads=4,max-batch-size=16,buffers=8"],
        contexts=3,
        max_queue_size=5,
        max_batch_size=7,
    )
    first, second = map(config.model_settings, config.sources)
    assert (first.contexts, first.buffers, first.threads, first.max_batch_size) == (2, 4, None, 7)
    assert (first.max_queue_delay, first.max_queue_size) == (0.0, 5)
    assert (second.contexts, second.buffers, second.threads, second.max_batch_size) == (3, 8, 4, 16)
    assert (second.max_queue_delay, second.max_queue_size) == (0.002, 9)


@pytest.mark.parametrize(
    ("engine", "settings", "text"),
    [
        ("m,contexts=2,buffers=1", {}, "--engine m: buffers 1 is less than contexts 2"),
        ("m,contexts=4", {"buffers": 3}, "--engine m: buffers 3 is less than contexts 4"),
        ("m,contexts=1", {"contexts": 2, "devices": (0, 1)}, "--engine m: contexts 1 is less than the 2 --devices"),
        (
            "m,max-batch-size=1,max-queue-delay=1",
            {},
            "--engine m: max-queue-delay has no effect when batching is off (max-batch-size 1)",
        ),
        ("m,contexts=x", {}, "--engine: contexts: 'x' is not a valid integer range."),
        ("=", {}, "--engine: '=' is not [NAME=]PATH"),
    ],
)
def test_settings_of_an_engine_that_contradict_others_are_refused(
    engine: str, settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config([engine], **settings)
    assert str(caught.value) == text


def test_a_model_that_is_not_batched_may_stand_beside_others_with_a_delay() -> None:
    config = Config(["a,max-batch-size=0", "b"], max_queue_delay=0.002)
    assert [config.model_settings(each).max_batch_size for each in config.sources] == [0, None]


def test_a_model_of_few_contexts_has_no_more_workspaces_than_these() -> None:
    config = Config(["a,contexts=1", "b"], contexts=3, workspaces=2)
    assert [config.engine_options(each).workspaces for each in config.sources] == [1, 2]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"port": 65536}, "--port: 65536 is not between 0 and 65535"),
        ({"max_batch_size": -1}, "--max-batch-size: -1 is not between 0 and 65536"),
        ({"drain_timeout": 1e9}, "--drain-timeout: 1000000000.0 is not between 0 and 86400"),
    ],
)
def test_settings_of_the_server_in_python_have_the_bounds_of_the_flags(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(["m"], **settings)
    assert str(caught.value) == text


def test_a_configuration_without_engines_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--engine: there is none to serve$"):
        Config([])
