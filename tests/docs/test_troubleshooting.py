"""The texts by which a reader finds a problem are those that are printed."""

import ast
import re
from pathlib import Path

import pytest

# Those of pip, venv, gcc, gRPC and Kubernetes.
OF_OTHERS = {
    "error: externally-managed-environment",
    "fatal error: Python.h: No such file or directory",
    "The virtual environment was not created successfully because ensurepip is not available",
    "Address already in use",
    "Invalid value for '--port'",
    "Received message larger than max (N vs. 4194304)",
    "Method not found!",
    "failed to connect to all addresses",
    "Connection refused",
}
PRODUCT = ("server", "engines", "transport", "clients", "proto")
# What stands for a part that varies.
_VARIES = re.compile(r"\b(?:NAME|N|KEY)\b|…|'--[a-z-]+'|\d+")


@pytest.fixture(scope="module")
def printed(root: Path) -> str:
    """All literal texts of the product, each f-string as its parts."""
    files = [root / "setup.py", *(path for folder in PRODUCT for path in (root / folder).rglob("*.py"))]
    texts = [
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return "\n".join([*texts, (root / ".ci/apt-install").read_text()])


def keys(page: str) -> list[str]:
    """What stands in code in the first column of a page's tables, but for settings, metrics and statuses."""
    cells = re.findall(r"^\| (.*?) \|", page, flags=re.MULTILINE)
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell) if " " in text or text in OF_OTHERS]


@pytest.mark.parametrize(("page", "least"), [("troubleshooting", 25), ("gpu", 15)])
def test_texts_are_those_that_are_printed(root: Path, printed: str, page: str, least: int) -> None:
    found = [text for text in keys((root / f"docs/{page}.md").read_text()) if text not in OF_OTHERS]
    assert len(found) >= least
    parts = {text: [part.strip() for part in _VARIES.split(text)] for text in found}
    assert {text for text in found if any(part not in printed for part in parts[text])} == set()
