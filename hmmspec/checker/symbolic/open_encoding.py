"""A System with types without bounds, as formulas about one state and the steps out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.open_count import CountingEvaluator
from hmmspec.checker.symbolic.open_kinds import NotFirstOrder, Uncountable
from hmmspec.checker.symbolic.open_state import Unknowns
from hmmspec.checker.symbolic.open_steps import OpenStepper
from hmmspec.checker.symbolic.steps import Step
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.system import expr as E
from hmmspec.system.show import text_of
from hmmspec.system.system import InitAny, Predicate, System, Variable
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
        self.e = CountingEvaluator(system, self.f, every)
        self.v = self.e.v
        self.state: dict[str, SymValue] = {}
        unknowns = Unknowns(self.v, self.v.axioms, self.v.total)
        for variable in system.variables:
            self.state[variable.name] = unknowns.state(variable.type, variable.name)
        # Conjuncts of guards and assumes that count are left out (but for their errors): more runs, so a proof stands.
        left_out: dict[str, None] = {}
        self.assumes = tuple(self._assumed(a, left_out) for a in system.assumes)
        self.stepper = OpenStepper(replace(system, assumes=self.assumes), self.e)
        self.steps: list[Step] = [self.stepper.step(r, self.state) for r in system.rules]
        self.left_out: tuple[str, ...] = (*left_out, *self.stepper.left_out)

    def _assumed(self, a: Predicate, left_out: dict[str, None]) -> Predicate:
        kept: E.Expr = E.TRUE
        for e in _conjuncts(a.body):
            try:
                self.before(e)
                kept = e if kept == E.TRUE else E.Logic("&&", kept, e)
            except Uncountable:
                if self.e.errors_inside(e, Scope(self.state)) != FALSE:
                    raise
                left_out[f"assume {a.name}: {text_of(e)}"] = None
        return replace(a, body=kept)

    @property
    def cycle(self) -> tuple[str, ...]:
        """The names of variables in each of which some identity must be, and whose sorts lead round: with them, what is
        asked of Z3 may have no finite answer, and it may not end.  () where there is no such cycle."""
        return cycle_of(self.v.total)

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
        for a in self.assumes:
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


def _conjuncts(e: E.Expr) -> Iterator[E.Expr]:
    if isinstance(e, E.Logic) and e.op == "&&":
        yield from _conjuncts(e.left)
        yield from _conjuncts(e.right)
    else:
        yield e


def cycle_of(total: Sequence[tuple[str, tuple[str, ...], str]]) -> tuple[str, ...]:
    """Variables (name, sorts of the indices, sort of the identity) that lead from a sort back to itself."""
    leads: dict[str, list[tuple[str, str]]] = {}
    for name, indices, to in total:
        for sort in indices:
            leads.setdefault(sort, []).append((name, to))
    for start in leads:
        found: dict[str, tuple[str, ...]] = {start: ()}
        todo = [start]
        while todo:
            here = todo.pop(0)
            for name, to in leads.get(here, ()):
                if to == start:
                    return tuple(dict.fromkeys((*found[here], name)))
                if to not in found:
                    found[to] = (*found[here], name)
                    todo.append(to)
    return ()


__all__ = ["Claim", "NotFirstOrder", "OpenEncoding"]
