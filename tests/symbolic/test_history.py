"""The kernel's bugs, with and without their patch: bounded search finds each as soon as the explicit engine does, and
with the patch the property is proved for every number of CPUs, pages or whatever the model has any number of.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.bounded import check_bounded
from hmmspec.checker.symbolic.proofs import Task, carry_out, tasks
from hmmspec.checker.symbolic.prover import ProveOptions, goals_of
from hmmspec.checker.verdict import InstanceReport, Level, Status
from hmmspec.checker.verify import verify
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load
from hmmspec.system.build import build, build_all, instance_names
from hmmspec.system.system import AssertProperty, Invariant, LeadsTo, StepProperty, System

ROOT = Path(__file__).resolve().parents[2]
BUGS = sorted((ROOT / "specs" / "bugs").glob("*.hmm"))
# Bugs that show in no finite run: nothing that is proved is violated there.
LIVELOCKS = {"bug21_everybody_references", "bug22_trylock_starves_holder", "bug27_waiter_reference_blocks_migration"}
OPTIONS = ProveOptions(seconds=120)
FULL = CheckOptions(symmetry=False, expectations=False)

# The CPU fault on a device page: what each version of the kernel violates (nothing but this).
CHAIN = {
    "v0": {"callback_safe"},  # no reference: the page, or the driver, is gone
    "v1": {"completes"},  # a reference each: safe, but nobody's migration succeeds
    "v2": set(),  # trylock first ..
    "v2_no_preemption": {"completes"},  # .. but who spins keeps the CPU from the work that the holder waits for
    "v3": set(),  # asleep until the folio is unlocked
    "v3_no_preemption": set(),
    "wide": set(),
}
FAULT = ROOT / "specs" / "cpu_fault.hmm"


@cache
def spec_of(path: Path) -> S.Spec:
    return load(str(path))


def system_of(path: Path, instance: str) -> System:
    (system,) = build_all(spec_of(path), [instance])
    return system


def safety(system: System) -> set[str]:
    """Names of what a finite run can violate, and a proof show."""
    return {p.name for p in system.properties if isinstance(p, Invariant | StepProperty | AssertProperty)}


def violated(report: InstanceReport) -> dict[str, int]:
    """The length of the run to what a finite run violates."""
    return {
        v.property: v.trace.length
        for v in report.verdicts
        if v.status is Status.VIOLATED and v.trace is not None and v.kind != "leads_to"
    }


def every_task(path: Path) -> list[Task]:
    spec = spec_of(path)
    return tasks(spec, build_all(spec), goals_of)


def cases(paths: list[Path]) -> list[object]:
    """Each setting of the params that keep their value."""
    return [pytest.param(task, id=f"{path.stem}-{task.system.instance}") for path in paths for task in every_task(path)]


@pytest.mark.parametrize("path", BUGS, ids=lambda p: p.stem)
def test_what_the_files_want_proved(path: Path) -> None:
    """What the bug violates, as far as a finite run can; and for every number of all that has any."""
    before, after = system_of(path, "unpatched"), system_of(path, "patched")
    wanted = {name for goal in goals_of(after) for name in goal.properties}
    assert wanted
    assert {t.name for t in after.symmetric} == {name for goal in goals_of(after) for name in goal.every}
    bug = set(before.expectation.violates or ())
    assert bug & safety(before) <= wanted
    assert bool(bug & safety(before)) == (path.stem not in LIVELOCKS)
    beyond = {p.name for p in before.properties if isinstance(p, LeadsTo)}
    assert bug <= safety(before) | beyond | {"deadlock"}


@pytest.mark.parametrize("path", BUGS, ids=lambda p: p.stem)
def test_bounded_search_finds_the_bug_as_soon(path: Path) -> None:
    system = system_of(path, "unpatched")
    wanted = violated(check(system, FULL))
    assert set(wanted) == set(system.expectation.violates or ()) - {
        p.name for p in system.properties if isinstance(p, LeadsTo)
    }
    found = check_bounded(system, max(wanted.values(), default=6), FULL)
    assert violated(found) == wanted
    for v in found.verdicts:
        if v.status is Status.VIOLATED and v.trace is not None:
            assert verify(system, v.trace, v.property) == []


@pytest.mark.parametrize("task", cases(BUGS))
def test_proved_with_the_patch(task: Task) -> None:
    report = carry_out(task, OPTIONS, None)
    patched = dict(task.fixed)["PATCHED"] == "true"
    bug = task.expected & set(task.goal.properties)
    assert bool(bug) == (not patched and task.system.name not in LIVELOCKS)
    for v in report.verdicts:
        assert v.proof is not None
        if v.property in bug:
            assert (v.status, v.level) == (Status.VIOLATED, Level.VIOLATED_SHORTEST), v.property
            assert v.trace is not None
            sizes = {name: int(n) for name, n in v.proof.sizes}
            small = build(task.spec, sizes, task.system.instance)
            assert verify(small, v.trace, v.property) == []
        else:
            assert (v.status, v.level) == (Status.HOLDS, Level.INDUCTIVE), (v.property, v.proof)
            assert v.proof.every == task.goal.every
            assert v.proof.left_out == ()
    assert report.exit_code == 0


# ------------------------------------------------------------ the chain of the CPU fault


def test_chain_is_whole() -> None:
    assert set(instance_names(spec_of(FAULT))) == set(CHAIN)
    told = {name: set(system_of(FAULT, name).expectation.violates or ()) for name in CHAIN}
    assert told == CHAIN
    # Weak fairness, and nothing that counts.
    text = FAULT.read_text(encoding="utf-8")
    assert not any(word in text for word in ("strongly fair", "count(", "size("))


@pytest.mark.parametrize("name", CHAIN)
def test_chain_in_its_instances(name: str) -> None:
    report = check(system_of(FAULT, name), CheckOptions(expectations=False))
    assert {v.property for v in report.verdicts if v.status is Status.VIOLATED} == CHAIN[name]
    assert not report.limit


def test_bounded_search_finds_the_first_link() -> None:
    system = system_of(FAULT, "v0")
    wanted = violated(check(system, FULL))
    assert set(wanted) == {"callback_safe"}
    assert violated(check_bounded(system, wanted["callback_safe"], FULL)) == wanted


@pytest.mark.parametrize("task", cases([FAULT]))
def test_chain_for_every_number_of_cpus(task: Task) -> None:
    report = carry_out(task, OPTIONS, None)
    assert set(task.goal.properties) >= safety(task.system)
    open_ = {v.property for v in report.verdicts if (v.status, v.level) != (Status.HOLDS, Level.INDUCTIVE)}
    assert open_ == CHAIN[task.system.instance] & safety(task.system), task.fixed
    for v in report.verdicts:
        assert v.proof is not None
        assert v.proof.left_out == ()
        if v.property in open_:
            assert v.status is Status.VIOLATED
            assert v.trace is not None
    assert report.exit_code == 0
