"""The benchmark of the reference kernel runs, and looks at the data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_benchmark_runs(tmp_path: Path) -> None:
    output = tmp_path / "reference.json"
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "reference.py"),
            "--mib",
            "8",
            "--times",
            "1",
            "--output",
            str(output),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(output.read_text())["rows"]
    assert [r["what"].split(",")[0] for r in rows] == [
        "memcpy", "migrate there and back", "migrate", "bookkeeping alone", "CPU faults on device pages", "stepped driver",
    ]  # fmt: skip
    assert all(r["rate"] > 0 for r in rows)


def test_wrong_data_is_told() -> None:
    script = """
import sys
sys.path.insert(0, "benchmarks")
import reference
machine = reference.Machine(512, data=True)
machine.there()
machine.verify(on_device=True)
machine.k.frames.data[machine.device.memory.first + 5, 9] ^= 1
try:
    machine.verify(on_device=True)
except reference.Wrong as wrong:
    print(wrong)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert "changed" in done.stdout, done.stderr


def test_sizes_that_make_no_sense() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "reference.py"), "--mib", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "at least 2" in done.stderr
