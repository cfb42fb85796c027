"""SPIN and Rumur store as many states of an exported spec as hmmspec counts, and find violated what is violated.

Each spec is compared whole: if a guard, an assignment, a start state or a cell were exported wrongly, some of these
counts would differ.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.verdict import Status
from hmmspec.system.system import System
from tests.export.peers import checked, rumur, spin, system_of

SAME = [
    ("benchmarks/pages.hmm", "p32"),
    ("tests/specs/assume.hmm", None),
    ("tests/specs/bounded_buffer.hmm", "three"),
    ("tests/specs/choices.hmm", None),
    ("tests/specs/control_flow.hmm", None),
    ("tests/specs/evaluation.hmm", "right"),
    ("tests/specs/fault_thread.hmm", "two"),
    ("tests/specs/initial.hmm", None),
    ("tests/specs/lock_misuse.hmm", "right"),
    ("tests/specs/peterson.hmm", None),
    ("tests/specs/procedures.hmm", "three"),
    ("tests/specs/queue.hmm", "good"),
    ("tests/specs/records_fork.hmm", "three"),
    ("tests/specs/refine_steps.hmm", "right"),
    ("tests/specs/runs_when.hmm", None),
    ("tests/specs/rwlocks.hmm", "many"),
    ("tests/specs/sets.hmm", "three"),
    ("tests/specs/unions.hmm", "tested"),
    ("specs/device_private.hmm", "tiny"),
    ("specs/cpu_fault.hmm", "v2"),
    ("specs/bugs/bug01_fault_without_reference.hmm", "patched"),
    ("specs/bugs/bug02_dirty_bit_dropped.hmm", "patched"),
    ("specs/bugs/bug08_freed_under_srcu.hmm", "patched"),
    ("specs/bugs/bug09_interval_remove.hmm", "patched"),
]

VIOLATED = [
    ("tests/specs/asserts.hmm", "fails"),
    ("tests/specs/evaluation.hmm", "by_zero"),
    ("tests/specs/evaluation.hmm", "too_large"),
    ("tests/specs/evaluation.hmm", "of_nothing"),
    ("tests/specs/evaluation.hmm", "in_binder"),
    ("tests/specs/lock_misuse.hmm", "takes_twice"),
    ("tests/specs/lock_misuse.hmm", "releases_foreign"),
    ("tests/specs/lock_misuse.hmm", "stops_with_it"),
    ("tests/specs/queue.hmm", "full_push"),
    ("tests/specs/queue.hmm", "empty_head"),
    ("tests/specs/unions.hmm", "wrong_member"),
    ("tests/specs/unions.hmm", "null_index"),
    ("specs/bugs/bug02_dirty_bit_dropped.hmm", "unpatched"),
    ("specs/bugs/bug08_freed_under_srcu.hmm", "unpatched"),
]


def name(case: tuple[str, str | None]) -> str:
    return f"{Path(case[0]).stem}-{case[1] or 'default'}"


@pytest.mark.parametrize("case", SAME, ids=name)
def test_spin_counts_the_same(case: tuple[str, str | None], tmp_path: Path) -> None:
    found = spin(system_of(*case), tmp_path)
    assert (found.states, found.errors) == (checked(*case).states, 0)


@pytest.mark.parametrize("case", SAME, ids=name)
def test_rumur_counts_the_same(case: tuple[str, str | None], tmp_path: Path) -> None:
    found = rumur(system_of(*case), tmp_path)
    assert (found.states, found.errors) == (checked(*case).states, 0)


def test_the_count_of_the_benchmark() -> None:
    assert checked("benchmarks/pages.hmm", "p32").states == 14625


@pytest.mark.parametrize("case", VIOLATED, ids=name)
def test_spin_finds_it_violated(case: tuple[str, str | None], tmp_path: Path) -> None:
    """Also the states are the same: a finding is an option of its own, and changes nothing."""
    assert any(v.status is Status.VIOLATED for v in checked(*case).verdicts)
    found = spin(system_of(*case), tmp_path)
    assert found.errors > 0
    assert found.states == checked(*case).states


@pytest.mark.parametrize("case", VIOLATED, ids=name)
def test_rumur_finds_it_violated(case: tuple[str, str | None], tmp_path: Path) -> None:
    found = rumur(system_of(*case), tmp_path, errors=1)
    assert found.errors == 1
    violated = {v.property for v in checked(*case).verdicts if v.status is Status.VIOLATED}
    assert any(n in found.output for n in violated)


DEADLOCKS = [
    ("tests/specs/deadlock.hmm", "right"),
    ("tests/specs/deadlock.hmm", "wrong"),
    ("tests/specs/assume.hmm", None),
    ("specs/bugs/bug31_mmput_in_callback.hmm", "unpatched"),
]


def deadlocks(case: tuple[str, str | None]) -> bool:
    return next(v for v in checked(*case).verdicts if v.property == "deadlock").status is Status.VIOLATED


def test_both_kinds_of_deadlock_verdicts_are_compared() -> None:
    assert {deadlocks(c) for c in DEADLOCKS} == {True, False}


@pytest.mark.parametrize("case", DEADLOCKS, ids=name)
def test_deadlocks(case: tuple[str, str | None], tmp_path: Path) -> None:
    (tmp_path / "spin").mkdir()
    (tmp_path / "rumur").mkdir()
    by_spin = spin(system_of(*case), tmp_path / "spin", define="DEADLOCK", deadlocks=True)
    by_rumur = rumur(system_of(*case), tmp_path / "rumur", deadlocks=True)
    assert (by_spin.errors > 0) == (by_rumur.errors > 0) == deadlocks(case)
    assert by_spin.states == checked(*case).states


REACHABLE = "tests/specs/evaluation.hmm"


@pytest.mark.parametrize(("instance", "reached"), [("right", True), ("too_large", False)])
def test_reachable(instance: str, reached: bool, tmp_path: Path) -> None:
    system: System = system_of(REACHABLE, instance)
    verdict = next(v for v in checked(REACHABLE, instance).verdicts if v.property == "picked")
    assert (verdict.status is Status.HOLDS) == reached
    plain = spin(system, tmp_path)
    asked = spin(system, tmp_path, define="REACH_picked")
    assert (asked.errors > plain.errors) == reached


def test_orbits(tmp_path: Path) -> None:
    """With --symmetry Rumur stores orbits: those that the file states."""
    system = system_of("benchmarks/pages.hmm", "p32")
    assert system.expectation.orbits is not None
    assert rumur(system, tmp_path, symmetry=True).states == system.expectation.orbits
