from pathlib import Path

import pytest
from examples import run_page

PAGES = ("quick-start", "serving", "several-models", "building", "load-testing", "siege", "client-api")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES)
def test_examples_of_a_page_run(page: str, tmp_path: Path) -> None:
    assert run_page(f"docs/{page}.md", tmp_path) > 0


def test_an_example_that_fails_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text("```bash\ntrue\nfalse\n```\n")
    monkeypatch.setattr("examples.ROOT", tmp_path)
    (tmp_path / "run").mkdir()
    with pytest.raises(AssertionError, match="exited with 1"):
        run_page("page.md", tmp_path / "run")
