"""A second interpreter, written from the docstrings of the core alone: slow, plain, and obviously right.

A state is a dict of variable values as in NOTE(values); expressions are evaluated by walking the tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from hmmspec.system import expr as E
from hmmspec.system import system as S
from hmmspec.system import types as T

State = dict[str, Any]
Env = Mapping[str, Any]
Problem = tuple[str, str, str]  # finding, name, kind
Outcome = tuple[State | None, Problem | None]


class Bad(Exception):
    """A fault: (finding, name, kind)."""

    def __init__(self, finding: str, name: str, kind: str) -> None:
        super().__init__(finding, name, kind)
        self.problem: Problem = (finding, name, kind)


def spec_error(kind: str) -> Bad:
    return Bad("spec_error", "spec_error", kind)


def members(t: T.Type) -> tuple[T.Type, ...]:
    return t.members if isinstance(t, T.Union) else (t,)


def is_number(t: T.Type) -> bool:
    return isinstance(t, (T.Int, T.Range))


def cast(source: T.Type, target: T.Type, value: Any) -> Any:
    if source == target:
        return value
    held = source
    if isinstance(source, T.Union):
        number, value = T.project(source, value)
        held = source.members[number]
    for number, t in enumerate(members(target)):
        if t == held or (is_number(t) and is_number(held) and held not in members(target)):
            if isinstance(t, T.Range) and not t.low <= value <= t.high:
                raise spec_error("range")
            return T.inject(target, number, value) if isinstance(target, T.Union) else value
    raise spec_error("null" if held == T.NULL else "member")


class Oracle:
    def __init__(self, system: S.System) -> None:
        self.system = system

    # ------------------------------------------------------------ expressions

    def value(self, e: E.Expr, s: State, after: State | None, env: Env) -> Any:
        def go(x: E.Expr) -> Any:
            return self.value(x, s, after, env)

        match e:
            case E.Const(value, _):
                return value
            case E.Local(name, _):
                return env[name]
            case E.Var(name, _, primed):
                if primed:
                    assert after is not None
                    return after[name]
                return s[name]
            case E.Index(base, index):
                assert isinstance(base.type, T.Array)
                array, i = go(base), go(index)
                return array[T.ordinal(base.type.index, i)]
            case E.Field(base, name):
                assert isinstance(base.type, T.Record)
                return go(base)[[n for n, _ in base.type.fields].index(name)]
            case E.Not(operand):
                return not go(operand)
            case E.Negate(operand):
                return -go(operand)
            case E.Arith(op, left, right):
                a, b = go(left), go(right)
                if op in "/%" and b == 0:
                    raise spec_error("division")
                return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a // b,
                        "%": lambda: a % b}[op]()  # fmt: skip
            case E.Compare(op, left, right):
                a, b = go(left), go(right)
                return {"==": lambda: a == b, "!=": lambda: a != b, "<": lambda: a < b, "<=": lambda: a <= b,
                        ">": lambda: a > b, ">=": lambda: a >= b}[op]()  # fmt: skip
            case E.Logic("&&", left, right):
                return bool(go(left) and go(right))
            case E.Logic("||", left, right):
                return bool(go(left) or go(right))
            case E.Logic("=>", left, right):
                return bool(not go(left) or go(right))
            case E.Logic(_, left, right):
                return bool(go(left)) == bool(go(right))
            case E.SetOp(op, left, right):
                a, b = go(left), go(right)
                return a | b if op == "+" else a & ~b
            case E.InSet(element, s_):
                assert isinstance(s_.type, T.Set)
                x, mask = go(element), go(s_)
                return bool(mask >> T.ordinal(s_.type.element, x) & 1)
            case E.InRange(value_, low, high):
                v, a, b = go(value_), go(low), go(high)
                return a <= v <= b
            case E.IsMember(value_, wanted):
                assert isinstance(value_.type, T.Union)
                return T.project(value_.type, go(value_))[0] in wanted
            case E.If(condition, then, otherwise):
                return go(then) if go(condition) else go(otherwise)
            case E.Quant():
                return self.quantifier(e, s, after, env)
            case E.MinMax(kind, args):
                numbers = [go(a) for a in args]
                return min(numbers) if kind == "min" else max(numbers)
            case E.Apply(define, args, _, primed):
                d = self.system.define(define)
                inner = {p.name: go(a) for p, a in zip(d.params, args, strict=True)}
                if primed:
                    assert after is not None
                    return self.value(d.body, after, None, inner)
                return self.value(d.body, s, None, inner)
            case E.MakeRecord(values, _):
                return tuple([go(v) for v in values])
            case E.MakeSet(elements, t):
                assert isinstance(t, T.Set)
                out = 0
                for x in elements:
                    out |= 1 << T.ordinal(t.element, go(x))
                return out
            case E.MakeThreadId(args, t):
                assert isinstance(t, T.ThreadId)
                number = 0
                for i, a in zip(t.index, args, strict=True):
                    number = number * T.cardinality(i) + T.ordinal(i, go(a))
                return number
            case E.Size(operand):
                v = go(operand)
                return len(v) if isinstance(operand.type, T.Queue) else v.bit_count()
            case E.Head(queue, _):
                q = go(queue)
                if not q:
                    raise spec_error("queue")
                return q[0]
            case E.Pushed(queue, value_, t):
                assert isinstance(t, T.Queue)
                q, v = go(queue), go(value_)
                if len(q) == t.capacity:
                    raise spec_error("queue")
                return (*q, v)
            case E.Popped(queue, _):
                q = go(queue)
                if not q:
                    raise spec_error("queue")
                return q[1:]
            case E.Cast(operand, t):
                return cast(operand.type, t, go(operand))

    def domain(self, b: E.Binder, s: State, after: State | None, env: Env) -> list[Any]:
        match b.domain:
            case E.OverType(t):
                return list(T.values(t))
            case E.OverRange(low, high):
                first, last = self.value(low, s, after, env), self.value(high, s, after, env)
                return list(range(first, last + 1))
            case E.OverSet(e):
                assert isinstance(e.type, T.Set)
                mask, element = self.value(e, s, after, env), e.type.element
                return [T.from_ordinal(element, i) for i in range(T.cardinality(element)) if mask >> i & 1]

    def bindings(
        self, binders: tuple[E.Binder, ...], filter_: E.Expr | None, s: State, after: State | None, env: Env
    ) -> Iterator[Env]:
        if not binders:
            if filter_ is None or self.value(filter_, s, after, env):
                yield env
            return
        for v in self.domain(binders[0], s, after, env):
            yield from self.bindings(binders[1:], filter_, s, after, {**env, binders[0].name: v})

    def quantifier(self, e: E.Quant, s: State, after: State | None, env: Env) -> Any:
        inners = self.bindings(e.binders, e.filter, s, after, env)
        found = [self.value(e.body, s, after, inner) if e.body is not None else 1 for inner in inners]
        match e.kind:
            case "forall":
                return all(found)
            case "exists":
                return any(found)
            case "count" | "sum":
                return sum(found)
            case "min" | "max":
                if not found:
                    raise spec_error("empty")
                return min(found) if e.kind == "min" else max(found)
            case "set":
                assert isinstance(e.type, T.Set)
                out = 0
                for v in found:
                    out |= 1 << T.ordinal(e.type.element, v)
                return out

    # ------------------------------------------------------------ steps

    def assigned(self, target: E.Expr, value: E.Expr, s: State, env: Env) -> State:
        """The target's indices are evaluated before the value."""
        path: list[int] = []

        def indices(x: E.Expr) -> str:
            match x:
                case E.Var(name, _):
                    return name
                case E.Index(base, index):
                    assert isinstance(base.type, T.Array)
                    name = indices(base)
                    path.append(T.ordinal(base.type.index, self.value(index, s, None, env)))
                    return name
                case E.Field(base, field):
                    assert isinstance(base.type, T.Record)
                    name = indices(base)
                    path.append([n for n, _ in base.type.fields].index(field))
                    return name
                case _:
                    raise AssertionError(x)

        def put(old: Any, at: list[int], new: Any) -> Any:
            if not at:
                return new
            return (*old[: at[0]], put(old[at[0]], at[1:], new), *old[at[0] + 1 :])

        name = indices(target)
        new = self.value(value, s, None, env)
        return {**s, name: put(s[name], path, new)}

    def run(self, block: S.Block, s: State, env: Env) -> Iterator[Outcome]:
        """Every way through the block: the state at its end, or the fault."""
        if not block:
            yield s, None
            return
        rest = block[1:]
        try:
            match block[0]:
                case S.Assign(target, value):
                    s = self.assigned(target, value, s, env)
                case S.Let(name, value):
                    env = {**env, name: self.value(value, s, None, env)}
                case S.Guard(condition):
                    if not self.value(condition, s, None, env):
                        return
                case S.Check(finding, name, _, condition):
                    if not self.value(condition, s, None, env):
                        raise Bad(finding, name, "")
                case S.IfElse(condition, then, otherwise):
                    inner = then if self.value(condition, s, None, env) else otherwise
                    yield from self.after(self.run(inner, s, env), rest, env)
                    return
                case S.Either(branches):
                    for b in branches:
                        yield from self.after(self.run(b, s, env), rest, env)
                    return
                case S.Choose(binders, filter_):
                    for chosen in list(self.bindings(binders, filter_, s, None, env)):
                        yield from self.run(rest, s, chosen)
                    return
                case S.For(binders, filter_, body):
                    yield from self.after(self.passes(binders, filter_, body, s, env), rest, env)
                    return
        except Bad as bad:
            yield None, bad.problem
            return
        yield from self.run(rest, s, env)

    def after(self, ways: Iterator[Outcome], rest: S.Block, env: Env) -> Iterator[Outcome]:
        for s, problem in ways:
            if s is None:
                yield None, problem
            else:
                yield from self.run(rest, s, env)

    def passes(
        self, binders: tuple[E.Binder, ...], filter_: E.Expr | None, body: S.Block, s: State, env: Env
    ) -> Iterator[Outcome]:
        """A `for`: a domain is evaluated when its binder is entered, the filter on entry of each pass."""
        if not binders:
            try:
                wanted = filter_ is None or self.value(filter_, s, None, env)
            except Bad as bad:
                yield None, bad.problem
                return
            yield from self.run(body, s, env) if wanted else iter([(s, None)])
            return
        try:
            todo = self.domain(binders[0], s, None, env)
        except Bad as bad:
            yield None, bad.problem
            return

        def turn(number: int, now: State) -> Iterator[Outcome]:
            if number == len(todo):
                yield now, None
                return
            inner = {**env, binders[0].name: todo[number]}
            for end, problem in self.passes(binders[1:], filter_, body, now, inner):
                if end is None:
                    yield None, problem
                else:
                    yield from turn(number + 1, end)

        yield from turn(0, s)

    def assumed(self, s: State) -> bool:
        return all(self.value(a.body, s, None, {}) for a in self.system.assumes)

    def expand(
        self, s: State
    ) -> tuple[list[tuple[int, tuple[Any, ...], State]], list[tuple[int, tuple[Any, ...], Problem]]]:
        """As Interpreter.expand, but faults broken by an assume are listed with their own step."""
        out: list[tuple[int, tuple[Any, ...], State]] = []
        bad: list[tuple[int, tuple[Any, ...], Problem]] = []
        for rule in self.system.rules:
            for args in product(*(list(T.values(p.type)) for p in rule.params)):
                env = {p.name: a for p, a in zip(rule.params, args, strict=True)}
                ends: list[State] = []
                problems: list[Problem] = []
                try:
                    ways = self.run(rule.body, s, env) if self.value(rule.guard, s, None, env) else iter(())
                except Bad as b:
                    ways = iter([(None, b.problem)])
                late: list[Problem] = []
                for end, problem in ways:
                    if problem is not None:
                        problems.append(problem)
                    elif end is not None and end not in ends:
                        ends.append(end)
                for end in ends:
                    try:
                        if self.assumed(end):
                            out.append((rule.number, args, end))
                    except Bad as b:
                        late.append(b.problem)
                known: list[tuple[str, str]] = []
                for p in problems + late:
                    if p[:2] not in known:
                        known.append(p[:2])
                        bad.append((rule.number, args, p))
        return out, bad

    # ------------------------------------------------------------ start

    def initial(self) -> Iterator[State]:
        """Every start state that satisfies the assumes.  Raises Bad where one errs."""
        names = [v.name for v in self.system.variables]
        for values in product(*(self.first_values(v) for v in self.system.variables)):
            s = dict(zip(names, values, strict=True))
            if self.assumed(s):
                yield s

    def first_values(self, v: S.Variable) -> list[Any]:
        def below(t: T.Type, depth: int, index: tuple[Any, ...]) -> list[Any]:
            if depth:
                assert isinstance(t, T.Array)
                element = t.element
                return list(product(*(below(element, depth - 1, (*index, i)) for i in T.values(t.index))))
            if isinstance(v.init, S.InitAny):
                return list(T.values(t) if v.init.allowed is None else v.init.allowed)
            return [self.value(v.init.value, {}, None, dict(zip(v.init.binders, index, strict=False)))]

        return below(v.type, v.depth, ())
