"""Defects to plant in the generator of C code, one at a time.

Each is a context in which what is generated is wrong in one way that a person could have written.

`python -m tests.native.planted [DEFECT ..]` prints the seeds below SEEDS that show each, for SHOWN_BY in test_planted.py:
to be done again whenever the generator of specs changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

from hmmspec.checker.native import unit, values
from hmmspec.checker.native.engine import c_text
from hmmspec.checker.native.exprs import Exprs
from hmmspec.checker.native.rules import Rules
from hmmspec.checker.native.values import CValues
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.types import Int, Range
from tests.native.agree import FULL, Case, case, disagreements
from tests.planting import Defects, changed, print_seeds

DEFECTS = Defects()
SEEDS = 100  # those that the agreement test compares in every run
ENOUGH = 2  # seeds for each defect


def _lines(lines: list[str], pattern: str, by: str) -> list[str]:
    return [re.sub(pattern, by, line) for line in lines]


@DEFECTS
def wrong_mask() -> Iterator[None]:
    """A value of three bits and more loses its highest when it is read."""

    def load(self: CValues, t: Any, state: str, at: str, old: Any = CValues.load) -> str:
        narrow = values.mask
        with mock.patch.object(values, "mask", lambda b: narrow(b - 1 if b > 2 else b)):
            return str(old(self, t, state, at))

    with mock.patch.object(CValues, "load", load):
        yield


@DEFECTS
def lost_outcome() -> Iterator[None]:
    """Only the first way of a step with choices is taken."""

    def change(old: Any) -> Any:
        return lambda *a: _lines(old(*a), r"while \(next_script\(c\)\)", "while (0)")

    with changed(Rules, "_ways", change):
        yield


@DEFECTS
def stale_local() -> Iterator[None]:
    """A `let` reads what was before the step."""

    def change(old: Any) -> Any:
        def statement(self: Rules, s: core.Stmt, scope: Any, leave: str) -> Any:
            if not isinstance(s, core.Let):
                return old(self, s, scope, leave)
            lines, inner = old(self, s, replace(scope, state="s"), leave)
            return lines, replace(inner, state=scope.state)

        return statement

    with changed(Rules, "statement", change):
        yield


@DEFECTS
def missed_range_check() -> Iterator[None]:
    """A number is stored as it is."""

    def change(old: Any) -> Any:
        def cast(self: CValues, source: Any, target: Any, value: str, site: int) -> Any:
            if isinstance(source, Int) and isinstance(target, Range):
                return value
            return old(self, source, target, value, site)

        return cast

    with changed(CValues, "cast", change):
        yield


@DEFECTS
def wrong_stride() -> Iterator[None]:
    """The elements of an array lie one bit too close together."""

    def change(old: Any) -> Any:
        def stride(n: int, element_bits: int) -> Any:
            s = old(n, element_bits)
            return replace(s, near=s.near - 1) if s.near > 1 and s.far == 0 else s

        return stride

    with changed(values, "stride", change):
        yield


@DEFECTS
def early_exit_in_a_faulting_quantifier() -> Iterator[None]:
    """A `forall` or `exists` stops where it is decided although what is left errs."""

    def change(old: Any) -> Any:
        def quantifier(self: Exprs, e: E.Quant, scope: Any) -> Any:
            with mock.patch.object(self.analysis, "can_fault", return_value=False):
                return old(self, e, scope)

        return quantifier

    with changed(Exprs, "quantifier", change):
        yield


@DEFECTS
def target_index_too_early() -> Iterator[None]:
    """The index of what is assigned is that of before the step."""

    def change(old: Any) -> Any:
        return lambda self, target, scope: old(self, target, replace(scope, state="s"))

    with changed(Rules, "_place", change):
        yield


@DEFECTS
def lost_fault() -> Iterator[None]:
    """A statement that errs does not end its step."""
    with mock.patch.object(Rules, "check_fault", return_value=[]):
        yield


@DEFECTS
def union_offset() -> Iterator[None]:
    """The last member of a union begins one value too early."""

    def change(old: Any) -> Any:
        def offsets(t: Any) -> Any:
            found = old(t)
            return (*found[:-1], found[-1] - 1) if len(found) > 1 else found

        return offsets

    with changed(values, "offsets", change):
        yield


@DEFECTS
def queue_shift() -> Iterator[None]:
    """`pop` shortens a queue and leaves its elements where they are."""

    def change(old: Any) -> Any:
        return lambda *a: re.sub(r"(\w+)\.e\[i - 1\] = \1\.e\[i\];", ";", old(*a))

    with changed(Exprs, "queues", change):
        yield


@DEFECTS
def rounds_to_zero() -> Iterator[None]:
    """`/` and `%` as in C."""

    def change(old: Any) -> Any:
        def arith(self: Exprs, e: E.Arith, scope: Any) -> Any:
            text = old(self, e, scope)
            if e.op not in "/%":
                return text
            inner = re.fullmatch(r"\w+\(c, (.*), (\d+)\)", text, re.DOTALL)
            assert inner
            return f"({{ V d_[] = {{ {inner[1]} }}; if (!d_[1]) {{ fault(c, {inner[2]}); d_[1] = 1; }} d_[0] {e.op} d_[1]; }})"

        return arith

    with changed(Exprs, "arith", change):
        yield


@DEFECTS
def prime_reads_the_old_state() -> Iterator[None]:
    """A step property sees one state only."""

    def change(old: Any) -> Any:
        return lambda self, e, scope: old(self, e, replace(scope, after=scope.after and scope.state))

    with changed(Exprs, "place", change):
        yield


@DEFECTS
def lost_assume() -> Iterator[None]:
    """Only the first assume is looked at."""

    def change(old: Any) -> Any:
        def text(self: Any) -> Any:
            with mock.patch.object(self, "system", replace(self.system, assumes=())):
                return old(self)

        return text

    with changed(unit._Checks, "_assumed", change):
        yield


@DEFECTS
def filter_of_a_loop_is_lost() -> Iterator[None]:
    """A `for` takes every pass."""

    def change(old: Any) -> Any:
        return lambda self, s, scope, leave: old(self, replace(s, filter=None), scope, leave)

    with changed(Rules, "loop", change):
        yield


@DEFECTS
def set_minus_toggles() -> Iterator[None]:
    """`-` on sets adds what was not there."""

    def change(old: Any) -> Any:
        def sets(self: Exprs, e: Any, scope: Any) -> Any:
            text = old(self, e, scope)
            return text.replace(" & ~", " ^ ") if isinstance(e, E.SetOp) and e.op == "-" else text

        return sets

    with changed(Exprs, "sets", change):
        yield


@DEFECTS
def thread_numbers_collide() -> Iterator[None]:
    """Owners of locks: all threads of one kind are one."""

    def change(old: Any) -> Any:
        return lambda self, args, scope: f"(0 * {old(self, args, scope)})" if args else old(self, args, scope)

    with changed(Exprs, "thread_id", change):
        yield


@DEFECTS
def constant_is_a_member_short() -> Iterator[None]:
    """Literals of an enum behind the first are taken for the one before."""

    def change(old: Any) -> Any:
        def expr(self: Exprs, e: E.Expr, scope: Any) -> Any:
            if isinstance(e, E.Const) and type(e.value) is int and e.value > 1 and not isinstance(e.type, Int | Range):
                return old(self, replace(e, value=e.value - 1), scope)
            return old(self, e, scope)

        return expr

    with changed(Exprs, "expr", change):
        yield


def _texts(c: Case) -> list[str]:
    return [c_text(system, FULL).text for system in c.systems]


def shown_by(name: str) -> Iterator[int]:
    """The seeds that show a defect."""
    for seed in range(SEEDS):
        c = case(seed)
        right = _texts(c)
        with DEFECTS[name]():
            if _texts(c) != right and disagreements(c):
                yield seed


if __name__ == "__main__":
    print_seeds(DEFECTS, shown_by, ENOUGH)
