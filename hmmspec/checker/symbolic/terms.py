"""Identities of types without bounds, and what formulas say of them.

A type in `every T` has no size here: it is a sort, its identities are terms.  Nothing is counted, no value is listed;
what a state holds are relations between identities.  So that proofs have no cycle of sorts, a variable that holds an
identity (an owner, an optional page) is not a function but a relation with at most one identity for each index, and
`null` is that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas


@dataclass(frozen=True, order=True)
class Term:
    """An identity: a constant, or (`bound`) a variable of a quantifier."""

    sort: str
    name: str
    bound: bool = False


@dataclass(frozen=True)
class Holds:
    """An atom: the relation of this name between identities."""

    relation: str
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Same:
    """An atom: two identities are one."""

    left: Term
    right: Term


@dataclass(frozen=True)
class Every:
    """An atom: the body holds for all identities."""

    names: tuple[Term, ...]
    body: Formula


@dataclass(frozen=True)
class The:
    """An atom: the body holds of the one identity (or tuple of them) that `which` holds of.

    It is used only where there is one; then "some that is it and has the body" and "all that are it have the body" are
    the same, and who translates takes the one that needs no new identity.
    """

    names: tuple[Term, ...]
    which: Formula
    body: Formula


Quantified = Every | The


class Logic:
    """Formulas about terms."""

    def __init__(self, formulas: Formulas) -> None:
        self.f = formulas
        self._count = 0
        self._free: dict[int, frozenset[Term]] = {}

    def fresh(self, sorts: Sequence[str]) -> tuple[Term, ...]:
        """New variables for a quantifier."""
        self._count += len(sorts)
        first = self._count - len(sorts)
        return tuple(Term(s, f"{s.lower()}.{first + i}", True) for i, s in enumerate(sorts))

    def holds(self, relation: str, terms: Sequence[Term]) -> Formula:
        return self.f.atom(Holds(relation, tuple(terms)))

    def same(self, a: Term, b: Term) -> Formula:
        if a == b:
            return TRUE
        return self.f.atom(Same(*sorted((a, b))))

    def all_same(self, a: Sequence[Term], b: Sequence[Term]) -> Formula:
        return self.f.all(self.same(x, y) for x, y in zip(a, b, strict=True))

    def every(self, sorts: Sequence[str], body: Callable[[tuple[Term, ...]], Formula]) -> Formula:
        """For all identities of these sorts."""
        names = self.fresh(sorts)
        return self.every_of(names, body(names))

    def every_of(self, names: tuple[Term, ...], body: Formula) -> Formula:
        """The same with variables at hand; conjuncts are taken apart, and variables that are not there left out."""
        if body in (TRUE, FALSE):
            return body
        parts = None if body & 1 else self.f.parts[body >> 1]
        if parts is not None:
            return self.f.all(self.every_of(names, p) for p in parts)
        used = tuple(n for n in names if n in self.free(body))
        return self.f.atom(Every(used, body)) if used else body

    def some(self, sorts: Sequence[str], body: Callable[[tuple[Term, ...]], Formula]) -> Formula:
        """There are identities of these sorts."""
        return self.every(sorts, lambda names: body(names) ^ 1) ^ 1

    def some_of(self, names: tuple[Term, ...], body: Formula) -> Formula:
        return self.every_of(names, body ^ 1) ^ 1

    def the(self, names: tuple[Term, ...], which: Formula, body: Formula) -> Formula:
        """The body of the one that `which` describes."""
        if not self.free(body).intersection(names):
            return body
        if body & 1:
            return self.the(names, which, body ^ 1) ^ 1
        return self.f.atom(The(names, which, body))

    def free(self, f: Formula) -> frozenset[Term]:
        """The quantifier variables that a formula speaks of and does not bind."""
        known = self._free
        if f >> 1 not in known:
            for node in self.f.below([f]):
                if node in known:
                    continue
                parts = self.f.parts[node]
                if parts is not None:
                    known[node] = known[parts[0] >> 1] | known[parts[1] >> 1]
                else:
                    known[node] = self._free_of(self.f.atoms.get(node))
        return known[f >> 1]

    def _free_of(self, atom: object) -> frozenset[Term]:
        match atom:
            case Holds(_, terms):
                return frozenset(t for t in terms if t.bound)
            case Same(a, b):
                return frozenset(t for t in (a, b) if t.bound)
            case Every(names, body):
                return self.free(body) - set(names)
            case The(names, which, body):
                return (self.free(which) | self.free(body)) - set(names)
            case _:
                return frozenset()


def distinct(logic: Logic, groups: Iterable[tuple[Term, ...]]) -> Formula:
    """No two of these tuples are the same."""
    known = list(groups)
    return logic.f.all(logic.all_same(a, b) ^ 1 for i, a in enumerate(known) for b in known[i + 1 :])
