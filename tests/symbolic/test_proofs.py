"""All that the specs want proved is proved, and docs/proofs.md says how much that is.

The page's numbers are those of docs/proofs.json, which `python benchmarks/proofs.py` makes; here they are
compared with the files, and the proofs themselves are done again: the quick ones in every run, all of them with the slow
tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import proofs
from hmmspec.checker.symbolic.proofs import Task, carry_out, tasks
from hmmspec.checker.symbolic.prover import ProveOptions, goals_of
from hmmspec.checker.verdict import Level, Status
from hmmspec.lang.load import load
from hmmspec.system.build import build_all

ROOT = Path(__file__).resolve().parents[2]
SPECS = [*sorted((ROOT / "specs").glob("*.hmm")), ROOT / "benchmarks/pages_frames.hmm"]
QUICK = {"pages_frames", "device_private", "two_devices", "page_life", "range_fault"}
OPTIONS = ProveOptions(seconds=240)


def every_task(path: Path) -> list[Task]:
    spec = load(str(path))
    return tasks(spec, build_all(spec), goals_of)


def cases() -> list[object]:
    """Each goal of each file, with each setting of the params that keep their value."""
    return [
        pytest.param(
            task,
            marks=() if path.stem in QUICK else pytest.mark.slow,
            id=f"{path.stem}-{task.system.instance}-{'-'.join(task.goal.every)}",
        )
        for path in SPECS
        for task in every_task(path)
    ]


@pytest.mark.parametrize("task", cases())
def test_is_proved(task: Task) -> None:
    report = carry_out(task, OPTIONS, None)
    for v in report.verdicts:
        if v.property in task.expected:
            assert v.status is Status.VIOLATED, (v.property, v.proof)
        else:
            assert (v.status, v.level) == (Status.HOLDS, Level.INDUCTIVE), (v.property, v.proof)
    assert report.exit_code == 0


def test_what_is_told_is_what_the_files_want() -> None:
    """The saved results are of these files, with these clauses and settings; nothing in them is open."""
    found, runs = proofs.saved()
    wanted = {
        (str(path.relative_to(ROOT)), ", ".join(f"{n} = {x}" for n, x in task.fixed), task.goal.every, name)
        for path in [*SPECS, *sorted((ROOT / "specs/bugs").glob("*.hmm"))]
        for task in every_task(path)
        for name in task.goal.properties
    }
    assert {(r.path, r.fixed, r.every, r.property) for r in found} == wanted
    assert [r for r in found if r.shown == "open"] == []
    assert all(run.exit_code == 0 for run in runs)


def test_the_page_is_what_was_saved() -> None:
    assert proofs.PAGE.read_text(encoding="utf-8") == proofs.page(*proofs.saved())


def test_how_much_is_proved() -> None:
    counts = proofs.tally(proofs.saved()[0])
    assert counts["properties proved"] >= 25
    assert counts["with invariants that were found"] >= 8
    # Of any 25 that are chosen with these at most ten are of one variable.
    assert counts["about more than one variable"] >= 15
    assert counts["of specs with threads and locks"] >= 5
    assert counts["that relate two pages"] >= 3
    assert counts["with a found invariant over two identities"] >= 3
    assert counts["not proved"] == 0


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("driver != freed => stopped", 0),
        ("forall page_1: Page { !free[page_1] }", 1),
        ("forall page_1: Page, frame_1: Frame { frame[page_1] == frame_1 => !free[frame_1] }", 2),
        ("forall p, q: Page | p != q { p != q }", 2),
        ("forall c: Cpu { exists d, e: Cpu { d != e } }", 1),
    ],
)
def test_of_how_many_an_invariant_speaks(text: str, n: int) -> None:
    assert proofs.binders(text) == n
