"""A value of one type as a value of another: what `hmmspec.system.convert` does, as expressions of another language."""

from __future__ import annotations

from hmmspec.export.places import Places, scalar
from hmmspec.export.terms import Num, Scalar, Sum, Truth, Value
from hmmspec.system.convert import partner, pieces, span_of
from hmmspec.system.faults import members_of
from hmmspec.system.types import BOOL, Range, Type, Union, cardinality, is_scalar, offsets


def cast(places: Places, value: Value, source: Type, target: Type) -> tuple[Value, Truth]:
    """The value as one of the target type, and where that is a fault."""
    if source == target:
        return value, places.syntax.false
    places.numbered(source)
    places.numbered(target)
    parts = pieces(source, target)
    if parts is not None and isinstance(value, (Num, Truth)):
        return _shifted(places, places.syntax.as_number(value), [(p.low, p.high, p.shift) for p in parts], target)
    return _by_member(places, value, source, target)


def _shifted(places: Places, v: Num, parts: list[tuple[int, int, int]], target: Type) -> tuple[Scalar, Truth]:
    """Each piece `low..high` of the numbers is moved; what is in none is a fault."""
    syntax = places.syntax
    parts = [p for p in parts if p[0] <= v.high and p[1] >= v.low]
    fine = syntax.either(*(syntax.within(v, low, high) for low, high, _ in _touching(parts)))
    out: Num | None = None
    for low, high, shift in reversed(parts):
        moved = syntax.add(Num(v.text, max(low, v.low), min(high, v.high)), syntax.num(shift))
        if moved.known is not None:
            moved = syntax.num(moved.known)
        out = moved if out is None else syntax.pick(syntax.at_most(v, syntax.num(high)), moved, out)
    limits = span_of(target)
    if out is None:  # always a fault
        out = syntax.num(limits[0] if limits else 0)
    return (syntax.same(out, syntax.num(1)) if target == BOOL else out), syntax.no(fine)


def _touching(parts: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The pieces, those beside one another joined."""
    out: list[tuple[int, int, int]] = []
    for low, high, shift in parts:
        if out and out[-1][1] + 1 == low:
            out[-1] = out[-1][0], high, shift
        else:
            out.append((low, high, shift))
    return out


def _by_member(places: Places, value: Value, source: Type, target: Type) -> tuple[Value, Truth]:
    """Where one of the types is a union that is not scalar: member by member."""
    syntax = places.syntax
    out: Value | None = None
    faults: list[Truth] = []
    for here, held, inner in reversed(_held(places, value, source)):
        to = partner(held, target)
        if to is None:
            faults.append(here)
            continue
        wanted = members_of(target)[to]
        if isinstance(wanted, Range):
            inner, outside = cast(places, inner, held, wanted)
            faults.append(syntax.both(here, outside))
        made = _inject(places, target, to, inner) if isinstance(target, Union) else inner
        out = made if out is None else places.pick(here, made, out, target)
    return (out if out is not None else places.zero(target)), syntax.either(*reversed(faults))


def _held(places: Places, value: Value, source: Type) -> list[tuple[Truth, Type, Value]]:
    """The members that a value may hold: when, which type, the value as one of that type."""
    syntax = places.syntax
    if not isinstance(source, Union):
        return [(syntax.true, source, value)]
    if isinstance(value, Sum):
        return [(syntax.same(value.tag, syntax.num(k)), m, value.member(k)) for k, m in enumerate(source.members)]
    v, out = syntax.as_number(scalar(value)), list[tuple[Truth, Type, Value]]()
    for m, start in zip(source.members, offsets(source), strict=True):
        end = start + cardinality(m) - 1
        own = m.low if isinstance(m, Range) else 0
        inner: Scalar = syntax.add(Num(v.text, max(v.low, start), min(v.high, end)), syntax.num(own - start))
        if m == BOOL:
            inner = syntax.same(inner, syntax.num(1))
        out.append((syntax.within(v, start, end), m, inner))
    return out


def _inject(places: Places, union: Union, member: int, value: Value) -> Value:
    syntax = places.syntax
    if is_scalar(union):
        m = union.members[member]
        number = syntax.as_number(scalar(value))
        return syntax.add(number, syntax.num(offsets(union)[member] - (m.low if isinstance(m, Range) else 0)))
    return Sum(syntax.num(member), lambda k: value if k == member else places.zero(union.members[k]))
