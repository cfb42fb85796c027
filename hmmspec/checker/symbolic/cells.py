"""What a state is made of, said without the size of any type: cells such as `owner[p]`, and values such as `p`.

Identities are `Id`s: in a state of an instance those of the instance, in a lemma names.  Replacing some by others turns
a part of a state into what may be said of all states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hmmspec.diagnostics import InternalError
from hmmspec.system import expr as E
from hmmspec.system.system import System
from hmmspec.system.types import (
    BOOL,
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
    inject,
    is_scalar,
    ordinal,
    project,
)


@dataclass(frozen=True, order=True)
class Id:
    """An identity of a symmetric type."""

    sort: str
    number: int


@dataclass(frozen=True)
class Plain:
    """A value that has no identities in it."""

    value: int


@dataclass(frozen=True)
class Thread:
    """The thread with these indices."""

    index: tuple[Value, ...]


@dataclass(frozen=True)
class Held:
    """A value of this member of a union."""

    member: int
    value: Value


@dataclass(frozen=True)
class Other:
    """An identity that has no name (`member`: of which member of a union)."""

    member: int = 0


Value = Id | Plain | Thread | Held | Other


@dataclass(frozen=True)
class At:
    """A part of an array: the index."""

    index: Value


@dataclass(frozen=True)
class Of:
    """A field of a record."""

    name: str


@dataclass(frozen=True)
class Has:
    """Whether a set has this element."""

    element: Value


@dataclass(frozen=True)
class Length:
    """How long a queue is."""


@dataclass(frozen=True)
class Cell:
    """A scalar in a state: a variable and the way into it."""

    variable: str
    path: tuple[At | Of | Has | Length, ...]


@dataclass(frozen=True)
class Slot:
    """Where an instance has a cell: the slot of the state (bit: of a set in it; length: of a queue in it), the numbers
    of the atoms of the finite encoding that it is made of, its type."""

    cell: Cell
    slot: int
    bit: int
    length: bool
    atoms: range
    type: Type


# ---------------------------------------------------------------- values


def abstract(t: Type, value: int) -> Value:
    """A value of an instance."""
    match t:
        case Symmetric(name, _):
            return Id(name, value)
        case ThreadId(_, index):
            parts: list[int] = []
            for i in reversed(index):
                value, part = divmod(value, cardinality(i))
                parts.append(part)
            return Thread(tuple(abstract(i, from_ordinal(i, p)) for i, p in zip(index, reversed(parts), strict=True)))
        case Union():
            member, inner = project(t, value)
            assert isinstance(inner, int)
            return Held(member, abstract(t.members[member], inner))
        case _:
            return Plain(int(value))


def concrete(t: Type, value: Value) -> int:
    """The other way round."""
    match t, value:
        case Symmetric(), Id(_, number):
            return number
        case ThreadId(_, index), Thread(parts):
            out = 0
            for i, p in zip(index, parts, strict=True):
                out = out * cardinality(i) + ordinal(i, concrete(i, p))
            return out
        case Union(members), Held(member, inner):
            found = inject(t, member, concrete(members[member], inner))
            assert isinstance(found, int)
            return found
        case _, Plain(x):
            return x
        case _:
            raise InternalError(f"{value} is no value of {t}")


def ids(value: Value) -> Iterator[Id]:
    """The identities in a value."""
    match value:
        case Id():
            yield value
        case Thread(index):
            for i in index:
                yield from ids(i)
        case Held(_, inner):
            yield from ids(inner)
        case _:
            pass


def ids_of(cell: Cell) -> Iterator[Id]:
    """The identities that a cell belongs to, in order."""
    for step in cell.path:
        match step:
            case At(v) | Has(v):
                yield from ids(v)
            case _:
                pass


def renamed(value: Value, names: Mapping[Id, Id]) -> Value:
    """With identities replaced; where one of them has no name it is just another."""
    match value:
        case Id():
            return names.get(value, Other())
        case Thread(index):
            parts = tuple(renamed(i, names) for i in index)
            return Other() if any(isinstance(p, Other) for p in parts) else Thread(parts)
        case Held(member, inner):
            part = renamed(inner, names)
            return Other(member) if isinstance(part, Other) else Held(member, part)
        case _:
            return value


def renamed_cell(cell: Cell, names: Mapping[Id, Id]) -> Cell:
    """With identities replaced; all must have names."""
    path: list[At | Of | Has | Length] = []
    for step in cell.path:
        match step:
            case At(v):
                path.append(At(renamed(v, names)))
            case Has(v):
                path.append(Has(renamed(v, names)))
            case _:
                path.append(step)
    return Cell(cell.variable, tuple(path))


# ---------------------------------------------------------------- expressions


def name_of(i: Id, taken: frozenset[str]) -> str:
    """What a named identity is called in an expression: page_1, page_2, .."""
    name = f"{i.sort[:1].lower()}{i.sort[1:]}_{i.number + 1}"
    while name in taken:
        name += "_"
    return name


class Wording:
    """Expressions of a System about cells and values, whose identities are names."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.types = {v.name: v.type for v in system.variables}
        self.sorts = {t.name: t for t in system.symmetric}
        declared = {v.name for v in system.variables} | {d.name for d in system.defines}
        self.taken = frozenset(declared | {name for name, _, _ in system.params} | set(self.sorts))

    def value(self, t: Type, value: Value) -> E.Expr:
        """A value of the type."""
        match t, value:
            case Symmetric(), Id():
                return E.Local(name_of(value, self.taken), t)
            case ThreadId(_, index), Thread(parts):
                return E.MakeThreadId(tuple(self.value(i, p) for i, p in zip(index, parts, strict=True)), t)
            case Union(members), Held(member, inner):
                if not any(True for _ in ids(inner)):
                    return E.Const(concrete(t, value), t)
                return E.Cast(self.value(members[member], inner), t)
            case _, Plain(x):
                return E.Const(bool(x) if isinstance(t, Bool) else x, t)
            case _:
                raise InternalError(f"{value} is no value of {t}")

    def cell(self, cell: Cell) -> E.Expr:
        """What the cell holds; of a set: whether it has the element; of a queue: its length."""
        e: E.Expr = E.Var(cell.variable, self.types[cell.variable])
        for step in cell.path:
            match step, e.type:
                case At(v), Array(index, element):
                    e = E.Index(e, self.value(index, v), element)
                case Of(name), Record(_, fields):
                    e = E.Field(e, name, dict(fields)[name])
                case Has(v), Set(element):
                    e = E.InSet(self.value(element, v), e)
                case Length(), Queue():
                    e = E.Size(e)
                case _:
                    raise InternalError(f"{step} of {e.type}")
        return e

    def binder(self, i: Id) -> E.Binder:
        """A name for an identity, bound."""
        t = self.sorts[i.sort]
        return E.Binder(name_of(i, self.taken), t, E.OverType(t))

    def local(self, i: Id) -> E.Expr:
        """The name."""
        return E.Local(name_of(i, self.taken), self.sorts[i.sort])


# ---------------------------------------------------------------- the cells of an instance


def slots(system: System) -> list[Slot]:
    """All scalars of a state of an instance (elements of sets and lengths of queues are some), in order."""
    out: list[Slot] = []
    slot = 0
    for v in system.variables:
        walker = _Walker(v.name, slot)
        out += walker.walk(v.type, ())
        slot = walker.slot
    return out


class _Walker:
    """Goes through a value as the packed state (`slots.flat`) and the finite encoding (`values.unknown`) do."""

    def __init__(self, variable: str, slot: int) -> None:
        self.variable, self.slot, self.atom = variable, slot, 0

    def walk(self, t: Type, path: tuple[At | Of | Has | Length, ...]) -> Iterator[Slot]:
        match t:
            case Array(index, element):
                for i in range(cardinality(index)):
                    yield from self.walk(element, (*path, At(abstract(index, from_ordinal(index, i)))))
            case Record(_, fields):
                for name, f in fields:
                    yield from self.walk(f, (*path, Of(name)))
            case Set(element):
                for i in range(cardinality(element)):
                    cell = Cell(self.variable, (*path, Has(abstract(element, from_ordinal(element, i)))))
                    yield Slot(cell, self.slot, i, False, self._atoms(1), BOOL)
                self.slot += 1
            case Queue(capacity, element):
                cell = Cell(self.variable, (*path, Length()))
                atoms = self._atoms(capacity.bit_length())
                yield Slot(cell, self.slot, -1, True, atoms, Range(0, capacity))
                self._atoms(capacity * _bits(element))
                self.slot += 1
            case Bool():
                yield Slot(Cell(self.variable, path), self.slot, -1, False, self._atoms(1), t)
                self.slot += 1
            case _ if is_scalar(t):
                atoms = self._atoms(_bits(t))
                yield Slot(Cell(self.variable, path), self.slot, -1, False, atoms, t)
                self.slot += 1
            case _:
                self._atoms(_bits(t))
                self.slot += 1

    def _atoms(self, count: int) -> range:
        self.atom += count
        return range(self.atom - count, self.atom)


def _bits(t: Type) -> int:
    """How many atoms `values.unknown` makes."""
    match t:
        case Bool():
            return 1
        case Record(_, fields):
            return sum(_bits(f) for _, f in fields)
        case Array(index, element):
            return cardinality(index) * _bits(element)
        case Set(element):
            return cardinality(element)
        case Queue(capacity, element):
            return capacity.bit_length() + capacity * _bits(element)
        case Union(members) if not is_scalar(t):
            return (len(members) - 1).bit_length() + sum(_bits(m) for m in members)
        case _:
            return (cardinality(t) - 1).bit_length()
