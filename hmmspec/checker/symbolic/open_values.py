"""Values where some symmetric types have no bounds: as in `values`, with the kinds of `open_kinds` besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.open_kinds import (
    Described,
    Family,
    Holder,
    Key,
    Known,
    NotFirstOrder,
    Plain,
    Read,
    Uncountable,
)
from hmmspec.checker.symbolic.terms import Logic, Replacement, Term
from hmmspec.checker.symbolic.values import Cases, SymValue, Values
from hmmspec.diagnostics import InternalError
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
    offsets,
    ordinal,
    project,
    show_type,
)


class OpenValues(Values):
    """Values where some symmetric types have no bounds."""

    def __init__(self, formulas: Formulas, sorts: frozenset[str]) -> None:
        super().__init__(formulas)
        self.logic = Logic(formulas)
        self.sorts = sorts
        self.axioms: list[Formula] = []  # what is true of every unknown state
        # Where there must be an identity: name of the variable, sorts of its indices, sort of the identity.
        self._about: set[tuple[str, tuple[str, ...]]] = set()  # variables and sorts that there are axioms of
        self.total: list[tuple[str, tuple[str, ...], str]] = []

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
        return is_scalar(t) and any(self.sorts_of(m) is not None for m in members_of(t))

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
            element = t.element
            at = self._same_for_all(t.index, value)
            return Family(lambda key: self.constant(element, at(key)))
        if isinstance(t, Set) and self.is_open(t.element):
            assert isinstance(value, int)
            is_in = self._same_for_all(t.element, [value >> i & 1 for i in range(cardinality(t.element))])
            return Family(lambda key: TRUE if is_in(key) else FALSE)
        if isinstance(t, Queue) and isinstance(value, tuple):
            rest = [self.first(t.element)] * (t.capacity - len(value))
            return {len(value): TRUE}, (*(self.constant(t.element, v) for v in value), *rest)
        return super().constant(t, value)

    def _same_for_all(self, t: Type, parts: Sequence[object]) -> Callable[[Key], object]:
        """The part for a value of an index type, of a constant, which cannot tell identities apart."""
        starts = offsets(t) if isinstance(t, Union) else (0,)
        for m, start in zip(members_of(t), starts, strict=True):
            if self.sorts_of(m) is not None and len(set(parts[start : start + cardinality(m)])) > 1:
                raise InternalError("a constant tells identities apart")

        def part(key: Key) -> object:
            at = ordinal(members_of(t)[key.member], key.value) if isinstance(key, Plain) else 0
            return parts[starts[key.member] + at]

        return part

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
        if isinstance(t, Union) and not is_scalar(t):
            return {0: TRUE}, tuple(self.first(m) for m in t.members)
        if isinstance(t, Record):
            return tuple(self.first(f) for _, f in t.fields)
        if isinstance(t, Array):
            return tuple(self.first(t.element) for _ in range(cardinality(t.index)))
        return super().first(t)

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
            if t == Bool():
                return self._one_of(options)
        return super().select(t, options)

    def _joined(self, options: Iterable[tuple[Formula, Cases]]) -> Cases:
        found: dict[int, list[tuple[Formula, Formula]]] = {}
        for c, cases in options:
            for value, here in cases.items():
                found.setdefault(value, []).append((c, here))
        return self.cases((value, self._one_of(conditions)) for value, conditions in found.items())

    def _one_of(self, options: Iterable[tuple[Formula, Formula]]) -> Formula:
        """One of these formulas, whose conditions exclude one another; those that are the same are taken together."""
        when: dict[Formula, list[Formula]] = {}
        for c, f in options:
            when.setdefault(f, []).append(c)
        return self.f.any(self.f.both(self.f.any(cs), f) for f, cs in when.items())

    def _merged(self, options: Sequence[tuple[Formula, Described]]) -> list[tuple[Formula, Holder]]:
        """What it may be in one of several cases.  Of each member there is at most one that is read."""
        found: dict[Holder, list[tuple[Formula, Formula]]] = {}
        for c, value in options:
            for here, holder in value.options:
                if self.f.both(c, here) != FALSE:
                    found.setdefault(holder, []).append((c, here))
        plain: list[tuple[Formula, Holder]] = []
        read: dict[int, list[tuple[Formula, Formula, Read]]] = {}
        for holder, conditions in found.items():
            when = self._one_of(conditions)
            if isinstance(holder, Read):
                # Where there is none, it holds of none: which case it is is all that has to be said besides.
                case = self.f.any(c for c, _ in conditions)
                read.setdefault(holder.member, []).append((when, case, holder))
            else:
                plain.append((when, holder))
        return [*plain, *(self._one_read(member, some) for member, some in read.items())]

    def _one_read(self, member: int, some: list[tuple[Formula, Formula, Read]]) -> tuple[Formula, Read]:
        if len(some) == 1 and some[0][1] == TRUE:
            return some[0][0], some[0][2]

        def which(terms: tuple[Term, ...]) -> Formula:
            return self.f.any(self.f.both(case, holder.which(terms)) for _, case, holder in some)

        return self.f.any(when for when, _, _ in some), Read(member, which)

    def replaced(self, value: SymValue, to: Replacement) -> SymValue:
        """The value with other terms for quantifier variables."""
        logic = self.logic
        match value:
            case int():
                return logic.replaced(value, to)
            case dict():
                return self.cases((x, logic.replaced(c, to)) for x, c in value.items())
            case tuple():
                return tuple(self.replaced(part, to) for part in value)
            case Family(part):
                return Family(lambda key: self.replaced(part(key), to))
            case Described(options):
                return Described(tuple((logic.replaced(c, to), self._replaced_holder(h, to)) for c, h in options))
            case _:
                raise InternalError("a value of no kind")

    def _replaced_holder(self, holder: Holder, to: Replacement) -> Holder:
        match holder:
            case Known(member, terms):
                return Known(member, to.all(terms))
            case Read(member, which):
                return Read(member, lambda terms: self.logic.replaced(which(terms), to))
            case Plain():
                return holder

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
        if isinstance(t, Union) and not is_scalar(t):
            # What stands for a member that is not held is no value, and need not be the same.
            held = enumerate(zip(t.members, a[1], b[1], strict=True))
            return self.f.any(
                self.f.all([a[0].get(i, FALSE), b[0].get(i, FALSE), self.equal(m, x, y)]) for i, (m, x, y) in held
            )
        if isinstance(t, Queue):
            same = self._same_case(a[0], b[0])
            return self.f.all([same, *self._same_elements(t, a, b)])
        return super().equal(t, a, b)

    def _same_elements(self, t: Queue, a: SymValue, b: SymValue) -> Iterator[Formula]:
        """What stands behind the end of a queue is no value either."""
        for i, (x, y) in enumerate(zip(a[1], b[1], strict=True)):
            there = self.f.any(c for n, c in a[0].items() if n > i)
            yield self.f.implies(there, self.equal(t.element, x, y))

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


__all__ = [
    "Described",
    "Family",
    "Holder",
    "Key",
    "Known",
    "NotFirstOrder",
    "OpenValues",
    "Plain",
    "Read",
    "Uncountable",
]
