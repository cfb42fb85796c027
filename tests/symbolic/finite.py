"""Finite models: a state of types without bounds, with so many identities of each, as a state of that instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import z3

from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.open_encoding import OpenEncoding
from hmmspec.checker.symbolic.open_values import Described, Family, Key, Known, Plain, Read
from hmmspec.checker.symbolic.samples import Sizes
from hmmspec.checker.symbolic.terms import Every, Holds, Same, Term, The
from hmmspec.checker.symbolic.translate import Translation
from hmmspec.checker.symbolic.values import SymValue, _which
from hmmspec.diagnostics import InternalError
from hmmspec.system.faults import members_of
from hmmspec.system.system import System
from hmmspec.system.types import (
    Array,
    Bool,
    Queue,
    Record,
    Set,
    ThreadId,
    Type,
    Union,
    cardinality,
    inject,
    is_scalar,
    ordinal,
)


class Elements:
    """The identities that there are, and that there are no others."""

    def __init__(self, translation: Translation, sizes: Sizes) -> None:
        self.translation = translation
        self.of = {name: tuple(Term(name, f"{name} {i}") for i in range(n)) for name, n in sizes.of}

    def constraints(self) -> list[Any]:
        """For Z3."""
        out = []
        for name, terms in self.of.items():
            constants = [self.translation.identity(t) for t in terms]
            if len(constants) > 1:
                out.append(z3.Distinct(*constants))
            x = z3.Const(f"{name} any", self.translation.sort(name))
            out.append(z3.ForAll([x], z3.Or(*(x == c for c in constants))))
        return out


class Model:
    """What Z3 found, read as formulas are."""

    def __init__(self, encoding: OpenEncoding, translation: Translation, elements: Elements, model: Any) -> None:
        self.encoding, self.translation, self.elements, self.model = encoding, translation, elements, model
        self._known: dict[object, bool] = {}
        self._where: dict[Term, int] = {}

    def holds(self, f: Formula, given: Mapping[Term, Term] | None = None) -> bool:
        """Whether a formula holds; `given`: identities for its quantifier variables."""
        given = given or {}
        known: dict[int, bool] = {0: True}
        for node in self.encoding.f.below([f]):
            if node == 0:
                continue
            parts = self.encoding.f.parts[node]
            if parts is None:
                known[node] = self._atom(self.encoding.f.atoms[node], given)
            else:
                known[node] = all(known[p >> 1] ^ bool(p & 1) for p in parts)
        return known[f >> 1] ^ bool(f & 1)

    def _atom(self, atom: object, given: Mapping[Term, Term]) -> bool:
        match atom:
            case Holds(relation, terms):
                return self._ask(Holds(relation, tuple(self._element(given.get(t, t)) for t in terms)))
            case Same(a, b):
                return self._element(given.get(a, a)) == self._element(given.get(b, b))
            case Every(names, body):
                return all(self.holds(body, {**given, **dict(zip(names, e, strict=True))}) for e in self._tuples(names))
            case The(names, which, body):
                for e in self._tuples(names):
                    inner = {**given, **dict(zip(names, e, strict=True))}
                    if self.holds(which, inner):
                        return self.holds(body, inner)
                return True
            case _:
                return self._ask(atom)

    def _tuples(self, names: Sequence[Term]) -> list[tuple[Term, ...]]:
        return list(product(*(self.elements.of[n.sort] for n in names)))

    def _element(self, t: Term) -> Term:
        """The element that a constant is."""
        here = self.elements.of[t.sort]
        if t in here:
            return t
        if t not in self._where:
            value = self.model.eval(self.translation.identity(t), model_completion=True)
            self._where[t] = next(
                i
                for i, e in enumerate(here)
                if z3.is_true(self.model.eval(self.translation.identity(e) == value, model_completion=True))
            )
        return here[self._where[t]]

    def _ask(self, atom: object) -> bool:
        if atom not in self._known:
            f = self.encoding.f.atom(atom)
            found = self.model.eval(self.translation.term(f), model_completion=True)
            self._known[atom] = z3.is_true(found)
        return self._known[atom]

    # ------------------------------------------------------------ values of an instance

    def values(self, state: Mapping[str, SymValue], system: System) -> dict[str, object]:
        """The variables of the instance that has as many identities."""
        return {v.name: self.plain(v.type, state[v.name]) for v in system.variables}

    def plain(self, t: Type, value: SymValue) -> object:
        """A value of a type of the instance."""
        match value:
            case Family(part):
                return self._all_parts(t, part)
            case Described():
                return self._described(t, value)
            case _:
                return self._finite(t, value)

    def _finite(self, t: Type, value: SymValue) -> object:
        match t:
            case Record(_, fields):
                return tuple(self.plain(f, v) for (_, f), v in zip(fields, value, strict=True))
            case Array(_, element):
                return tuple(self.plain(element, v) for v in value)
            case Queue(_, element):
                length = _which(value[0], self.holds)
                return tuple(self.plain(element, v) for v in value[1][:length])
            case Union(members) if not is_scalar(t):
                number = _which(value[0], self.holds)
                return (number, self.plain(members[number], value[1][number]))
            case _:
                return self.encoding.v.plain(t, value, self.holds)

    def _all_parts(self, t: Type, part: Callable[[Key], SymValue]) -> object:
        if isinstance(t, Array):
            index, element = t.index, t.element
        else:
            assert isinstance(t, Set)
            index, element = t.element, Bool()
        parts = [self.plain(element, part(key)) for key in self.keys(index)]
        if isinstance(t, Set):
            return sum(1 << i for i, there in enumerate(parts) if there)
        return tuple(parts)

    def keys(self, t: Type) -> list[Key]:
        """The values of an index type, by ordinal."""
        out: list[Key] = []
        for number, m in enumerate(members_of(t)):
            sorts = self.encoding.v.sorts_of(m)
            if sorts is not None:
                out += [Known(number, e) for e in product(*(self.elements.of[s] for s in sorts))]
            else:
                low = getattr(m, "low", 0)
                out += [Plain(number, low + i) for i in range(cardinality(m))]
        return out

    def _described(self, t: Type, value: Described) -> object:
        for c, holder in value.options:
            if not self.holds(c):
                continue
            member = members_of(t)[holder.member]
            match holder:
                case Plain(_, x):
                    found: object = x
                case Known(_, terms):
                    found = self._number(member, tuple(self._element(e) for e in terms))
                case Read(_, which):
                    sorts = self.encoding.v.sorts_of(member)
                    assert sorts is not None
                    here = [e for e in product(*(self.elements.of[s] for s in sorts)) if self.holds(which(e))]
                    if not here:
                        continue
                    found = self._number(member, here[0])
            return inject(t, holder.member, found) if isinstance(t, Union) else found
        raise InternalError("a value of the symbolic engine is none")

    def _number(self, t: Type, terms: tuple[Term, ...]) -> int:
        """The ordinal of an identity."""
        types = t.index if isinstance(t, ThreadId) else (t,)
        total, at = 0, 0
        for i in types:
            sorts = self.encoding.v.sorts_of(i)
            assert sorts is not None
            inner = self._number(i, terms[at : at + len(sorts)]) if isinstance(i, ThreadId) else self._place(terms[at])
            total = total * cardinality(i) + inner
            at += len(sorts)
        return total

    def _place(self, t: Term) -> int:
        return self.elements.of[t.sort].index(t)


__all__ = ["Elements", "Model", "is_scalar", "ordinal"]
