"""How a state is packed into 64-bit words.

NOTE(packed-state): every value is a number of bits, `bits(type)`: a scalar its ordinal, a record or array its parts one
after the other, a set one bit for each element, a queue its length and then its places (unused ones 0), a union with a
member that is not scalar the member's number and then its value (padded with 0).  A value of at most 64 bits lies
within one word; a longer one begins at a word, and each of its parts obeys the same rule.  One state has one packing,
so packed states can be compared and hashed word by word.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from hmmspec.diagnostics import Limit
from hmmspec.system.system import System
from hmmspec.system.types import Array, Queue, Record, Set, Type, Union, cardinality, is_scalar, show_type

WORD = 64
MAX_WORDS = 4096


def width(values: int) -> int:
    """Bits for that many values (0 for one)."""
    return max(0, values - 1).bit_length()


@cache
def bits(t: Type) -> int:
    """How many bits a value takes (a multiple of 64 if more than 64)."""
    match t:
        case Record(_, fields):
            total = sum(bits(f) for _, f in fields)
            if total <= WORD:
                return total
            return _round(max(at + bits(f) for at, (_, f) in zip(field_offsets(t), fields, strict=True)))
        case Array(index, element):
            return _array_bits(cardinality(index), bits(element))
        case Set(element):
            n = cardinality(element)
            return n if n <= WORD else _round(n)
        case Queue(capacity, element):
            return _headed(width(capacity + 1), _array_bits(capacity, bits(element)))
        case Union(members) if not is_scalar(t):
            return _headed(width(len(members)), max(bits(m) for m in members))
        case _:
            return width(cardinality(t))


@cache
def field_offsets(t: Record) -> tuple[int, ...]:
    """Where each field of a record begins, in bits: tight if the record fits a word, else none crosses a word."""
    tight = sum(bits(f) for _, f in t.fields) <= WORD
    out, at = [], 0
    for _, f in t.fields:
        at = at if tight else _place(at, bits(f))
        out.append(at)
        at += bits(f)
    return tuple(out)


def body_offset(t: Type) -> int:
    """Where the places of a queue, or the value of a union, begin behind the length or member number."""
    head = width(t.capacity + 1) if isinstance(t, Queue) else width(len(t.members)) if isinstance(t, Union) else 0
    return head if bits(t) <= WORD else WORD


@dataclass(frozen=True)
class Stride:
    """Element i of an array begins at bit (i // per) * far + (i % per) * near."""

    per: int
    far: int
    near: int


def stride(n: int, element_bits: int) -> Stride:
    """How n elements of that many bits lie one after the other."""
    if element_bits > WORD:
        return Stride(1, element_bits, 0)
    if n * element_bits <= WORD:
        return Stride(max(n, 1), 0, element_bits)
    return Stride(WORD // element_bits, WORD, element_bits)


def _array_bits(n: int, b: int) -> int:
    if n * b <= WORD or b > WORD:
        return n * b
    return -(-n // (WORD // b)) * WORD


def _headed(head: int, body: int) -> int:
    return head + body if head + body <= WORD else WORD + _round(body)


def _round(n: int) -> int:
    return -(-n // WORD) * WORD


def _place(at: int, b: int) -> int:
    """The first offset from `at` where b bits do not cross a word (and begin one if they are more than 64)."""
    if b > WORD:
        return _round(at)
    return at if at // WORD == (at + max(b, 1) - 1) // WORD else _round(at)


@dataclass(frozen=True)
class Layout:
    """Where each variable of a system begins, in bits; `words` of a whole state; `used` bits that carry a value, none
    of them at `end` or behind."""

    offsets: dict[str, int]
    words: int
    used: int
    end: int


def layout(system: System) -> Layout:
    """The packing of a system's states.  Raises Limit if a state would take more than 4,096 words."""
    offsets: dict[str, int] = {}
    at = used = 0
    # Long ones first: they begin at words and leave no holes; then by size, so that few bits are lost.
    for v in sorted(system.variables, key=lambda v: -bits(v.type)):
        b = bits(v.type)
        at = _place(at, b)
        offsets[v.name] = at
        at += b
        used += b
        if at > MAX_WORDS * WORD:
            raise Limit(
                f"a state of {system.name} takes more than {MAX_WORDS} words (with {show_type(v.type)} {v.name})"
            )
    return Layout(offsets, max(1, -(-at // WORD)), used, at)


def show_layout(system: System) -> str:
    """Where each variable lies, for people: bits, word and shift, how its elements follow.  Raises Limit."""
    plan = layout(system)
    rows = [("variable", "bits", "word", "shift", "type")]
    for v in sorted(system.variables, key=lambda v: plan.offsets[v.name]):
        at = plan.offsets[v.name]
        told = show_type(v.type) + _elements(v.type)
        rows.append((v.name, str(bits(v.type)), str(at // WORD), str(at % WORD), told))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{x:>{w}}" for x, w in zip(row[1:4], widths[1:], strict=True))
        + f"  {row[4]}"
        for row in rows
    ]
    words = f"{plan.words} word" + ("s" if plan.words > 1 else "")
    total = f"a state of {system.name}, instance {system.instance}: {plan.used} of {plan.words * WORD} bits, {words}"
    return "\n".join([total, "", *lines]) + "\n"


def _elements(t: Type) -> str:
    """How the elements of an array lie, where that is not plain."""
    if not isinstance(t, Array) or bits(t) == 0:
        return ""
    s = stride(cardinality(t.index), bits(t.element))
    if s.far == 0:
        near = "one bit each" if s.near == 1 else f"every {s.near} bits"
        return f"  ({near})" if cardinality(t.index) > 1 else ""
    if s.per == 1:
        return f"  (every {s.far // WORD} words)" if s.far > WORD else "  (one in a word)"
    return f"  (every {s.near} bits, {s.per} in a word)"


# ---------------------------------------------------------------- packing and unpacking, for traces and tests


def pack(t: Type, value: object) -> int:
    """A value (as in NOTE(values)) as an int of `bits(t)` bits."""
    match t:
        case Record(_, fields):
            assert isinstance(value, tuple)
            out = 0
            for at, (_, f), v in zip(field_offsets(t), fields, value, strict=True):
                out |= pack(f, v) << at
            return out
        case Array(index, element):
            assert isinstance(value, tuple)
            return _pack_elements(cardinality(index), element, value)
        case Queue(capacity, element):
            assert isinstance(value, tuple)
            return len(value) | _pack_elements(capacity, element, value) << body_offset(t)
        case Union(members) if not is_scalar(t):
            assert isinstance(value, tuple)
            return int(value[0]) | pack(members[value[0]], value[1]) << body_offset(t)
        case Set():
            assert isinstance(value, int)
            return value
        case _:
            assert isinstance(value, int)
            return value - getattr(t, "low", 0)


def unpack(t: Type, number: int) -> object:
    """The value that these `bits(t)` bits stand for."""
    match t:
        case Record(_, fields):
            return tuple(
                unpack(f, number >> at & (1 << bits(f)) - 1)
                for at, (_, f) in zip(field_offsets(t), fields, strict=True)
            )
        case Array(index, element):
            return _unpack_elements(cardinality(index), cardinality(index), element, number)
        case Queue(capacity, element):
            length = number & (1 << width(capacity + 1)) - 1
            return _unpack_elements(capacity, length, element, number >> body_offset(t))
        case Union(members) if not is_scalar(t):
            which = number & (1 << width(len(members))) - 1
            member = members[which]
            return which, unpack(member, number >> body_offset(t) & (1 << bits(member)) - 1)
        case Set():
            return number
        case _:
            return number + int(getattr(t, "low", 0))


def _pack_elements(room: int, element: Type, values: tuple[object, ...]) -> int:
    s, out = stride(room, bits(element)), 0
    for i, v in enumerate(values):
        out |= pack(element, v) << (i // s.per * s.far + i % s.per * s.near)
    return out


def _unpack_elements(room: int, n: int, element: Type, number: int) -> tuple[object, ...]:
    s, mask = stride(room, bits(element)), (1 << bits(element)) - 1
    return tuple(unpack(element, number >> (i // s.per * s.far + i % s.per * s.near) & mask) for i in range(n))
