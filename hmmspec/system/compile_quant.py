"""Quantifiers as Python text: written out for few values (NOTE(unrolling)), else comprehensions.

Binders do not stop early (see NOTE(evaluation)): `all` and `any` get a list where something inside can fault, and a
generator, which stops early, only where nothing can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.code import (
    ATOM,
    SHIFT,
    SUM,
    TERNARY,
    Code,
    Scope,
    Unit,
    both,
    call,
    constant,
    deeper,
    either,
    infix,
    negation,
)
from hmmspec.system.compile_cast import shifted
from hmmspec.system.expr import Binder, Const, Expr, OverRange, OverSet, OverType, Quant
from hmmspec.system.faults import Site
from hmmspec.system.show import text_of
from hmmspec.system.types import Range, Set, Type, cardinality, values

Compile = Callable[[Unit, Expr, Scope], Code]

# Python allows 20 nested blocks, and each `for` of a comprehension is one.
MAX_BINDERS = 12


def domain(unit: Unit, b: Binder, scope: Scope, compile_: Compile) -> Code:
    """Something to iterate over: the values of the binder, in order."""
    match b.domain:
        case OverType(t):
            return over_type(t)
        case OverRange(low, high):
            first, last = compile_(unit, low, scope), compile_(unit, high, scope)
            return call("range", first, shifted(last, 1))
        case OverSet(s):
            mask = compile_(unit, s, scope)
            assert isinstance(s.type, Set)
            element = s.type.element
            low_ = element.low if isinstance(element, Range) else 0
            return call("elements", mask, constant(low_)) if low_ else call("elements", mask)


def over_type(t: Type) -> Code:
    """Something to iterate over: every value of a type, in order."""
    match t:
        case Range(low, high):
            return Code(f"range({low}, {high + 1})" if low else f"range({high + 1})")
        case _:
            return Code(f"range({cardinality(t)})")


def compile_quant(unit: Unit, e: Quant, scope: Scope, compile_: Compile) -> Code:
    if unit.analysis.unrolls(e):
        return _written_out(unit, e, scope, compile_)
    if len(e.binders) > MAX_BINDERS:
        raise Limit(f"a quantifier with more than {MAX_BINDERS} binders: `{text_of(e)}`")
    clauses = []
    depth = 0
    for b in e.binders:
        source = domain(unit, b, scope, compile_)
        depth = max(depth, source.depth)
        scope, name = scope.declare(b.name)
        clauses.append(f"for {name} in {source.at(TERNARY + 1)}")
    if e.filter is not None:
        test = compile_(unit, e.filter, scope)
        depth = max(depth, test.depth)
        if not test.is_(True):
            clauses.append(f"if {test.at(TERNARY + 1)}")
    tail = " ".join(clauses)
    body = compile_(unit, e.body, scope) if e.body is not None else constant(1)
    depth = max(depth, body.depth) + 1
    careful = unit.analysis.can_fault(e)

    def made(text: str) -> Code:
        return Code(text, ATOM, depth=depth)

    match e.kind:
        case "forall" | "exists":
            function = "all" if e.kind == "forall" else "any"
            inside = f"{body.text} {tail}"
            return made(f"{function}([{inside}])" if careful else f"{function}({inside})")
        case "count" | "sum":
            return made(f"sum({body.text} {tail})")
        case "min" | "max":
            site = unit.site(Site(e.span, text_of(e)))
            return made(f"{'least' if e.kind == 'min' else 'most'}([{body.text} {tail}], {site.text})")
        case "set":
            return made(f"bits({_bit(e, body).text} {tail})")


def _bit(e: Quant, body: Code) -> Code:
    """The mask of one element."""
    assert isinstance(e.type, Set)
    low = e.type.element.low if isinstance(e.type.element, Range) else 0
    place = shifted(body, -low)
    if place.fixed:
        assert isinstance(place.value, int)
        return constant(1 << place.value)
    return infix("<<", constant(1), place, SHIFT)


def _combinations(binders: tuple[Binder, ...], scope: Scope) -> Iterator[Scope]:
    if not binders:
        yield scope
        return
    match binders[0].domain:
        case OverType(t):
            domain_ = values(t)
        case OverRange(Const(low), Const(high)):
            assert isinstance(low, int) and isinstance(high, int)
            domain_ = iter(range(low, high + 1))
        case _:
            raise InternalError("only constant domains are written out")
    for v in domain_:
        assert isinstance(v, int)
        yield from _combinations(binders[1:], scope.bind(binders[0].name, constant(v)))


def _written_out(unit: Unit, e: Quant, scope: Scope, compile_: Compile) -> Code:
    pairs: list[tuple[Code, Code]] = []
    for inner in _combinations(e.binders, scope):
        test = compile_(unit, e.filter, inner) if e.filter is not None else constant(True)
        if test.is_(False):
            continue
        pairs.append((test, compile_(unit, e.body, inner) if e.body is not None else constant(1)))
    match e.kind:
        case "forall":
            return both(either((negation(t), b)) for t, b in pairs)
        case "exists":
            return either(both((t, b)) for t, b in pairs)
        case "count":
            return _sum([t for t, _ in pairs])
        case "sum":
            return _sum([_when(t, b, 0) for t, b in pairs])
        case "set":
            masks = [_when(t, _bit(e, b), 0) for t, b in pairs]
            if all(m.fixed for m in masks):
                out = 0
                for m in masks:
                    assert isinstance(m.value, int)
                    out |= m.value
                return constant(out)
            return Code(f"bits(({', '.join(m.text for m in masks)},))", depth=deeper(*masks))
        case _:
            raise InternalError(f"{e.kind} is not written out")


def _when(test: Code, value: Code, otherwise: int) -> Code:
    if test.is_(True):
        return value
    text = f"{value.at(TERNARY + 1)} if {test.at(TERNARY + 1)} else {otherwise}"
    return Code(text, TERNARY, depth=deeper(test, value))


def _sum(parts: list[Code]) -> Code:
    known = sum(int(p.value) for p in parts if p.fixed)  # type: ignore[call-overload]
    rest = [p for p in parts if not p.fixed]
    if not rest:
        return constant(known)
    if known or len(rest) == 1:
        # One part alone would stay a bool where an int is meant: harmless, see NOTE(generated-bools).
        rest = [replace(p) for p in rest] + ([constant(known)] if known else [])
    return Code(" + ".join(p.at(SUM + 1) for p in rest), SUM if len(rest) > 1 else rest[0].binds, depth=deeper(*rest))
