"""Defects to plant in the symbolic engine, one at a time: each is wrong in one way that a person could have written.

`python -m tests.symbolic.smallplanted [DEFECT ..]` prints the seeds below SEEDS that show each, for SHOWN_BY in
test_small.py: to be done again whenever the generator of specs changes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

from hmmspec.checker.symbolic import evaluate
from hmmspec.checker.symbolic.bounded import Bounded
from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.evaluate import Evaluator
from hmmspec.checker.symbolic.formulas import TRUE
from hmmspec.checker.symbolic.steps import Stepper
from hmmspec.checker.symbolic.values import Values
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.system import InitAny
from tests.planting import Defects, changed, print_seeds
from tests.symbolic.smallagree import differences
from tests.symbolic.smallgen import case

DEFECTS = Defects()
SEEDS = 50  # those that are compared in every run
ENOUGH = 2  # seeds for each defect


@DEFECTS
def lost_conjunct() -> Iterator[None]:
    """Of `a && b` as a guard only `a` is asked for."""

    def change(old: Any) -> Any:
        def restrict(self: Stepper, way: Any, condition: E.Expr) -> None:
            cut = condition.left if isinstance(condition, E.Logic) and condition.op == "&&" else condition
            old(self, way, cut)

        return restrict

    with changed(Stepper, "_restrict", change):
        yield


@DEFECTS
def lost_error() -> Iterator[None]:
    """What errs is not noticed."""
    with mock.patch.object(Evaluator, "error"):
        yield


@DEFECTS
def error_where_nothing_is_evaluated() -> Iterator[None]:
    """The right side of `&&` may err although the left side is false."""

    def change(old: Any) -> Any:
        return lambda self, _, e, scope: old(self, TRUE, e, scope)

    with changed(Evaluator, "under", change):
        yield


@DEFECTS
def one_step_short() -> Iterator[None]:
    """The last step of the bound is not looked at."""

    def change(old: Any) -> Any:
        return lambda self, system, depth, *more: old(self, system, depth - 1, *more)

    with changed(Bounded, "__init__", change):
        yield


@DEFECTS
def less_for_at_most() -> Iterator[None]:
    """`<=` is `<`."""
    with mock.patch.dict(evaluate._ORDER, {"<=": operator.lt}):
        yield


@DEFECTS
def lost_assume() -> Iterator[None]:
    """An assume holds at the start only."""

    def change(old: Any) -> Any:
        def step(self: Stepper, rule: core.Rule, state: Any) -> Any:
            with mock.patch.object(self, "system", replace(self.system, assumes=())):
                return old(self, rule, state)

        return step

    with changed(Stepper, "step", change):
        yield


@DEFECTS
def lost_outcome() -> Iterator[None]:
    """The last of several choices is never taken."""

    def change(old: Any) -> Any:
        def ways(self: Stepper, n: int) -> Any:
            found = old(self, n)
            if n > 1:
                self._valid.append(found[n - 1] ^ 1)
            return found

        return ways

    with changed(Stepper, "_ways", change):
        yield


@DEFECTS
def prime_reads_the_old_state() -> Iterator[None]:
    """A step property sees one state only."""

    def change(old: Any) -> Any:
        return lambda self, e, scope: old(self, e, replace(scope, after=scope.after and scope.state))

    with changed(Evaluator, "value", change):
        yield


@DEFECTS
def any_start_of_a_machine() -> Iterator[None]:
    """`initial {a, b}` is any state."""

    def change(old: Any) -> Any:
        def first_values(self: Encoding) -> Any:
            variables = [
                replace(v, init=InitAny(None)) if isinstance(v.init, InitAny) else v for v in self.system.variables
            ]
            with mock.patch.object(self, "system", replace(self.system, variables=tuple(variables))):
                return old(self)

        return first_values

    with changed(Encoding, "first_values", change):
        yield


@DEFECTS
def set_minus_toggles() -> Iterator[None]:
    """`-` on sets adds what was not there."""

    def change(old: Any) -> Any:
        def value(self: Evaluator, e: E.Expr, scope: Any) -> Any:
            if not isinstance(e, E.SetOp) or e.op != "-":
                return old(self, e, scope)
            pairs = zip(old(self, e.left, scope), old(self, e.right, scope), strict=True)
            return tuple(self.f.same(a, b) ^ 1 for a, b in pairs)

        return value

    with changed(Evaluator, "value", change):
        yield


@DEFECTS
def rounds_to_zero() -> Iterator[None]:
    """`/` and `%` as in C."""

    def cut(a: int, b: int) -> int:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)

    def change(old: Any) -> Any:
        def combined(self: Values, a: Any, b: Any, join: Callable[[int, int], int]) -> Any:
            if join is operator.floordiv:
                return old(self, a, b, cut)
            if join is operator.mod:
                return old(self, a, b, lambda x, y: x - cut(x, y) * y)
            return old(self, a, b, join)

        return combined

    with changed(Values, "combined", change):
        yield


@DEFECTS
def forgotten_branch() -> Iterator[None]:
    """What `else` assigns is forgotten where `if` assigns nothing."""

    def change(old: Any) -> Any:
        def join(self: Stepper, way: Any, ends: Any) -> Any:
            if len(ends) == 2 and all(v is way.state[n] for n, v in ends[0][1].state.items()):
                ends = [ends[0], (ends[1][0], replace(ends[1][1], state=dict(way.state)))]
            return old(self, way, ends)

        return join

    with changed(Stepper, "_join", change):
        yield


@DEFECTS
def no_rest() -> Iterator[None]:
    """`terminal` is not looked at."""

    def change(old: Any) -> Any:
        def resting(self: Encoding, state: Any) -> Any:
            with mock.patch.object(self, "system", replace(self.system, terminal=())):
                return old(self, state)

        return resting

    with changed(Encoding, "_resting", change):
        yield


def shown_by(name: str) -> Iterator[int]:
    """The seeds that show a defect."""
    for seed in range(SEEDS):
        c = case(seed)
        with DEFECTS[name]():
            if differences(c):
                yield seed


if __name__ == "__main__":
    print_seeds(DEFECTS, shown_by, ENOUGH)
