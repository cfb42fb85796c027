"""Why a step is not possible in a state: the first part of its guard that fails, the lock it waits for, an assume."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product

from hmmspec.checker.trace import actor, show_args
from hmmspec.checker.verdict import TraceStep
from hmmspec.report.trace_text import step_title
from hmmspec.system.expr import Expr, Logic
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, LockAttempt, State
from hmmspec.system.show import show_expr
from hmmspec.system.system import Rule
from hmmspec.system.types import show_value, values

_MOST = 40


def why(interp: Interpreter, state: State, name: str) -> Iterator[str]:
    """A line for each choice of arguments of the step: that it is possible, or what keeps it from being so."""
    steps, failures = interp.expand(state)
    possible = {(rule, args) for rule, args, _ in steps} | {(rule, args) for rule, args, _ in failures}
    rules = [rule for rule in interp.system.rules if rule.name == name]
    ways = ((rule, args) for rule in rules for args in product(*(values(p.type) for p in rule.params)))
    for rule, args in islice(ways, _MOST):
        shown = TraceStep(rule.name, actor(rule, args), show_args(rule, args), (), {})
        told = "possible" if (rule.number, args) in possible else _reason(interp, state, rule, args)
        yield f"{step_title(shown)}: {told}"
    if next(ways, None) is not None:
        yield f"and more: only the first {_MOST} are shown"


def _reason(interp: Interpreter, state: State, rule: Rule, args: tuple[object, ...]) -> str:
    env = {p.name: value for p, value in zip(rule.params, args, strict=True)}
    for part in _conjuncts(rule.guard):
        try:
            if not interp.evaluate(part, state, env=env):
                return f"needs {show_expr(part)}"
        except SpecFault as error:
            return f"its guard is an error of the spec: {error.fault.message}"
    if args in interp.enabled(state, rule.number):
        return "an assume forbids every result"
    for attempt in interp.lock_attempts(state, rule.number):
        if attempt.args == args and not attempt.free:
            return _waiting(interp, attempt)
    return "its guard holds, but no choice in its body leads anywhere"


def _waiting(interp: Interpreter, attempt: LockAttempt) -> str:
    if attempt.lock is None:
        return "its await does not hold yet"
    lock = next(info for info in interp.system.locks if info.name == attempt.lock)
    index = "".join(f"[{show_value(t, v)}]" for t, v in zip(lock.index, attempt.lock_index, strict=True))
    holders = ", ".join(show_value(lock.owner_type, owner) for owner in attempt.holders)
    return f"waits for {lock.name}{index}" + (f", held by {holders}" if holders else "")


def _conjuncts(e: Expr) -> Iterator[Expr]:
    match e:
        case Logic("&&", left, right):
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _:
            yield e
