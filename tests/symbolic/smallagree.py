"""Do bounded search and the explicit engine find the same in generated specs, and is nothing proved that is violated?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from hmmspec.checker.check import report_on
from hmmspec.checker.explicit.engine import explore
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.begin import THIN, starts_of, thinned
from hmmspec.checker.symbolic.bounded import check_bounded
from hmmspec.checker.symbolic.prover import Goal, ProveOptions, prove
from hmmspec.checker.verdict import InstanceReport, Level, Status, Verdict
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import InternalError, SpecError
from hmmspec.system.run import Interpreter
from hmmspec.system.system import AssertProperty, Invariant, StepProperty, System
from tests.checker.helpers import traces
from tests.symbolic.smallgen import FULL, Case, shown, sized, violations

LARGEST = 4  # identities of each type in instances in which proofs are doubted
EXPLORED = 3000  # states of these
OPTIONS = ProveOptions(seconds=10, query=2)
ALWAYS = ("spec_error", "double_acquire", "foreign_release", "held_at_stop")


def differences(c: Case) -> list[str]:
    """Where bounded search, to one step past the last new state, and the explicit engine differ."""
    depth = (c.report.depth or 0) + 1
    try:
        bounded = check_bounded(c.system, depth, FULL)
    except InternalError as e:
        # What the symbolic engine shows is looked at by the interpreter: here it saw something else.
        return [str(e)]
    found = [f"ended at {bounded.bounded} of {depth} steps: {bounded.limit}"] if bounded.limit else []
    a, b = shown(bounded), shown(c.report)
    # A deadlock is not looked for where a loop has choices in it: then the verdict must say so.
    told = {v.property for v in bounded.verdicts if v.status is Status.UNKNOWN and "loop with choices" in v.remark}
    if told == {"deadlock"}:
        b.pop("deadlock", None)
    found += [f"{n}: {a.get(n)} / {b.get(n)}" for n in sorted({*a, *b}) if a.get(n) != b.get(n)]
    violated = {name: n for name, n in violations(c.report).items() if name in b}
    if violations(bounded) != violated:
        found.append(f"violated: {violations(bounded)} / {violated}")
    for verdict, trace in traces(bounded):
        found += [f"{verdict.property}, trace: {x}" for x in verify(c.system, trace, verdict.property)]
    first = min(violated.values(), default=0)
    if first and first not in violations(check_bounded(c.system, first, FULL)).values():
        found.append(f"what takes {first} steps is not found within {first}")
    for v in bounded.verdicts:
        if v.status is Status.HOLDS and v.level is not Level.BOUNDED and v.kind != "reachable":
            found.append(f"{v.property}: {v.level} is more than a bound shows")
    return found


@dataclass
class Doubts:
    """What came of the proofs of one spec.  wrong: what must not be; counts: verdicts of all properties."""

    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def goal_of(system: System) -> Goal:
    """All that can be proved, for every number of all symmetric types."""
    names = [p.name for p in system.properties if isinstance(p, Invariant | StepProperty | AssertProperty)]
    return Goal((*names, *ALWAYS), tuple(sorted(t.name for t in system.symmetric)))


def instances(c: Case) -> Iterator[tuple[dict[str, int], System, InstanceReport]]:
    """Those with up to LARGEST identities of each type, the smallest first, and what is found in their first states."""
    names = sorted(t.name for t in c.system.symmetric)
    for some in sorted(product(range(1, LARGEST + 1), repeat=len(names)), key=lambda n: (sum(n), n)):
        sizes = dict(zip(names, some, strict=True))
        try:
            system = sized(c, sizes)
        except SpecError:
            continue
        yield sizes, system, first_states(system)


def first_states(system: System) -> InstanceReport:
    """What is found in the first states of an instance; where there are too many start states, in those after some."""
    options = CheckOptions(expectations=False, states=EXPLORED)
    starts = starts_of(Interpreter(system))
    if not starts.whole or len(starts.states) > EXPLORED // 2:
        starts = thinned(starts, EXPLORED // THIN)
    return report_on(explore(system, options, whole_runs=False, starts=starts), options)


def doubted(c: Case, options: ProveOptions = OPTIONS) -> Doubts:
    """Prove what can be proved, and look for violations of it."""
    out = Doubts()
    goal = goal_of(c.system)
    try:
        verdicts = {v.property: v for v in prove(c.spec, c.system, goal, options).verdicts}
    except InternalError as e:
        return Doubts([str(e)])
    if tuple(verdicts) != goal.properties:
        out.wrong.append(f"verdicts on {', '.join(verdicts)}")
    least: dict[str, int] = {}
    for sizes, system, report in instances(c):
        for v in report.verdicts:
            if v.property not in verdicts or v.status is not Status.VIOLATED or v.trace is None:
                continue
            least.setdefault(v.property, v.trace.length)
            if verdicts[v.property].status is Status.HOLDS:
                out.wrong.append(f"{v.property} is proved, and violated with {sizes} in {v.trace.length} steps")
        for v in verdicts.values():
            if v.status is Status.VIOLATED and v.proof is not None and v.trace is not None:
                if {f"{n.upper()}S": str(k) for n, k in sizes.items()} == dict(v.proof.sizes):
                    out.wrong += [f"{v.property}, trace: {x}" for x in verify(system, v.trace, v.property)]
    for v in verdicts.values():
        out.counts[_called(v, v.property in least)] += 1
        if v.status is Status.VIOLATED and v.trace is None:
            out.wrong.append(f"{v.property} is violated, and there is no run")
    return out


def _called(v: Verdict, violated: bool) -> str:
    assert v.proof is not None
    match v.status:
        case Status.HOLDS:
            return "strengthened" if v.proof.lemmas else "proved"
        case Status.VIOLATED:
            return "refuted"
        case _:
            why = "refused" if v.proof.gap is None else "not decided"
            return f"{why}, and violated" if violated else why
