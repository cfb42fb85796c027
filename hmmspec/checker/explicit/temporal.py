"""Properties of whole runs, judged on the stored graph: `leads_to` for each value of its binders, `recoverable`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.graphs import backward_closure
from hmmspec.checker.explicit.limits import Meter
from hmmspec.checker.explicit.liveness import FairRuns, Lasso
from hmmspec.checker.explicit.runs import RealLasso
from hmmspec.checker.explicit.search import Graph
from hmmspec.checker.explicit.slots import Anatomy
from hmmspec.system import expr as e
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import LeadsTo, Recoverable
from hmmspec.system.types import Int, values

_BETWEEN_TICKS = 2048

Between = Callable[[e.Expr, e.Expr], Iterable[int]]


@dataclass(frozen=True)
class Broken:
    """A value of the binders for which a `leads_to` fails, with the closed left and right side."""

    binding: tuple[tuple[str, e.Const], ...]
    left: e.Expr
    right: e.Expr
    lasso: Lasso | RealLasso


def substitute(x: Any, by: Mapping[str, e.Expr]) -> Any:
    """The expression (or tuple, binder, domain) with constants (or others) for these bound names."""
    if isinstance(x, e.Local):
        return by.get(x.name, x)
    if isinstance(x, tuple):
        return tuple(substitute(i, by) for i in x)
    if isinstance(x, (e.Const, e.Var)):
        return x
    if isinstance(x, (e.Node, e.Binder, e.OverRange, e.OverSet)):
        changed = {}
        for f in fields(x):
            old = getattr(x, f.name)
            if isinstance(old, (e.Node, tuple, e.Binder, e.OverRange, e.OverSet)) and f.name != "type":
                changed[f.name] = substitute(old, by)
        return replace(x, **changed)
    return x


def bindings(
    interp: Interpreter,
    p: LeadsTo,
    states: Sequence[State],
    *,
    all_values: bool = False,
    between: Between | None = None,
) -> Iterator[dict[str, e.Const]]:
    """The values of the binders to look at: one of each class of values that are renamings of one another (or all).

    between: tells the numbers of a range whose bounds differ from state to state; without it all `states` are asked.

    Exact, since the whole graph, its starts and its fairness look the same under every renaming, and none of the
    binders' types is reduced when there is a `leads_to`.
    """
    anatomy = Anatomy(interp.system.symmetric)
    seen: set[object] = set()
    for found in _products(interp, list(p.binders), {}, states, between):
        names: dict[tuple[int, int], int] = {}
        pattern: list[object] = []
        for c in found.values():
            pattern.append(anatomy.erase(c.type, c.value))
            for role, k, i in anatomy.namings(c.type, c.value):
                pattern.append((role, k, names.setdefault((k, i), sum(1 for k2, _ in names if k2 == k))))
        if all_values or tuple(pattern) not in seen:
            seen.add(tuple(pattern))
            yield found


def _products(
    interp: Interpreter,
    binders: list[e.Binder],
    env: dict[str, e.Const],
    states: Sequence[State],
    between: Between | None,
) -> Iterator[dict[str, e.Const]]:
    if not binders:
        yield dict(env)
        return
    b = binders[0]
    for value in _candidates(interp, b, env, states, between):
        yield from _products(interp, binders[1:], {**env, b.name: e.Const(value, b.type)}, states, between)


def _candidates(
    interp: Interpreter, b: e.Binder, env: dict[str, e.Const], states: Sequence[State], between: Between | None
) -> Iterator[object]:
    if not isinstance(b.type, Int):
        yield from values(b.type)
        return
    # Only a range has bounds of no type: all numbers that are in it in some state.
    assert isinstance(b.domain, e.OverRange)
    low, high = substitute(b.domain.low, env), substitute(b.domain.high, env)
    fixed = not any(isinstance(x, (e.Var, e.Apply)) for side in (low, high) for x in e.walk(side))
    if between is not None and not fixed:
        yield from between(low, high)
        return
    found: set[int] = set()
    for s in states[:1] if fixed else states:
        first, last = interp.evaluate(low, s), interp.evaluate(high, s)
        assert isinstance(first, int) and isinstance(last, int)
        found.update(range(first, last + 1))
    yield from sorted(found)


def sides(p: LeadsTo, binding: Mapping[str, e.Expr]) -> tuple[e.Expr, e.Expr]:
    """Left and right side for these values; what the binders' domains and filter ask is part of the left side."""
    left: e.Expr = substitute(p.left, binding)
    if p.filter is not None:
        left = e.Logic("&&", substitute(p.filter, binding), left)
    for b in reversed(p.binders):
        value = binding[b.name]
        match b.domain:
            case e.OverRange(low, high):
                inside: e.Expr = e.InRange(
                    value,
                    substitute(low, binding),
                    substitute(high, binding),
                )
            case e.OverSet(whole):
                inside = e.InSet(value, substitute(whole, binding))
            case _:
                continue
        left = e.Logic("&&", inside, left)
    return left, substitute(p.right, binding)


def marks(
    interp: Interpreter, x: e.Expr, states: Sequence[State], meter: Meter, erred: Callable[[int, SpecFault], None]
) -> bytearray:
    """For each state whether the expression holds (False where it errs)."""
    holds = interp.truth(x)
    out = bytearray(len(states))
    for i, s in enumerate(states):
        if i % _BETWEEN_TICKS == 0:
            meter.tick("evaluate", i)
        try:
            if holds(s):
                out[i] = 1
        except SpecFault as fault:
            erred(i, fault)
    return out


def check_leads_to(
    interp: Interpreter, p: LeadsTo, runs: FairRuns, states: Sequence[State], findings: Findings, wanted: int
) -> list[Broken]:
    """Up to `wanted` values of the binders for which the property fails."""
    broken: list[Broken] = []

    def erred(i: int, fault: SpecFault) -> None:
        findings.unjudged.add(p.name)
        findings.add("spec_error", Finding(i, error=fault.fault, message=f"in leads_to '{p.name}'"))

    for binding in bindings(interp, p, states):
        left, right = sides(p, binding)
        pending = marks(interp, left, states, runs.meter, erred)
        lasso = runs.lasso(pending, marks(interp, right, states, runs.meter, erred))
        if lasso is not None:
            broken.append(Broken(tuple(binding.items()), left, right, lasso))
            if len(broken) >= wanted:
                break
    return broken


def check_recoverable(
    interp: Interpreter,
    p: Recoverable,
    graph: Graph,
    states: Sequence[State],
    findings: Findings,
    wanted: int,
    meter: Meter,
) -> list[int]:
    """Up to `wanted` states, those nearest to a start, from which no path leads to a state where the body holds."""
    assert graph.edges is not None

    def erred(i: int, fault: SpecFault) -> None:
        findings.unjudged.add(p.name)
        findings.add("spec_error", Finding(i, error=fault.fault, message=f"in recoverable '{p.name}'"))

    goals = marks(interp, p.body, states, meter, erred)
    reached = backward_closure(graph.edges, len(states), [i for i in range(len(states)) if goals[i]])
    found: list[int] = []
    at = reached.find(0)
    while at >= 0 and len(found) < wanted:
        found.append(at)
        at = reached.find(0, at + 1)
    return found
