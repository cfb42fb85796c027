"""Lemmas: that some cells never have some values together, for any different identities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Literal as Of

from hmmspec.checker.symbolic.cells import (
    Cell,
    Id,
    Plain,
    Value,
    Wording,
    concrete,
    ids,
    ids_of,
    renamed,
    renamed_cell,
)
from hmmspec.system import expr as E
from hmmspec.system.spelling import has_identities
from hmmspec.system.system import System
from hmmspec.system.types import BOOL, Bool, Set, cardinality, from_ordinal, ordinal


@dataclass(frozen=True)
class Literal:
    """The cell has one of these values (`none`: it has none of them); `equal`: the cell has (`none`: has not) the same
    value as that one."""

    cell: Cell
    values: frozenset[Value] = frozenset()
    none: bool = False
    equal: Cell | None = None

    def names(self) -> Iterator[Id]:
        """The names in it, in a fixed order."""
        yield from ids_of(self.cell)
        if self.equal is not None:
            yield from ids_of(self.equal)
        for v in in_order(self.values):
            yield from ids(v)

    def renamed(self, names: dict[Id, Id]) -> Literal:
        """With other names."""
        equal = None if self.equal is None else renamed_cell(self.equal, names)
        values = frozenset(renamed(v, names) for v in self.values)
        return Literal(renamed_cell(self.cell, names), values, self.none, equal)


@dataclass(frozen=True)
class Lemma:
    """These literals never hold together, for any different identities."""

    literals: tuple[Literal, ...]

    @property
    def names(self) -> list[Id]:
        """By first appearance."""
        return list(dict.fromkeys(n for x in self.literals for n in x.names()))

    def canonical(self) -> Lemma:
        """The same with the names numbered by first appearance, and the literals in a fixed order."""
        ordered = sorted(
            self.literals, key=lambda x: (x.cell.variable, repr((x.cell, in_order(x.values), x.none, x.equal)))
        )
        numbers: dict[str, int] = {}
        names: dict[Id, Id] = {}
        for n in Lemma(tuple(ordered)).names:
            names[n] = Id(n.sort, numbers.get(n.sort, 0))
            numbers[n.sort] = names[n].number + 1
        return Lemma(tuple(x.renamed(names) for x in ordered))

    def expr(self, system: System) -> E.Expr:
        """As an expression of an instance, of any size."""
        w = Wording(system)
        parts = [_expr(w, x) for x in self.literals]
        # What is said reads best as "where this is so, that is not so".
        *conditions, last = parts
        body = negated(last)
        if conditions:
            body = E.Logic("=>", _all(conditions), body)
        names = self.names
        if not names:
            return body
        different: list[E.Expr] = [
            E.Compare("!=", w.local(a), w.local(b)) for a, b in combinations(names, 2) if a.sort == b.sort
        ]
        return E.Quant("forall", tuple(w.binder(n) for n in names), _all(different) if different else None, body, BOOL)


def _expr(w: Wording, x: Literal) -> E.Expr:
    cell = w.cell(x.cell)
    if x.equal is not None:
        return E.Compare("!=" if x.none else "==", cell, w.cell(x.equal))
    t = cell.type
    if isinstance(t, Bool):
        return cell if (Plain(1) in x.values) != x.none else E.Not(cell)
    if not has_identities(t) and not isinstance(cell, E.Size):
        mask = sum(1 << ordinal(t, concrete(t, v)) for v in x.values)
        inside = _within(cell, mask, Set(t))
        return negated(inside) if x.none else inside
    op: Of["==", "!="] = "!=" if x.none else "=="
    values = [E.Const(v.value, t) if isinstance(v, Plain) else w.value(t, v) for v in in_order(x.values)]
    parts: list[E.Expr] = [E.Compare(op, cell, v) for v in values]
    return _all(parts) if x.none else reduce(lambda a, b: E.Logic("||", a, b), parts)


def negated(e: E.Expr) -> E.Expr:
    """The negation, as people write it."""
    match e:
        case E.Not(operand):
            return operand
        case E.Compare("==", a, b):
            return E.Compare("!=", a, b)
        case E.Compare("!=", a, b):
            return E.Compare("==", a, b)
        case E.Logic("||", a, b):
            return E.Logic("&&", negated(a), negated(b))
        case E.Logic("&&", a, b):
            return E.Logic("||", negated(a), negated(b))
        case E.InSet(x, E.Const(int(mask), Set() as t)):
            rest = (1 << cardinality(t.element)) - 1 & ~mask
            return _within(x, rest, t)
        case _:
            return E.Not(e)


def _within(x: E.Expr, mask: int, t: Set) -> E.Expr:
    """`x in {..}`, or `x == ..` where there is one, or `x != ..` where all others are."""
    everything = (1 << cardinality(t.element)) - 1
    for op, here in (("==", mask), ("!=", everything & ~mask)):
        if here.bit_count() == 1:
            value = from_ordinal(t.element, here.bit_length() - 1)
            return E.Compare("==" if op == "==" else "!=", x, E.Const(value, t.element))
    return E.InSet(x, E.Const(mask, t))


def _all(parts: list[E.Expr]) -> E.Expr:
    return reduce(lambda a, b: E.Logic("&&", a, b), parts)


def in_order(values: Iterable[Value]) -> list[Value]:
    """Values in a fixed order."""
    return sorted(values, key=repr)
