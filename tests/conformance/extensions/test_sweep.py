"""Nothing that Python hands to the extension modules makes them crash; a crash would take the test's process along."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.extensions.entries import classes, declared, functions

TESTS = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(classes()))
def test_every_entry_refuses_what_does_not_fit(name: str) -> None:
    command = [sys.executable, "-P", "-W", "error", "-m", "conformance.extensions.sweep", name]
    swept = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(TESTS)}, stderr=subprocess.PIPE, text=True)
    assert swept.returncode == 0, swept.stderr[-4000:]


def test_all_types_of_the_sources_are_swept_and_there_is_nothing_beside_them() -> None:
    assert set(classes()) == set(declared())
    assert functions() == []
