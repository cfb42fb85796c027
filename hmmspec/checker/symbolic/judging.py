"""What is judged, and errors of the spec while it is: these count as `spec_error`, too, like those of steps.

Where a property counts, what is in it is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, Formula
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.diagnostics import Span
from hmmspec.system import expr as E
from hmmspec.system.system import AssertProperty, Invariant, LeadsTo, Property, StepProperty, System
from hmmspec.system.types import BOOL

BUILT_IN = {
    "spec_error": "no step and no property is an error of the spec",
    "double_acquire": "no thread acquires a lock that it holds",
    "foreign_release": "no thread releases a lock that it does not hold",
    "held_at_stop": "no thread stops or restarts with a lock held",
    "lock_cycle": "no threads wait for one another in a cycle",
}


def described(system: System, name: str) -> tuple[str, str, Span | None]:
    """Kind, text and place of a property or a built-in finding."""
    kinds = {Invariant: "invariant", StepProperty: "step", AssertProperty: "assert"}
    for p in system.properties:
        if p.name == name:
            return kinds.get(type(p), "built-in"), p.text, p.span
    return "built-in", BUILT_IN.get(name, ""), None


def judging_errors(encoding: OpenEncoding) -> Iterator[tuple[str, Formula]]:
    """For each property and `terminal`: its name, and in which states, or of which steps, evaluating it is an error.

    Raises Limit (Uncountable) where what is counted decides whether there is one.
    """
    system, f, evaluator = encoding.system, encoding.f, encoding.e
    before = Scope(encoding.state)
    for p in system.properties:
        for body in _bodies(p):
            found = evaluator.errors_inside(body, before)
            if found != FALSE:
                yield p.name, found
        if isinstance(p, StepProperty):
            for step in encoding.steps:
                wrong = evaluator.errors_inside(p.body, Scope(encoding.state, step.after))
                if wrong != FALSE:
                    yield f"{p.name} of {step.rule.name}", f.both(step.enabled, wrong)
    for t in system.terminal:
        found = evaluator.errors_inside(t.body, before)
        if found != FALSE:
            yield t.name, found


def _bodies(p: Property) -> Iterator[E.Expr]:
    """What is evaluated in single states."""
    match p:
        case StepProperty() | AssertProperty():
            return
        case LeadsTo(_, _, binders, filter_, left, right):
            for side in (left, right):
                yield E.Quant("forall", binders, filter_, side, BOOL) if binders else side
        case _:
            yield p.body
