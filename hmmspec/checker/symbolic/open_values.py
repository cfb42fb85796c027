"""Values of types without bounds: as in `values`, and besides

    a scalar that may be an identity       `Described`: what it may be, with the condition of each
    Array over identities, Set of them     `Family`: the part for each identity

A scalar with identities is a symmetric type of `every`, a thread with such an index, or a union with one of these among
its members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.terms import Logic, Term
from hmmspec.checker.symbolic.values import Cases, SymValue, Values
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.faults import members_of
from hmmspec.system.types import (
    Array,
    Bool,
    Queue,
    Range,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    project,
    show_type,
)


class NotFirstOrder(Limit):
    """Something that cannot be said of types without bounds; the message says what, and what to write instead."""


@dataclass(frozen=True)
class Plain:
    """A value of a member without identities."""

    member: int
    value: int


@dataclass(frozen=True)
class Known:
    """This identity."""

    member: int
    terms: tuple[Term, ...]


@dataclass(frozen=True)
class Read:
    """The identity of which `which` holds (of at most one, and of none where the condition beside it does not hold)."""

    member: int
    which: Callable[[tuple[Term, ...]], Formula]


Key = Plain | Known  # one value, of a member of a type
Holder = Key | Read


@dataclass(frozen=True)
class Described:
    """What a value may be: exactly one condition holds."""

    options: tuple[tuple[Formula, Holder], ...]


@dataclass(frozen=True)
class Family:
    """A part for each value of a type that has identities."""

    part: Callable[[Key], SymValue]


class OpenValues(Values):
    """Values where some symmetric types have no bounds."""

    def __init__(self, formulas: Formulas, sorts: frozenset[str]) -> None:
        super().__init__(formulas)
        self.logic = Logic(formulas)
        self.sorts = sorts
        self.axioms: list[Formula] = []  # what is true of every unknown state
        self.total: list[tuple[str, tuple[str, ...], str]] = []  # variable, sorts of its indices, sort of its values

    # ------------------------------------------------------------ types

    def sorts_of(self, t: Type) -> tuple[str, ...] | None:
        """The sorts of an identity of this type (not of a union); None: the type has bounds."""
        match t:
            case Symmetric(name, _):
                return (name,) if name in self.sorts else None
            case ThreadId(thread, index):
                parts = [self.sorts_of(i) for i in index]
                if not any(parts):
                    return None
                if not all(parts):
                    raise NotFirstOrder(
                        f"thread {thread} has indices with and without bounds: give each its own thread"
                    )
                return tuple(s for p in parts if p for s in p)
            case _:
                return None

    def is_open(self, t: Type) -> bool:
        """Whether a value of the type may be an identity of a type without bounds."""
        return any(self.sorts_of(m) is not None for m in members_of(t))

    def keys(self, t: Type) -> Iterator[tuple[Key, tuple[Term, ...]]]:
        """All values of a type that has identities: each without them, and one of new variables (these come with it)
        for each member that has them."""
        for number, m in enumerate(members_of(t)):
            sorts = self.sorts_of(m)
            if sorts is not None:
                names = self.logic.fresh(sorts)
                yield Known(number, names), names
            else:
                for i in range(cardinality(m)):
                    yield Plain(number, from_ordinal(m, i)), ()

    # ------------------------------------------------------------ plain values

    def constant(self, t: Type, value: object) -> SymValue:
        """Constants are never identities without bounds, which have no names."""
        if is_scalar(t) and self.is_open(t):
            number, inner = project(t, value) if isinstance(t, Union) else (0, value)
            held = members_of(t)[number]
            if self.sorts_of(held) is not None:
                raise InternalError(f"a constant of {show_type(held)}")
            assert isinstance(inner, int)
            return Described(((TRUE, Plain(number, int(inner))),))
        if isinstance(t, Array) and self.is_open(t.index):
            assert isinstance(value, tuple)
            if len(set(value)) > 1:
                raise InternalError("a constant array tells identities apart")
            part = self.constant(t.element, value[0])
            return Family(lambda _: part)
        if isinstance(t, Set) and self.is_open(t.element):
            if value not in (0, (1 << cardinality(t.element)) - 1):
                raise InternalError("a constant set tells identities apart")
            there = TRUE if value else FALSE
            return Family(lambda _: there)
        if isinstance(t, Queue) and isinstance(value, tuple):
            rest = [self.first(t.element)] * (t.capacity - len(value))
            return {len(value): TRUE}, (*(self.constant(t.element, v) for v in value), *rest)
        return super().constant(t, value)

    def first(self, t: Type) -> SymValue:
        if is_scalar(t) and self.is_open(t):
            for number, m in enumerate(members_of(t)):
                if self.sorts_of(m) is None:
                    first = 0 if not isinstance(m, Range) else m.low
                    return Described(((TRUE, Plain(number, first)),))
            return Described(())
        if isinstance(t, Array) and self.is_open(t.index):
            part = self.first(t.element)
            return Family(lambda _: part)
        if isinstance(t, Set) and self.is_open(t.element):
            return Family(lambda _: FALSE)
        if isinstance(t, Queue):
            return {0: TRUE}, (self.first(t.element),) * t.capacity
        if isinstance(t, Record):
            return tuple(self.first(f) for _, f in t.fields)
        if isinstance(t, Array):
            return tuple(self.first(t.element) for _ in range(cardinality(t.index)))
        return super().first(t)

    # ------------------------------------------------------------ unknowns

    def state(self, t: Type, name: str) -> SymValue:
        """The value of a state variable; what must hold of its relations is added to `axioms`."""
        return self.held(t, name, (), ())

    def held(self, t: Type, name: str, sorts: tuple[str, ...], terms: tuple[Term, ...]) -> SymValue:
        """`sorts`: of the indices so far; `terms`: which."""
        match t:
            case Array(index, element) if self.is_open(index):
                inner = _Lookup(self, index, element, name, sorts, terms)
                for key, _ in self.keys(index):
                    inner(key)  # for the axioms
                return Family(inner)
            case Array(index, element):
                numbers = range(cardinality(index))
                return tuple(self.held(element, f"{name}[{from_ordinal(index, i)}]", sorts, terms) for i in numbers)
            case Record(_, fields):
                return tuple(self.held(f, f"{name}.{n}", sorts, terms) for n, f in fields)
            case Set(element) if self.is_open(element):
                return Family(_Lookup(self, element, Bool(), f"{name}<>", sorts, terms))
            case Set(element):
                numbers = range(cardinality(element))
                return tuple(self.logic.holds(f"{name}<{from_ordinal(element, i)}>", terms) for i in numbers)
            case Queue(capacity, element):
                length = self._number(Range(0, capacity), f"{name}.size", sorts, terms)
                elements = [self.held(element, f"{name}@{i}", sorts, terms) for i in range(capacity)]
                rest = self.first(element)
                longer = [self.f.any(c for n, c in length.items() if n > i) for i in range(capacity)]
                return length, tuple(
                    self.choose(element, there, x, rest) for there, x in zip(longer, elements, strict=True)
                )
            case Bool():
                return self.logic.holds(name, terms)
            case _ if self.is_open(t):
                return self._identity(t, name, sorts, terms)
            case _:
                return self._number(t, name, sorts, terms)

    def _number(self, t: Type, name: str, sorts: tuple[str, ...], terms: tuple[Term, ...]) -> Cases:
        """A scalar with bounds, by its bits."""
        if not is_scalar(t):
            raise NotFirstOrder(f"a variable of type {show_type(t)}")
        numbers = [from_ordinal(t, i) for i in range(cardinality(t))]
        width = (len(numbers) - 1).bit_length()

        def cases(at: tuple[Term, ...]) -> Cases:
            bits = [self.logic.holds(f"{name}:{i}", at) for i in range(width)]
            return {
                x: self.f.all(b if place >> i & 1 else b ^ 1 for i, b in enumerate(bits))
                for place, x in enumerate(numbers)
            }

        if len(numbers) != 1 << width:
            self._axiom(self.logic.every(sorts, lambda at: self.f.any(cases(at).values())))
        return cases(terms)

    def _identity(self, t: Type, name: str, sorts: tuple[str, ...], terms: tuple[Term, ...]) -> Described:
        """A scalar that may be an identity: a relation for each member that has identities, bits for the rest."""
        members = members_of(t)
        opened = [(n, found) for n, m in enumerate(members) if (found := self.sorts_of(m)) is not None]
        plain = [
            (n, from_ordinal(m, i))
            for n, m in enumerate(members)
            if self.sorts_of(m) is None
            for i in range(cardinality(m))
        ]
        logic = self.logic

        def relation(n: int, at: tuple[Term, ...]) -> Callable[[tuple[Term, ...]], Formula]:
            return lambda x: logic.holds(f"{name}->{n}", (*at, *x))

        def some(n: int, of: tuple[str, ...], at: tuple[Term, ...]) -> Formula:
            return logic.some(of, relation(n, at))

        for n, of in opened:
            self._axiom(
                logic.every(
                    (*sorts, *of, *of),
                    lambda a, n=n, of=of: self._one_at_most(relation, n, len(sorts), len(of), a),  # type: ignore[misc]
                )
            )
            for other, of_other in opened:
                if other > n:
                    self._axiom(
                        logic.every(
                            (*sorts, *of, *of_other),
                            lambda a, n=n, other=other, of=of: (
                                self.f.both(  # type: ignore[misc]
                                    relation(n, a[: len(sorts)])(a[len(sorts) : len(sorts) + len(of)]),
                                    relation(other, a[: len(sorts)])(a[len(sorts) + len(of) :]),
                                )
                                ^ 1
                            ),
                        )
                    )
        if not plain:
            self._axiom(logic.every(sorts, lambda at: self.f.any(some(n, of, at) for n, of in opened)))
            self.total += [(name, sorts, s) for _, of in opened for s in of]
        width = (len(plain) - 1).bit_length() if plain else 0

        def is_plain(place: int, at: tuple[Term, ...]) -> Formula:
            bits = [logic.holds(f"{name}:{i}", at) for i in range(width)]
            return self.f.all(b if place >> i & 1 else b ^ 1 for i, b in enumerate(bits))

        if plain and len(plain) != 1 << width:
            self._axiom(logic.every(sorts, lambda at: self.f.any(is_plain(i, at) for i in range(len(plain)))))
        there = [(n, some(n, of, terms)) for n, of in opened]
        none = self.f.any(c for _, c in there) ^ 1 if plain else FALSE
        options: list[tuple[Formula, Holder]] = [
            (self.f.both(none, is_plain(i, terms)), Plain(n, x)) for i, (n, x) in enumerate(plain)
        ]
        options += [(c, Read(n, relation(n, terms))) for n, c in there]
        return Described(tuple(options))

    def _one_at_most(
        self,
        relation: Callable[[int, tuple[Term, ...]], Callable[[tuple[Term, ...]], Formula]],
        n: int,
        indices: int,
        width: int,
        names: tuple[Term, ...],
    ) -> Formula:
        at, x, y = names[:indices], names[indices : indices + width], names[indices + width :]
        of = relation(n, at)
        return self.f.implies(self.f.both(of(x), of(y)), self.logic.all_same(x, y))

    def _axiom(self, f: Formula) -> None:
        if f not in self.axioms:
            self.axioms.append(f)

    # ------------------------------------------------------------ joining

    def select(self, t: Type, options: Sequence[tuple[Formula, SymValue]]) -> SymValue:
        options = [o for o in options if o[0] != FALSE]
        if len(options) > 1:
            if isinstance(options[0][1], Described):
                return Described(tuple(self._merged(options)))
            if isinstance(options[0][1], Family):
                element: Type = t.element if isinstance(t, Array) else Bool()
                chosen = tuple(options)
                return Family(lambda x: self.select(element, [(c, v.part(x)) for c, v in chosen]))
        return super().select(t, options)

    def _merged(self, options: Sequence[tuple[Formula, Described]]) -> list[tuple[Formula, Holder]]:
        plain: dict[Holder, list[Formula]] = {}
        rest: list[tuple[Formula, Holder]] = []
        for c, value in options:
            for here, holder in value.options:
                both = self.f.both(c, here)
                if both == FALSE:
                    continue
                if isinstance(holder, Read):
                    rest.append((both, self._where(both, holder) if c != TRUE else holder))
                else:
                    plain.setdefault(holder, []).append(both)
        return [*((self.f.any(cs), h) for h, cs in plain.items()), *rest]

    def _where(self, condition: Formula, holder: Read) -> Read:
        return Read(holder.member, lambda x: self.f.both(condition, holder.which(x)))

    def is_one(self, value: Described, key: Key) -> Formula:
        """Whether the value is this one."""
        out: list[Formula] = []
        for c, holder in value.options:
            if holder.member != key.member:
                continue
            match holder, key:
                case Known(_, known), Known(_, terms):
                    out.append(self.f.both(c, self.logic.all_same(known, terms)))
                case Read(_, which), Known(_, terms):
                    out.append(which(terms))
                case _:
                    out.append(c if holder == key else FALSE)
        return self.f.any(out)

    def equal(self, t: Type, a: SymValue, b: SymValue) -> Formula:
        if isinstance(a, Described):
            return self._equal(t, a, b)
        if isinstance(a, Family):
            index, element = (t.index, t.element) if isinstance(t, Array) else (t.element, Bool())  # type: ignore[union-attr]
            return self.f.all(
                self.logic.every_of(names, self.equal(element, a.part(key), b.part(key)))
                for key, names in self.keys(index)
            )
        return super().equal(t, a, b)

    def _equal(self, t: Type, a: Described, b: Described) -> Formula:
        members = members_of(t)
        out: list[Formula] = []
        for c, x in a.options:
            for d, y in b.options:
                if x.member != y.member:
                    continue
                match x, y:
                    case Plain(_, v), Plain(_, w):
                        out.append(self.f.both(c, d) if v == w else FALSE)
                    case Known(_, s), Known(_, u):
                        out.append(self.f.all([c, d, self.logic.all_same(s, u)]))
                    case Known(_, s), Read(_, which):
                        out.append(self.f.both(c, which(s)))
                    case Read(_, which), Known(_, s):
                        out.append(self.f.both(d, which(s)))
                    case Read(_, one), Read(_, other):
                        sorts = self.sorts_of(members[x.member])
                        assert sorts is not None
                        names = self.logic.fresh(sorts)
                        # There is one where both conditions hold.
                        out.append(self.f.all([c, d, self.logic.the(names, one(names), other(names))]))
                    case _:
                        raise InternalError("a member both with and without identities")
        return self.f.any(out)


@dataclass(frozen=True)
class _Lookup:
    """The part of a state variable for one more index."""

    values: OpenValues
    index: Type
    element: Type
    name: str
    sorts: tuple[str, ...]
    terms: tuple[Term, ...]

    def __call__(self, key: Key) -> SymValue:
        name = self.name
        if isinstance(self.index, Union):
            name += f"#{key.member}"
        held = self.values.held
        if isinstance(key, Plain):
            return held(self.element, f"{name}[{key.value}]", self.sorts, self.terms)
        sorts = tuple(t.sort for t in key.terms)
        return held(self.element, name, (*self.sorts, *sorts), (*self.terms, *key.terms))
