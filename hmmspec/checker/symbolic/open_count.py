"""Counting identities of types without bounds: a comparison with a small number is said with that many identities.

What is compared may be a sum of counts and numbers: `count(..) + 1 < FRAMES`, `FRAMES - count(..) > 0`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass

from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.open_evaluate import MOST_COUNTED, OpenEvaluator, uncountable
from hmmspec.checker.symbolic.terms import Replacement, Term, distinct
from hmmspec.checker.symbolic.values import Cases, SymValue
from hmmspec.system import expr as E
from hmmspec.system.types import Range, Set, Type

MOST_KINDS = 16  # ways to combine values of types with bounds that are counted beside identities

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True)
class _Kind:
    """Some of what is counted: those identities (one without names is itself) of which `condition` holds."""

    condition: Formula
    names: tuple[Term, ...]


@dataclass(frozen=True)
class _Sum:
    """A number, and how many there are of some kinds (each with a sign)."""

    number: Cases
    kinds: tuple[tuple[int, _Kind], ...] = ()


class CountingEvaluator(OpenEvaluator):
    """Evaluates comparisons of counts besides."""

    def value(self, e: E.Expr, scope: Scope) -> SymValue:
        match e:
            case E.Compare(op, left, right) if self._counts(left) or self._counts(right):
                sides = self._sum(left, scope, 1), self._sum(right, scope, -1)
                return self._related(op, e, self._both(*sides))
            case _:
                return super().value(e, scope)

    def _counts(self, e: E.Expr) -> bool:
        """Whether its value depends on how many identities there are of something."""
        match e:
            case E.Cast(operand, _) | E.Negate(operand):
                return self._counts(operand)
            case E.Arith("+" | "-", left, right):
                return self._counts(left) or self._counts(right)
            case E.Apply(name, _):
                return self._counts(self.defines[name].body)
            case E.Quant("count", binders):
                return any(self.is_open(b) for b in binders)
            case E.Size(operand):
                return self._open_set(operand.type)
            case _:
                return False

    def _sum(self, e: E.Expr, scope: Scope, sign: int) -> _Sum:
        """The value as a sum, or (`sign` -1) what it is less than 0."""
        if not self._counts(e):
            number = self.value(e, scope)
            if not isinstance(number, dict):
                raise uncountable(e)
            return _Sum(self.v.mapped(number, lambda n: sign * n))
        match e:
            case E.Negate(operand):
                return self._sum(operand, scope, -sign)
            case E.Arith("+", left, right):
                return self._both(self._sum(left, scope, sign), self._sum(right, scope, sign))
            case E.Arith("-", left, right):
                return self._both(self._sum(left, scope, sign), self._sum(right, scope, -sign))
            case E.Apply(name, args, _, primed):
                define = self.defines[name]
                state = scope.after if primed else scope.state
                assert state is not None
                bound = {p.name: self.value(a, scope) for p, a in zip(define.params, args, strict=True)}
                return self._sum(define.body, Scope(state, None, bound), sign)
            case E.Cast(operand, t):
                found = self._sum(operand, scope, sign)
                self._in_range(operand, t, found if sign > 0 else self._sum(operand, scope, 1))
                return found
            case _:
                return _Sum({0: TRUE}, tuple((sign, k) for k in self._kinds(e, scope)))

    def _both(self, a: _Sum, b: _Sum) -> _Sum:
        return _Sum(self.v.combined(a.number, b.number, operator.add), (*a.kinds, *b.kinds))

    def _in_range(self, e: E.Expr, t: Type, found: _Sum) -> None:
        """A count that is stored in a range must be in it."""
        if not isinstance(t, Range):
            return
        for op, limit in (("<", t.low), (">", t.high)):
            self.error(self._related(op, e, self._both(found, _Sum({-limit: TRUE}))))

    def _related(self, op: str, e: E.Expr, difference: _Sum) -> Formula:
        """How a sum is related to 0."""
        signs = {sign for sign, _ in difference.kinds}
        kinds = [k for _, k in difference.kinds]
        if len(signs) > 1 or len(kinds) > MOST_KINDS:
            raise uncountable(e)
        negative = signs != {-1}
        limits = self.v.mapped(difference.number, lambda n: -n if negative else n)
        if max(limits, default=0) > MOST_COUNTED:
            raise uncountable(e)
        wanted = op if negative else _FLIPPED[op]
        return self.f.any(self.f.both(c, self._compared(wanted, kinds, n)) for n, c in limits.items())

    def _compared(self, op: str, kinds: list[_Kind], n: int) -> Formula:
        match op:
            case ">=":
                return self._at_least(kinds, n)
            case ">":
                return self._at_least(kinds, n + 1)
            case "<":
                return self._at_least(kinds, n) ^ 1
            case "<=":
                return self._at_least(kinds, n + 1) ^ 1
            case "==":
                return self.f.both(self._at_least(kinds, n), self._at_least(kinds, n + 1) ^ 1)
            case _:
                return self._compared("==", kinds, n) ^ 1

    def _at_least(self, kinds: list[_Kind], n: int) -> Formula:
        """So many or more of all kinds together."""
        if n <= 0:
            return TRUE
        if not kinds:
            return FALSE
        first, rest = kinds[0], kinds[1:]
        most = n if first.names else 1
        lowest = 0 if rest else n
        return self.f.any(
            self.f.both(self._several(first, k), self._at_least(rest, n - k)) for k in range(lowest, most + 1)
        )

    def _several(self, kind: _Kind, n: int) -> Formula:
        if n == 0:
            return TRUE
        if not kind.names:
            return kind.condition
        sorts = [t.sort for t in kind.names]
        groups = [self.logic.fresh(sorts) for _ in range(n)]
        each = (self.logic.replaced(kind.condition, Replacement(dict(zip(kind.names, g, strict=True)))) for g in groups)
        body = self.f.all([distinct(self.logic, groups), *each])
        return self.logic.some_of(tuple(t for g in groups for t in g), body)

    def _kinds(self, e: E.Expr, scope: Scope) -> list[_Kind]:
        """What the expression counts."""
        match e:
            case E.Size(operand):
                assert isinstance(operand.type, Set)
                family = self.value(operand, scope)
                return [_Kind(family.part(key), names) for key, names in self.v.keys(operand.type.element)]
            case E.Quant():
                self.every(e.binders, e.filter, scope, lambda _: TRUE)  # for its errors
                kept, self._errors = self._errors, []
                found = list(self._combined(e, scope))
                self._errors = kept
                return found
            case _:
                raise uncountable(e)

    def _combined(self, e: E.Quant, scope: Scope) -> Iterator[_Kind]:
        for there, names, _ in self.combinations(e.binders, e.filter, scope):
            if there != FALSE:
                yield _Kind(there, names)
