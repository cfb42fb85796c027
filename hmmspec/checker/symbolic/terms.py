"""Identities of types without bounds, and what formulas say of them.

A type in `every T` has no size here: it is a sort, its identities are terms.  Nothing is counted, no value is listed;
what a state holds are relations between identities.  So that proofs have no cycle of sorts, a variable that holds an
identity (an owner, an optional page) is not a function but a relation with at most one identity for each index, and
`null` is that there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hmmspec.checker.symbolic.formulas import TRUE, Formula, Formulas
from hmmspec.diagnostics import InternalError


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


class Replacement:
    """Terms for free variables."""

    def __init__(self, terms: Mapping[Term, Term]) -> None:
        self.terms = terms
        self.known: dict[int, Formula] = {}  # what became of a node

    def all(self, terms: Iterable[Term]) -> tuple[Term, ...]:
        return tuple(self.terms.get(t, t) for t in terms)


class Logic:
    """Formulas about terms."""

    def __init__(self, formulas: Formulas) -> None:
        self.f = formulas
        self._count = 0
        self._free: dict[int, frozenset[Term]] = {}
        self._heights: dict[int, int] = {}

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
        return self.f.all(self._every(names, part) for part in self._conjuncts(body))

    def _every(self, names: tuple[Term, ...], body: Formula) -> Formula:
        used = tuple(n for n in names if n in self.free(body))
        if not used:
            return body
        fixed, to = self._fixed(used, (body,))
        return self.f.atom(Every(fixed, self.replaced(body, to)))

    def _conjuncts(self, f: Formula) -> list[Formula]:
        out: dict[Formula, None] = {}
        todo, done = [f], set[Formula]()
        while todo:
            part = todo.pop()
            if part in done:
                continue
            done.add(part)
            parts = None if part & 1 else self.f.parts[part >> 1]
            if parts is None:
                out[part] = None
            else:
                todo += reversed(parts)
        return list(out)

    def _fixed(self, names: tuple[Term, ...], bodies: Sequence[Formula]) -> tuple[tuple[Term, ...], Replacement]:
        """Names for bound variables that depend on the body alone, so that quantifiers that say the same are one: those
        of a quantifier are told from those inside by a number above theirs."""
        above = 1 + max((self._height(b) for b in bodies), default=0)
        fixed = tuple(Term(n.sort, f"{n.sort.lower()}.{above}.{i}", True) for i, n in enumerate(names))
        return fixed, Replacement(dict(zip(names, fixed, strict=True)))

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
        fixed, to = self._fixed(names, (which, body))
        return self.f.atom(The(fixed, self.replaced(which, to), self.replaced(body, to)))

    # ------------------------------------------------------------ variables

    def free(self, f: Formula) -> frozenset[Term]:
        """The quantifier variables that a formula speaks of and does not bind."""
        self._look(f >> 1)
        return self._free[f >> 1]

    def _height(self, f: Formula) -> int:
        """The highest number among the variables that are bound in it."""
        self._look(f >> 1)
        return self._heights[f >> 1]

    def _look(self, node: int) -> None:
        """Find the free variables and the height of a node."""
        known, heights = self._free, self._heights
        todo = [node]
        while todo:
            here = todo[-1]
            if here in known:
                todo.pop()
                continue
            parts = self.f.parts[here]
            if parts is None:
                known[here], heights[here] = self._look_atom(self.f.atoms.get(here))
                continue
            a, b = parts[0] >> 1, parts[1] >> 1
            missing = [x for x in (a, b) if x not in known]
            if missing:
                todo += missing
                continue
            known[here] = known[a] | known[b]
            heights[here] = max(heights[a], heights[b])

    def _look_atom(self, atom: object) -> tuple[frozenset[Term], int]:
        match atom:
            case Holds(_, terms):
                return frozenset(t for t in terms if t.bound), 0
            case Same(a, b):
                return frozenset(t for t in (a, b) if t.bound), 0
            case Every(names, body):
                return self.free(body) - set(names), 1 + self._height(body)
            case The(names, which, body):
                height = 1 + max(self._height(which), self._height(body))
                return (self.free(which) | self.free(body)) - set(names), height
            case _:
                return frozenset(), 0

    def replaced(self, f: Formula, to: Replacement) -> Formula:
        """The formula with other terms for free variables; none of these is bound in it."""
        known = to.known
        todo = [f >> 1]
        while todo:
            here = todo[-1]
            if here in known:
                todo.pop()
                continue
            if self.free(2 * here).isdisjoint(to.terms):
                known[here] = 2 * here
                continue
            parts = self.f.parts[here]
            if parts is None:
                known[here] = self._replaced_atom(self.f.atoms[here], to)
                continue
            missing = [p >> 1 for p in parts if p >> 1 not in known]
            if missing:
                todo += missing
                continue
            a, b = (known[p >> 1] ^ (p & 1) for p in parts)
            known[here] = self.f.both(a, b)
        return known[f >> 1] ^ (f & 1)

    def _replaced_atom(self, atom: object, to: Replacement) -> Formula:
        match atom:
            case Holds(relation, terms):
                return self.holds(relation, to.all(terms))
            case Same(a, b):
                return self.same(*to.all((a, b)))
            case Every(names, body):
                return self.every_of(names, self.replaced(body, to))
            case The(names, which, body):
                return self.the(names, self.replaced(which, to), self.replaced(body, to))
            case _:
                raise InternalError("an atom with variables that is none of the logic's")


def distinct(logic: Logic, groups: Iterable[tuple[Term, ...]]) -> Formula:
    """No two of these tuples are the same."""
    known = list(groups)
    return logic.f.all(logic.all_same(a, b) ^ 1 for i, a in enumerate(known) for b in known[i + 1 :])
