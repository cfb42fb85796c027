"""How a state is packed: every variable flattened to slots, one per array element and record field.

NOTE(packed-state): a state is `bytes` when every slot holds an int in 0..255, else a tuple.  Bools, ranges, enums,
identities, scalar unions and sets (bit masks) take one slot each; so do queues and unions that are not scalar, whose
slot holds the value itself.  Slots are in the order of the variables, array elements by index ordinal, fields in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.system import System, Variable
from hmmspec.system.types import (
    Array,
    Bool,
    Int,
    Null,
    Queue,
    Range,
    Record,
    Set,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    show_value,
)

State = bytes | tuple[object, ...]

MAX_SLOTS = 100_000


@cache
def width(t: Type) -> int:
    """How many slots a value of the type takes."""
    match t:
        case Array(index, element):
            return cardinality(index) * width(element)
        case Record(_, fields):
            return sum(width(f) for _, f in fields)
        case Int():
            raise InternalError("int cannot be stored in a state")
        case _:
            return 1


@cache
def is_leaf(t: Type) -> bool:
    """Whether a value of the type is one slot as it is."""
    return not isinstance(t, (Array, Record))


@cache
def is_row(t: Type) -> bool:
    """Whether the Python value of the type is just its slots in order: an array or record of leaves."""
    match t:
        case Array(_, element):
            return is_leaf(element)
        case Record(_, fields):
            return all(is_leaf(f) for _, f in fields)
        case _:
            return False


@cache
def fits_a_byte(t: Type) -> bool:
    """Whether every slot of a value of the type is an int in 0..255."""
    match t:
        case Array(_, element):
            return fits_a_byte(element)
        case Record(_, fields):
            return all(fits_a_byte(f) for _, f in fields)
        case Range(low, high):
            return low >= 0 and high <= 255
        case Set(element):
            return cardinality(element) <= 8
        case Queue():
            return False
        case _:
            return is_scalar(t) and cardinality(t) <= 256


@cache
def field_offset(t: Record, name: str) -> tuple[int, int, Type]:
    """Slots before the field, its number and its type."""
    before = 0
    for number, (n, f) in enumerate(t.fields):
        if n == name:
            return before, number, f
        before += width(f)
    raise InternalError(f"record {t.name} has no field {name}")


def leaves(t: Type) -> Iterator[Type]:
    """The types of the slots of a value, in order."""
    match t:
        case Array(index, element):
            for _ in range(cardinality(index)):
                yield from leaves(element)
        case Record(_, fields):
            for _, f in fields:
                yield from leaves(f)
        case _:
            yield t


def load(t: Type, slots: State | bytearray | list[object], base: int) -> object:
    """The value, as in NOTE(values), that starts at slot `base`."""
    match t:
        case Array(index, element):
            step = width(element)
            return tuple(load(element, slots, base + i * step) for i in range(cardinality(index)))
        case Record(_, fields):
            out = []
            for _, f in fields:
                out.append(load(f, slots, base))
                base += width(f)
            return tuple(out)
        case Bool():
            return bool(slots[base])
        case _:
            return slots[base]


def flat(t: Type, value: object) -> Iterator[object]:
    """The slots of a value: the inverse of `load`."""
    match t:
        case Array(_, element):
            assert isinstance(value, tuple)
            for v in value:
                yield from flat(element, v)
        case Record(_, fields):
            assert isinstance(value, tuple)
            for (_, f), v in zip(fields, value, strict=True):
                yield from flat(f, v)
        case Bool():
            yield int(value)  # type: ignore[call-overload]
        case _:
            yield value


def tidy(t: Type, value: object) -> object:
    """The same value with bools as False and True (inside generated code they may be 0 and 1)."""
    match t:
        case Bool():
            return bool(value)
        case Array(_, element) | Queue(_, element):
            assert isinstance(value, tuple)
            return tuple(tidy(element, v) for v in value)
        case Record(_, fields):
            assert isinstance(value, tuple)
            return tuple(tidy(f, v) for (_, f), v in zip(fields, value, strict=True))
        case Union(members) if not is_scalar(t):
            assert isinstance(value, tuple)
            return (value[0], tidy(members[value[0]], value[1]))
        case _:
            return int(value) if isinstance(value, bool) else value


@dataclass(frozen=True)
class Cell:
    """One slot as people see it."""

    name: str
    type: Type
    is_lock: bool


@dataclass(frozen=True)
class Layout:
    """Where each variable is.  Raises Limit when the state would have more than `MAX_SLOTS` slots."""

    system: System
    base: Mapping[str, int] = field(init=False)
    types: Mapping[str, Type] = field(init=False)
    size: int = field(init=False)
    packed: bool = field(init=False)

    def __post_init__(self) -> None:
        base: dict[str, int] = {}
        size = 0
        for v in self.system.variables:
            base[v.name] = size
            size += width(v.type)
            if size > MAX_SLOTS:
                raise Limit(
                    f"a state of {self.system.name} would have more than {MAX_SLOTS} cells"
                    f" (variable {v.name} alone has {width(v.type)}); use smaller parameters"
                )
        set_ = object.__setattr__
        set_(self, "base", base)
        set_(self, "types", {v.name: v.type for v in self.system.variables})
        set_(self, "size", size)
        set_(self, "packed", all(fits_a_byte(v.type) for v in self.system.variables))

    def read(self, state: State, name: str) -> object:
        """The value of a variable."""
        return load(self.types[name], state, self.base[name])

    def build(self, values: Mapping[str, object]) -> State:
        """The state in which each variable has the value given."""
        slots = [x for v in self.system.variables for x in flat(v.type, values[v.name])]
        return bytes(slots) if self.packed else tuple(slots)  # type: ignore[arg-type]

    def freeze(self, slots: list[object]) -> State:
        """A list of slots as a state."""
        return bytes(slots) if self.packed else tuple(slots)  # type: ignore[arg-type]

    def cells(self) -> list[Cell]:
        """What each slot is called: `pins[page0]`, `pte[page0].kind`, `fault[cpu0].p`."""
        out: list[Cell] = []
        for v in self.system.variables:
            out.extend(Cell(name, t, v.kind == "lock") for name, t in _cells_of(v))
        return out


def _cells_of(v: Variable) -> Iterator[tuple[str, Type]]:
    # What belongs to a thread is written after its index: variable `fault.p` has the cells `fault[cpu0].p`.
    head, dot, tail = v.name.partition(".") if v.kind in ("label", "point", "local", "readers") else (v.name, "", "")

    def declared(t: Type, depth: int, prefix: str) -> Iterator[tuple[str, Type]]:
        if depth == 0 or not isinstance(t, Array):
            yield from inner(t, prefix + dot + tail)
            return
        for i in range(cardinality(t.index)):
            shown = show_value(t.index, from_ordinal(t.index, i))
            yield from declared(t.element, depth - 1, f"{prefix}[{shown}]")

    def inner(t: Type, prefix: str) -> Iterator[tuple[str, Type]]:
        match t:
            case Array(index, element):
                for i in range(cardinality(index)):
                    yield from inner(element, f"{prefix}[{show_value(index, from_ordinal(index, i))}]")
            case Record(_, fields):
                for n, f in fields:
                    yield from inner(f, f"{prefix}.{n}")
            case _:
                yield prefix, t

    yield from declared(v.type, v.depth, head)


def show_cell(cell: Cell, value: object) -> str:
    """The value of a slot as people see it; a lock without an owner is `free`."""
    if cell.is_lock and isinstance(cell.type, Union) and isinstance(cell.type.members[0], Null) and value == 0:
        return "free"
    return show_value(cell.type, value)
