"""States on disk: the same report, little memory, a clear end where the disk is full, and nothing left behind."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmmspec.checker.native import search
from hmmspec.checker.native.engine import c_text, check_native
from hmmspec.checker.native.spill import in_memory, spill_file
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Progress, Status
from hmmspec.checker.verify import verify
from hmmspec.cli.main import main
from hmmspec.diagnostics import Limit
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from tests.checker.helpers import statuses, system_of, traces
from tests.native.peak import peak_of
from tests.native.test_agreement import exactly
from tests.native.test_engine import GRID, pages
from tests.native.test_hash import WIDE

ROOT = Path(__file__).resolve().parents[2]
FULL = CheckOptions(symmetry=False, threads=1)

# States of 129 words, of which a search finds 46,656: 46 MiB.
BIG = """
spec big
type Row = 0..5;
type Pad = 0..1023;
var at[Row]: 0..5 = 0;
var pad[Pad]: 0..255 = 7;
transition up(r: Row) when at[r] < 5 { at[r] += 1; }
transition down(r: Row) when at[r] > 0 { at[r] -= 1; }
invariant same: pad[0] == 7 && pad[1023] == 7;
invariant small: at[0] + at[1] + at[2] < 15;
"""


@pytest.fixture(autouse=True)
def _compiled(cache: Path) -> None:
    assert cache.is_dir()


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Memory for 4,000,000 bytes: small windows that slide often."""
    monkeypatch.setattr(search, "_memory", lambda options: 4_000_000)
    return monkeypatch


# ---------------------------------------------------------------- the same report


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_report_is_the_same(tmp_path: Path, little: pytest.MonkeyPatch, threads: int) -> None:
    """Here even with less memory: beside the states there is no room for 320,625."""
    assert check_native(pages(4, 2), FULL).limit.startswith("memory limit")
    spilled = check_native(pages(4, 2), replace(FULL, threads=threads, spill=tmp_path))
    little.undo()
    assert same(spilled) == same(check_native(pages(4, 2), FULL))


@pytest.mark.parametrize("threads", [1, 2])
def test_traces_are_found_again_on_disk(tmp_path: Path, little: pytest.MonkeyPatch, threads: int) -> None:
    system = system_of(GRID.replace("0..7", "0..6"))
    spilled = check_native(system, replace(FULL, threads=threads, spill=tmp_path, max_traces=3))
    for v, trace in traces(spilled):
        assert verify(system, trace, v.property) == []
    little.undo()
    assert same(spilled) == same(check_native(system, replace(FULL, max_traces=3)))
    assert spilled.states == 6**7


def test_orbits(tmp_path: Path) -> None:
    options = CheckOptions(threads=2)
    spilled = check_native(pages(4, 2), replace(options, spill=tmp_path))
    assert same(spilled) == same(check_native(pages(4, 2), options))
    assert spilled.reduction == "orbits"


def test_a_limit_leaves_a_frontier_that_is_judged(tmp_path: Path) -> None:
    text = "var x: 0..99 = 0; transition up when x < 99 { x += 1; } invariant low: x < 4;"
    report = check_native(system_of(text), replace(FULL, states=5, spill=tmp_path))
    assert report.limit == "limit of 5 states"
    assert statuses(report)["low"] == "violated"


def test_whole_runs(tmp_path: Path) -> None:
    """They look at states in any order: what is on disk has to fit the memory then, or that is said."""
    path = ROOT / "benchmarks/pages_live.hmm"
    system = build_all(load(str(path)), None, {"PAGES": 3, "FRAMES": 1})[0]
    spilled = check_native(system, replace(FULL, spill=tmp_path))
    assert same(spilled) == same(check_native(system, FULL))
    assert spilled.limit == ""


def test_whole_runs_for_which_there_is_too_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_memory", lambda options: 3_400_000)
    path = ROOT / "benchmarks/pages_live.hmm"
    system = build_all(load(str(path)), None, {"PAGES": 4, "FRAMES": 2})[0]
    report = check_native(system, replace(FULL, spill=tmp_path))
    assert report.states == 320625
    assert "too little to judge whole runs" in report.limit
    assert report.exit_code == 3
    kinds = {v.kind for v in report.verdicts if v.status is Status.UNKNOWN}
    assert {"leads_to", "recoverable"} <= kinds
    assert statuses(report)["capacity"] == "holds"


# ---------------------------------------------------------------- memory


def same(report: InstanceReport) -> dict[str, Any]:
    """All but times, and but the remark: where temporary files lie in memory, that is told."""
    return exactly(replace(report, remark=""))


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def run(spec: str, folder: Path, *options: str) -> tuple[int, int, str]:
    """A check in a process of its own: exit code, peak of its memory in bytes, output."""
    command = [sys.executable, "-m", "hmmspec", "check", spec, "--no-symmetry", "--spill", str(folder), *options]
    out = folder / "out.txt"
    with out.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT)
        used = peak_of(process)
    text = out.read_text()
    out.unlink()
    return process.returncode, used, text


def test_memory_holds_no_states(tmp_path: Path) -> None:
    """Traces and all: a frontier and old levels of 46 MiB, in 8 MiB more than a check needs that has no states."""
    spec = tmp_path / "big.hmm"
    spec.write_text(BIG)
    _, least, _ = run(str(spec), tmp_path, "--hash", "64", "--states", "10")
    code, used, text = run(str(spec), tmp_path, "--hash", "64", "--memory", f"{least + (24 << 20)}")
    assert code == 1, text
    assert "46656 states" in text
    assert "trace of 15 steps (not known to be shortest)" in text
    assert used <= least + (24 << 20)
    assert names(tmp_path) == ["big.hmm"]


@pytest.mark.slow
def test_much_more_on_disk_than_in_memory(tmp_path: Path) -> None:
    """6,665,625 states: 51 MiB on disk, a table of 40 MiB; without --hash and --spill 81 + 51 MiB."""
    options = ("-p", "PAGES=5", "-p", "FRAMES=2", "--hash", "40", "--memory", "140M")
    code, used, text = run(str(ROOT / "benchmarks/pages.hmm"), tmp_path, *options)
    assert code == 0, text
    assert "6665625 states" in text
    assert used <= 140 << 20
    assert names(tmp_path) == []


def test_what_cannot_be_let_go(tmp_path: Path) -> None:
    assert c_text(system_of(WIDE), FULL).words > 1
    report = check_native(system_of(WIDE), replace(FULL, spill=tmp_path))
    assert "compared in memory" in report.remark
    assert "--hash 64" in report.remark
    assert same(report) == same(check_native(system_of(WIDE), FULL))


def test_a_limit_of_memory_says_what_goes_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_memory", lambda options: 1_000_000)
    remark = check_native(pages(4, 2), FULL).remark
    assert "--spill DIR" in remark
    assert "--hash 40" in remark
    assert "--hash 40" in check_native(pages(4, 2), replace(FULL, spill=tmp_path)).remark
    assert "--hash 64" in check_native(system_of(WIDE.replace("n < 40", "n < 99999")), FULL).remark


# ---------------------------------------------------------------- the disk


@pytest.mark.skipif(not in_memory(Path("/dev/shm")), reason="/dev/shm is not in memory")
def test_a_folder_in_memory_is_told(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert "lies in memory" in check_native(pages(2, 1), replace(FULL, spill=Path(folder))).remark
    assert not in_memory(tmp_path / "missing")


@pytest.mark.parametrize("bits", [0, 40])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_full_disk(tmp_path: Path, bits: int, threads: int) -> None:
    """Files of this process may not grow beyond 1.5 MB: the same answer as that of a full disk, but for its number."""
    system = pages(4, 2)
    options = replace(FULL, threads=threads, hash_bits=bits, spill=tmp_path)
    check_native(system, replace(options, states=100))  # compiles
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, hard))
    try:
        report = check_native(system, options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert report.limit.startswith(f"no room left on {tmp_path}")
    assert report.exit_code == 3
    assert report.states is not None
    assert 1_400_000 <= report.states * 8 <= 1_500_000
    assert {v.status for v in report.verdicts} == {Status.UNKNOWN}
    assert "--spill" not in report.remark


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert main(["check", str(ROOT / "benchmarks/pages.hmm"), "--spill", str(file / "deeper")]) == 2
    assert "HMM087" in capsys.readouterr().err
    with pytest.raises(Limit, match="cannot be kept"), spill_file(file):
        pass


def test_the_folder_is_made_and_stays_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    seen: list[list[str]] = []

    def look(_: Progress) -> None:
        seen.append(names(folder))

    report = check_native(pages(7, 2), replace(FULL, spill=folder, seconds=4), look)
    assert report.limit.startswith("time limit")
    assert seen
    assert not any(seen)
    assert names(folder) == []


def test_a_killed_run_leaves_nothing(tmp_path: Path) -> None:
    options = ["--spill", str(tmp_path), "-p", "PAGES=7", "-p", "FRAMES=2", "--no-symmetry", "--memory", "300M"]
    command = [sys.executable, "-m", "hmmspec", "check", str(ROOT / "benchmarks/pages.hmm"), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    until = time.monotonic() + 60
    opened = False
    while not opened and time.monotonic() < until:
        opened = any(str(tmp_path) in link for link in open_files(process.pid))
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert opened
    assert names(tmp_path) == []


def open_files(pid: int) -> list[str]:
    found = []
    for name in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found.append(str(name.readlink()))
        except OSError:
            continue
    return found
