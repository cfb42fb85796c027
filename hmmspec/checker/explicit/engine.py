"""The explicit engine in Python: one search, what was found, and the verdicts that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hmmspec.checker.explicit.chance import Starts
from hmmspec.checker.explicit.edges import Units
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import LimitReached, Limits, Meter
from hmmspec.checker.explicit.liveness import FairRuns
from hmmspec.checker.explicit.locks import CyclicWaits, LockOrder
from hmmspec.checker.explicit.monitors import DeadlockMonitor, Monitor, StateQuestions, StepMonitor, has_step_properties
from hmmspec.checker.explicit.refinement import Refinement
from hmmspec.checker.explicit.search import Graph, Search
from hmmspec.checker.explicit.slots import mentions
from hmmspec.checker.explicit.symmetry import Symmetry
from hmmspec.checker.explicit.temporal import Broken, check_leads_to, check_recoverable
from hmmspec.checker.explicit.threaded import Quotient, broken_on
from hmmspec.checker.explicit.threaded_lasso import real_lasso
from hmmspec.checker.explicit.vacuity import antecedents
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import Hashed, Progress
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import LeadsTo, Recoverable, System
from hmmspec.system.types import Symmetric

# Several counterexamples are wanted as different as possible, so more are collected than shown.
COLLECTED_PER_TRACE = 20


@dataclass
class Explored:
    """Everything the engine saw, from which verdicts are made."""

    interp: Interpreter
    graph: Graph
    states: Sequence[State]
    symmetry: Symmetry | None
    tracked: tuple[Symmetric, ...]  # types whose renamings `leads_to` was judged with
    units: Units | None
    findings: Findings
    broken: dict[str, list[Broken]]  # leads_to -> values for which it fails
    pending: set[str]  # properties of whole runs that were not (completely) looked at
    unseen: set[str]  # vacuity questions never answered
    lock_order: LockOrder | None
    refinement: Refinement | None
    explore_seconds: float
    meter: Meter
    engine: str = "python"
    unreduced: tuple[Symmetric, ...] = ()  # types left alone since `leads_to` tells their identities apart
    hashed: Hashed | None = None  # states were kept as hashes
    visited: Mapping[str, set[int]] | None = None  # by variable of a place: labels that threads reach; None: look


def told_apart(system: System) -> tuple[Symmetric, ...]:
    """The symmetric types whose identities fairness or a binder of a `leads_to` can tell apart: there a cycle of
    representatives need not be fair to each identity, and track has to be kept of who is who."""
    leads = [p for p in system.properties if isinstance(p, LeadsTo)]
    if not leads:
        return ()
    named = [b.type for p in leads for b in p.binders]
    for f in system.fairness:
        for rule in f.rules:
            named.extend(p.type for p in system.rules[rule].params[: f.prefix])
    return tuple(t for t in system.symmetric if t.size >= 2 and any(mentions(n, t) for n in named))


def explore(
    system: System,
    options: CheckOptions,
    progress: Callable[[Progress], None] | None = None,
    interp: Interpreter | None = None,
    *,
    whole_runs: bool = True,
    starts: Starts | None = None,
) -> Explored:
    """Search all reachable states and judge every property on them.

    interp: of the system, if there is one already; whole_runs: whether properties of whole runs are judged, too;
    starts: where the search begins, None for all start states.
    """
    limits = Limits(options.states, options.seconds, options.memory)
    meter = Meter(system.name, system.instance, limits, progress)
    interp = interp or Interpreter(system)
    keep = 1 if options.max_traces <= 1 else options.max_traces * COLLECTED_PER_TRACE
    findings = Findings(keep)
    asked = antecedents(system)
    questions = StateQuestions(interp, findings, {key: e for key, (_, _, e) in asked.items()})

    monitors: list[Monitor] = [DeadlockMonitor(interp, findings)]
    if has_step_properties(system):
        monitors.append(StepMonitor(interp, findings))
    lock_order = None
    if system.locks:
        lock_order = LockOrder(interp, findings)
        monitors.extend((lock_order, CyclicWaits(interp, findings)))
    refinement = None
    if system.refinement is not None:
        refinement = Refinement(interp, system.refinement, findings)
        monitors.append(refinement)

    types = tuple(t for t in system.symmetric if t.size >= 2)
    symmetry = Symmetry(system, types) if types and options.symmetry else None
    leads = [p for p in system.properties if isinstance(p, LeadsTo)]
    recoverables = [p for p in system.properties if isinstance(p, Recoverable)]
    units = Units(system) if whole_runs and (leads or recoverables) else None
    at_start = refinement.begin if refinement is not None else None
    graph_kept = units is not None
    search = Search(interp, meter, findings, questions, monitors, symmetry, units, graph_kept, at_start, starts)
    before = meter.seconds
    graph = search.run()
    explored = Explored(
        interp,
        graph,
        graph.states(),
        symmetry,
        told_apart(system) if symmetry is not None else (),
        units,
        findings,
        {},
        {p.name for p in leads} | {p.name for p in recoverables},
        set(asked) - questions.answered,
        lock_order,
        refinement,
        0.0,
        meter,
    )
    try:
        if whole_runs:
            _whole_runs(explored, leads, recoverables, options.max_traces)
    except LimitReached as e:
        graph.limit = graph.limit or str(e)
    except KeyboardInterrupt:
        graph.interrupted = True
    explored.explore_seconds = meter.seconds - before
    return explored


def _whole_runs(x: Explored, leads: list[LeadsTo], recoverables: list[Recoverable], wanted: int) -> None:
    """Judge what needs the stored edges; what is judged leaves `pending`."""
    graph = x.graph
    if graph.start_erred:
        x.pending.clear()
    if graph.interrupted or not graph.number:
        return
    if graph.complete:
        for r in recoverables:
            lost = check_recoverable(x.interp, r, graph, x.states, x.findings, wanted, x.meter)
            for number in lost:
                x.findings.add(r.name, Finding(number))
            x.pending.discard(r.name)
    if leads:
        assert x.units is not None
        quotient = runs = None
        if x.tracked and x.symmetry is not None:
            quotient = Quotient(x.interp, graph, x.states, x.symmetry, x.units, x.meter)
        else:
            runs = FairRuns(graph, x.units, x.meter)
        for p in leads:
            if quotient is not None:
                found = broken_on(x.interp, p, quotient, x.findings, wanted)
                x.broken[p.name] = [real_lasso(p, watched, quotient, fair) for watched, fair in found]
            elif runs is not None:
                x.broken[p.name] = check_leads_to(x.interp, p, runs, x.states, x.findings, wanted)
            if graph.complete:
                x.pending.discard(p.name)
