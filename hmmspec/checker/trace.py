"""Runs as people read them: plain data with shown values, what each step changed and why a property fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmmspec.checker.verdict import Blame, Change, Trace, TraceStep
from hmmspec.system.explain import explain
from hmmspec.system.expr import Expr
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import Rule
from hmmspec.system.types import show_value

Args = tuple[object, ...]
Step = tuple[int, Args, State]


def show_args(rule: Rule, args: Args) -> tuple[tuple[str, str], ...]:
    """Parameter names and values, a thread's index first."""
    return tuple((p.name, show_value(p.type, v)) for p, v in zip(rule.params, args, strict=True))


def actor(rule: Rule, args: Args) -> str | None:
    """The thread whose step it is: `fault[cpu0]`."""
    if rule.thread is None:
        return None
    index = zip(rule.params[: rule.index_arity], args, strict=False)
    return rule.thread + "".join(f"[{show_value(p.type, v)}]" for p, v in index)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """The cells that differ, in the order of the state."""
    return tuple(Change(c, before.get(c, ""), v) for c, v in after.items() if before.get(c, "") != v)


def trace_of(
    interp: Interpreter,
    start: State,
    steps: Sequence[Step],
    *,
    loop: int | None = None,
    final: tuple[int, Args] | None = None,
    blame: Blame | None = None,
    message: str = "",
) -> Trace:
    """The run as a `Trace`.  final: rule and arguments of a last step that ends in an error and adds no state."""
    rules = interp.system.rules
    cells = initial = interp.cells(start)
    here, shown = start, []
    for number, args, after in steps:
        rule, new = rules[number], interp.cells(after)
        alike = [t for r, a, t in interp.expand(here)[0] if r == number and a == args]
        outcome = alike.index(after) if len(alike) > 1 else 0
        shown.append(
            TraceStep(rule.name, actor(rule, args), show_args(rule, args), changes(cells, new), new, rule.span, outcome)
        )
        here, cells = after, new
    last = None
    if final is not None:
        rule = rules[final[0]]
        last = TraceStep(rule.name, actor(rule, final[1]), show_args(rule, final[1]), (), cells, rule.span)
    return Trace(initial, tuple(shown), loop, last, blame, message)


def blame_for(interp: Interpreter, e: Expr, state: State, after: State | None = None) -> Blame | None:
    """Why the expression is false in this state (or on this step)."""
    found = explain(interp, e, state, after)
    if found is None:
        return None
    return Blame(found.conjunct, tuple(found.bindings), tuple(found.parts), found.span)
