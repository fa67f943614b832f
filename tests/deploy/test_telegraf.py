import tomllib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def scrape(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "deploy/telegraf/scrape.conf").read_text())


def test_it_scrapes_the_servers_default_port(scrape: dict[str, Any], server_defaults: dict[str, object]) -> None:
    (prometheus,) = scrape["inputs"]["prometheus"]
    assert prometheus["urls"] == [f"http://localhost:{server_defaults['metrics']}/metrics"]
    assert prometheus["metric_version"] == 2


def test_it_prints_to_stdout(scrape: dict[str, Any]) -> None:
    assert scrape["outputs"] == {"file": [{"files": ["stdout"], "data_format": "influx"}]}
