"""Comparisons, sets, members of unions and thread identities as Python text.

A set is an int, one bit for each element; where its elements are written out, membership becomes Python's own `in`.
"""

from __future__ import annotations

from collections.abc import Callable

from hmmspec.system.code import (
    BIT_AND,
    BIT_OR,
    COMPARE,
    MAX_DEPTH,
    PRODUCT,
    SHIFT,
    SUM,
    UNARY,
    Code,
    Scope,
    Unit,
    both,
    call,
    constant,
    deeper,
    infix,
)
from hmmspec.system.compile_cast import inside, shifted
from hmmspec.system.convert import span_of
from hmmspec.system.expr import (
    Expr,
    InSet,
    IsMember,
    MakeSet,
    MakeThreadId,
)
from hmmspec.system.places import index_ordinal
from hmmspec.system.types import (
    Range,
    Set,
    ThreadId,
    Union,
    cardinality,
    is_scalar,
    offsets,
    project,
)

Compile = Callable[[Unit, Expr, Scope], Code]


def comparison(op: str, a: Code, b: Code) -> Code:
    if a.fixed and b.fixed:
        x, y = a.value, b.value
        if op == "==":
            return constant(x == y)
        if op == "!=":
            return constant(x != y)
        assert isinstance(x, int) and isinstance(y, int)
        return constant({"<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y}[op])
    return (
        infix(op, a, b, COMPARE, COMPARE + 1)
        if a.binds > COMPARE
        else Code(f"({a.text}) {op} {b.at(COMPARE + 1)}", COMPARE, depth=deeper(a, b))
    )


def in_set(unit: Unit, e: InSet, scope: Scope, compile_: Compile) -> Code:
    assert isinstance(e.set.type, Set)
    element_type = e.set.type.element
    low = element_type.low if isinstance(element_type, Range) else 0
    element = compile_(unit, e.element, scope)
    if isinstance(e.set, MakeSet):
        members = [compile_(unit, x, scope) for x in e.set.elements]
        if not members:
            certain = not unit.analysis.can_fault(e.element)
            return constant(False) if certain else both((evaluated(element), constant(False)), False)
        if element.fixed and all(m.fixed for m in members):
            return constant(any(element.value == m.value for m in members))
        if len(members) == 1:
            return comparison("==", element, members[0])
        # Python evaluates the tuple whole before it compares, as it should.
        return _one_of(element, members)
    mask = compile_(unit, e.set, scope)
    place = shifted(element, -low)
    if isinstance(mask.value, int) and not element.fixed and 0 < mask.value.bit_count() <= 64:
        return _one_of(element, [constant(i + low) for i in range(mask.value.bit_length()) if mask.value >> i & 1])
    if isinstance(place.value, int) and isinstance(mask.value, int):
        return constant(bool(mask.value >> place.value & 1))
    if unit.analysis.can_fault(e.element) and unit.analysis.can_fault(e.set):
        return call("holds", place, mask)
    moved = mask if place.is_(0) else infix(">>", mask, place, SHIFT)
    return infix("&", moved, constant(1), BIT_AND)


def _one_of(element: Code, members: list[Code]) -> Code:
    # A set of constants is made once, when Python compiles it.
    left, right = "{}" if len(members) > 4 and all(m.fixed for m in members) else "()"
    inner = ", ".join(m.text for m in members) + ("," if len(members) == 1 else "")
    return Code(f"{element.at(COMPARE + 1)} in {left}{inner}{right}", COMPARE, depth=deeper(element, *members))


def evaluated(c: Code) -> Code:
    """Evaluates the expression for its faults alone."""
    return Code(f"({c.text},) != ()", COMPARE, depth=deeper(c))


def is_member(e: IsMember, value: Code) -> Code:
    t = e.value.type
    assert isinstance(t, Union)
    wanted = sorted(set(e.members))
    if value.fixed:
        return constant(project(t, value.value)[0] in wanted)
    if not is_scalar(t):
        text = f"{value.at(UNARY + 1)}[0] in ({', '.join(map(str, wanted))},)"
        return Code(text, COMPARE, depth=deeper(value))
    runs: list[tuple[int, int]] = []
    for m in wanted:
        first = offsets(t)[m]
        last = first + cardinality(t.members[m]) - 1
        if first > last:
            continue
        if runs and runs[-1][1] + 1 == first:
            runs[-1] = runs[-1][0], last
        else:
            runs.append((first, last))
    if len(runs) == 1:
        text = inside(value, *runs[0], span_of(t))
        return Code(f"{value.at(COMPARE + 1)} >= 0" if text == "True" else text, COMPARE, depth=deeper(value))
    members = [str(v) for first, last in runs for v in range(first, last + 1)]
    return Code(f"{value.at(COMPARE + 1)} in ({', '.join(members)},)", COMPARE, depth=deeper(value))


def make_set(e: MakeSet, elements: list[Code]) -> Code:
    assert isinstance(e.type, Set)
    low = e.type.element.low if isinstance(e.type.element, Range) else 0
    known, parts = 0, []
    for x in elements:
        place = shifted(x, -low)
        if isinstance(place.value, int):
            known |= 1 << place.value
        else:
            parts.append(infix("<<", constant(1), place, SHIFT))
    if known or not parts:
        parts.append(constant(known))
    if len(parts) == 1:
        return parts[0]
    if len(parts) > MAX_DEPTH:
        return Code(f"bits(({', '.join(p.text for p in parts)},))", depth=deeper(*parts))
    return Code(" | ".join(p.at(BIT_OR + 1) for p in parts), BIT_OR, depth=deeper(*parts))


def thread_id(e: MakeThreadId, args: list[Code]) -> Code:
    assert isinstance(e.type, ThreadId)
    total = constant(0)
    for t, a in zip(e.type.index, args, strict=True):
        number = index_ordinal(t, a)
        if isinstance(total.value, int):
            scaled = total.value * cardinality(t)
            total = shifted(number, scaled) if scaled else number
        else:
            total = infix("+", infix("*", total, constant(cardinality(t)), PRODUCT), number, SUM)
    return total
