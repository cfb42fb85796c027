"""Check one instance: run an engine, judge what it found by what the file expects."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from hmmspec.checker.explicit.engine import Explored, explore
from hmmspec.checker.explicit.symmetry import Symmetry
from hmmspec.checker.explicit.vacuity import nothing_to_check, warnings
from hmmspec.checker.explicit.verdicts import Judge
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import Coverage, InstanceReport, Level, Progress, Status, Verdict
from hmmspec.diagnostics import Diagnostic, InternalError
from hmmspec.system.system import Expectation, System
from hmmspec.system.types import show_value

__all__ = ["CheckOptions", "check", "judge_expectations"]


def check(
    system: System, options: CheckOptions | None = None, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """Everything that can be shown of one instance.

    `progress` is called at most twice a second.  Never raises for what the spec says: spec errors are findings.  A
    reached limit or an interrupt leaves what was shown so far (`limit`, `interrupted`).
    """
    options = options or CheckOptions()
    if options.engine != "python":
        raise InternalError(f"no engine '{options.engine}' here")
    begin = time.monotonic()
    explored = explore(system, options, progress)
    return replace(finished(explored, options), wall_seconds=time.monotonic() - begin)


def finished(explored: Explored, options: CheckOptions) -> InstanceReport:
    """The report on what an engine explored; `wall_seconds` is left to the caller."""
    report = report_on(explored, options)
    if options.expectations:
        report = judge_expectations(report, explored.interp.system.expectation, _orbits(explored))
    return report


def report_on(x: Explored, options: CheckOptions) -> InstanceReport:
    """The report, without what the file expects."""
    system, graph = x.interp.system, x.graph
    verdicts = tuple(Judge(x, options.max_traces, options.witness).verdicts())
    said: tuple[Diagnostic, ...] = ()
    problems: tuple[str, ...] = ()
    if graph.complete and not graph.stored and not graph.start_erred:
        nothing = nothing_to_check(system)
        said, problems = (nothing,), (nothing.message,)
    elif graph.complete and not graph.start_erred and not any(graph.erred) and x.hashed is None:
        # Where runs end in errors, that something never happened says nothing; where states are missed it may be wrong.
        said = tuple(warnings(x.interp, graph, x.states, x.unseen, x.visited))
    reduction = ""
    if x.symmetry is not None:
        reduction = "orbits" if x.symmetry.exact else "representatives"
    return InstanceReport(
        spec=system.name,
        path=system.path,
        instance=system.instance,
        params=tuple((name, show_value(t, value)) for name, value, t in system.params),
        engine=x.engine,
        seed=options.seed,
        verdicts=verdicts,
        states=None if reduction == "representatives" or (graph.stored and not graph.full) else graph.full,
        orbits=graph.stored if x.symmetry is not None else None,
        reduction=reduction,
        transitions=graph.transitions,
        depth=graph.depth,
        explore_seconds=x.explore_seconds,
        wall_seconds=0.0,
        coverage=_coverage(x),
        assumes=tuple((a.name, a.text) for a in system.assumes),
        warnings=said,
        limit=graph.limit,
        interrupted=graph.interrupted,
        problems=problems,
        hashed=x.hashed,
        unproved=tuple(f"{', '.join(p.properties)} for every {', '.join(p.every)}" for p in system.proofs),
    )


def _orbits(x: Explored) -> int | None:
    """How many orbits the states make under all symmetric types, where the file expects a number.

    A search that did not reduce (--no-symmetry) is counted afterwards.
    """
    if x.interp.system.expectation.orbits is None or not x.graph.complete or x.hashed is not None:
        return None
    types = tuple(t for t in x.interp.system.symmetric if t.size >= 2)
    if not types or (x.symmetry is not None and x.symmetry.types == types):
        return x.graph.stored
    symmetry = Symmetry(x.interp.system, types)
    return len({symmetry.representative(s)[0] for s in x.states})


def _coverage(x: Explored) -> tuple[Coverage, ...]:
    fired: dict[str, int] = {}
    for r in x.interp.system.rules:
        fired[r.name] = fired.get(r.name, 0) + x.graph.fired[r.number] + x.graph.erred[r.number]
    spans = {r.name: r.span for r in reversed(x.interp.system.rules)}
    return tuple(Coverage(name, n, spans[name]) for name, n in fired.items())


def judge_expectations(report: InstanceReport, expectation: Expectation, orbits: int | None = None) -> InstanceReport:
    """The report with `expected` of each verdict and `problems` as the file's `expect` lines demand.

    orbits: how many there are under all symmetric types, if known; else an expected number of orbits is not judged.
    Where a limit or the user ended the search only what was violated is judged, or proved: the rest may still come.
    """
    wanted = expectation.violates or frozenset()
    incomplete = bool(report.limit) or report.interrupted or report.simulation is not None or report.bounded is not None
    problems = list(report.problems)
    verdicts = tuple(replace(v, expected=_as_expected(v, wanted, incomplete)) for v in report.verdicts)
    if not incomplete:
        broken = {v.property for v in verdicts if v.status in (Status.VIOLATED, Status.WARNING)}
        unknown = {v.property for v in verdicts if v.status is Status.UNKNOWN}
        refused = unknown if report.hashed is not None else set()
        for name in sorted(wanted - broken - refused):
            what = "could not be judged" if name in unknown else "is not"
            problems.append(f"expected {name} to be violated, but it {what}")
        if expectation.states is not None and expectation.states != report.states:
            found = "the number of full states is not known" if report.states is None else f"found {report.states}"
            problems.append(f"expected {expectation.states} states, {found}")
        if expectation.orbits is not None and orbits is not None and expectation.orbits != orbits:
            problems.append(f"expected {expectation.orbits} orbits, found {orbits}")
    else:
        proved = {v.property for v in verdicts if v.status is Status.HOLDS and v.level is Level.INDUCTIVE}
        problems += [f"expected {name} to be violated, but it is not" for name in sorted(wanted & proved)]
    return replace(report, verdicts=verdicts, problems=tuple(problems))


def _as_expected(v: Verdict, wanted: frozenset[str], incomplete: bool) -> bool:
    match v.status:
        case Status.VIOLATED:
            return v.property in wanted
        case Status.HOLDS:
            return (incomplete and v.level is not Level.INDUCTIVE) or v.property not in wanted
        case _:
            return True
