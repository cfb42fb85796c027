"""What all of the typing shares: checking against a target type, coercion, and small helpers on typed expressions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from hmmspec.diagnostics import Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.constants import fold
from hmmspec.system.elaborate.names import (
    ERROR,
    LockShape,
    Names,
    accepts,
    is_int,
    optional,
)
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.types import (
    BOOL,
    INT,
    NULL,
    Array,
    Range,
    Symmetric,
    Type,
    Union,
    show_type,
)

WRONG = E.Const(0, ERROR)


class TyperBase(ABC):
    """The ways into the typing of expressions; the parts in the sibling modules build on them."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.diagnostics = names.diagnostics
        names.expressions = self.infer
        self._searching = False

    def error(self, code: str, span: Span, message: str, fix: str | None = None) -> E.Expr:
        self.diagnostics.error(code, span, message, fix=fix)
        return WRONG

    @abstractmethod
    def infer(self, e: S.Expr, env: Env, hint: Type | None = None) -> E.Expr:
        """`e` with some type; the hint decides only where `e` could mean several things."""

    @abstractmethod
    def binders(self, given: tuple[S.Binder, ...], env: Env) -> tuple[tuple[E.Binder, ...], Env | None]:
        """Core binders and the environment inside them."""

    @abstractmethod
    def lock_of(self, e: S.Expr, env: Env) -> tuple[LockShape, tuple[E.Expr, ...]] | None:
        """The lock and index values that `e` names; None (and a diagnostic) if it is not a lock."""

    def check(self, e: S.Expr, env: Env, target: Type) -> E.Expr:
        """`e` as a value of exactly `target`."""
        return self.coerce(self.infer(e, env, target), target, e.span)

    def boolean(self, e: S.Expr, env: Env) -> E.Expr:
        return self.check(e, env, BOOL)

    def integer(self, e: S.Expr, env: Env) -> E.Expr:
        """`e` as a number; unlike `check(.., INT)` the type stays as narrow as it is."""
        return self.as_number(self.infer(e, env, INT), e.span)

    def as_number(self, e: E.Expr, span: Span) -> E.Expr:
        """A typed expression as a number, out of a union if need be."""
        if is_int(e.type) or e.type == ERROR:
            return e
        if isinstance(e.type, Union) and any(is_int(m) for m in e.type.members):
            target = next(m for m in e.type.members if is_int(m))
            return E.Cast(e, target, span=span)
        if isinstance(e.type, Symmetric):
            return self.error(
                "HMM050",
                span,
                f"{show_type(e.type)} identities have no order and no arithmetic",
                fix=f"if they must be ordered, declare `type {e.type.name} = 0..N-1` instead",
            )
        return self.error("HMM031", span, f"a number is wanted, and this is {show_type(e.type)}")

    def coerce(self, e: E.Expr, target: Type, span: Span) -> E.Expr:
        t = e.type
        if t == target or ERROR in (t, target):
            return e
        if target == INT and isinstance(t, Range):
            return e if isinstance(e, E.Const) else E.Cast(e, INT, span=span)
        if accepts(target, t):
            if isinstance(target, Union) and not isinstance(t, Union) and is_int(t):
                # Through the union's range, so that the check of the range is one cast and the injection another.
                inner = next(m for m in target.members if is_int(m))
                return fold(E.Cast(fold(E.Cast(e, inner, span=span)), target, span=span))
            return fold(E.Cast(e, target, span=span))
        wanted = show_type(target)
        return self.error("HMM030", span, f"{wanted} is wanted, and this is {show_type(t)}", unindexed(t, target))


def unindexed(t: Type, wanted: Type) -> str | None:
    """A repair, if `t` is an array whose elements would do."""
    depth = 0
    while isinstance(t, Array):
        t, depth = t.element, depth + 1
    what = "index" if depth == 1 else "indices"
    return f"add the {what}: `..{'[..]' * depth}`" if depth and accepts(wanted, t) else None


def element(base: E.Expr, index: tuple[E.Expr, ...], span: Span) -> E.Expr:
    """`base[i][j]` for typed indices."""
    for i in index:
        assert isinstance(base.type, Array)
        base = E.Index(base, i, base.type.element, span=span)
    return base


def null_of(lock: LockShape) -> E.Expr:
    return E.Const(0, lock.owner_type)


def join(a: Type, b: Type) -> Type | None:
    """The type in which values of both can be compared, or None if none of one can be equal to one of the other."""
    if a == b:
        return a
    if is_int(a) and is_int(b):
        return INT
    left = a.members if isinstance(a, Union) else (a,)
    right = b.members if isinstance(b, Union) else (b,)
    if NULL in (a, b) and NULL not in left + right:
        return None
    if a == NULL or b == NULL:
        other = b if a == NULL else a
        return other if isinstance(other, Union) and NULL in other.members else optional(other)
    if not set(left) & set(right):
        if any(is_int(m) for m in left) and any(is_int(m) for m in right):
            return a if isinstance(a, Union) else b
        return None
    if set(left) <= set(right):
        return b
    if set(right) <= set(left):
        return a
    members = list(dict.fromkeys((*left, *right)))
    if NULL in members:
        members.remove(NULL)
        members.insert(0, NULL)
    return Union(tuple(members))


def respan(e: E.Expr, span: Span) -> E.Expr:
    return replace(e, span=span)
