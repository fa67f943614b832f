import json
from pathlib import Path

from bench.report.results import exceeded


def test_rows_above_their_bound_are_named(tmp_path: Path) -> None:
    bound = {"kind": "at most", "value": 1.01}
    rows = [
        {"case": "other commit", "of_medians": None, "bound": None},
        {"case": "kept", "of_medians": 1.01, "bound": bound},
        {"case": "broken", "of_medians": 1.0234, "bound": bound},
    ]
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps({"rows": rows}))
    (line,) = exceeded(path)
    assert line == "broken: 1.0234 of the other commit's, and at most 1.01 was asked"
