"""Warnings about a spec that says less than it seems to: what never happened in a complete search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hmmspec.checker.explicit.search import Graph
from hmmspec.diagnostics import Diagnostic, Note, Severity, Span
from hmmspec.system.expr import Binder, Expr, Logic, Quant
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Invariant, LeadsTo, Rule, System


def antecedents(system: System) -> dict[str, tuple[str, str, Expr]]:
    """What some reachable state should make true for a property to say anything: key -> (kind, property, expression).

    For `forall x { A => B }` it is `exists x { A }`; for `P ~> Q` it is P.
    """
    out: dict[str, tuple[str, str, Expr]] = {}
    for p in system.properties:
        found: list[Expr] = []
        if isinstance(p, Invariant):
            found = list(_left_sides(p.body))
        elif isinstance(p, LeadsTo):
            found = [_exists(p.binders, p.filter, p.left)]
        kind = "leads_to" if isinstance(p, LeadsTo) else "invariant"
        for number, e in enumerate(found):
            out[f"{p.name} {number}"] = (kind, p.name, e)
    return out


def _left_sides(e: Expr) -> Iterator[Expr]:
    match e:
        case Logic("=>", left, right):
            inner = list(_left_sides(right))
            yield left
            yield from (replace(e, op="&&", left=left, right=i) for i in inner)
        case Logic("&&", left, right):
            yield from _left_sides(left)
            yield from _left_sides(right)
        case Quant("forall", binders, filter_, body) if body is not None:
            for i in _left_sides(body):
                yield _exists(binders, filter_, i)
        case _:
            return


def _exists(binders: tuple[Binder, ...], filter_: Expr | None, body: Expr) -> Expr:
    if not binders:
        return body
    return Quant("exists", binders, filter_, body, body.type, span=body.span)


def warnings(
    interp: Interpreter,
    graph: Graph,
    states: Sequence[State],
    open_questions: set[str],
    visited: Mapping[str, set[int]] | None = None,
) -> Iterator[Diagnostic]:
    """What to say after a complete search; `open_questions`: keys of `antecedents` never seen true; `visited`: by
    variable of a thread's place the labels that are reached, if that is known."""
    system = interp.system
    yield from _idle_rules(interp, graph, states, visited)
    for key, (kind, name, e) in antecedents(system).items():
        if key not in open_questions:
            continue
        span = e.span if e.span.source.text else next(p.span for p in system.properties if p.name == name)
        if kind == "leads_to":
            yield _warning("HMM093", span, f"the left side of leads_to '{name}' holds in no reachable state")
        else:
            yield _warning("HMM092", span, f"the left side of '=>' in invariant '{name}' holds in no reachable state")


def _idle_rules(
    interp: Interpreter, graph: Graph, states: Sequence[State], places: Mapping[str, set[int]] | None
) -> Iterator[Diagnostic]:
    system = interp.system
    busy = {r.name for r in system.rules if graph.fired[r.number] or graph.erred[r.number]}
    idle: dict[str, Rule] = {}
    for r in system.rules:
        if r.name not in busy:
            idle.setdefault(r.name, r)
    if not idle:
        return
    visited = {
        t.name: places[t.place] if places is not None else _labels_seen(interp, t.place, states) for t in system.threads
    }
    labels = {t.name: t.labels for t in system.threads}
    for name, r in idle.items():
        if r.thread is None:
            yield _warning("HMM090", r.span, f"step '{name}' is never possible in instance {system.instance}")
        elif r.label in (known := labels.get(r.thread, ())) and known.index(r.label) not in visited[r.thread]:
            yield _warning("HMM091", r.span, f"no run reaches '{name}' in instance {system.instance}")
        else:
            yield _warning("HMM091", r.span, f"no thread gets past '{name}' in instance {system.instance}")


def _labels_seen(interp: Interpreter, place: str, states: Sequence[State]) -> set[int]:
    seen: set[int] = set()

    def collect(value: object) -> None:
        if isinstance(value, tuple):
            for v in value:
                collect(v)
        else:
            assert isinstance(value, int)
            seen.add(value)

    for s in states:
        collect(interp.read(s, place))
    return seen


def nothing_to_check(system: System) -> Diagnostic:
    """There is no start state at all: only an assume can do that."""
    first = system.assumes[0]
    named = f"assume '{first.name}' excludes" if len(system.assumes) == 1 and first.name else "the assumes exclude"
    notes = tuple(Note(a.text or a.name or "assume", a.span) for a in system.assumes[1:])
    return _warning("HMM094", first.span, f"{named} every start: nothing was checked", notes)


def _warning(code: str, span: Span, message: str, notes: tuple[Note, ...] = ()) -> Diagnostic:
    return Diagnostic(code, message, span, Severity.WARNING, notes)
