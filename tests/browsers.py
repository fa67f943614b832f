"""Chromium for tests that look at a page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 60_000.0


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser; without one the test is skipped, or fails where YAIS_REQUIRE_PEERS=1."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        absent = "no browser is installed: apt-get install chromium"
        if os.environ.get("YAIS_REQUIRE_PEERS") == "1":
            pytest.fail(absent)
        pytest.skip(absent)
    with sync_playwright() as driver:
        # Chromium's sandbox refuses to work for root.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=WAIT_MS)
        yield browser
        browser.close()
