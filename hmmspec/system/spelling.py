"""Expressions of the core in the language of specs: what is printed here can be read again.

Lowering has given threads, locks and procedures variables of their own; these are said as a spec says them:
`fault[c].p`, `holder(ptl) == fault[c]`, `inside(fault[c], walk.wait)`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce

from hmmspec.diagnostics import Limit
from hmmspec.system import expr as E
from hmmspec.system.faults import members_of
from hmmspec.system.show import show_expr
from hmmspec.system.system import System, ThreadInfo, Variable
from hmmspec.system.types import (
    BOOL,
    Array,
    Enum,
    Null,
    Queue,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    inject,
    is_scalar,
    project,
)


def spelled(system: System, e: E.Expr, taken: Collection[str] = ()) -> str:
    """The expression as a spec would say it.  taken: names that its bound names must not have.

    Raises Limit where the language has no words for it.
    """
    return show_expr(_Speller(system, frozenset(taken)).said(e))


def in_words(system: System, e: E.Expr) -> str:
    """The same for messages: where the language has no words, as the core has it."""
    try:
        return spelled(system, e)
    except Limit:
        return show_expr(e)


class _Speller:
    """Rewrites what lowering made into what `show_expr` prints as the language has it."""

    def __init__(self, system: System, taken: frozenset[str]) -> None:
        self.variables: dict[str, Variable] = {v.name: v for v in system.variables}
        self.threads: dict[str, ThreadInfo] = {t.name: t for t in system.threads}
        self.taken = taken

    def said(self, e: E.Expr) -> E.Expr:
        """As it is printed."""
        return E.rewrite(self._renamed(e), self._change)

    def _renamed(self, e: E.Expr) -> E.Expr:
        """Bound names that a spec would refuse, since they are taken, get others."""
        names: dict[str, str] = {}
        used = {b.name for x in E.walk(e) if isinstance(x, E.Quant) for b in x.binders}
        for name in sorted(used & self.taken):
            new = name
            while new in used or new in self.taken:
                new += "_"
            names[name] = new
            used.add(new)
        return _with_names(e, names) if names else e

    # ------------------------------------------------------------ parts

    def _change(self, e: E.Expr) -> E.Expr | None:
        match e:
            case E.Cast(operand, _):
                return self.said(operand)
            case E.Var() | E.Index():
                return self._cell(e)
            case E.Compare(("==" | "!=") as op, E.Const() as left, right) if not isinstance(right, E.Const):
                # A bare value on the left may be anything; on the right the left side tells what it is.
                return self.said(E.Compare(op, right, left))
            case E.Compare("==" | "!=", left, E.Const(int(value), Enum() as t)) if self._is_point(t):
                inside = self._inside(left, t, value)
                return inside if e.op == "==" else _negated(inside)
            case E.InSet(x, E.Const(int(mask), Set(Enum() as t))) if self._is_point(t):
                numbers = [i for i in range(cardinality(t)) if mask >> i & 1]
                return _any([self._inside(x, t, n) for n in numbers])
            case E.InSet(x, E.Const(int(mask), Set(element))) if has_identities(element):
                return self._in_set(x, mask, element)
            case E.IsMember(value, members):
                assert isinstance(value.type, Union)
                return _any([self._holds_member(value, value.type, m) for m in members])
            case E.Const(value, t) if _names_one(t, value):
                raise Limit(f"identities such as {show_expr(e)} have no names")
            case _:
                return None

    def _cell(self, e: E.Expr) -> E.Expr | None:
        """A variable with its indices."""
        indices: list[E.Expr] = []
        base = e
        while isinstance(base, E.Index):
            indices.insert(0, base.index)
            base = base.base
        if not isinstance(base, E.Var):
            return None
        variable = self.variables[base.name]
        indices = [self.said(i) for i in indices]
        match variable.kind:
            case "lock" | "readers":
                lock = base.name.removesuffix(".readers")
                named = _indexed(E.Var(lock, base.type), self._all(base, indices, variable.depth))
                return E.Apply("holder" if variable.kind == "lock" else "readers", (named,), e.type, base.primed)
            case "local":
                thread = self.threads[variable.owner or ""]
                own = len(thread.index)
                whole = _indexed(E.Var(thread.name, base.type, base.primed), self._all(base, indices[:own], own))
                for part in base.name.removeprefix(f"{thread.name}.").split("."):
                    whole = E.Field(whole, part, base.type)
                return _indexed(whole, indices[own:])
            case "point":
                raise Limit(f"the language has no word for {show_expr(e)} here")
            case _:
                return _indexed(base, indices)

    def _all(self, base: E.Var, indices: list[E.Expr], wanted: int) -> list[E.Expr]:
        if len(indices) < wanted:
            raise Limit(f"the language has no word for all of {base.name} at once")
        return indices

    # ------------------------------------------------------------ points of procedures, members, constants

    def _is_point(self, t: Enum) -> bool:
        return t.name in self.variables and self.variables[t.name].kind == "point"

    def _inside(self, cell: E.Expr, t: Enum, number: int) -> E.Expr:
        """Whether a thread is at this point."""
        indices: list[E.Expr] = []
        while isinstance(cell, E.Index):
            indices.insert(0, self.said(cell.index))
            cell = cell.base
        if not isinstance(cell, E.Var):
            raise Limit(f"the language has no word for {show_expr(cell)} here")
        owner = self.variables[cell.name].owner or ""
        thread = _indexed(E.Var(owner, cell.type, cell.primed), indices)
        if number == 0:
            return E.Not(E.Apply("inside", (thread,), BOOL))
        name, _, which = t.literals[number].partition("#")
        args: tuple[E.Expr, ...] = (thread, E.Var(name, BOOL))
        return E.Apply("inside", (*args, E.Var(which, BOOL)) if which else args, BOOL)

    def _holds_member(self, value: E.Expr, t: Union, member: int) -> E.Expr:
        """Whether a union holds this member."""
        m = t.members[member]
        here = self.said(value)
        match m:
            case Null():
                return E.Compare("==", here, E.Const(inject(t, member, 0), t))
            case ThreadId(_, index):
                binders = tuple(E.Binder(f"i_{i}", x, E.OverType(x)) for i, x in enumerate(index))
                same = E.Compare("==", here, E.MakeThreadId(tuple(E.Local(b.name, b.type) for b in binders), m))
                return E.Quant("exists", binders, None, same, BOOL) if binders else same
            case _ if is_scalar(m) and not has_identities(m) and cardinality(m) <= 64:
                options = [E.Const(inject(t, member, from_ordinal(m, i)), t) for i in range(cardinality(m))]
                return _any([E.Compare("==", here, o) for o in options])
            case _:
                return E.IsMember(here, (member,))

    def _in_set(self, x: E.Expr, mask: int, element: Type) -> E.Expr:
        """`x in {null, nobody}`: identities have no names, so only all of a type or none of it can be meant."""
        out: list[E.Expr] = []
        here, shift = self.said(x), 0
        for number, m in enumerate(members_of(element)):
            n = cardinality(m)
            bits = mask >> shift & (1 << n) - 1
            shift += n
            if has_identities(m):
                if bits not in (0, (1 << n) - 1):
                    raise Limit("identities have no names")
                if bits:
                    out.append(E.IsMember(here, (number,)) if isinstance(element, Union) else E.TRUE)
                continue
            for i in range(n):
                if bits >> i & 1:
                    value = from_ordinal(m, i)
                    held = inject(element, number, value) if isinstance(element, Union) else value
                    out.append(E.Compare("==", here, E.Const(held, element)))
        return _any(out)


def _names_one(t: Type, value: object) -> bool:
    """Whether a value is, or holds, some identity: these have no names in a spec."""
    match t, value:
        case Union(), _:
            number, inner = project(t, value)
            return _names_one(t.members[number], inner)
        case Record(_, fields), tuple():
            return any(_names_one(f, v) for (_, f), v in zip(fields, value, strict=True))
        case ((Array(_, element) | Queue(_, element)), tuple()):
            return any(_names_one(element, v) for v in value)
        case Set(element), int():
            numbers = (i for i in range(cardinality(element)) if value >> i & 1)
            return any(_names_one(element, from_ordinal(element, i)) for i in numbers)
        case _:
            return has_identities(t)


def has_identities(t: Type) -> bool:
    """Whether a scalar type has identities of symmetric types among its values."""
    match t:
        case Symmetric():
            return True
        case ThreadId(_, index):
            return any(has_identities(i) for i in index)
        case Union(members):
            return any(has_identities(m) for m in members)
        case _:
            return False


def _indexed(base: E.Expr, indices: list[E.Expr]) -> E.Expr:
    for i in indices:
        t = base.type.element if isinstance(base.type, Array) else base.type
        base = E.Index(base, i, t)
    return base


def _negated(e: E.Expr) -> E.Expr:
    return e.operand if isinstance(e, E.Not) else E.Not(e)


def _any(parts: list[E.Expr]) -> E.Expr:
    return reduce(lambda a, b: E.Logic("||", a, b), parts) if parts else E.FALSE


def _with_names(e: E.Expr, names: dict[str, str]) -> E.Expr:
    """With other names for some that are bound in it."""

    def change(x: E.Expr) -> E.Expr | None:
        match x:
            case E.Local(name, t) if name in names:
                return E.Local(names[name], t)
            case E.Quant(kind, binders, filter_, body, t):
                new = tuple(E.Binder(names.get(b.name, b.name), b.type, E.rewrite(b.domain, change)) for b in binders)
                return E.Quant(kind, new, E.rewrite(filter_, change), E.rewrite(body, change), t)
            case _:
                return None

    return E.rewrite(e, change)
