"""Which packed states are states of a system at all: what a checkpoint's states are held to before C code sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hmmspec.system.layout import WORD, Layout, bits, body_offset, field_offsets, stride, width
from hmmspec.system.system import System
from hmmspec.system.types import Array, Queue, Record, Set, Type, Union, cardinality, is_scalar


@dataclass(frozen=True)
class Check:
    """The number of so many bits at bit `at` is from `least` to `most`; with `skip`: only where it is do the next
    `skip` checks have to hold."""

    at: int
    bits: int
    most: int
    least: int = 0
    skip: int = 0


def checks(system: System, plan: Layout) -> list[Check]:
    """What every packed state of the system fulfils."""
    return [c for v in system.variables for c in _checks(v.type, plan.offsets[v.name])]


def used_bits(system: System, plan: Layout) -> bytes:
    """The bits that carry a value, as a packed state; all others are 0 in every state."""
    mask = 0
    for v in system.variables:
        for at, n in _used(v.type, plan.offsets[v.name]):
            mask |= ((1 << n) - 1) << at
    return mask.to_bytes(8 * plan.words, "little")


def _elements(n: int, element: Type, at: int) -> Iterator[int]:
    s = stride(n, bits(element))
    return (at + i // s.per * s.far + i % s.per * s.near for i in range(n))


def _checks(t: Type, at: int) -> Iterator[Check]:
    match t:
        case Array(index, element):
            for place in _elements(cardinality(index), element, at):
                yield from _checks(element, place)
        case Record(_, fields):
            for offset, (_, f) in zip(field_offsets(t), fields, strict=True):
                yield from _checks(f, at + offset)
        case Queue(capacity, element):
            head = width(capacity + 1)
            yield Check(at, head, capacity)
            for i, place in enumerate(_elements(capacity, element, at + body_offset(t))):
                yield from _checks(element, place)
                yield from _if(at, head, 0, i, _zero(place, bits(element)))
        case Union(members) if not is_scalar(t):
            head, body = width(len(members)), at + body_offset(t)
            yield Check(at, head, len(members) - 1)
            for number, member in enumerate(members):
                inner = [*_checks(member, body), *_unused(member, body, body + max(bits(m) for m in members))]
                yield from _if(at, head, number, number, inner)
        case Set():
            return
        case _:
            if cardinality(t) < 1 << bits(t):
                yield Check(at, bits(t), cardinality(t) - 1)


def _if(at: int, width: int, least: int, most: int, inner: Iterable[Check]) -> Iterator[Check]:
    """Checks where a number is from `least` to `most`."""
    checks = list(inner)
    if checks:
        yield Check(at, width, most, least, len(checks))
        yield from checks


def _zero(at: int, n: int) -> Iterator[Check]:
    """These bits are 0; a check looks at one word."""
    while n > 0:
        here = min(n, WORD - at % WORD)
        yield Check(at, here, 0)
        at, n = at + here, n - here


def _unused(t: Type, at: int, end: int) -> Iterator[Check]:
    """The bits from `at` to `end` that a value of the type does not use are 0."""
    for begin, n in sorted(_used(t, at)):
        yield from _zero(at, begin - at)
        at = max(at, begin + n)
    yield from _zero(at, end - at)


def _used(t: Type, at: int) -> Iterator[tuple[int, int]]:
    match t:
        case Array(index, element):
            for place in _elements(cardinality(index), element, at):
                yield from _used(element, place)
        case Record(_, fields):
            for offset, (_, f) in zip(field_offsets(t), fields, strict=True):
                yield from _used(f, at + offset)
        case Queue(capacity, element):
            yield at, width(capacity + 1)
            for place in _elements(capacity, element, at + body_offset(t)):
                yield from _used(element, place)
        case Union(members) if not is_scalar(t):
            yield at, width(len(members))
            for member in members:
                yield from _used(member, at + body_offset(t))
        case Set(element):
            yield at, cardinality(element)
        case _:
            yield at, bits(t)
