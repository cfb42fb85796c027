"""What strengthening invariants are made of: short facts about one or two identities of each type without bounds.

General templates over the variables of a System, whatever they are called: a bool; a value of a small type; whether an
optional is null or is this identity; whether an identity is in a set; whether two parts of one type are equal.  The
same list comes out for every size of the types without bounds, so that a fact can be looked at in small instances and
claimed for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hmmspec.system import expr as E
from hmmspec.system.faults import members_of
from hmmspec.system.system import System
from hmmspec.system.types import (
    BOOL,
    Array,
    Bool,
    Int,
    Null,
    Queue,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    inject,
    is_scalar,
    values,
)

EACH = 2  # identities of each type that a fact may speak of
SMALL = 8  # values of a type whose values are told apart
MOST_CELLS = 4000


@dataclass(frozen=True)
class Fact:
    """A bool expression over bound names, and which names these are."""

    expr: E.Expr
    names: frozenset[str]


@dataclass(frozen=True)
class _Cell:
    expr: E.Expr
    names: frozenset[str]


def names_of(system: System, every: Sequence[str]) -> list[tuple[str, Symmetric]]:
    """The names that facts speak of, with their types."""
    found = {t.name: t for t in system.symmetric}
    return [(f"{name[:1].lower()}{name[1:]}_{i + 1}", found[name]) for name in every for i in range(EACH)]


def facts(system: System, every: Sequence[str]) -> list[Fact]:
    """All of them, in a fixed order."""
    names = names_of(system, every)
    cells = [c for v in system.variables for c in _cells(_Cell(E.Var(v.name, v.type), frozenset()), names)]
    out: list[Fact] = []
    for c in cells[:MOST_CELLS]:
        out += _of_cell(c, names)
    out += _pairs(cells[:MOST_CELLS])
    return list({f.expr: f for f in out}.values())


def _cells(c: _Cell, names: Sequence[tuple[str, Symmetric]]) -> Iterator[_Cell]:
    """The scalars (and sets) in it."""
    t = c.expr.type
    match t:
        case Array(index, element):
            for i, used in _indices(index, names):
                yield from _cells(_Cell(E.Index(c.expr, i, element), c.names | used), names)
        case Record(_, fields):
            for name, f in fields:
                yield from _cells(_Cell(E.Field(c.expr, name, f), c.names), names)
        case Queue():
            return
        case _:
            yield c


def _indices(t: Type, names: Sequence[tuple[str, Symmetric]]) -> Iterator[tuple[E.Expr, frozenset[str]]]:
    """Values of an index type: names of identities, else each value."""
    if any(s.name == getattr(t, "name", None) for _, s in names) and isinstance(t, Symmetric):
        for name, s in names:
            if s.name == t.name:
                yield E.Local(name, t), frozenset([name])
        return
    match t:
        case Union(members):
            for m in members:
                for e, used in _indices(m, names):
                    yield E.Cast(e, t), used
        case ThreadId(_, index):
            parts: list[tuple[tuple[E.Expr, ...], frozenset[str]]] = [((), frozenset())]
            for i in index:
                parts = [((*es, e), used | more) for es, used in parts for e, more in _indices(i, names)]
            for es, used in parts:
                yield E.MakeThreadId(es, t), used
        case Int():
            return
        case _ if cardinality(t) <= SMALL:
            for value in values(t):
                yield E.Const(value, t), frozenset()


def _of_cell(c: _Cell, names: Sequence[tuple[str, Symmetric]]) -> Iterator[Fact]:
    t = c.expr.type
    match t:
        case Bool():
            yield Fact(c.expr, c.names)
        case Set(element):
            for e, used in _indices(element, names):
                yield Fact(E.InSet(e, c.expr), c.names | used)
        case _ if not is_scalar(t):
            return
        case _:
            for m in members_of(t):
                for e, used in _indices(m, names):
                    value = E.Cast(e, t) if isinstance(t, Union) else e
                    if isinstance(m, Null):
                        value = E.Const(inject(t, 0, 0), t) if isinstance(t, Union) else e
                    yield Fact(E.Compare("==", c.expr, value), c.names | used)
                if isinstance(t, Union) and not isinstance(m, Null) and len(members_of(t)) > 2:
                    yield Fact(E.IsMember(c.expr, (t.members.index(m),)), c.names)


def _pairs(cells: Sequence[_Cell]) -> Iterator[Fact]:
    """Parts of one type that is large or has identities, of the same identities: whether they are equal."""
    by_type: dict[Type, list[_Cell]] = {}
    for c in cells:
        t = c.expr.type
        if t != BOOL and is_scalar(t) and not isinstance(t, ThreadId) and len(by_type.setdefault(t, [])) < 12:
            by_type[t].append(c)
    for some in by_type.values():
        for i, a in enumerate(some):
            for b in some[i + 1 :]:
                if (a.names <= b.names or b.names <= a.names) and a.expr != b.expr:
                    yield Fact(E.Compare("==", a.expr, b.expr), a.names | b.names)
