"""A System with types without bounds, as formulas about one state and the steps out of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import TRUE, Formula, Formulas
from hmmspec.checker.symbolic.open_evaluate import OpenEvaluator
from hmmspec.checker.symbolic.open_steps import OpenStepper
from hmmspec.checker.symbolic.open_values import NotFirstOrder
from hmmspec.checker.symbolic.steps import Step
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.system import expr as E
from hmmspec.system.system import InitAny, System, Variable
from hmmspec.system.types import Array


@dataclass(frozen=True)
class Claim:
    """Something claimed of all states: whether it holds in one, and when evaluating it is an error."""

    holds: Formula
    wrong: Formula


class OpenEncoding:
    """Formulas of one System; `every`: the names of the types without bounds.  Raises Limit (NotFirstOrder)."""

    def __init__(self, system: System, every: frozenset[str]) -> None:
        self.system = system
        self.f = Formulas()
        self.e = OpenEvaluator(system, self.f, every)
        self.v = self.e.v
        self.state: dict[str, SymValue] = {}
        for variable in system.variables:
            self.state[variable.name] = self.v.state(variable.type, variable.name)
        stepper = OpenStepper(system, self.e)
        self.steps: list[Step] = [stepper.step(r, self.state) for r in system.rules]

    @property
    def axioms(self) -> Formula:
        """What is true of every state because of what its variables are."""
        return self.f.all(self.v.axioms)

    def before(self, e: E.Expr) -> Claim:
        """An expression in the state."""
        return Claim(*self.e.evaluate(e, Scope(self.state)))

    def after(self, e: E.Expr, step: Step) -> Claim:
        """An expression in the state after a step."""
        return Claim(*self.e.evaluate(e, Scope(step.after)))

    def across(self, e: E.Expr, step: Step) -> Claim:
        """A step property of a step."""
        return Claim(*self.e.evaluate(e, Scope(self.state, step.after)))

    def start(self) -> Formula:
        """The start states."""
        out = [self._start_of(v) for v in self.system.variables]
        for a in self.system.assumes:
            claim = self.before(a.body)
            out += [claim.holds, claim.wrong ^ 1]
        return self.f.all(out)

    def _start_of(self, v: Variable) -> Formula:
        """As one expression: for all indices the element has its first value."""
        names: list[str] = list(v.init.binders) if not isinstance(v.init, InitAny) else []
        binders: list[E.Binder] = []
        here: E.Expr = E.Var(v.name, v.type)
        for depth in range(v.depth):
            assert isinstance(here.type, Array)
            index = here.type.index
            name = names[depth] if depth < len(names) else f"index {depth}"
            binders.append(E.Binder(name, index, E.OverType(index)))
            here = E.Index(here, E.Local(name, index), here.type.element)
        if not isinstance(v.init, InitAny):
            first: E.Expr = E.Compare("==", here, v.init.value)
        elif v.init.allowed is None:
            return TRUE
        else:
            options: Iterator[E.Expr] = (E.Compare("==", here, E.Const(x, here.type)) for x in v.init.allowed)
            first = reduce(lambda a, b: E.Logic("||", a, b), options)
        whole = E.Quant("forall", tuple(binders), None, first, first.type) if binders else first
        found: Formula = self.e.evaluate(whole, Scope(self.state))[0]
        return found


__all__ = ["Claim", "NotFirstOrder", "OpenEncoding"]
