"""Expressions of a binding over the fields of one event, and what their values are in the spec.

A field that the target could not see, or a result that never came, is `UNKNOWN`; so is whatever is made of it, and as
an argument it stands for every value.  `NO_VALUE` is what `impossible` gives: no event of the spec has it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from hmmspec.conform.follow import syntax as s
from hmmspec.diagnostics import Diagnostics, Span, did_you_mean
from hmmspec.system.types import (
    Bool,
    Enum,
    Int,
    Null,
    Range,
    Symmetric,
    Type,
    Union,
    is_scalar,
    offsets,
    ordinal,
    show_type,
)

Env = dict[str, object]
Eval = Callable[[Env], object]


class Mark:
    """A value of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


UNKNOWN: Final = Mark("unknown")
NO_VALUE: Final = Mark("no value")


class Literal(str):
    """A bare word of the binding that is no field: a literal of an enum."""

    __slots__ = ()


class EventError(Exception):
    """The binding cannot be worked out for this event: what is wrong, and where in the binding."""

    def __init__(self, message: str, span: Span) -> None:
        super().__init__(message)
        self.message, self.span = message, span


# Names that an expression may use beside fields.
GIVEN = frozenset({"devices", "alone"})
"""Names that every event has: which memory each device has; whether nothing else was under way during the call."""
BUILT_IN: Mapping[str, object] = {"ok": "", "null": None, "true": True, "false": False}


class Expressions:
    """Compiles expressions; what is wrong with them goes to `diagnostics` (HMM133)."""

    def __init__(self, defines: Sequence[s.Define], diagnostics: Diagnostics) -> None:
        self.diagnostics = diagnostics
        self.defines: dict[str, tuple[s.Define, Eval]] = {}
        for d in defines:
            if d.name.name in self.defines or d.name.name in BUILT_IN:
                diagnostics.error("HMM133", d.name.span, f"'{d.name.name}' is defined already")
                continue
            # A define sees the defines before it, so none can use itself.
            self.defines[d.name.name] = d, self.compile(d.body, frozenset(p.name for p in d.params))

    def compile(self, e: s.Expr, names: frozenset[str]) -> Eval:
        """The expression as a function of the values of `names` (and of `devices` and `profile`)."""
        match e:
            case s.Number(value) | s.Text(value):
                return _constant(value)
            case s.Any():
                return _constant(UNKNOWN)
            case s.Impossible():
                return _constant(NO_VALUE)
            case s.Name(name):
                if name in names or name in GIVEN:
                    return operator.itemgetter(name)
                return _constant(BUILT_IN[name] if name in BUILT_IN else Literal(name))
            case s.Profile(name):
                return lambda env: env["profile"].get(name)  # type: ignore[attr-defined]
            case s.Get(base, index):
                return _get(self.compile(base, names), self.compile(index, names), e.span)
            case s.Apply(name, args):
                return self._apply(e, name, [self.compile(a, names) for a in args])
            case s.Unary(op, operand):
                return _unary(op, self.compile(operand, names), e.span)
            case s.Binary("&&" | "||" as op, left, right):
                return _logic(op, self.compile(left, names), self.compile(right, names), e.span)
            case s.Binary(op, left, right):
                return _binary(op, self.compile(left, names), self.compile(right, names), e.span)
            case s.In(value, options):
                return _among(self.compile(value, names), [self.compile(o, names) for o in options])
            case s.If(condition, then, otherwise):
                parts = (self.compile(condition, names), self.compile(then, names), self.compile(otherwise, names))
                return _choice(*parts, e.condition.span)

    def _apply(self, e: s.Apply, name: str, args: list[Eval]) -> Eval:
        if name not in self.defines:
            self.diagnostics.error(
                "HMM133", e.span, f"no define '{name}' stands before this", fix=did_you_mean(name, self.defines)
            )
            return _constant(NO_VALUE)
        define, body = self.defines[name]
        if len(define.params) != len(args):
            self.diagnostics.error("HMM133", e.span, f"'{name}' takes {len(define.params)} arguments, not {len(args)}")
            return _constant(NO_VALUE)
        params = [p.name for p in define.params]

        def applied(env: Env) -> object:
            inner: Env = {"profile": env["profile"], "devices": env["devices"], "alone": env["alone"]}
            for param, arg in zip(params, args, strict=True):
                inner[param] = arg(env)
            return body(inner)

        return applied

    def leaves(self, e: s.Expr) -> list[s.Expr]:
        """The expressions that the value can come from: both branches of an `if`, the body of a define."""
        match e:
            case s.If(_, then, otherwise):
                return [*self.leaves(then), *self.leaves(otherwise)]
            case s.Apply(name) if name in self.defines:
                define, _ = self.defines[name]
                params = {p.name for p in define.params}
                found = self.leaves(define.body)
                return [x for x in found if not (isinstance(x, s.Name) and x.name in params)]
            case _:
                return [e]


def _constant(value: object) -> Eval:
    return lambda env: value


def _get(base: Eval, index: Eval, span: Span) -> Eval:
    def get(env: Env) -> object:
        b, i = base(env), index(env)
        if b is UNKNOWN or i is UNKNOWN:
            return UNKNOWN
        if isinstance(b, Mapping):
            return b.get(i) if isinstance(i, (str, int)) else None
        if isinstance(b, (tuple, list)) and isinstance(i, int):
            return b[i] if 0 <= i < len(b) else NO_VALUE
        raise EventError(f"{_shown(b)} has no elements", span)

    return get


def _unary(op: str, operand: Eval, span: Span) -> Eval:
    def unary(env: Env) -> object:
        v = operand(env)
        if isinstance(v, Mark):
            return v
        if op == "!" and isinstance(v, bool):
            return not v
        if op == "-" and isinstance(v, int):
            return -v
        raise EventError(f"'{op}' cannot be used with {_shown(v)}", span)

    return unary


def _logic(op: str, left: Eval, right: Eval, span: Span) -> Eval:
    decides = op == "||"

    def logic(env: Env) -> object:
        a = truth(left(env), span)
        if a is decides:
            return a
        b = truth(right(env), span)
        if b is decides or a is UNKNOWN:
            return b if b is decides else UNKNOWN
        return b

    return logic


def _binary(op: str, left: Eval, right: Eval, span: Span) -> Eval:
    known: dict[str, Callable[[int, int], object]] = {
        "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "+": operator.add,
        "-": operator.sub, "*": operator.mul, "/": operator.floordiv, "%": operator.mod, "&": operator.and_,
    }  # fmt: skip
    apply = known.get(op)

    def binary(env: Env) -> object:
        a, b = left(env), right(env)
        if isinstance(a, Mark):
            return a
        if isinstance(b, Mark):
            return b
        if apply is None:
            return (a == b) is (op == "==")
        if op == "+" and isinstance(a, str) and isinstance(b, str):
            return a + b
        if not isinstance(a, int) or not isinstance(b, int):
            raise EventError(f"'{op}' cannot be used with {_shown(a)} and {_shown(b)}", span)
        if op in "/%" and b == 0:
            raise EventError("division by zero", span)
        return apply(a, b)

    return binary


def _among(value: Eval, options: list[Eval]) -> Eval:
    def among(env: Env) -> object:
        v = value(env)
        if isinstance(v, Mark):
            return v
        found = [o(env) for o in options]
        if v in found:
            return True
        return UNKNOWN if UNKNOWN in found else False

    return among


def _choice(condition: Eval, then: Eval, otherwise: Eval, span: Span) -> Eval:
    def choice(env: Env) -> object:
        c = truth(condition(env), span)
        if c is UNKNOWN:
            a, b = then(env), otherwise(env)
            return a if a is b else UNKNOWN
        return then(env) if c is True else otherwise(env)

    return choice


def truth(value: object, span: Span) -> bool | Mark:
    """The value of a condition: True, False or UNKNOWN.  Raises EventError."""
    if value is UNKNOWN:
        return UNKNOWN
    if value is NO_VALUE:
        return False
    if isinstance(value, bool):
        return value
    raise EventError(f"a condition is true or false, not {_shown(value)}", span)


def _shown(value: object) -> str:
    return f"{value!r:.40}"


# ---------------------------------------------------------------- values of the spec


class Member(NamedTuple):
    """A value of the log that stands for a member of a type: it is bound at first mention.  The value of the spec is
    `shift` + the number of the member."""

    type: str
    raw: object
    shift: int


def member_type(t: Type, named: frozenset[str]) -> str | None:
    """The type's name, if values of a log become its members at first mention."""
    if isinstance(t, Symmetric):
        return t.name
    if isinstance(t, Range) and t.name in named:
        return t.name
    return None


def bindable(t: Type) -> bool:
    """Whether a value of a log can be a value of the type."""
    match t:
        case Bool() | Int() | Enum() | Range() | Symmetric() | Null():
            return True
        case Union(members):
            return is_scalar(t) and all(bindable(m) for m in members)
        case _:
            return False


Convert = Callable[[object], object]
_NUMBERS_KEPT = 10_000


@cache
def converter(t: Type, named: frozenset[str]) -> Convert:
    """From a value of a log to an int, a Member, UNKNOWN, or NO_VALUE where the type has no such value.

    named: ranges whose values are members, bound at first mention.
    """
    match t:
        case Symmetric(name):
            return _member_of(name, 0)
        case Range(low, _, name) if name is not None and name in named:
            return _member_of(name, low)
        case Range(low, high):
            return lambda v: v if type(v) is int and low <= v <= high else _mark(v)
        case Int():
            return lambda v: v if type(v) is int else _mark(v)
        case Bool():
            return lambda v: int(v) if isinstance(v, int) and v in (0, 1) else _mark(v)
        case Enum(_, literals):
            numbers = {word: n for n, word in enumerate(literals)}
            return lambda v: numbers.get(v, NO_VALUE) if isinstance(v, str) else _mark(v)
        case Null():
            return lambda v: 0 if v is None else _mark(v)
        case Union(members):
            return _of_union(t, [converter(m, named) for m in members])
        case _:
            return _mark


def _mark(value: object) -> object:
    return UNKNOWN if value is UNKNOWN else NO_VALUE


def _member_of(name: str, low: int) -> Convert:
    def member(value: object) -> object:
        # A name or a number of the log can stand for a member; a bare word of the binding cannot.
        return Member(name, value, low) if type(value) is str or type(value) is int else _mark(value)

    return member


def _of_union(t: Union, inner: Sequence[Convert]) -> Convert:
    """A literal is one where a member has it; else the value is a member of the first type that takes it."""
    parts = list(zip(offsets(t), t.members, inner, strict=True))
    fixed: dict[object, int] = {}
    for start, m, _ in parts:
        if isinstance(m, Null):
            fixed.setdefault(None, start)
        elif isinstance(m, Enum):
            for n, word in enumerate(m.literals):
                fixed.setdefault(word, start + n)

    known_numbers: dict[object, object] = {}

    def of_union(value: object) -> object:
        if value.__class__ is int:
            # The numbers of a log come again and again.
            found = known_numbers.get(value)
            if found is None:
                if len(known_numbers) >= _NUMBERS_KEPT:
                    known_numbers.clear()
                found = known_numbers[value] = other(value)
            return found
        return other(value)

    def other(value: object) -> object:
        if isinstance(value, Mark):
            return value
        if value is None or isinstance(value, str):
            known = fixed.get(value)
            if known is not None:
                return known
        found: object = NO_VALUE
        for start, m, convert in parts:
            one = convert(value)
            if isinstance(one, Member):
                if found is NO_VALUE:
                    found = Member(one.type, one.raw, start + one.shift - (m.low if isinstance(m, Range) else 0))
            elif isinstance(one, int):
                return start + ordinal(m, one)
        return found

    return of_union


def literal_fits(t: Type, name: str) -> bool:
    """Whether a bare word of a binding is a value of the type."""
    match t:
        case Enum(_, literals):
            return name in literals
        case Union(members):
            return any(literal_fits(m, name) for m in members)
        case _:
            return False


def literals_of(t: Type) -> tuple[str, ...]:
    """All bare words that are values of the type."""
    match t:
        case Enum(_, literals):
            return literals
        case Union(members):
            return tuple(n for m in members for n in literals_of(m))
        case _:
            return ()


def type_in_words(t: Type) -> str:
    """`Data`, with its literals if it has some."""
    words = literals_of(t)
    shown = show_type(t)
    return f"{shown} ({', '.join(words)})" if words and words[0] not in shown else shown
