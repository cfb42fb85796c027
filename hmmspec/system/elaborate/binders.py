"""Binders, quantifiers and questions about locks."""

from __future__ import annotations

from typing import cast

from hmmspec.diagnostics import Span, did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.base import WRONG, TyperBase, element, null_of
from hmmspec.system.elaborate.names import (
    ERROR,
    LockShape,
)
from hmmspec.system.elaborate.scope import Env, kind_of
from hmmspec.system.types import (
    BOOL,
    INT,
    Null,
    Range,
    Set,
    Type,
    is_scalar,
    show_type,
)


class BinderTyping(TyperBase):
    """The part of the typing that binds names and asks who holds what."""

    # ------------------------------------------------------------ binders

    def binders(self, given: tuple[S.Binder, ...], env: Env) -> tuple[tuple[E.Binder, ...], Env | None]:
        """Core binders and the environment inside them; the environment is None if one of them is wrong."""
        out: list[E.Binder] = []
        inner: Env | None = env
        for b in given:
            assert inner is not None
            domain = self.domain(b, inner)
            for name in b.names:
                self.check_new_name(name, inner)
                if domain is None:
                    inner = inner.bind(name.name, WRONG, name.span)
                    continue
                own, t = domain
                core = inner.fresh(name.name)
                out.append(E.Binder(core, t, own))
                inner = inner.bind(name.name, E.Local(core, t, span=name.span), name.span)
        return tuple(out), inner

    def check_new_name(self, name: S.Ident, env: Env) -> None:
        """A bound name may not hide another."""
        if name.name in env.names:
            self.error("HMM022", name.span, f"'{name.name}' hides a bound name")
        elif name.name in self.names.symbols:
            other = kind_of(self.names.symbols[name.name])
            self.error("HMM022", name.span, f"'{name.name}' hides {other} of that name")

    def domain(self, b: S.Binder, env: Env) -> tuple[E.OverType | E.OverRange | E.OverSet, Type] | None:
        if not b.over_set and not isinstance(b.domain, S.RangeType):
            t = self.names.type_of(cast(S.Type, b.domain))
            if t == ERROR:
                return None
            if t == INT or not is_scalar(t):
                self.error("HMM039", b.span, f"a binder needs a scalar type, and {show_type(t)} is not")
                return None
            return E.OverType(t), t
        if isinstance(b.domain, S.RangeType | S.RangeExpr):
            low, high = self.integer(b.domain.low, env), self.integer(b.domain.high, env)
            if ERROR in (low.type, high.type):
                return None
            if isinstance(low, E.Const) and isinstance(high, E.Const):
                assert isinstance(low.value, int) and isinstance(high.value, int)
                span_type = Range(low.value, high.value)
                return E.OverType(span_type), span_type
            return E.OverRange(low, high), INT
        if isinstance(b.domain, S.Name) and isinstance(self.names.symbols.get(b.domain.name), S.TypeDecl):
            self.error("HMM024", b.domain.span, f"'{b.domain.name}' is a type", fix=f"write `: {b.domain.name}`")
            return None
        s = self.infer(cast(S.Expr, b.domain), env)
        if s.type == ERROR:
            return None
        if not isinstance(s.type, Set):
            self.error("HMM030", b.domain.span, f"a set is wanted after `in`, and this is {show_type(s.type)}")
            return None
        return E.OverSet(s), s.type.element

    def quantifier(self, e: S.Quant, env: Env) -> E.Expr:
        binders, inner = self.binders(e.binders, env)
        assert inner is not None
        condition = self.boolean(e.filter, inner) if e.filter is not None else None
        body: E.Expr | None = None
        match e.kind:
            case "forall" | "exists":
                assert e.body is not None
                body = self.boolean(e.body, inner)
            case "sum" | "min" | "max":
                assert e.body is not None
                body = self.integer(e.body, inner)
            case "count":
                pass
        if any(x is not None and x.type == ERROR for x in (condition, body)) or len(binders) < sum(
            len(b.names) for b in e.binders
        ):
            return WRONG
        t: Type = BOOL if e.kind in ("forall", "exists") else INT
        return E.Quant(e.kind, binders, condition, body, t, span=e.span)

    # ------------------------------------------------------------ locks

    def lock_of(self, e: S.Expr, env: Env) -> tuple[LockShape, tuple[E.Expr, ...]] | None:
        """The lock and index values that `ptl`, `folio[p]` name; None (and a diagnostic) if it is not a lock."""
        indices: list[S.Expr] = []
        base = e
        while isinstance(base, S.Index):
            indices.insert(0, base.index)
            base = base.base
        symbol = self.names.symbols.get(base.name) if isinstance(base, S.Name) else None
        if not isinstance(symbol, S.LockDecl):
            known = [n for n, s in self.names.symbols.items() if isinstance(s, S.LockDecl)]
            name = base.name if isinstance(base, S.Name) else None
            self.error(
                "HMM043", e.span, "a lock is wanted here", fix=did_you_mean(name, known) if name is not None else None
            )
            return None
        shape = self.names.lock(symbol)
        self.names.used.add(shape.owner)
        if len(indices) != len(shape.index):
            n = len(shape.index)
            self.error("HMM028", e.span, f"the lock '{shape.owner}' has {n} ind{'ex' if n == 1 else 'ices'}")
            return None
        values = tuple(self.check(i, env, t) for i, t in zip(indices, shape.index, strict=True))
        return None if any(v.type == ERROR for v in values) else (shape, values)

    def held(self, e: S.Held, env: Env) -> E.Expr:
        found = self.lock_of(e.lock, env)
        if found is None:
            return WRONG
        if not env.state:
            return self.error("HMM036", e.span, "who holds a lock is part of the state")
        lock, index = found
        owner = element(E.Var(lock.owner, lock.owner_var, span=e.span), index, e.span)
        readers = None
        if lock.readers is not None and e.read:
            readers = element(E.Var(lock.readers, lock.readers_var, span=e.span), index, e.span)
        if e.kind == "held":
            writer: E.Expr = E.Compare("!=", owner, null_of(lock), span=e.span)
            if readers is None:
                return writer
            some = E.Compare("!=", readers, E.MakeSet((), readers.type), span=e.span)
            return E.Logic("||", writer, some, span=e.span)
        if env.me is None:
            return self.error("HMM058", e.span, "`mine` stands only in a thread or a procedure", fix="use `held(..)`")
        identity = self.identity(env, lock, e.span)
        if identity is None:
            return E.Const(False, BOOL, span=e.span)
        mine: E.Expr = E.Compare("==", owner, self.coerce(identity, lock.owner_type, e.span), span=e.span)
        if readers is None:
            return mine
        assert isinstance(readers.type, Set)
        reads = E.InSet(self.coerce(identity, readers.type.element, e.span), readers, span=e.span)
        return E.Logic("||", mine, reads, span=e.span)

    def identity(self, env: Env, lock: LockShape, span: Span) -> E.Expr | None:
        """The running thread as a possible owner of the lock; None if it can never own it."""
        assert env.me is not None
        symbol = self.names.symbols[env.me.thread]
        assert isinstance(symbol, S.Thread)
        for t in lock.owner_type.members:
            if not isinstance(t, Null) and getattr(t, "thread", None) == env.me.thread:
                return E.MakeThreadId(env.me.index, t, span=span)
        return None
