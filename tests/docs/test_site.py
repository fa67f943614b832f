"""The site that `make docs` builds."""

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from browsers import WAIT_MS, launched

from yais.server.cli import main as server_command

# House style: phrases that once stood in the pages.
BANNED = ("settings that cannot be", "options that cannot be", "for company", "whose limit", "would share it")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly: a broken link, anchor or reference fails it."""
    folder = tmp_path_factory.mktemp("docs")
    built = subprocess.run([sys.executable, root / "docs/build.py", folder], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def pages_in(nav: Any) -> Iterator[str]:
    """The pages of a navigation, however deep."""
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_in(entry)


def test_every_page_is_in_the_navigation(root: Path) -> None:
    nav = tomllib.loads((root / "docs/zensical.toml").read_text())["project"]["nav"]
    pages = [
        *root.glob("docs/*.md"),
        *root.glob("bench/README.md"),
        *root.glob("bench/*/README.md"),
        *root.glob("*.md"),
    ]
    assert set(pages_in(nav)) == {str(page.relative_to(root)) for page in pages}


def test_settings_have_a_row_for_each_flag(site: Path) -> None:
    page = (site / "docs/settings.html").read_text()
    flags = [option.opts[0] for option in server_command.params if isinstance(option, click.Option)]
    rows = re.findall(r"<td><code>(--[a-z-]+)</code>(?:<br|</td>)", page)
    assert [*rows, "--version"] == flags


@pytest.mark.parametrize("name", ["siege chaos proxy", "engine-inspect"])
def test_command_lines_have_each_command(site: Path, name: str) -> None:
    assert f"Usage: {name}" in re.sub("<[^>]+>", "", (site / "docs/commands.html").read_text())


@pytest.mark.parametrize(
    ("page", "anchor"),
    [("client-api", "yais.clients.AsyncClient.server_ready"), ("server-api", "yais.server.config.Config")],
)
def test_api_pages_have_docstrings(site: Path, page: str, anchor: str) -> None:
    assert f'id="{anchor}"' in (site / f"docs/{page}.html").read_text()


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|source|iframe|link)\b[^>]*?\b(?:src|srcset|href)=\"?((?:https?:)?//[^\"\s>]+)")
    styles = re.compile(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)")
    pages, sheets = [*site.rglob("*.html")], [*site.rglob("*.css"), *site.rglob("*.svg")]
    assert len(pages) > 30
    assert [link for page in pages for link in loaded.findall(page.read_text())] == []
    assert [link for sheet in [*pages, *sheets] for link in styles.findall(sheet.read_text())] == []


def test_search_finds_a_page_without_a_network(address: str) -> None:
    with launched() as browser, browser.new_page() as tab:
        tab.set_default_timeout(WAIT_MS)
        requests: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(address, wait_until="networkidle")
        tab.get_by_role("button", name="Search").click()
        tab.get_by_role("combobox", name="Search").fill("coordinated omission")
        tab.get_by_role("option").filter(has_text="Glossary").click()
        tab.wait_for_url("**/docs/glossary.html*")
        assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize("phrase", BANNED)
def test_pages_are_in_plain_english(root: Path, phrase: str) -> None:
    pages = [*root.glob("docs/*.md"), root / "README.md"]
    assert [page.name for page in pages if phrase in page.read_text()] == []
