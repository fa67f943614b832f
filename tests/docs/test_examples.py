from pathlib import Path

from examples import run_page


def test_examples_of_the_readme_run(tmp_path: Path) -> None:
    assert run_page("README.md", tmp_path) == 3
