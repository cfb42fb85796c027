"""Why a property is false in a state: the smallest part that decides it, the values bound there, what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hmmspec.diagnostics import Span
from hmmspec.system.expr import (
    Apply,
    Binder,
    Cast,
    Expr,
    Field,
    If,
    Index,
    Local,
    Logic,
    Not,
    OverRange,
    OverSet,
    OverType,
    Quant,
    Var,
    children,
    walk,
)
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter
from hmmspec.system.show import text_of
from hmmspec.system.slots import State
from hmmspec.system.types import Set, Type, cardinality, from_ordinal, show_value, values


@dataclass(frozen=True)
class Explanation:
    """conjunct: the smallest part that failed, as text; bindings: names and the shown values that broke it; parts:
    what the conjunct reads, and the shown values."""

    conjunct: str
    bindings: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, str], ...]
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _At:
    """Where the explanation has come to: the states read, the values of the names, and their types."""

    s: State
    after: State | None
    env: Mapping[str, object]
    types: Mapping[str, Type]

    def bind(self, name: str, t: Type, value: object) -> _At:
        return _At(self.s, self.after, {**self.env, name: value}, {**self.types, name: t})


def explain(
    interpreter: Interpreter,
    e: Expr,
    s: State,
    after: State | None = None,
    env: Mapping[str, tuple[Type, object]] | None = None,
) -> Explanation | None:
    """Why `e` is false in `s` (with primes: from `s` to `after`); None if it is true.

    env: types and values of names that are free in `e`.  Raises SpecFault where `e` itself errs.
    """
    given = env or {}
    at = _At(s, after, {n: v for n, (_, v) in given.items()}, {n: t for n, (t, _) in given.items()})
    if _value(interpreter, e, at):
        return None
    atom, where, held = _descend(interpreter, e, at, False)
    bindings = tuple((n, show_value(where.types[n], v)) for n, v in where.env.items())
    text = text_of(atom)
    if held:
        # It is true where it should not be.
        text = f"!{text}" if _is_read(atom) or isinstance(atom, Local) else f"!({text})"
    return Explanation(text, bindings, tuple(_parts(interpreter, atom, where)), atom.span)


def _value(it: Interpreter, e: Expr, at: _At) -> object:
    free = {x.name for x in walk(e) if isinstance(x, Local)}
    return it.evaluate(e, at.s, at.after, {n: v for n, v in at.env.items() if n in free})


def _descend(it: Interpreter, e: Expr, at: _At, held: bool) -> tuple[Expr, _At, bool]:
    """The part that makes `e` what it is, and whether that part is true; `held` says whether `e` is true here."""
    match e:
        case Not(operand):
            return _descend(it, operand, at, not held)
        case Logic("&&" | "||" as op, left, right) if held != (op == "&&"):
            # A false conjunct makes `&&` false, a true disjunct makes `||` true; else both sides matter.
            first = bool(_value(it, left, at)) == held
            return _descend(it, left if first else right, at, held)
        case Logic("=>", left, right) if not held:
            return _descend(it, right, at, False)
        case If(condition, then, otherwise):
            return _descend(it, then if _value(it, condition, at) else otherwise, at, held)
        case Quant(kind="forall" | "exists" as kind, binders=binders) if held == (kind == "exists"):
            for inner in _bindings(it, binders, at):
                if e.filter is not None and not _value(it, e.filter, inner):
                    continue
                assert e.body is not None
                if bool(_value(it, e.body, inner)) == held:
                    return _descend(it, e.body, inner, held)
            return e, at, held
        case Apply(define, args, _, primed):
            d = it.system.define(define)
            state = at.after if primed and at.after is not None else at.s
            inner = _At(state, None, {}, {})
            for p, a in zip(d.params, args, strict=True):
                inner = inner.bind(p.name, p.type, _value(it, a, at))
            atom, where, found = _descend(it, d.body, inner, held)
            if primed or atom is d.body:
                # The name says it better, and after the step the body would read as if it were before.
                return e, at, held
            kept = {n: v for n, v in at.env.items() if n not in where.env}
            types = {n: t for n, t in at.types.items() if n not in where.types}
            return atom, _At(where.s, where.after, {**kept, **where.env}, {**types, **where.types}), found
        case Cast(operand, _):
            return _descend(it, operand, at, held)
        case _:
            return e, at, held


def _bindings(it: Interpreter, binders: tuple[Binder, ...], at: _At) -> Iterator[_At]:
    if not binders:
        yield at
        return
    b = binders[0]
    for v in _domain(it, b, at):
        yield from _bindings(it, binders[1:], at.bind(b.name, b.type, v))


def _domain(it: Interpreter, b: Binder, at: _At) -> Iterator[object]:
    match b.domain:
        case OverType(t):
            yield from values(t)
        case OverRange(low, high):
            first, last = _value(it, low, at), _value(it, high, at)
            assert isinstance(first, int) and isinstance(last, int)
            yield from range(first, last + 1)
        case OverSet(s):
            mask = _value(it, s, at)
            assert isinstance(s.type, Set) and isinstance(mask, int)
            for i in range(cardinality(s.type.element)):
                if mask >> i & 1:
                    yield from_ordinal(s.type.element, i)


def _parts(it: Interpreter, atom: Expr, at: _At) -> Iterator[tuple[str, str]]:
    """Every read of a variable or define in the part, largest first, with its value."""
    seen = {text_of(atom)} if not _is_read(atom) else set()

    def visit(e: Expr, bound: frozenset[str]) -> Iterator[tuple[str, str]]:
        if _is_read(e) and not bound & {x.name for x in walk(e) if isinstance(x, Local)}:
            text = text_of(e)
            if text not in seen:
                seen.add(text)
                try:
                    yield text, show_value(e.type, _value(it, e, at))
                except SpecFault as f:
                    yield text, f.fault.message
        if isinstance(e, Quant):
            bound = bound | {b.name for b in e.binders}
        # Inside `a[i].f` the reads of interest are those of the index.
        while isinstance(e, Field):
            e = e.base
        if isinstance(e, Index):
            while isinstance(e, (Index, Field)):
                if isinstance(e, Index):
                    yield from visit(e.index, bound)
                e = e.base
            if isinstance(e, Var):
                return
        for c in children(e):
            yield from visit(c, bound)

    yield from visit(atom, frozenset())


def _is_read(e: Expr) -> bool:
    """A variable or a part of one, a define, or a quantity counted from the state."""
    if isinstance(e, Apply):
        return True
    if isinstance(e, Quant):
        return e.kind not in ("forall", "exists")
    while isinstance(e, (Index, Field)):
        e = e.base
    return isinstance(e, Var)
