"""Where in a state an expression like `pte[p].kind` is: a slot number, or a sum that gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hmmspec.diagnostics import InternalError
from hmmspec.system.code import PRODUCT, SUM, Code, Scope, Unit, deeper, infix
from hmmspec.system.compile_cast import shifted
from hmmspec.system.expr import Expr, Field, Index, Var
from hmmspec.system.slots import field_offset, is_leaf, is_row, width
from hmmspec.system.types import Array, Range, Record, Type

Compile = Callable[[Unit, Expr, Scope], Code]


@dataclass(frozen=True)
class Place:
    """The slots from `start` plus the terms on; `state` is the Python name of the state."""

    state: str
    start: int
    terms: tuple[Code, ...]
    type: Type

    @property
    def first(self) -> Code:
        """The number of the first slot."""
        total: Code | None = None
        for t in self.terms:
            total = t if total is None else infix("+", total, t, SUM)
        if total is None:
            return Code(str(self.start), simple=True, fixed=True, value=self.start)
        return shifted(total, self.start)


def index_ordinal(index_type: Type, index: Code) -> Code:
    return shifted(index, -index_type.low) if isinstance(index_type, Range) else index


def place_of(unit: Unit, e: Expr, scope: Scope, compile_: Compile) -> Place | None:
    """The place of a variable under indices and fields; None for any other expression."""
    match e:
        case Var(name, t, primed):
            state = scope.after if primed else scope.state
            if state is None:
                raise InternalError(f"{name} is read after the step where there is no step")
            return Place(state, unit.layout.base[name], (), t)
        case Index(base, index):
            outer = place_of(unit, base, scope, compile_)
            if outer is None:
                return None
            assert isinstance(outer.type, Array)
            number = compile_(unit, index, scope)
            low = outer.type.index.low if isinstance(outer.type.index, Range) else 0
            step = width(outer.type.element)
            if number.fixed:
                assert isinstance(number.value, int)
                return replace(outer, start=outer.start + (number.value - low) * step, type=outer.type.element)
            term = number
            if step != 1:
                term = Code(f"{number.at(PRODUCT)} * {step}", PRODUCT, depth=deeper(number))
            start = outer.start - low * step
            return Place(outer.state, start, (*outer.terms, term), outer.type.element)
        case Field(base, name):
            outer = place_of(unit, base, scope, compile_)
            if outer is None:
                return None
            assert isinstance(outer.type, Record)
            before, _, t = field_offset(outer.type, name)
            return replace(outer, start=outer.start + before, type=t)
        case _:
            return None


def read(unit: Unit, p: Place) -> Code:
    """The value at a place."""
    first, size = p.first, width(p.type)
    if is_leaf(p.type):
        simple = not p.terms or (len(p.terms) == 1 and p.terms[0].simple)
        return Code(f"{p.state}[{first.text}]", simple=simple, depth=deeper(first))
    if not is_row(p.type):
        return Code(f"load({unit.named('type', p.type)}, {p.state}, {first.text})", depth=deeper(first))
    if first.fixed:
        return Code(f"tuple({p.state}[{p.start}:{p.start + size}])", depth=1)
    return Code(f"row({p.state}, {first.text}, {size})", depth=deeper(first))
