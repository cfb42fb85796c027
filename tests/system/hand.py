"""Systems built by hand, and shorthands to build them."""

from __future__ import annotations

from typing import Any, Literal

from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system import types as T
from hmmspec.system.run import Interpreter, State


def system(
    variables: list[S.Variable],
    rules: list[S.Rule] | None = None,
    defines: list[S.Define] | None = None,
    assumes: list[E.Expr] | None = None,
    locks: list[S.LockInfo] | None = None,
) -> S.System:
    return S.System(
        "hand", "", "hand.hmm", "default", (), (), tuple(variables), tuple(defines or ()), tuple(rules or ()), (),
        tuple(locks or ()), (), (), tuple(S.Predicate("assumed", "", a) for a in assumes or ()), (), (), (), (), (),
        S.Expectation(),
    )  # fmt: skip


def variable(name: str, t: T.Type, first: Any = 0, index: T.Type | None = None) -> S.Variable:
    shape = t if index is None else T.Array(index, t)
    return S.Variable(name, shape, 0 if index is None else 1, S.InitExpr((), E.Const(first, t)))


def rule(number: int, params: dict[str, T.Type], guard: E.Expr, *body: S.Stmt) -> S.Rule:
    return S.Rule(number, f"r{number}", tuple(S.Parameter(n, t) for n, t in params.items()), guard, body)


def at(name: str, index: E.Expr, element: T.Type) -> E.Expr:
    return E.Index(E.Var(name, T.Array(index.type, element)), index, element)


def num(n: int) -> E.Expr:
    return E.Const(n, T.INT)


def eq(a: E.Expr, b: E.Expr) -> E.Expr:
    return E.Compare("==", a, b)


def both(*parts: E.Expr) -> E.Expr:
    out = parts[0]
    for p in parts[1:]:
        out = E.Logic("&&", out, p)
    return out


def quant(kind: Literal["forall", "exists", "count", "min"], name: str, t: T.Type, body: E.Expr | None) -> E.Expr:
    result = T.BOOL if kind in ("forall", "exists") else T.INT
    return E.Quant(kind, (E.Binder(name, t, E.OverType(t)),), None, body, result)


def reachable(it: Interpreter, limit: int = 100_000) -> tuple[list[State], int, int]:
    """The reachable states, and how many steps and faults they have."""
    seen = dict.fromkeys(it.initial())
    todo, steps, faults = list(seen), 0, 0
    for s in todo:
        out, bad = it.expand(s)
        steps, faults = steps + len(out), faults + len(bad)
        for _, _, after in out:
            if after not in seen:
                seen[after] = None
                todo.append(after)
        assert len(todo) <= limit
    return todo, steps, faults


LOC = T.Enum("Loc", ("unm", "sys", "dev", "mtd", "mts", "swp"))
PINS = T.Range(0, 2)


def pages(pages_: int, frames: int) -> S.System:
    """Pages that migrate between system memory and a device with a few frames: five variables, fifteen steps."""
    page = T.Symmetric("Page", pages_)
    p = E.Local("p", page)
    unm, sys, dev, mtd, mts, swp = (E.Const(i, LOC) for i in range(6))

    def of(name: str, t: T.Type, q: E.Expr = p) -> E.Expr:
        return at(name, q, t)

    loc, pins = of("loc", LOC), of("pins", PINS)
    dirty, devmap, devdirty = (of(n, T.BOOL) for n in ("dirty", "devmap", "devdirty"))
    x = E.Local("x", page)
    held = S.Define(
        "held",
        (S.Parameter("x", page),),
        T.BOOL,
        E.InSet(of("loc", LOC, x), E.MakeSet((dev, mtd, mts), T.Set(LOC))),
    )
    counted = E.Quant(
        "count", (E.Binder("q", page, E.OverType(page)),), E.Apply("held", (E.Local("q", page),), T.BOOL), None, T.INT
    )
    used = S.Define("used", (), T.INT, counted)

    def is_at(where: E.Expr) -> E.Expr:
        return eq(loc, where)

    def pin(by: int) -> S.Stmt:
        return S.Assign(pins, E.Cast(E.Arith("+", pins, num(by)), PINS))

    quiet = both(is_at(sys), eq(pins, num(0)), E.Not(devmap))
    room = E.Compare("<", E.Apply("used", (), T.INT), num(frames))
    out = E.Logic("||", E.Logic("||", quiet, is_at(dev)), is_at(swp))
    go = S.Assign
    steps: list[tuple[E.Expr, list[S.Stmt]]] = [
        (is_at(unm), [go(loc, sys), go(dirty, E.FALSE)]),
        (is_at(sys), [go(dirty, E.TRUE)]),
        (both(is_at(sys), E.Compare("<", pins, num(2))), [pin(1)]),
        (E.Compare(">", pins, num(0)), [pin(-1)]),
        (is_at(sys), [go(devmap, E.TRUE)]),
        (both(is_at(sys), devmap), [go(devmap, E.FALSE)]),
        (quiet, [go(loc, swp)]),
        (is_at(swp), [go(loc, sys)]),
        (both(quiet, room), [go(loc, mtd)]),
        (is_at(mtd), [go(loc, dev), go(devmap, E.TRUE)]),
        (is_at(mtd), [go(loc, sys)]),
        (both(is_at(dev), devmap), [go(devdirty, E.TRUE)]),
        (is_at(dev), [go(loc, mts), go(devmap, E.FALSE)]),
        (is_at(mts), [go(loc, sys), go(dirty, E.Logic("||", dirty, devdirty)), go(devdirty, E.FALSE)]),
        (out, [go(loc, unm), go(pins, E.Const(0, PINS)), *(go(b, E.FALSE) for b in (dirty, devmap, devdirty))]),
    ]
    variables = [variable("loc", LOC, 0, page), variable("pins", PINS, 0, page)]
    variables += [variable(n, T.BOOL, False, page) for n in ("dirty", "devmap", "devdirty")]
    return system(variables, [rule(n, {"p": page}, g, *b) for n, (g, b) in enumerate(steps)], [held, used])
