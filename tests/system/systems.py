"""Random Systems: well typed, small, with every kind of node of the core; for tests across engines.

`random_system(choices)` draws from a `random.Random` or from Hypothesis (see `systems()`).  What it never makes:
constants of symmetric types, and `for` over them (whose order could tell identities apart).  So permuting the
identities of a symmetric type maps steps to steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import strategies as st

from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system import types as T
from hmmspec.system.slots import width
from tests.system.pool import (
    CPU,
    ENTRY,
    INDICES,
    KIND,
    LOOSE,
    MAYBE_ODD,
    MAYBE_PAGE,
    MODE,
    ODD,
    OWNER,
    PACKED,
    PAGE,
    PLACE,
    PTE,
    SCALARS,
    SIGNED,
    SMALL,
    THING,
    THREAD,
    WIDE,
    has_identity,
    plain_value,
    reaches,
)

X = TypeVar("X")


class Choices:
    """Where the choices come from."""

    def number(self, low: int, high: int) -> int:
        raise NotImplementedError

    def pick(self, items: Sequence[X]) -> X:
        return items[self.number(0, len(items) - 1)]

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent


class FromRandom(Choices):
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def number(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)


class FromDraw(Choices):
    def __init__(self, draw: Callable[[st.SearchStrategy[int]], int]) -> None:
        self.draw = draw

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@dataclass
class Maker:
    """Makes one System.  `names` in a scope map to types; depth bounds the size of expressions."""

    c: Choices
    variables: list[S.Variable] = field(default_factory=list)
    defines: list[S.Define] = field(default_factory=list)
    fresh: int = 0
    choices: int = 0  # how many more the rule may have
    primes: bool = False  # whether primed reads are allowed where we are
    tame: bool = False  # few faults: no expression errs but by bad luck, so runs get far

    def name(self, prefix: str) -> str:
        self.fresh += 1
        return f"{prefix}{self.fresh}"

    # ------------------------------------------------------------ expressions

    def expr(self, t: T.Type, scope: dict[str, T.Type], depth: int) -> E.Expr:
        """An expression of exactly this type."""
        ways = self.leaves(t, scope, depth)
        if depth > 0:
            deep = self.ways(t, scope, depth - 1)
            # Leaves are few and reads are what makes a spec a spec: half the time, one of them.
            if not ways or self.c.chance(55):
                ways = deep
        if not ways:
            # Nothing at hand names such a value: a null that is taken for one, which errs.
            maybe = T.Union((T.NULL, t))
            return E.Cast(E.Const(T.inject(maybe, 0, 0), maybe), t)
        return self.c.pick(ways)()

    def leaves(self, t: T.Type, scope: dict[str, T.Type], depth: int) -> list[Callable[[], E.Expr]]:
        out: list[Callable[[], E.Expr]] = []
        for name, has in scope.items():
            if has == t:
                out += [lambda name=name: E.Local(name, t)] * 4  # type: ignore[misc]
        for v in self.variables:
            # An index may read an array once more, but not for ever.
            if reaches(v.type, t) and (depth >= 0 or not isinstance(v.type, T.Array)):
                out += [lambda v=v: self.read(v, t, scope, depth)] * 3  # type: ignore[misc]
        if not has_identity(t) and t != T.INT:
            out.append(lambda: E.Const(self.c.pick(self.few(t)), t))
        elif t == T.INT:
            out.append(lambda: E.Const(self.c.number(-1, 3), T.INT))
        elif plain_value(t) is not None:
            out.append(lambda: E.Const(plain_value(t), t))
        return out

    def few(self, t: T.Type) -> list[Any]:
        values = []
        for v in T.values(t):
            values.append(v)
            if len(values) == 12:
                break
        return values

    def read(self, v: S.Variable, t: T.Type, scope: dict[str, T.Type], depth: int) -> E.Expr:
        below = min(depth, 2) - 1
        e: E.Expr = E.Var(v.name, v.type, self.primes and self.c.chance(40))
        while e.type != t:
            ways: list[Callable[[], E.Expr]] = []
            match e.type:
                case T.Array(index, element):
                    ways.append(lambda e=e, i=index, x=element: E.Index(e, self.expr(i, scope, below), x))  # type: ignore[misc]
                case T.Record(_, fields):
                    for n, f in fields:
                        if reaches(f, t):
                            ways.append(lambda e=e, n=n, f=f: E.Field(e, n, f))  # type: ignore[misc]
                case _:
                    raise AssertionError(e.type)
            e = self.c.pick(ways)()
        return e

    def number(self, scope: dict[str, T.Type], depth: int) -> E.Expr:
        """An int or a range: what arithmetic and comparisons take."""
        kinds: tuple[T.Type, ...] = (T.INT, SMALL, ODD, T.INT)
        return self.expr(self.c.pick(kinds), scope, depth)

    def ways(self, t: T.Type, scope: dict[str, T.Type], d: int) -> list[Callable[[], E.Expr]]:
        def sub(of: T.Type) -> E.Expr:
            return self.expr(of, scope, d)

        out: list[Callable[[], E.Expr]] = [
            lambda: E.If(sub(T.BOOL), sub(t), sub(t), t),
        ]
        for define in self.defines:
            if define.type == t:
                out += [lambda f=define: self.apply(f, scope, d)] * 2  # type: ignore[misc]
        for u in (*SCALARS, ENTRY, THING):
            if isinstance(u, T.Union) and t in u.members and not self.tame:
                out.append(lambda u=u: E.Cast(sub(u), t))  # type: ignore[misc]
        record = T.Record("Local", (("x", t), ("y", T.BOOL)))
        if t != T.INT and d > 0:
            out.append(lambda: E.Field(E.MakeRecord((sub(t), sub(T.BOOL)), record), "x", t))
            for q in LOOSE:
                if isinstance(q, T.Queue) and q.element == t and not self.tame:
                    out += [lambda q=q: E.Head(sub(q), t)] * 2  # type: ignore[misc]
        match t:
            case T.Bool():
                out += self.bools(scope, d)
            case T.Int():
                out += self.ints(scope, d)
            case T.Range(low, high) if self.tame:
                # Brought into the range, and known to be there.
                inside = (E.Const(low, T.INT), E.Const(high, T.INT))
                out.append(lambda: E.Cast(E.MinMax("max", (E.MinMax("min", (sub(T.INT), inside[1])), inside[0])), t))
            case T.Range():
                out += [lambda: E.Cast(sub(T.INT), t)] * 3
                out.append(lambda: E.Cast(sub(self.c.pick((SMALL, ODD, SIGNED))), t))
            case T.Set(element):
                out.append(lambda: E.MakeSet(tuple(sub(element) for _ in range(self.c.number(0, 3))), t))
                out.append(lambda: E.SetOp(self.c.pick(("+", "-")), sub(t), sub(t), t))
                out += [lambda: self.set_of(t, scope, d)] * 2
            case T.Queue(capacity, element) if self.tame:
                out.append(lambda: self.queue_if_room(t, capacity, sub(t), sub(element)))
            case T.Queue(_, element):
                out += [lambda: E.Pushed(sub(t), sub(element), t), lambda: E.Popped(sub(t), t)] * 2
            case T.Record(_, fields):
                out += [lambda: E.MakeRecord(tuple(sub(f) for _, f in fields), t)] * 2
            case T.ThreadId(_, index):
                out += [lambda: E.MakeThreadId(tuple(sub(i) for i in index), t)] * 3
            case T.Union(members):
                for m in members:
                    if m != T.NULL:
                        out.append(lambda m=m: E.Cast(sub(m), t))  # type: ignore[misc]
                for u in (MAYBE_PAGE, PLACE, WIDE, MAYBE_ODD):
                    common = set(u.members) & set(members)
                    if u != t and (set(u.members) <= set(members) if self.tame else common):
                        out.append(lambda u=u: E.Cast(sub(u), t))  # type: ignore[misc]
            case T.Array(T.Enum(), element):
                whole = T.Array(T.BOOL, t)
                if self.c.chance(20) and not has_identity(element):
                    out.append(lambda: E.Index(E.Const((plain_value(t),) * 2, whole), sub(T.BOOL), t))
            case _:
                pass
        return out

    def queue_if_room(self, t: T.Queue, capacity: int, queue: E.Expr, value: E.Expr) -> E.Expr:
        """Where the queue has room: with the value at its end, else without its head."""
        room = E.Compare("<", E.Size(queue), E.Const(capacity, T.INT))
        return E.If(room, E.Pushed(queue, value, t), E.Popped(queue, t), t)

    def apply(self, f: S.Define, scope: dict[str, T.Type], d: int) -> E.Expr:
        args = tuple(self.expr(p.type, scope, d) for p in f.params)
        return E.Apply(f.name, args, f.type, self.primes and self.c.chance(40))

    def bools(self, scope: dict[str, T.Type], d: int) -> list[Callable[[], E.Expr]]:
        def sub(of: T.Type) -> E.Expr:
            return self.expr(of, scope, d)

        def equal() -> E.Expr:
            of = self.c.pick((*SCALARS, PTE, *{v.type for v in self.variables}, self.some_type()))
            return E.Compare(self.c.pick(("==", "!=")), sub(of), sub(of))

        def member() -> E.Expr:
            u = self.c.pick((MAYBE_PAGE, PLACE, WIDE, ENTRY, THING))
            wanted = tuple(i for i in range(len(u.members)) if self.c.chance(50))
            return E.IsMember(sub(u), wanted or (0,))

        def in_set() -> E.Expr:
            s = self.c.pick([t for t in (*PACKED, *LOOSE) if isinstance(t, T.Set)])
            return E.InSet(sub(s.element), sub(s))

        def quantifier() -> E.Expr:
            binders, filter_, inner = self.binders(scope, d)
            kinds: tuple[Any, ...] = ("forall", "exists")
            return E.Quant(self.c.pick(kinds), binders, filter_, self.expr(T.BOOL, inner, d), T.BOOL)

        def risky() -> E.Expr:
            return E.Compare("==", E.Cast(self.expr(MAYBE_PAGE, scope, 0), PAGE), self.expr(PAGE, scope, 0))

        return [
            *([] if self.tame else [risky] * 3),
            lambda: E.Not(sub(T.BOOL)),
            equal,
            equal,
            lambda: E.Compare(self.c.pick(("<", "<=", ">", ">=")), self.number(scope, d), self.number(scope, d)),
            lambda: E.Logic(self.c.pick(("&&", "||", "=>", "<=>")), sub(T.BOOL), sub(T.BOOL)),
            lambda: E.Logic(self.c.pick(("&&", "||", "=>", "<=>")), sub(T.BOOL), sub(T.BOOL)),
            lambda: E.InRange(self.number(scope, d), self.number(scope, d), self.number(scope, d)),
            member,
            in_set,
            quantifier,
            quantifier,
        ]

    def ints(self, scope: dict[str, T.Type], d: int) -> list[Callable[[], E.Expr]]:
        def count() -> E.Expr:
            binders, filter_, _ = self.binders(scope, d)
            return E.Quant("count", binders, filter_, None, T.INT)

        def fold() -> E.Expr:
            binders, filter_, inner = self.binders(scope, d)
            kinds: tuple[Any, ...] = ("sum",) if self.tame else ("sum", "min", "max")
            return E.Quant(self.c.pick(kinds), binders, filter_, self.number(inner, d), T.INT)

        def some() -> tuple[E.Expr, ...]:
            return tuple(self.number(scope, d) for _ in range(self.c.number(1, 3)))

        operators: tuple[Any, ...] = ("+", "-", "*") if self.tame else ("+", "-", "*", "/", "%")

        def size() -> E.Expr:
            kinds = [t for t in (*PACKED, *LOOSE) if isinstance(t, (T.Set, T.Queue))]
            return E.Size(self.expr(self.c.pick(kinds), scope, d))

        return [
            lambda: E.Negate(self.number(scope, d)),
            lambda: E.Arith(self.c.pick(operators), self.number(scope, d), self.number(scope, d)),
            lambda: E.Arith(self.c.pick(("/", "%")), self.number(scope, d), E.Const(2, T.INT)),
            lambda: E.Arith(self.c.pick(("+", "-")), self.number(scope, d), self.number(scope, d)),
            lambda: E.Cast(self.expr(self.c.pick((SMALL, ODD, SIGNED)), scope, d), T.INT),
            lambda: E.MinMax(self.c.pick(("min", "max")), some()),
            count,
            fold,
            size,
        ]

    def set_of(self, t: T.Set, scope: dict[str, T.Type], d: int) -> E.Expr:
        name = self.name("x")
        inner = {**scope, name: t.element}
        domains: tuple[E.OverType | E.OverSet, ...] = (E.OverType(t.element), E.OverSet(self.expr(t, scope, d)))
        domain = self.c.pick(domains)
        filter_ = self.expr(T.BOOL, inner, d) if self.c.chance(80) else None
        return E.Quant("set", (E.Binder(name, t.element, domain),), filter_, E.Local(name, t.element), t)

    def binders(
        self, scope: dict[str, T.Type], d: int, ordered: bool = False
    ) -> tuple[tuple[E.Binder, ...], E.Expr | None, dict[str, T.Type]]:
        """One or two binders and a filter.  `ordered`: only over types whose order means something."""
        out = []
        for _ in range(1 + self.c.chance(30)):
            name = self.name("x")
            kind = self.c.number(0, 9)
            if kind < 5:
                t = self.c.pick([t for t in INDICES if not (ordered and has_identity(t))])
                out.append(E.Binder(name, t, E.OverType(t)))
            elif kind < 8:
                t = T.INT
                low, high = self.number(scope, min(d, 1)), self.number(scope, min(d, 1))
                if self.c.chance(40):
                    low, high = E.Const(0, T.INT), E.Const(self.c.number(0, 2), T.INT)
                out.append(E.Binder(name, t, E.OverRange(low, high)))
            else:
                s = self.c.pick(
                    [s for s in (T.Set(PAGE), T.Set(ODD), T.Set(MODE)) if not (ordered and has_identity(s))]
                )
                t = s.element
                out.append(E.Binder(name, t, E.OverSet(self.expr(s, scope, min(d, 1)))))
            scope = {**scope, name: t}
        filter_ = self.expr(T.BOOL, scope, min(d, 2)) if self.c.chance(50) else None
        return tuple(out), filter_, scope

    def some_type(self) -> T.Type:
        return self.c.pick(PACKED) if self.c.chance(70) else self.c.pick(LOOSE)

    # ------------------------------------------------------------ statements

    def block(self, scope: dict[str, T.Type], size: int, depth: int) -> S.Block:
        out: list[S.Stmt] = []
        for _ in range(self.c.number(0 if depth < 2 else 1, size)):
            s, scope = self.statement(scope, depth)
            out.append(s)
            if isinstance(s, S.Assign) and self.c.chance(25):
                # A guard that may or may not speak of what was just assigned.
                seen = s.target if self.c.chance(50) else self.target(scope)
                out.append(S.Guard(E.Compare(self.c.pick(("==", "!=")), seen, self.expr(seen.type, scope, 0))))
        return tuple(out)

    def statement(self, scope: dict[str, T.Type], depth: int) -> tuple[S.Stmt, dict[str, T.Type]]:
        kind = self.c.number(0, 19 if depth > 0 else 11)
        if kind in (10, 11, 12, 13, 16, 17):
            # Choices multiply: a few in a rule, one in a pass of a `for`.
            if not self.choices:
                kind = 9
            self.choices -= kind != 9
        if kind < 8:
            target = self.target(scope)
            return S.Assign(target, self.value_for(target, scope)), scope
        if kind == 8:
            t = self.c.pick((*SCALARS, PTE, T.INT, self.some_type()))
            name = self.name("l")
            return S.Let(name, self.expr(t, scope, 2)), {**scope, name: t}
        if kind == 9:
            return S.Guard(self.expr(T.BOOL, scope, 2)), scope
        if (kind == 10 and not self.tame) or (kind == 10 and self.c.chance(30)):
            finding = self.c.pick(("assert", "assert", "double_acquire", "foreign_release", "held_at_stop"))
            name = self.c.pick(("first", "second")) if finding == "assert" else finding
            return S.Check(finding, name, "", self.expr(T.BOOL, scope, 2)), scope  # type: ignore[arg-type]
        if kind in (10, 11, 12, 13):
            binders, filter_, inner = self.binders(scope, 2)
            return S.Choose(binders, filter_), inner
        if kind in (14, 15):
            condition = self.expr(T.BOOL, scope, 2)
            return S.IfElse(condition, self.block(scope, 2, depth - 1), self.block(scope, 2, depth - 1)), scope
        if kind in (16, 17):
            count = self.c.number(1, 3)
            return S.Either(tuple(self.block(scope, 2, depth - 1) for _ in range(count))), scope
        binders, filter_, inner = self.binders(scope, 1, ordered=True)
        self.choices, kept = min(self.choices, 2 - len(binders)), self.choices
        loop = S.For(binders, filter_, self.block(inner, 2, depth - 1))
        self.choices += kept - min(kept, 2 - len(binders))
        return loop, scope

    def target(self, scope: dict[str, T.Type]) -> E.Expr:
        v = self.c.pick(self.variables)
        e: E.Expr = E.Var(v.name, v.type)
        while self.c.chance(85):
            match e.type:
                case T.Array(index, element):
                    e = E.Index(e, self.expr(index, scope, 1), element)
                case T.Record(_, fields):
                    name, f = self.c.pick(fields)
                    e = E.Field(e, name, f)
                case _:
                    break
        return e

    def value_for(self, target: E.Expr, scope: dict[str, T.Type]) -> E.Expr:
        if isinstance(target.type, T.Range) and self.c.chance(40):
            one = E.Const(1, T.INT)
            changed = E.Arith(self.c.pick(("+", "-")), target, one)
            if self.tame:
                low, high = E.Const(target.type.low, T.INT), E.Const(target.type.high, T.INT)
                return E.If(E.InRange(changed, low, high), E.Cast(changed, target.type), target, target.type)
            return E.Cast(changed, target.type)
        if isinstance(target.type, T.Queue) and self.c.chance(40):
            if self.tame:
                return self.queue_if_room(
                    target.type, target.type.capacity, target, self.expr(target.type.element, scope, 1)
                )
            return E.Pushed(target, self.expr(target.type.element, scope, 1), target.type)
        return self.expr(target.type, scope, 3)

    # ------------------------------------------------------------ the whole

    def variable(self, number: int, loose: bool) -> S.Variable:
        t = self.some_type() if loose else self.c.pick(PACKED)
        depth = self.c.pick((0, 1, 1, 1, 2))
        binders: list[tuple[str, T.Type]] = []
        shaped = t
        for _ in range(depth):
            index = self.c.pick(INDICES if depth == 1 else (PAGE, MODE, T.BOOL))
            binders.insert(0, (self.name("i"), index))
            shaped = T.Array(index, shaped)
        if width(shaped) > 12:
            shaped, depth, binders = t, 0, []
        few = T.cardinality(t) ** max(1, width(shaped) // width(t)) <= 8
        identity = plain_value(t) is None
        if identity or (few and self.c.chance(30)):
            if not few:
                # Too many starts: one element, or as many as there are identities.
                shaped, depth, binders = t, 0, []
            values = list(T.values(t))
            allowed = None if identity else tuple(v for v in values if self.c.chance(70)) or (values[0],)
            init: S.InitExpr | S.InitAny = S.InitAny(allowed if self.c.chance(50) and not has_identity(t) else None)
        else:
            # Initial values speak of no variable.
            kept, self.variables = self.variables, []
            kept_defines, self.defines = self.defines, []
            value = self.expr(t, dict(binders), 1) if self.c.chance(50) else E.Const(plain_value(t), t)
            self.variables, self.defines = kept, kept_defines
            init = S.InitExpr(tuple(n for n, _ in binders), value)
        return S.Variable(f"v{number}", shaped, depth, init)

    def rule(self, number: int, lock: bool) -> S.Rule:
        scope: dict[str, T.Type] = {}
        params = []
        for _ in range(self.c.pick((0, 1, 1, 2))):
            p = S.Parameter(self.name("a"), self.c.pick((*INDICES, PAGE)))
            params.append(p)
            scope[p.name] = p.type
        thread = lock and self.c.chance(60)
        if thread:
            c = S.Parameter(self.name("c"), CPU)
            params.insert(0, c)
            scope = {c.name: CPU, **scope}
        self.choices = 3
        guard = E.TRUE if self.c.chance(30) else self.expr(T.BOOL, scope, 3)
        body = self.block(scope, 4, 2)
        if thread:
            me = E.Cast(E.MakeThreadId((E.Local(params[0].name, CPU),), THREAD), OWNER)
            owner = E.Var("lock", OWNER)
            wait = S.LockWait("lock", (), False, me)
            free = S.Guard(E.Compare("==", owner, E.Const(0, OWNER)), wait)
            taken: S.Block = (free, S.Assign(owner, me), *body)
            given: S.Block = (
                S.Check("foreign_release", "foreign_release", "", E.Compare("==", owner, me)),
                S.Assign(owner, E.Const(0, OWNER)),
                *body,
            )
            return S.Rule(
                number, f"fault.l{number}", tuple(params), guard, self.c.pick((taken, given)), "thread", None, "fault",
                f"l{number}", 1,
            )  # fmt: skip
        return S.Rule(number, f"r{number}", tuple(params), guard, body)

    def define(self, number: int) -> S.Define:
        scope: dict[str, T.Type] = {}
        params = []
        for _ in range(self.c.number(0, 2)):
            p = S.Parameter(self.name("d"), self.c.pick(SCALARS))
            params.append(p)
            scope[p.name] = p.type
        results: tuple[T.Type, ...] = (T.BOOL, T.BOOL, T.INT, SMALL, PAGE, KIND)
        t = self.c.pick(results)
        return S.Define(f"f{number}", tuple(params), t, self.expr(t, scope, 3))

    def system(self) -> S.System:
        loose, lock, self.tame = self.c.chance(50), self.c.chance(30), self.c.chance(60)
        for n in range(self.c.number(2, 4)):
            self.variables.append(self.variable(n, loose))
        if self.tame:
            # So that there is always an identity at hand.
            self.variables += [S.Variable(f"any{t.name}", t, 0, S.InitAny()) for t in (PAGE, CPU)]
        locks: tuple[S.LockInfo, ...] = ()
        if lock:
            start = S.InitExpr((), E.Const(0, OWNER))
            self.variables.append(S.Variable("lock", OWNER, 0, start, "lock"))
            locks = (S.LockInfo("lock", "lock", (), "lock", None, OWNER),)
        self.defines_ordered(self.c.number(0, 3))
        rules = tuple(self.rule(n, lock) for n in range(self.c.number(1, 3)))
        properties: list[S.Property] = [
            S.Invariant(f"inv{n}", "", self.expr(T.BOOL, {}, 4)) for n in range(self.c.number(0, 4))
        ]
        if self.c.chance(50):
            self.primes = True
            properties.append(S.StepProperty("step", "", self.expr(T.BOOL, {}, 4)))
            self.primes = False
        assumes = (S.Predicate("assume", "", self.expr(T.BOOL, {}, 3)),) if self.c.chance(20) else ()
        return S.System(
            "random", "", "random.hmm", "default", (), (PAGE, CPU), tuple(self.variables), tuple(self.defines), rules,
            (), locks, tuple(properties), (), assumes, (), (), (), (), (), S.Expectation(),
        )  # fmt: skip

    def defines_ordered(self, count: int) -> None:
        # A define may use those before it, so none is recursive.
        for n in range(count):
            self.defines.append(self.define(n))


def random_system(rng: random.Random) -> S.System:
    """One System from a random source; the same source gives the same System."""
    return Maker(FromRandom(rng)).system()


@st.composite
def systems(draw: Any) -> S.System:
    """Systems for Hypothesis, which shrinks them."""
    return Maker(FromDraw(draw)).system()
