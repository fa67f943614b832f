import json
import re
import subprocess
from pathlib import Path

import pytest

from e2e.peers import DRIVERS
from e2e.scrape import total
from e2e.serving import Serving

Failures = dict[str, str]


def checks(driver: str) -> list[str]:
    return re.findall(r"^(?:async )?def (check_\w+)", (DRIVERS / driver).read_text(), flags=re.MULTILINE)


def drive(python: Path, driver: str, server: Serving) -> Failures:
    command: list[str | Path] = [python, DRIVERS / driver, server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    failures: Failures = json.loads(done.stdout)
    return failures


@pytest.fixture(scope="module")
def sync_failures(triton_python: Path, server: Serving) -> Failures:
    return drive(triton_python, "triton_sync.py", server)


@pytest.fixture(scope="module")
def aio_failures(triton_python: Path, server: Serving) -> Failures:
    return drive(triton_python, "triton_aio.py", server)


@pytest.mark.parametrize("check", checks("triton_sync.py"))
def test_the_synchronous_client_is_content(sync_failures: Failures, check: str) -> None:
    assert not sync_failures[check], sync_failures[check]


@pytest.mark.parametrize("check", checks("triton_aio.py"))
def test_the_asyncio_client_is_content(aio_failures: Failures, check: str) -> None:
    assert not aio_failures[check], aio_failures[check]


def test_what_both_clients_gave_up_was_counted_and_is_over(
    sync_failures: Failures, aio_failures: Failures, server: Serving
) -> None:
    """Each let a deadline pass for certain; whether the cancellations reached the server is a matter of luck."""
    server.wait_in_flight(0)
    samples = server.samples()
    given_up = [
        total(samples, "nv_inference_request_failure", model="slow", reason=each) for each in ("CANCELED", "REJECTED")
    ]
    assert sum(given_up) >= 2
    assert total(samples, "nv_inference_request_success", model="slow") == 0
