"""The benchmark runs, and every checker that is installed counts the same states and transitions of pages.hmm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_same_counts(tmp_path: Path) -> None:
    output = tmp_path / "pages.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--instance", "p32", "--times", "1", "--output", output],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(output.read_text())
    assert document["same_counts"]
    counted = {(r["checker"], r["stored"]): (r["states"], r["transitions"]) for r in document["rows"]}
    assert counted["hmmspec", "all states"] == (14625, 137775)
    assert counted["hmmspec", "orbits"][0] == 2705
    for name in ("spin", "rumur"):
        assert ((name, "all states") in counted) == (shutil.which(name) is not None and shutil.which("gcc") is not None)
