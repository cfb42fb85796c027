"""Unknown states where some types have no bounds: which relations stand for a variable, and what is true of them.

So that proofs have no cycle of sorts, a variable that holds an identity (an owner, an optional page) is not a function
but a relation with at most one identity for each index, and `null` is that there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.open_kinds import Described, Family, Holder, Key, NotFirstOrder, Plain, Read
from hmmspec.checker.symbolic.open_values import OpenValues
from hmmspec.checker.symbolic.terms import Term
from hmmspec.checker.symbolic.values import Cases, SymValue
from hmmspec.system.faults import members_of
from hmmspec.system.types import (
    Array,
    Bool,
    Queue,
    Record,
    Set,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    show_type,
)

Terms = tuple[Term, ...]


@dataclass(frozen=True)
class Place:
    """A part of a variable: its name, the sorts of the indices so far, and which they are.

    held: for which indices it is held at all (a member of a union, an element of a queue).
    """

    name: str
    sorts: tuple[str, ...] = ()
    terms: Terms = ()
    held: Callable[[Terms], Formula] = lambda _: TRUE

    def part(self, name: str) -> Place:
        return replace(self, name=self.name + name)

    def only(self, condition: Callable[[Terms], Formula]) -> Place:
        """The same where the condition holds besides; it speaks of the indices so far."""
        before, n = self.held, len(self.sorts)
        return replace(self, held=lambda at: FALSE if before(at) == FALSE else condition(at[:n]))

    def of(self, terms: Terms) -> Place:
        """With one more index."""
        return replace(self, sorts=(*self.sorts, *(t.sort for t in terms)), terms=(*self.terms, *terms))


class Unknowns:
    """Makes unknown values; what must hold of their relations is added to `axioms`.

    total: where an identity must be: name of the variable, sorts of its indices, sort of the identity.
    """

    def __init__(
        self, values: OpenValues, axioms: list[Formula], total: list[tuple[str, tuple[str, ...], str]]
    ) -> None:
        self.v, self.f, self.logic = values, values.f, values.logic
        self.axioms, self.total = axioms, total
        self._said: set[str] = set()

    def state(self, t: Type, name: str) -> SymValue:
        """The value of a state variable."""
        return self.value(t, Place(name))

    def value(self, t: Type, place: Place) -> SymValue:
        """The value of a part of one."""
        match t:
            case Array(index, element) if self.v.is_open(index):
                return self._family(index, element, place)
            case Array(index, element):
                numbers = range(cardinality(index))
                return tuple(self.value(element, place.part(f"[{from_ordinal(index, i)}]")) for i in numbers)
            case Record(_, fields):
                return tuple(self.value(f, place.part(f".{n}")) for n, f in fields)
            case Set(element) if self.v.is_open(element):
                return self._family(element, Bool(), place.part("<>"))
            case Set(element):
                numbers = range(cardinality(element))
                return tuple(
                    self.logic.holds(f"{place.name}<{from_ordinal(element, i)}>", place.terms) for i in numbers
                )
            case Queue(capacity, element):
                return self._queue(capacity, element, place)
            case Bool():
                return self.logic.holds(place.name, place.terms)
            case Union(members) if not is_scalar(t):
                return self._union(members, place)
            case _ if self.v.is_open(t):
                return self.identity(t, place)
            case _ if is_scalar(t):
                return self.number([from_ordinal(t, i) for i in range(cardinality(t))], place)
            case _:
                raise NotFirstOrder(f"{place.name} is of type {show_type(t)}, which cannot be said without bounds")

    def _family(self, index: Type, element: Type, place: Place) -> Family:
        found = Family(_Lookup(self, index, element, place))
        for key, _ in self.v.keys(index):
            found.part(key)  # for the axioms
        return found

    def _queue(self, capacity: int, element: Type, place: Place) -> SymValue:
        lengths = list(range(capacity + 1))
        size = place.part(".size")
        length = self.number(lengths, size)
        rest = self.v.first(element)
        elements: list[SymValue] = []
        for i in range(capacity):
            longer = self.f.any(c for n, c in length.items() if n > i)

            def is_there(at: Terms, i: int = i) -> Formula:
                return self.f.any(c for n, c in self._cases(lengths, size, at).items() if n > i)

            here = self.value(element, place.only(is_there).part(f"@{i}"))
            elements.append(self.v.choose(element, longer, here, rest))
        return length, tuple(elements)

    def _union(self, members: tuple[Type, ...], place: Place) -> SymValue:
        """Not a scalar: which member it is, and a value of each."""
        numbers = list(range(len(members)))
        kind = place.part(".kind")
        which = self.number(numbers, kind)
        held: list[SymValue] = []
        for i, m in enumerate(members):

            def is_held(at: Terms, i: int = i) -> Formula:
                return self._cases(numbers, kind, at)[i]

            here = self.value(m, place.only(is_held).part(f"|{i}"))
            held.append(self.v.choose(m, which[i], here, self.v.first(m)))
        return which, tuple(held)

    # ------------------------------------------------------------ scalars

    def _cases(self, numbers: list[int], place: Place, at: Terms) -> Cases:
        width = (len(numbers) - 1).bit_length()
        bits = [self.logic.holds(f"{place.name}:{i}", at) for i in range(width)]
        return {x: self.f.all(b if n >> i & 1 else b ^ 1 for i, b in enumerate(bits)) for n, x in enumerate(numbers)}

    def number(self, numbers: list[int], place: Place) -> Cases:
        """A scalar with bounds, by its bits."""
        if len(numbers) & (len(numbers) - 1):
            self._axiom(
                f"{place.name}:",
                lambda: self.logic.every(place.sorts, lambda at: self.f.any(self._cases(numbers, place, at).values())),
            )
        return self._cases(numbers, place, place.terms)

    def identity(self, t: Type, place: Place, total: bool = True) -> Described:
        """A scalar that may be an identity: a relation for each member that has identities, bits for the rest.

        total: one of all these it must be where it is held."""
        members = members_of(t)
        opened = [(n, found) for n, m in enumerate(members) if (found := self.v.sorts_of(m)) is not None]
        plain = [
            (n, from_ordinal(m, i))
            for n, m in enumerate(members)
            if self.v.sorts_of(m) is None
            for i in range(cardinality(m))
        ]
        self._one_at_most(opened, place)
        if not plain and total:
            self._one_at_least(opened, place)
        there = [(n, self._some(n, of, place, place.terms)) for n, of in opened]
        none = self.f.any(c for _, c in there) ^ 1
        options: list[tuple[Formula, Holder]] = []
        if plain:
            cases = self.number(list(range(len(plain))), place)
            options = [(self.f.both(none, cases[i]), Plain(n, x)) for i, (n, x) in enumerate(plain)]
        options += [(c, Read(n, self._relation(n, place, place.terms))) for n, c in there]
        return Described(tuple(options))

    def _relation(self, n: int, place: Place, at: Terms) -> Callable[[Terms], Formula]:
        return lambda x: self.logic.holds(f"{place.name}->{n}", (*at, *x))

    def _some(self, n: int, of: tuple[str, ...], place: Place, at: Terms) -> Formula:
        return self.logic.some(of, self._relation(n, place, at))

    def _one_at_most(self, opened: list[tuple[int, tuple[str, ...]]], place: Place) -> None:
        def one(n: int, of: tuple[str, ...]) -> Formula:
            def body(names: Terms) -> Formula:
                at, x, y = _cut(names, len(place.sorts), len(of))
                holds = self._relation(n, place, at)
                return self.f.implies(self.f.both(holds(x), holds(y)), self.logic.all_same(x, y))

            return self.logic.every((*place.sorts, *of, *of), body)

        def not_both(n: int, of: tuple[str, ...], m: int, also: tuple[str, ...]) -> Formula:
            def body(names: Terms) -> Formula:
                at, x, y = _cut(names, len(place.sorts), len(of))
                return self.f.both(self._relation(n, place, at)(x), self._relation(m, place, at)(y)) ^ 1

            return self.logic.every((*place.sorts, *of, *also), body)

        for i, (n, of) in enumerate(opened):
            self._axiom(f"{place.name}->{n}", lambda n=n, of=of: one(n, of))  # type: ignore[misc]
            for m, also in opened[i + 1 :]:
                self._axiom(
                    f"{place.name}->{n}, {m}",
                    lambda n=n, of=of, m=m, also=also: not_both(n, of, m, also),  # type: ignore[misc]
                )

    def _one_at_least(self, opened: list[tuple[int, tuple[str, ...]]], place: Place) -> None:
        def body(at: Terms) -> Formula:
            return self.f.implies(place.held(at), self.f.any(self._some(n, of, place, at) for n, of in opened))

        name = f"{place.name}->"
        if name not in self._said:
            self.total += [(place.name, place.sorts, s) for _, of in opened for s in of]
        self._axiom(name, lambda: self.logic.every(place.sorts, body))

    def _axiom(self, name: str, make: Callable[[], Formula]) -> None:
        if name not in self._said:
            self._said.add(name)
            self.axioms.append(make())


def _cut(names: Terms, indices: int, width: int) -> tuple[Terms, Terms, Terms]:
    return names[:indices], names[indices : indices + width], names[indices + width :]


@dataclass(frozen=True)
class _Lookup:
    """The part of a state variable for one more index."""

    unknowns: Unknowns
    index: Type
    element: Type
    place: Place

    def __call__(self, key: Key) -> SymValue:
        place = self.place
        if isinstance(self.index, Union):
            place = place.part(f"#{key.member}")
        place = place.part(f"[{key.value}]") if isinstance(key, Plain) else place.of(key.terms)
        return self.unknowns.value(self.element, place)
