"""What a `Cast` does: a value of one type as a value of another.

A member becomes a union by `inject`, a union its member by `project`; between unions, members are matched by type.
Ints and ranges are all numbers: they match any range of the other side, and the number must be in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hmmspec.diagnostics import InternalError
from hmmspec.system.faults import is_integer, members_of
from hmmspec.system.types import (
    Enum,
    Int,
    Range,
    Type,
    Union,
    cardinality,
    inject,
    is_scalar,
    offsets,
    project,
    show_type,
)


class Mismatch(Exception):
    """The value is none of the target type."""


def _same(a: Type, b: Type) -> bool:
    if isinstance(a, Enum) and isinstance(b, Enum) and "" in (a.name, b.name):
        return a.literals == b.literals
    return a == b


@cache
def partner(member: Type, target: Type) -> int | None:
    """Which member of the target (0 if it is no union) takes values of this type; None: no one does."""
    candidates = members_of(target)
    for number, t in enumerate(candidates):
        if _same(member, t):
            return number
    if is_integer(member):
        for number, t in enumerate(candidates):
            if is_integer(t):
                return number
    return None


def converter(source: Type, target: Type) -> Callable[[object], object]:
    """The conversion as a function; it raises Mismatch for a value that is none of the target type."""
    if _same(source, target):
        return lambda value: value
    if not isinstance(source, Union) and partner(source, target) is None:
        raise InternalError(f"no conversion from {show_type(source)} to {show_type(target)}")

    def convert(value: object) -> object:
        held, inner = source, value
        if isinstance(source, Union):
            number, inner = project(source, value)
            held = source.members[number]
        to = partner(held, target)
        if to is None:
            raise Mismatch
        wanted = members_of(target)[to]
        if isinstance(wanted, Range):
            assert isinstance(inner, int)
            if not wanted.low <= inner <= wanted.high:
                raise Mismatch
        return inject(target, to, inner) if isinstance(target, Union) else inner

    return convert


@dataclass(frozen=True)
class Piece:
    """Values `low..high` of the source become value + shift of the target."""

    low: int
    high: int
    shift: int


def _parts(t: Type) -> list[tuple[Type, int, int, int]]:
    """Of a scalar type: each member with its first and last value in `t`, and what to add to get the member's own."""
    if not isinstance(t, Union):
        if isinstance(t, Range):
            return [(t, t.low, t.high, 0)]
        return [(t, 0, cardinality(t) - 1, 0)]
    out = []
    for m, start in zip(t.members, offsets(t), strict=True):
        own = m.low if isinstance(m, Range) else 0
        out.append((m, start, start + cardinality(m) - 1, own - start))
    return out


@cache
def pieces(source: Type, target: Type) -> tuple[Piece, ...] | None:
    """The conversion of one scalar type to another as shifts of intervals; values outside them are faults.

    None where one of the types is not scalar.  Int counts as scalar here: as source it has no bounds of its own.
    """
    if not (is_scalar(source) or source == Int()) or not (is_scalar(target) or target == Int()):
        return None
    if source == Int():
        n = partner(source, target)
        if n is None:
            return ()
        wanted = members_of(target)[n]
        if not isinstance(wanted, Range):
            return None
        shift = offsets(target)[n] - wanted.low if isinstance(target, Union) else 0
        return (Piece(wanted.low, wanted.high, shift),)
    out: list[Piece] = []
    for member, low, high, own in _parts(source):
        n = partner(member, target)
        if n is None or low > high:
            continue
        wanted = members_of(target)[n]
        if isinstance(wanted, Range):
            low, high = max(low, wanted.low - own), min(high, wanted.high - own)
            if low > high:
                continue
        back = 0
        if isinstance(target, Union):
            back = offsets(target)[n] - (wanted.low if isinstance(wanted, Range) else 0)
        shift = own + back
        if out and out[-1].high + 1 == low and out[-1].shift == shift:
            out[-1] = Piece(out[-1].low, high, shift)
        else:
            out.append(Piece(low, high, shift))
    return tuple(out)


def span_of(t: Type) -> tuple[int, int] | None:
    """The first and last Python int that a value of a scalar type can be; None for Int and types that are no ints."""
    if isinstance(t, Range):
        return t.low, t.high
    if t == Int() or not is_scalar(t):
        return None
    return 0, cardinality(t) - 1
