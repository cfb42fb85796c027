"""The types of the core: finite, concrete (every size is a number) and structural but for enums and records.

NOTE(values): how a value of each type is written in Python, in states, traces and constants alike.

    Bool        False, True (in a packed state 0, 1)
    Int, Range  the int itself
    Enum        the ordinal of the literal
    Symmetric   the ordinal of the identity, 0..size-1 (of no meaning but which)
    ThreadId    the ordinal of the index tuple, row-major; 0 for a thread without index
    Null        0 (its only value)
    Union       an int, if every member is scalar: members in order, each shifted by the sizes of those before it;
                `Null`, where it is a member, comes first and so is 0.  Else a pair (member number, value).
    Record      a tuple of the field values in order
    Array       a tuple of the element values in the order of index ordinals
    Set         an int, bit i for the element of ordinal i
    Queue       a tuple of the elements, head first

`ordinal` numbers the values of a scalar type from 0; scalar types are those whose values are ints with an ordinal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from functools import cache

from hmmspec.diagnostics import InternalError
from hmmspec.records import dataclass


@dataclass(frozen=True)
class Bool:
    pass


@dataclass(frozen=True)
class Int:
    """Unbounded; never stored in a state."""


@dataclass(frozen=True)
class Range:
    low: int
    high: int
    name: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Enum:
    """`name` is the declared type, machine, thread or, for an anonymous enum, empty: then literals decide equality."""

    name: str
    literals: tuple[str, ...]


@dataclass(frozen=True)
class Symmetric:
    name: str
    size: int


@dataclass(frozen=True)
class ThreadId:
    """Which instance of thread `thread`: what owns a lock."""

    thread: str
    index: tuple[Type, ...]


@dataclass(frozen=True)
class Null:
    """Only as the first member of a union: `T?` is Union((Null, T))."""


@dataclass(frozen=True)
class Union:
    """Flat (no union in a union), at least two members, Null first if present."""

    members: tuple[Type, ...]
    name: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Record:
    name: str
    fields: tuple[tuple[str, Type], ...]


@dataclass(frozen=True)
class Array:
    index: Type
    element: Type


@dataclass(frozen=True)
class Set:
    element: Type


@dataclass(frozen=True)
class Queue:
    capacity: int
    element: Type


Type = Bool | Int | Range | Enum | Symmetric | ThreadId | Null | Union | Record | Array | Set | Queue

BOOL = Bool()
INT = Int()
NULL = Null()


@cache
def is_scalar(t: Type) -> bool:
    """Whether values of the type are ints with an ordinal (so it may index an array or be the element of a set)."""
    match t:
        case Bool() | Range() | Enum() | Symmetric() | Null():
            return True
        case ThreadId(_, index):
            return all(is_scalar(i) for i in index)
        case Union(members):
            return all(is_scalar(m) for m in members)
        case _:
            return False


@cache
def cardinality(t: Type) -> int:
    """How many values the type has.  Raises InternalError for Int."""
    match t:
        case Bool():
            return 2
        case Range(low, high):
            return max(0, high - low + 1)
        case Enum(_, literals):
            return len(literals)
        case Symmetric(_, size):
            return size
        case Null():
            return 1
        case ThreadId(_, index):
            n = 1
            for i in index:
                n *= cardinality(i)
            return n
        case Union(members):
            return sum(cardinality(m) for m in members)
        case Record(_, fields):
            n = 1
            for _, f in fields:
                n *= cardinality(f)
            return n
        case Array(index_type, element):
            return int(cardinality(element) ** cardinality(index_type))
        case Set(element):
            return int(2 ** cardinality(element))
        case Queue(capacity, element):
            base = cardinality(element)
            return sum(base**k for k in range(capacity + 1))
        case Int():
            raise InternalError("int has no cardinality")


def ordinal(t: Type, value: int) -> int:
    """The number, from 0, of a value of a scalar type."""
    return value - t.low if isinstance(t, Range) else int(value)


def from_ordinal(t: Type, number: int) -> int:
    """The value of a scalar type that has this ordinal."""
    return number + t.low if isinstance(t, Range) else number


@cache
def offsets(union: Union) -> tuple[int, ...]:
    """For a scalar union: the shift of each member's ordinals."""
    out, total = [], 0
    for m in union.members:
        out.append(total)
        total += cardinality(m)
    return tuple(out)


def inject(union: Union, member: int, value: object) -> object:
    """The union value that holds `value` of the member with this number."""
    if is_scalar(union):
        assert isinstance(value, int)
        return offsets(union)[member] + ordinal(union.members[member], value)
    return (member, value)


def project(union: Union, value: object) -> tuple[int, object]:
    """The member number and member value that a union value holds."""
    if not is_scalar(union):
        assert isinstance(value, tuple)
        return value[0], value[1]
    assert isinstance(value, int)
    starts = offsets(union)
    member = max(i for i, start in enumerate(starts) if start <= value and cardinality(union.members[i]) > 0)
    return member, from_ordinal(union.members[member], value - starts[member])


def values(t: Type) -> Iterator[object]:
    """Every value of a finite type, in a fixed order (by ordinal for scalar types).  Lazy: may be very many."""
    match t:
        case Range(low, high):
            yield from range(low, high + 1)
        case Bool():
            yield False
            yield True
        case Enum() | Symmetric() | ThreadId() | Null():
            yield from range(cardinality(t))
        case Union(members):
            for number, m in enumerate(members):
                for v in values(m):
                    yield inject(t, number, v)
        case Record(_, fields):
            yield from _products([f for _, f in fields])
        case Array(index_type, element):
            yield from _products([element] * cardinality(index_type))
        case Set(element):
            yield from range(2 ** cardinality(element))
        case Queue(capacity, element):
            for length in range(capacity + 1):
                yield from _products([element] * length)
        case Int():
            raise InternalError("int cannot be enumerated")


def value_at(t: Type, number: int) -> object:
    """Value number `number` of `values(t)`, without making those before it."""
    match t:
        case Bool():
            return bool(number)
        case Union(members) if not is_scalar(t):
            for i, m in enumerate(members):
                if number < cardinality(m):
                    return inject(t, i, value_at(m, number))
                number -= cardinality(m)
            raise InternalError("a union has no value of this number")
        case Record(_, fields):
            return _product_at([f for _, f in fields], number)
        case Array(index_type, element):
            return _product_at([element] * cardinality(index_type), number)
        case Queue(_, element):
            length, n = 0, cardinality(element)
            while number >= n**length:
                number -= n**length
                length += 1
            return _product_at([element] * length, number)
        case Set():
            return number
        case _:
            return from_ordinal(t, number)


def _product_at(types: list[Type], number: int) -> tuple[object, ...]:
    out: list[object] = []
    for t in reversed(types):
        number, rest = divmod(number, cardinality(t))
        out.append(value_at(t, rest))
    return tuple(reversed(out))


def _products(types: list[Type]) -> Iterator[tuple[object, ...]]:
    if not types:
        yield ()
        return
    for head in values(types[0]):
        for tail in _products(types[1:]):
            yield (head, *tail)


def show_type(t: Type) -> str:
    """The type as a user would write it."""
    match t:
        case Bool():
            return "bool"
        case Int():
            return "int"
        case Range(low, high, name):
            return name or (f"the number {low}" if low == high else f"{low}..{high}")
        case Enum(name, literals):
            return name or "enum { " + ", ".join(literals) + " }"
        case Symmetric(name, _):
            return name
        case ThreadId(thread, _):
            return thread
        case Null():
            return "null"
        case Union(members, name):
            if name:
                return name
            if members[0] == NULL and len(members) == 2:
                return show_type(members[1]) + "?"
            return " | ".join(show_type(m) for m in members)
        case Record(name, _):
            return name or "record"
        case Array(index, element):
            return f"[{show_type(index)}] {show_type(element)}"
        case Set(element):
            return f"set of {show_type(element)}"
        case Queue(capacity, element):
            return f"queue[{capacity}] of {show_type(element)}"


def show_value(t: Type, value: object) -> str:
    """A value as a user reads it: `true`, `device`, `page1`, `null`, `Pte(kind = none, write = false)`, `{page0}`."""
    match t:
        case Bool():
            return "true" if value else "false"
        case Int() | Range():
            return str(value)
        case Enum(_, literals):
            assert isinstance(value, int)
            return literals[value]
        case Symmetric(name, _):
            return f"{name[:1].lower()}{name[1:]}{value}"
        case Null():
            return "null"
        case ThreadId(thread, index):
            assert isinstance(value, int)
            parts = []
            for i in reversed(index):
                value, r = divmod(value, cardinality(i))
                parts.append(f"[{show_value(i, from_ordinal(i, r))}]")
            return thread + "".join(reversed(parts))
        case Union(members):
            number, inner = project(t, value)
            return show_value(members[number], inner)
        case Record(name, fields):
            assert isinstance(value, tuple)
            inside = ", ".join(f"{n} = {show_value(f, v)}" for (n, f), v in zip(fields, value, strict=True))
            return f"{name}({inside})"
        case Array(index, element):
            assert isinstance(value, tuple)
            cells = (
                f"{show_value(index, from_ordinal(index, i))}: {show_value(element, v)}" for i, v in enumerate(value)
            )
            return "[" + ", ".join(cells) + "]"
        case Set(element):
            assert isinstance(value, int)
            inside = ", ".join(
                show_value(element, from_ordinal(element, i)) for i in range(cardinality(element)) if value >> i & 1
            )
            return "{" + inside + "}"
        case Queue(_, element):
            assert isinstance(value, tuple)
            return "[" + ", ".join(show_value(element, v) for v in value) + "]"
