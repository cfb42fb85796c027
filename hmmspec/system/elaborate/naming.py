"""Names, calls, records, indices and fields: what an expression that points at something means."""

from __future__ import annotations

from hmmspec.diagnostics import Span, did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.base import WRONG, respan
from hmmspec.system.elaborate.constants import fold
from hmmspec.system.elaborate.holders import HOLDERS, HolderTyping
from hmmspec.system.elaborate.names import (
    ERROR,
    ThreadShape,
    accepts,
    arrays,
    literal_members,
    optional,
)
from hmmspec.system.elaborate.scope import BUILT_IN_CALLS, Env, kind_of
from hmmspec.system.types import (
    Array,
    Enum,
    Queue,
    Record,
    Set,
    Type,
    Union,
    cardinality,
    show_type,
)


class NameTyping(HolderTyping):
    """The part of the typing that resolves what is named."""

    # ------------------------------------------------------------ names

    def name(self, e: S.Name, env: Env, hint: Type | None) -> E.Expr:
        thread = self.thread_of(e, env) if hint is not None and not e.primed else None
        if thread is not None and self.wants_thread(thread[0], hint):
            return self.thread_value(thread[0], (), env, e)
        literals = literal_members(hint, e.name, self.names)
        value = self._value(e, env, quiet=bool(literals))
        if literals:
            if value is not None and hint is not None and value.type != ERROR and accepts(hint, value.type):
                return self.error(
                    "HMM023",
                    e.span,
                    f"'{e.name}' could be the literal of {show_type(literals[0][0])} or something else",
                )
            if e.primed:
                return self.error("HMM035", e.span, "a literal has no value after the step")
            enum, own = literals[0]
            return E.Const(enum.literals.index(own), enum, span=e.span)
        if value is not None:
            return value
        found = self._literals_anywhere(e.name)
        if len(found) == 1:
            enum, own = found[0]
            return E.Const(enum.literals.index(own), enum, span=e.span)
        if found:
            owners = ", ".join(sorted(show_type(t) for t, _ in found))
            return self.error("HMM023", e.span, f"'{e.name}' could be a literal of several types: {owners}")
        symbol = self.names.symbols.get(e.name)
        if symbol is not None:
            return self.error("HMM024", e.span, f"'{e.name}' is {kind_of(symbol)}, not a value")
        if e.name in env.ended:
            return self.error(
                "HMM020",
                e.span,
                f"'{e.name}' has ended: names of `let` and `choose` end at a label",
                fix="keep the value in a local (`var`) of the thread",
            )
        known = [*env.names, *self.names.symbols, *self._all_literals(), *self._hint_literals(hint)]
        return self.error("HMM020", e.span, f"'{e.name}' is not defined", fix=did_you_mean(e.name, known))

    def _value(self, e: S.Name, env: Env, quiet: bool) -> E.Expr | None:
        """The value that a name stands for, or None if it stands for none."""
        bound = env.names.get(e.name)
        if bound is not None:
            if e.primed:
                if quiet:
                    return None
                return self.error("HMM035", e.span, f"'{e.name}' is a bound name: it has the same value after the step")
            return respan(bound.value, e.span)
        symbol = self.names.symbols.get(e.name)
        match symbol:
            case S.ParamDecl():
                self.names.used.add(e.name)
                const = self.names.params.get(e.name)
                return respan(const, e.span) if const is not None else WRONG
            case S.VarDecl() | S.Machine():
                if quiet and not env.state:
                    return None
                if not self._may_read(e, env):
                    return WRONG
                self.names.used.add(e.name)
                return E.Var(e.name, self.names.variable_type(symbol), e.primed, span=e.span)
            case S.Define() if not symbol.params:
                if quiet and not env.state:
                    return None
                return self.apply(symbol, (), e.primed, env, e.span)
            case S.Thread() if not symbol.indices:
                if not self._may_read(e, env):
                    return WRONG
                shape = self.names.thread(symbol)
                return E.Var(shape.name, shape.labels, e.primed, span=e.span)
            case S.LockDecl() if not quiet:
                return self.error(
                    "HMM024",
                    e.span,
                    f"'{e.name}' is a lock, not a value",
                    fix=f"ask `held({e.name})` or `mine({e.name})`",
                )
            case S.Define() if not quiet:
                n = len(symbol.params)
                return self.error("HMM025", e.span, f"'{e.name}' takes {n} argument{'s' * (n > 1)}")
            case _:
                return None

    def _may_read(self, e: S.Name, env: Env) -> bool:
        if not env.state:
            self.error("HMM036", e.span, f"'{e.name}' is part of the state, and this must not depend on the state")
            return False
        if e.primed and not env.primes:
            self.error("HMM035", e.span, "a prime (the value after a step) stands only in a `step` property")
            return False
        return True

    def _all_literals(self) -> set[str]:
        out: set[str] = set()
        for symbol in self.names.symbols.values():
            if isinstance(symbol, S.Machine):
                out |= {s.name for s in symbol.states}
            elif isinstance(symbol, S.TypeDecl) and isinstance(symbol.type, S.EnumType):
                out |= {s.name for s in symbol.type.literals}
        return out

    def _hint_literals(self, hint: Type | None) -> tuple[str, ...]:
        match hint:
            case Enum(_, literals):
                return literals
            case Union(members):
                return tuple(x for m in members for x in self._hint_literals(m))
            case _:
                return ()

    def _literals_anywhere(self, name: str) -> list[tuple[Enum, str]]:
        """All declared enums, machines and threads with this literal: it may be used bare if only one has it."""
        if self._searching:
            return []  # a literal inside a type that the search itself is working out
        self._searching = True
        try:
            return self._search(name)
        finally:
            self._searching = False

    def _search(self, name: str) -> list[tuple[Enum, str]]:
        found: dict[Enum, str] = {}
        for symbol in list(self.names.symbols.values()):
            t: Type | None = None
            match symbol:
                case S.TypeDecl() if symbol.name.name not in self.names._open:
                    t = self.names.named_type(symbol.name.name, symbol.span)
                case S.Machine():
                    vt = self.names.variable_type(symbol)
                    while isinstance(vt, Array):
                        vt = vt.element
                    t = vt
                case S.VarDecl():
                    vt = self.names.variable_type(symbol)
                    while isinstance(vt, Array):
                        vt = vt.element
                    t = vt.element if isinstance(vt, Set | Queue) else vt
                case S.Thread():
                    t = self.names.thread(symbol).labels
                case _:
                    pass
            found.update(dict(literal_members(t, name, self.names)))
        return list(found.items())

    # ------------------------------------------------------------ calls, records, indices, fields

    def call(self, e: S.Call, env: Env, hint: Type | None) -> E.Expr:
        name = e.name.name
        if name in BUILT_IN_CALLS:
            return self.built_in(e, env)
        symbol = self.names.symbols.get(name)
        match symbol:
            case S.Define():
                return self.apply(symbol, e.args, e.primed, env, e.span)
            case _ if name in HOLDERS:
                return self.held_by(e, env)
            case None:
                known = [n for n, s in self.names.symbols.items() if isinstance(s, S.Define)]
                return self.error(
                    "HMM020", e.name.span, f"'{name}' is not defined", fix=did_you_mean(name, [*known, *BUILT_IN_CALLS])
                )
            case S.Procedure():
                return self.error(
                    "HMM024", e.span, f"'{name}' is a procedure", fix=f"call it as a statement: `x := call {name}(..);`"
                )
            case S.VarDecl() | S.Machine() | S.Thread() | S.LockDecl():
                return self.error(
                    "HMM024", e.span, f"'{name}' is {kind_of(symbol)}, not a define", fix=f"index it: `{name}[..]`"
                )
            case _:
                return self.error("HMM024", e.span, f"'{name}' is {kind_of(symbol)}, not a define")

    def apply(self, decl: S.Define, args: tuple[S.Expr, ...], primed: bool, env: Env, span: Span) -> E.Expr:
        self.names.used.add(decl.name.name)
        if primed and not env.primes:
            return self.error("HMM035", span, "a prime (the value after a step) stands only in a `step` property")
        if len(args) != len(decl.params):
            n = len(decl.params)
            wanted = f"{n} argument{'s' * (n != 1)}"
            return self.error("HMM025", span, f"'{decl.name.name}' takes {wanted}, and {len(args)} are given")
        define = self.names.define(decl, span)
        if define is None:
            return WRONG
        if not env.state and any(isinstance(x, E.Var) for x in E.walk(define.body)):
            return self.error("HMM036", span, f"'{decl.name.name}' reads the state, and this must not depend on it")
        values = tuple(self.check(a, env, p.type) for a, p in zip(args, define.params, strict=True))
        if not values and isinstance(define.body, E.Const):
            return respan(define.body, span)
        return E.Apply(define.name, values, define.type, primed, span=span)

    def built_in(self, e: S.Call, env: Env) -> E.Expr:
        name = e.name.name
        if name in ("min", "max"):
            if not e.args:
                return self.error("HMM025", e.span, f"`{name}` needs at least one argument")
            numbers = tuple(self.integer(a, env) for a in e.args)
            if any(n.type == ERROR for n in numbers):
                return WRONG
            return fold(E.MinMax("min" if name == "min" else "max", numbers, span=e.span))
        if len(e.args) != 1:
            return self.error("HMM025", e.span, f"`{name}` takes 1 argument, and {len(e.args)} are given")
        operand = self.infer(e.args[0], env)
        if operand.type == ERROR:
            return WRONG
        match name, operand.type:
            case "size", Set() | Queue():
                return E.Size(operand, span=e.span)
            case "head", Queue(_, element):
                return E.Head(operand, element, span=e.span)
            case _:
                pass
        wanted = "a queue" if name == "head" else "a set or a queue"
        return self.error("HMM030", e.args[0].span, f"`{name}` wants {wanted}, and this is {show_type(operand.type)}")

    def record(self, e: S.RecordLit, env: Env) -> E.Expr:
        t = self.names.named_type(e.name.name, e.name.span)
        if isinstance(t, Union):
            records = [m for m in t.members if isinstance(m, Record)]
            t = records[0] if len(records) == 1 else t
        if not isinstance(t, Record):
            return WRONG if t == ERROR else self.error("HMM024", e.span, f"'{e.name.name}' is not a record type")
        given: dict[str, S.FieldInit] = {}
        for f in e.fields:
            if f.name.name in given:
                self.error("HMM029", f.span, f"the field '{f.name.name}' is given twice")
            elif f.name.name not in dict(t.fields):
                self.error(
                    "HMM027",
                    f.name.span,
                    f"{show_type(t)} has no field '{f.name.name}'",
                    fix=did_you_mean(f.name.name, [n for n, _ in t.fields]),
                )
            given.setdefault(f.name.name, f)
        missing = [n for n, _ in t.fields if n not in given]
        if missing:
            return self.error("HMM029", e.span, f"the record lacks {', '.join(missing)}")
        values = tuple(self._field(given[n].value, env, ft) for n, ft in t.fields)
        if any(v.type == ERROR for v in values):
            return WRONG
        if all(isinstance(v, E.Const) for v in values):
            return E.Const(tuple(v.value for v in values if isinstance(v, E.Const)), t, span=e.span)
        return E.MakeRecord(values, t, span=e.span)

    def _field(self, e: S.Expr, env: Env, t: Type) -> E.Expr:
        """The value of a field; for a field that is an array, a constant stands for all of its elements."""
        if not isinstance(t, Array):
            return self.check(e, env, t)
        element: Type = t
        while isinstance(element, Array):
            element = element.element
        value = self.infer(e, env, element)
        if isinstance(value.type, Array):
            return self.coerce(value, t, e.span)
        value = self.coerce(value, element, e.span)
        if not isinstance(value, E.Const):
            return self.error("HMM036", e.span, "what fills an array must be a constant, or an array of that type")
        return E.Const(_filled(t, value.value), t, span=e.span) if value.type != ERROR else WRONG

    def index(self, e: S.Index, env: Env, hint: Type | None) -> E.Expr:
        thread = self.thread_of(e, env)
        if thread is not None:
            shape, indices, primed = thread
            if not primed and self.wants_thread(shape, hint):
                return self.thread_value(shape, indices, env, e)
            return self.at(
                E.Var(shape.name, arrays(shape.index, shape.labels), primed, span=e.span), indices, env, e.span
            )
        if isinstance(e.base, S.Name) and e.base.name not in env.names:
            symbol = self.names.symbols.get(e.base.name)
            if isinstance(symbol, S.LockDecl):
                return self.error(
                    "HMM024", e.span, f"'{e.base.name}' is a lock, not a value", fix="ask `held(..)` or `mine(..)`"
                )
            if isinstance(symbol, S.Define):
                return self.error(
                    "HMM028", e.span, f"'{e.base.name}' is a define", fix=f"apply it: `{e.base.name}(..)`"
                )
        base = self.infer(e.base, env)
        return self.at(base, (e.index,), env, e.span)

    def at(self, base: E.Expr, indices: tuple[S.Expr, ...], env: Env, span: Span) -> E.Expr:
        """`base[i][j]`"""
        for i in indices:
            if base.type == ERROR:
                self.infer(i, env)
                return WRONG
            if not isinstance(base.type, Array):
                return self.error("HMM028", span, f"this is {show_type(base.type)}, which has no index")
            index = self.check(i, env, base.type.index)
            if index.type == ERROR:
                return WRONG
            base = E.Index(base, index, base.type.element, span=span)
        return base

    def thread_of(self, e: S.Expr, env: Env) -> tuple[ThreadShape, tuple[S.Expr, ...], bool] | None:
        """If `e` is `t`, `t[c]`, `t[c][d]` for a thread `t` with that many indices: the thread and the indices."""
        indices: list[S.Expr] = []
        while isinstance(e, S.Index):
            indices.insert(0, e.index)
            e = e.base
        if not isinstance(e, S.Name) or e.name in env.names:
            return None
        symbol = self.names.symbols.get(e.name)
        if not isinstance(symbol, S.Thread) or len(symbol.indices) != len(indices) or not self._may_read(e, env):
            return None
        return self.names.thread(symbol), tuple(indices), e.primed

    def member(self, e: S.Member, env: Env) -> E.Expr:
        thread = self.thread_of(e.base, env)
        if thread is not None:
            shape, indices, primed = thread
            kept = {**{n: optional(t) for n, t in shape.params}, **dict(shape.locals)}
            if e.name.name not in kept:
                return self.error(
                    "HMM027",
                    e.name.span,
                    f"the thread '{shape.name}' has no local '{e.name.name}'",
                    fix=did_you_mean(e.name.name, kept),
                )
            variable = E.Var(f"{shape.name}.{e.name.name}", arrays(shape.index, kept[e.name.name]), primed, span=e.span)
            return self.at(variable, indices, env, e.span)
        inside = self.in_procedure(e, env)
        if inside is not None:
            return inside
        base = self.infer(e.base, env)
        if base.type == ERROR:
            return WRONG
        t = base.type
        if isinstance(t, Union):
            records = [m for m in t.members if isinstance(m, Record)]
            if len(records) == 1:
                base, t = E.Cast(base, records[0], span=e.base.span), records[0]
        if not isinstance(t, Record):
            return self.error("HMM027", e.name.span, f"this is {show_type(t)}, which has no fields")
        fields = dict(t.fields)
        if e.name.name not in fields:
            return self.error(
                "HMM027",
                e.name.span,
                f"{show_type(t)} has no field '{e.name.name}'",
                fix=did_you_mean(e.name.name, fields),
            )
        return E.Field(base, e.name.name, fields[e.name.name], span=e.span)


def _filled(t: Type, value: object) -> object:
    return (_filled(t.element, value),) * cardinality(t.index) if isinstance(t, Array) else value
