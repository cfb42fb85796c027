"""Which proofs a spec asks for, each once for each setting of the params that keep their value, and their reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic import prover
from hmmspec.checker.symbolic.certificate import write_certificate
from hmmspec.checker.symbolic.judging import described
from hmmspec.checker.symbolic.prover import Goal, ProveOptions
from hmmspec.checker.symbolic.settle import prove_instance
from hmmspec.checker.verdict import InstanceReport, Level, Progress, Proof, Status, Verdict
from hmmspec.diagnostics import Limit
from hmmspec.lang import syntax as S
from hmmspec.system.system import AssertProperty, Invariant, StepProperty, System
from hmmspec.system.types import show_value

LOCK_FINDINGS = ("foreign_release", "double_acquire", "held_at_stop", "lock_cycle")


@dataclass(frozen=True)
class Task:
    """One goal of one setting.

    covers: the instances that have this setting (`system` is the first of them); fixed: the params that keep their
    value, as shown; expected: the properties that one of these instances is expected to violate.
    """

    spec: S.Spec
    system: System
    goal: Goal
    covers: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...]
    expected: frozenset[str] = frozenset()

    def __str__(self) -> str:
        how = f" for every {', '.join(self.goal.every)}" if self.goal.every else ""
        return f"{', '.join(self.goal.properties)}{how}, of {self.system.path}, instance {self.system.instance}"


def tasks(
    spec: S.Spec, systems: Sequence[System], goals: Callable[[System], Sequence[Goal]], *, expectations: bool = True
) -> list[Task]:
    """The goals of all instances of a spec.  Instances that differ only in sizes that have no value in a goal share it.

    expectations: whether the file's `expect` lines count.
    """
    found: dict[tuple[Goal, tuple[tuple[str, object], ...]], list[System]] = {}
    for system in systems:
        for goal in goals(system):
            free = free_params(spec, goal.every)
            key = goal, tuple((name, value) for name, value, _ in system.params if name not in free)
            found.setdefault(key, []).append(system)
    out = []
    for (goal, _), members in found.items():
        first, free = members[0], free_params(spec, goal.every)
        fixed = tuple((name, show_value(t, value)) for name, value, t in first.params if name not in free)
        violated = [s.expectation.violates or frozenset() for s in members] if expectations else []
        expected = frozenset[str]().union(*violated)
        out.append(Task(spec, first, goal, tuple(s.instance for s in members), fixed, expected))
    return out


def free_params(spec: S.Spec, every: Iterable[str]) -> frozenset[str]:
    """The params that are sizes of these types, and so have no value where there is any number of identities."""
    sizes = size_params(spec)
    return frozenset(sizes[t] for t in every if t in sizes)


def size_params(spec: S.Spec) -> dict[str, str]:
    """The symmetric types whose size is a param, and that param."""
    found = {}
    for d in spec.declarations:
        match d:
            case S.TypeDecl(S.Ident(name), S.SymmetricType(S.Name(param))):
                found[name] = param
            case _:
                pass
    return found


def provable(system: System) -> tuple[str, ...]:
    """Everything of a System that a proof can be about, in the order of the file, then what is built in."""
    declared = [p.name for p in system.properties if isinstance(p, Invariant | StepProperty | AssertProperty)]
    return (*dict.fromkeys(declared), "spec_error", *(LOCK_FINDINGS if system.locks else ()))


def carry_out(
    task: Task,
    options: ProveOptions,
    certificates: Path | None,
    progress: Callable[[Progress], None] | None = None,
) -> InstanceReport:
    """Try to prove a goal; write the certificate of what was proved.  Raises SpecError if that cannot be written."""
    if not task.goal.every:
        return _of_the_instance(task, options, progress)
    begin = time.monotonic()
    proved = prover.prove(task.spec, task.system, task.goal, options, progress)
    report = _report(task, proved.verdicts, begin)
    if certificates is not None and any(v.status is Status.HOLDS for v in proved.verdicts):
        try:
            report = replace(report, certificate=str(write_certificate(certificates, task.spec, proved)))
        except Limit as limit:
            report = replace(report, remark=f"no certificate was written: {limit}")
    return replace(report, wall_seconds=time.monotonic() - begin)


def _of_the_instance(task: Task, options: ProveOptions, progress: Callable[[Progress], None] | None) -> InstanceReport:
    """The same for the instance as it is, which needs no generality."""
    begin = time.monotonic()
    searching = CheckOptions(engine="z3", seconds=options.seconds, expectations=False)
    try:
        found = prove_instance(task.system, searching, progress)
    except Limit as limit:
        return undecided(task, str(limit), time.monotonic() - begin)
    why = found.limit or f"there is no proof, and no run of up to {found.bounded} steps that violates it"
    by_name = {v.property: v for v in found.verdicts}
    verdicts = []
    for blank in undecided(task, why).verdicts:
        v = by_name.get(blank.property, blank)
        if v.status is Status.UNKNOWN:
            v = replace(blank, proof=Proof(fixed=task.fixed, reason=v.remark or why))
        verdicts.append(v)
    return _report(task, tuple(verdicts), begin)


def undecided(task: Task, why: str, seconds: float = 0.0) -> InstanceReport:
    """The report where there was no answer at all."""
    proof = Proof(task.goal.every, task.fixed, reason=why)
    verdicts = []
    for name in task.goal.properties:
        kind, text, span = described(task.system, name)
        verdicts.append(Verdict(name, kind, text, Status.UNKNOWN, Level.INCOMPLETE, span=span, proof=proof))
    return replace(_report(task, tuple(verdicts), time.monotonic()), wall_seconds=seconds)


def _report(task: Task, verdicts: tuple[Verdict, ...], begin: float) -> InstanceReport:
    system = task.system
    seconds = time.monotonic() - begin
    return InstanceReport(
        spec=system.name,
        path=system.path,
        instance=system.instance,
        params=task.fixed,
        engine="z3",
        seed=0,
        verdicts=tuple(_expected(v, task) for v in verdicts),
        states=None,
        orbits=None,
        reduction="",
        transitions=0,
        depth=0,
        explore_seconds=seconds,
        wall_seconds=seconds,
        assumes=tuple((a.name, a.text) for a in system.assumes),
        problems=tuple(_missed(v, task) for v in verdicts if v.status is Status.HOLDS and v.property in task.expected),
        every=task.goal.every,
        covers=task.covers,
    )


def _expected(v: Verdict, task: Task) -> Verdict:
    """A violation counts as expected if the file expects it of an instance with this setting."""
    if v.status is Status.VIOLATED:
        return replace(v, expected=v.property in task.expected)
    return replace(v, expected=not (v.status is Status.HOLDS and v.property in task.expected))


def _missed(v: Verdict, task: Task) -> str:
    return f"expected {v.property} to be violated in {', '.join(task.covers)}, and it is proved"
