"""Values that depend on unknowns, as formulas.

    Bool                a formula
    other scalars, Int  cases: each possible Python value (NOTE(values)) with the condition under which it is that one
    Record, Array       a tuple of the parts
    Set                 a tuple of formulas, by ordinal of the element
    Queue               (cases of its length, the elements up to its capacity; behind its end the first of their type)
    other unions        (cases of the member's number, a value of each member; of the others the first of their type)

At most one condition of cases holds; one does wherever the step that leads there does not end in an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.types import (
    Array,
    Bool,
    Enum,
    Int,
    Null,
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
    values,
)

Cases = dict[int, Formula]
SymValue = Any  # as above: which of them, the type of the expression says

MOST_CASES = 1 << 12  # of one value
MOST_PAIRS = 1 << 18  # of two values that an operation brings together


def is_cases(t: Type) -> bool:
    """Whether values of the type are cases."""
    return t != Bool() and (t == Int() or is_scalar(t))


class Values:
    """Makes and joins values."""

    def __init__(self, formulas: Formulas) -> None:
        self.f = formulas

    # ------------------------------------------------------------ from and to plain values

    def constant(self, t: Type, value: object) -> SymValue:
        """A value that is known."""
        match t:
            case Bool():
                return TRUE if value else FALSE
            case Record(_, fields):
                assert isinstance(value, tuple)
                return tuple(self.constant(f, v) for (_, f), v in zip(fields, value, strict=True))
            case Array(_, element):
                assert isinstance(value, tuple)
                return tuple(self.constant(element, v) for v in value)
            case Set(element):
                assert isinstance(value, int)
                return tuple(TRUE if value >> i & 1 else FALSE for i in range(cardinality(element)))
            case Queue(capacity, element):
                assert isinstance(value, tuple)
                rest = [self.first(element)] * (capacity - len(value))
                return {len(value): TRUE}, (*(self.constant(element, v) for v in value), *rest)
            case Union(members) if not is_scalar(t):
                number, inner = project(t, value)
                held = tuple(self.constant(m, inner) if i == number else self.first(m) for i, m in enumerate(members))
                return {number: TRUE}, held
            case _:
                assert isinstance(value, int)
                return {int(value): TRUE}

    def first(self, t: Type) -> SymValue:
        """The first value of the type; what stands where there is none."""
        return {0: TRUE} if t == Int() else self.constant(t, next(iter(values(t))))

    def plain(self, t: Type, value: SymValue, holds: Callable[[Formula], bool]) -> object:
        """The value where each formula is what `holds` says."""
        match t:
            case Bool():
                return holds(value)
            case Record(_, fields):
                return tuple(self.plain(f, v, holds) for (_, f), v in zip(fields, value, strict=True))
            case Array(_, element):
                return tuple(self.plain(element, v, holds) for v in value)
            case Set():
                return sum(1 << i for i, there in enumerate(value) if holds(there))
            case Queue(_, element):
                length = _which(value[0], holds)
                return tuple(self.plain(element, v, holds) for v in value[1][:length])
            case Union(members) if not is_scalar(t):
                number = _which(value[0], holds)
                return (number, self.plain(members[number], value[1][number], holds))
            case _:
                return _which(value, holds)

    # ------------------------------------------------------------ unknowns

    def unknown(self, t: Type, name: str) -> tuple[SymValue, Formula]:
        """A value of which nothing is known but its type, made of atoms `(name, number)`; and the condition under which
        the atoms stand for a value at all.
        """
        atoms = _Atoms(self.f, name)
        value = self._unknown(t, atoms)
        return value, self.f.all(atoms.valid)

    def _unknown(self, t: Type, atoms: _Atoms) -> SymValue:
        match t:
            case Bool():
                return atoms.next()
            case Record(_, fields):
                return tuple(self._unknown(f, atoms) for _, f in fields)
            case Array(index, element):
                return tuple(self._unknown(element, atoms) for _ in range(cardinality(index)))
            case Set(element):
                return tuple(atoms.next() for _ in range(cardinality(element)))
            case Queue(capacity, element):
                length = atoms.cases(range(capacity + 1))
                rest = self.first(element)
                elements = [self._unknown(element, atoms) for _ in range(capacity)]
                longer = [self.f.any(c for n, c in length.items() if n > i) for i in range(capacity)]
                return length, tuple(
                    self.choose(element, there, e, rest) for there, e in zip(longer, elements, strict=True)
                )
            case Union(members) if not is_scalar(t):
                which = atoms.cases(range(len(members)))
                return which, tuple(
                    self.choose(m, which[i], self._unknown(m, atoms), self.first(m)) for i, m in enumerate(members)
                )
            case _:
                if cardinality(t) > MOST_CASES:
                    raise Limit(f"a type with {cardinality(t)} values is too large for the symbolic engine")
                return atoms.cases([from_ordinal(t, i) for i in range(cardinality(t))])

    def parts(self, t: Type, value: SymValue) -> Iterator[Formula]:
        """Formulas that are the same exactly where two values of the type are, in a fixed order."""
        match t:
            case Bool():
                yield value
            case Record(_, fields):
                for (_, f), v in zip(fields, value, strict=True):
                    yield from self.parts(f, v)
            case Array(_, element):
                for v in value:
                    yield from self.parts(element, v)
            case Set():
                yield from value
            case Queue(capacity, element):
                yield from self._bits(value[0], range(capacity + 1))
                for v in value[1]:
                    yield from self.parts(element, v)
            case Union(members) if not is_scalar(t):
                yield from self._bits(value[0], range(len(members)))
                for m, v in zip(members, value[1], strict=True):
                    yield from self.parts(m, v)
            case _:
                yield from self._bits(value, [from_ordinal(t, i) for i in range(cardinality(t))])

    def _bits(self, cases: Cases, numbers: Sequence[int]) -> Iterator[Formula]:
        for bit in range((len(numbers) - 1).bit_length()):
            yield self.f.any(cases.get(v, FALSE) for i, v in enumerate(numbers) if i >> bit & 1)

    # ------------------------------------------------------------ joining

    def choose(self, t: Type, condition: Formula, then: SymValue, otherwise: SymValue) -> SymValue:
        """`if condition then .. else ..`."""
        if condition == TRUE or then is otherwise:
            return then
        if condition == FALSE:
            return otherwise
        return self.select(t, [(condition, then), (condition ^ 1, otherwise)])

    def select(self, t: Type, options: Sequence[tuple[Formula, SymValue]]) -> SymValue:
        """The value whose condition holds: exactly one does."""
        options = [o for o in options if o[0] != FALSE]
        if len(options) == 1:
            return options[0][1]
        if not options:
            return self.first(t)
        match t:
            case Bool():
                return self.f.any(self.f.both(c, v) for c, v in options)
            case Record(_, fields):
                return tuple(self.select(f, [(c, v[i]) for c, v in options]) for i, (_, f) in enumerate(fields))
            case Array(index, element):
                return tuple(self.select(element, [(c, v[i]) for c, v in options]) for i in range(cardinality(index)))
            case Set(element):
                return tuple(self.select(Bool(), [(c, v[i]) for c, v in options]) for i in range(cardinality(element)))
            case Queue(capacity, element):
                length = self._joined((c, v[0]) for c, v in options)
                return length, tuple(self.select(element, [(c, v[1][i]) for c, v in options]) for i in range(capacity))
            case Union(members) if not is_scalar(t):
                which = self._joined((c, v[0]) for c, v in options)
                return which, tuple(self.select(m, [(c, v[1][i]) for c, v in options]) for i, m in enumerate(members))
            case _:
                return self._joined(options)

    def _joined(self, options: Iterable[tuple[Formula, Cases]]) -> Cases:
        return self.cases((v, self.f.both(c, here)) for c, cases in options for v, here in cases.items())

    def cases(self, pairs: Iterable[tuple[int, Formula]]) -> Cases:
        """Cases from values and conditions, of which no two hold together unless their values are the same."""
        found: dict[int, list[Formula]] = {}
        for value, condition in pairs:
            if condition != FALSE:
                found.setdefault(value, []).append(condition)
        if len(found) > MOST_CASES:
            raise Limit(f"a number with more than {MOST_CASES} possible values is too much for the symbolic engine")
        return {v: self.f.any(conditions) for v, conditions in found.items()}

    def mapped(self, cases: Cases, change: Callable[[int], int]) -> Cases:
        """Each value changed."""
        return self.cases((change(v), c) for v, c in cases.items())

    def combined(self, a: Cases, b: Cases, join: Callable[[int, int], int]) -> Cases:
        """An operation on two numbers."""
        self._few(a, b)
        return self.cases((join(x, y), self.f.both(c, d)) for x, c in a.items() for y, d in b.items())

    def related(self, a: Cases, b: Cases, relation: Callable[[int, int], bool]) -> Formula:
        """Whether two numbers are related."""
        self._few(a, b)
        return self.f.any(self.f.both(c, d) for x, c in a.items() for y, d in b.items() if relation(x, y))

    def _few(self, a: Cases, b: Cases) -> None:
        if len(a) * len(b) > MOST_PAIRS:
            raise Limit("numbers with too many possible values for the symbolic engine")

    def equal(self, t: Type, a: SymValue, b: SymValue) -> Formula:
        """Whether two values of a type are the same."""
        match t:
            case Bool():
                return self.f.same(a, b)
            case Record(_, fields):
                return self.f.all(self.equal(f, x, y) for (_, f), x, y in zip(fields, a, b, strict=True))
            case Array(_, element):
                return self.f.all(self.equal(element, x, y) for x, y in zip(a, b, strict=True))
            case Set():
                return self.f.all(self.f.same(x, y) for x, y in zip(a, b, strict=True))
            case Queue(_, element):
                rest = (self.equal(element, x, y) for x, y in zip(a[1], b[1], strict=True))
                return self.f.all([self._same_case(a[0], b[0]), *rest])
            case Union(members) if not is_scalar(t):
                rest = (self.equal(m, x, y) for m, x, y in zip(members, a[1], b[1], strict=True))
                return self.f.all([self._same_case(a[0], b[0]), *rest])
            case Int() | Range() | Enum() | Symmetric() | ThreadId() | Null() | Union():
                return self._same_case(a, b)
        raise InternalError(f"values of {t} are not compared")

    def _same_case(self, a: Cases, b: Cases) -> Formula:
        return self.f.any(self.f.both(c, b[v]) for v, c in a.items() if v in b)


def _which(cases: Mapping[int, Formula], holds: Callable[[Formula], bool]) -> int:
    found = [v for v, c in cases.items() if holds(c)]
    if len(found) != 1:
        raise InternalError(f"a value of the symbolic engine has {len(found)} cases")
    return found[0]


class _Atoms:
    """Atoms `(name, 0)`, `(name, 1)`, .."""

    def __init__(self, formulas: Formulas, name: str) -> None:
        self.f, self.name, self.count = formulas, name, 0
        self.valid: list[Formula] = []

    def next(self) -> Formula:
        self.count += 1
        return self.f.atom((self.name, self.count - 1))

    def cases(self, numbers: Sequence[int]) -> Cases:
        """One of these numbers, by the bits of its place among them."""
        bits = [self.next() for _ in range((len(numbers) - 1).bit_length())]
        out: Cases = {}
        for place, number in enumerate(numbers):
            out[number] = self.f.all(b if place >> i & 1 else b ^ 1 for i, b in enumerate(bits))
        self.valid.append(self.f.any(out.values()))
        return out


def combinations(types: Sequence[Type]) -> Iterator[tuple[int, ...]]:
    """All values of several scalar types."""
    return product(*([from_ordinal(t, i) for i in range(cardinality(t))] for t in types))
