"""Expressions of the core as expressions of another language, and where evaluating them would be a spec error.

See NOTE(evaluation): the faults of an expression are collected in the order in which they would occur, each with the
condition under which it is reached, so that a later one is only looked at where no earlier one occurs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hmmspec.diagnostics import InternalError
from hmmspec.export.casts import cast
from hmmspec.export.context import Context, Spread, Trouble
from hmmspec.export.places import Path, Places, Step, scalar
from hmmspec.export.terms import Bounds, Item, Line, Many, Num, Rec, Scalar, Sum, Truth, Value
from hmmspec.system.expr import (
    Apply,
    Arith,
    Binder,
    Cast,
    Compare,
    Const,
    Expr,
    Field,
    Head,
    If,
    Index,
    InRange,
    InSet,
    IsMember,
    Local,
    Logic,
    MakeRecord,
    MakeSet,
    MakeThreadId,
    MinMax,
    Negate,
    Not,
    OverRange,
    OverSet,
    OverType,
    Popped,
    Pushed,
    Quant,
    SetOp,
    Size,
    Var,
)
from hmmspec.system.faults import is_integer
from hmmspec.system.system import Define, System
from hmmspec.system.types import (
    Queue,
    Range,
    Record,
    Set,
    ThreadId,
    Type,
    Union,
    cardinality,
    is_scalar,
    offsets,
)


class Evaluator:
    def __init__(self, system: System, places: Places, spread: Spread) -> None:
        self.syntax, self.places, self.spread = places.syntax, places, spread
        self.defines: dict[str, Define] = {d.name: d for d in system.defines}
        self.troubles: list[Trouble] = []

    # ------------------------------------------------------------ faults

    def trouble(self, when: Truth, kind: str) -> None:
        """Note a fault of the expression that is being evaluated."""
        if when.known is not False:
            self.troubles.append(Trouble(when, kind))

    @contextmanager
    def collecting(self) -> Iterator[list[Trouble]]:
        """The faults of what is evaluated inside, in a list of their own."""
        saved, self.troubles = self.troubles, []
        found = self.troubles
        try:
            yield found
        finally:
            self.troubles = saved

    @contextmanager
    def under(self, condition: Truth, bounds: Bounds = ()) -> Iterator[None]:
        """What is evaluated inside is reached only where the condition holds, for some value of the bounds."""
        with self.collecting() as found:
            yield
        for t in found:
            self.trouble(self.syntax.quantify("exists", bounds, self.syntax.both(condition, t.when)), t.kind)

    # ------------------------------------------------------------ values of a kind

    def truth(self, e: Expr, c: Context) -> Truth:
        v = self.value(e, c)
        assert isinstance(v, Truth)
        return v

    def num(self, e: Expr, c: Context) -> Num:
        v = self.value(e, c)
        assert isinstance(v, Num)
        return v

    def scalar(self, e: Expr, c: Context) -> Scalar:
        return scalar(self.value(e, c))

    # ------------------------------------------------------------ expressions

    def value(self, e: Expr, c: Context) -> Value:
        """The expression's value; its faults are added to `troubles`."""
        s = self.syntax
        match e:
            case Const(value, t):
                return self.places.constant(t, value)
            case Var(name, t, primed):
                if primed and c.after is None:
                    raise InternalError(f"{name}' outside a step")
                return self.places.load(name, (), t, c.after if primed and c.after is not None else c.memory)
            case Local(name, _):
                return c.names[name]
            case Index(base, index):
                array = self.value(base, c)
                return self.places.inside(array, (Step("at", self.scalar(index, c), base.type),))
            case Field(base, name):
                assert isinstance(base.type, Record)
                at = [n for n, _ in base.type.fields].index(name)
                return self.places.inside(self.value(base, c), (Step("field", at, base.type),))
            case Not(operand):
                return s.no(self.truth(operand, c))
            case Negate(operand):
                return s.sub(s.num(0), self.num(operand, c))
            case Arith(op, left, right):
                return self._arith(op, self.num(left, c), self.num(right, c))
            case Compare(op, left, right):
                return self._compare(op, left, right, c)
            case Logic(op, left, right):
                return self._logic(op, left, right, c)
            case SetOp(op, left, right):
                return self._set_operation(op, self._many(left, c), self._many(right, c))
            case InSet(element, of):
                x = self.scalar(element, c)
                return self._many(of, c).has(x)
            case InRange(value, low, high):
                number, first, last = self.num(value, c), self.num(low, c), self.num(high, c)
                return s.both(s.at_most(first, number), s.at_most(number, last))
            case IsMember(value, members):
                return self._is_member(value, members, c)
            case If(condition, then, otherwise, t):
                test = self.truth(condition, c)
                with self.under(test):
                    a = self.value(then, c)
                with self.under(s.no(test)):
                    b = self.value(otherwise, c)
                return self.places.pick(test, a, b, t)
            case Quant():
                return self._quantifier(e, c)
            case MinMax(kind, args):
                return s.fold(kind, [Item((), s.true, self.num(a, c)) for a in args])
            case Apply(define, args, _, primed):
                d = self.defines[define]
                names = {p.name: self.value(a, c) for p, a in zip(d.params, args, strict=True)}
                return self.value(d.body, Context(names, c.after or () if primed else c.memory))
            case MakeRecord(values, _):
                parts = [self.value(v, c) for v in values]
                return Rec(lambda k: parts[k])
            case MakeSet(elements, _):
                given = [self.scalar(x, c) for x in elements]
                return Many(lambda i: s.either(*(s.same(i, x) for x in given)))
            case MakeThreadId(args, t):
                assert isinstance(t, ThreadId)
                return self._thread(t, [self.scalar(a, c) for a in args])
            case Size(operand):
                return self._size(operand, c)
            case Head(queue, _):
                q = self._line(queue, c)
                self.trouble(s.same(q.length, s.num(0)), "queue")
                return q.item(0)
            case Pushed() | Popped():
                return self._queue(e, c)
            case Cast(operand, t):
                v = self.value(operand, c)
                out, fault = cast(self.places, v, operand.type, t)
                self.trouble(fault, "range" if is_integer(operand.type) else "null or wrong member")
                return out

    def _arith(self, op: str, a: Num, b: Num) -> Num:
        s = self.syntax
        match op:
            case "+":
                return s.add(a, b)
            case "-":
                return s.sub(a, b)
            case "*":
                return s.mul(a, b)
            case _:
                self.trouble(s.same(b, s.num(0)), "division")
                if b.known == 0:
                    return s.num(0)
                return s.div(a, b) if op == "/" else s.mod(a, b)

    def _compare(self, op: str, left: Expr, right: Expr, c: Context) -> Truth:
        s = self.syntax
        x, y = self.value(left, c), self.value(right, c)
        if op in ("==", "!="):
            same = s.same(x, y) if isinstance(x, Num) and isinstance(y, Num) else self.places.equal(x, y, left.type)
            return same if op == "==" else s.no(same)
        a, b = scalar(x), scalar(y)
        assert isinstance(a, Num) and isinstance(b, Num)
        return {"<": s.less(a, b), "<=": s.at_most(a, b), ">": s.less(b, a), ">=": s.at_most(b, a)}[op]

    def _logic(self, op: str, left: Expr, right: Expr, c: Context) -> Truth:
        s = self.syntax
        a = self.truth(left, c)
        reached = {"&&": a, "||": s.no(a), "=>": a, "<=>": s.true}[op]
        with self.under(reached):
            b = self.truth(right, c)
        return {"&&": s.both(a, b), "||": s.either(a, b), "=>": s.implies(a, b), "<=>": s.same(a, b)}[op]

    def _many(self, e: Expr, c: Context) -> Many:
        v = self.value(e, c)
        assert isinstance(v, Many)
        return v

    def _line(self, e: Expr, c: Context) -> Line:
        v = self.value(e, c)
        assert isinstance(v, Line)
        return v

    def _set_operation(self, op: str, a: Many, b: Many) -> Many:
        s = self.syntax
        if op == "+":
            return Many(lambda i: s.either(a.has(i), b.has(i)))
        return Many(lambda i: s.both(a.has(i), s.no(b.has(i))))

    def _is_member(self, value: Expr, members: tuple[int, ...], c: Context) -> Truth:
        s, t, v = self.syntax, value.type, self.value(value, c)
        assert isinstance(t, Union)
        if isinstance(v, Sum):
            return s.either(*(s.same(v.tag, s.num(m)) for m in members))
        assert isinstance(v, Num) and is_scalar(t)
        starts = offsets(t)
        return s.either(*(s.within(v, starts[m], starts[m] + cardinality(t.members[m]) - 1) for m in members))

    def ordinal(self, t: Type, v: Scalar) -> Num:
        """The number, from 0, of a scalar value."""
        n = self.syntax.as_number(v)
        return self.syntax.sub(n, self.syntax.num(t.low)) if isinstance(t, Range) else n

    def _thread(self, t: ThreadId, args: list[Scalar]) -> Num:
        s, number = self.syntax, self.syntax.num(0)
        for i, a in zip(t.index, args, strict=True):
            number = s.add(s.mul(number, s.num(cardinality(i))), self.ordinal(i, a))
        return number

    # ------------------------------------------------------------ queues and sets

    def _size(self, operand: Expr, c: Context) -> Num:
        if isinstance(operand.type, Queue):
            return self._line(operand, c).length
        assert isinstance(operand.type, Set)
        many, s = self._many(operand, c), self.syntax
        items = [Item(ids, many.has(x), s.num(1)) for x, ids in self.spread.over(operand.type.element, "x")]
        return s.fold("count", items)

    def _queue(self, e: Pushed | Popped, c: Context) -> Line:
        s, q = self.syntax, self._line(e.queue, c)
        t = e.type
        assert isinstance(t, Queue)
        if isinstance(e, Popped):
            self.trouble(s.same(q.length, s.num(0)), "queue")
            length = Num(q.length.text, max(1, q.length.low), max(1, q.length.high))

            def later(k: int) -> Value:
                return q.item(k + 1) if k + 1 < t.capacity else self.places.zero(t.element)

            return Line(s.sub(length, s.num(1)), later)
        v = self.value(e.value, c)
        self.trouble(s.same(q.length, s.num(t.capacity)), "queue")
        length = Num(q.length.text, q.length.low, min(q.length.high, t.capacity - 1))
        return Line(
            s.add(length, s.num(1)),
            lambda k: self.places.pick(s.same(q.length, s.num(k)), v, q.item(k), t.element),
        )

    # ------------------------------------------------------------ quantifiers

    def domain(self, b: Binder, c: Context, spread: Spread | None = None) -> list[tuple[Scalar, Bounds, Truth]]:
        """The values of a binder: each with what it binds and when it is in the domain."""
        s, spread = self.syntax, spread or self.spread
        match b.domain:
            case OverType(t):
                return [(x, bounds, s.true) for x, bounds in spread.over(t, b.name)]
            case OverSet(of):
                many = self._many(of, c)
                assert isinstance(of.type, Set)
                return [(x, bounds, many.has(x)) for x, bounds in spread.over(of.type.element, b.name)]
            case OverRange(low, high):
                first, last = self.num(low, c), self.num(high, c)
                choices = spread.numbers(first.low, last.high, b.name)
                return [
                    (x, bounds, s.both(s.at_most(first, x), s.at_most(x, last)))
                    for x, bounds in choices
                    if isinstance(x, Num)
                ]

    def bindings(
        self, binders: tuple[Binder, ...], filter_: Expr | None, c: Context
    ) -> list[tuple[Context, Bounds, Truth]]:
        """Every way to bind the names: the context, what is bound, and when the way exists.

        The faults of domains and of the filter are noted as faults of the whole.
        """
        s = self.syntax
        found: list[tuple[Context, Bounds, Truth]] = []

        def go(rest: tuple[Binder, ...], c: Context, bounds: Bounds, when: Truth) -> None:
            if rest:
                for x, more, here in self.domain(rest[0], c):
                    if here.known is not False:
                        with self.under(here, more):
                            go(rest[1:], c.with_names(**{rest[0].name: x}), bounds + more, s.both(when, here))
            else:
                wanted = self.truth(filter_, c) if filter_ is not None else s.true
                if wanted.known is not False:
                    found.append((c, bounds, s.both(when, wanted)))

        go(binders, c, (), s.true)
        return found

    def _quantifier(self, e: Quant, c: Context) -> Value:
        s = self.syntax
        if e.kind == "set":
            return self._comprehension(e, c)
        parts: list[tuple[Bounds, Truth, Value]] = []
        for inner, bounds, when in self.bindings(e.binders, e.filter, c):
            with self.under(when, bounds):
                body: Value = self.value(e.body, inner) if e.body is not None else s.num(1)
            parts.append((bounds, when, body))
        match e.kind:
            case "forall":
                return s.both(*(s.quantify("forall", b, s.implies(w, v)) for b, w, v in _truths(parts)))
            case "exists":
                return s.either(*(s.quantify("exists", b, s.both(w, v)) for b, w, v in _truths(parts)))
            case kind:
                items = [Item(b, w, v) for b, w, v in parts if isinstance(v, Num)]
                if kind in ("min", "max"):
                    some = s.either(*(s.quantify("exists", i.bounds, i.when) for i in items))
                    self.trouble(s.no(some), "empty")
                    if not items:
                        return s.num(0)
                return s.fold(kind, items) if items else s.num(0)

    def _comprehension(self, e: Quant, c: Context) -> Many:
        """A set is asked for one element at a time: it is there if some way to bind the names gives it."""
        assert isinstance(e.type, Set) and e.body is not None
        s, body, plain = self.syntax, e.body, len(e.binders) == 1 and isinstance(e.body, Local)

        def ways() -> list[tuple[Bounds, Truth, Scalar]]:
            out = []
            for inner, bounds, when in self.bindings(e.binders, e.filter, c):
                with self.under(when, bounds):
                    out.append((bounds, when, self.scalar(body, inner)))
            return out

        # Noted once, here; what is asked for later repeats the evaluation and drops them.
        ways()

        def has(i: Scalar) -> Truth:
            with self.collecting():
                if plain and isinstance(e.binders[0].domain, (OverType, OverSet)):
                    inner = c.with_names(**{e.binders[0].name: i})
                    domain = e.binders[0].domain
                    there = self._many(domain.set, c).has(i) if isinstance(domain, OverSet) else s.true
                    wanted = self.truth(e.filter, inner) if e.filter is not None else s.true
                    return s.both(there, wanted)
                found = ways()
            return s.either(*(s.quantify("exists", b, s.both(w, s.same(v, i))) for b, w, v in found))

        return Many(has)

    def path(self, target: Expr, c: Context) -> tuple[str, Path]:
        """The variable and the path of an assignment's target; faults of its indices are noted."""
        match target:
            case Var(name, _):
                return name, ()
            case Index(base, index):
                name, path = self.path(base, c)
                return name, (*path, Step("at", self.scalar(index, c), base.type))
            case Field(base, field_name):
                assert isinstance(base.type, Record)
                name, path = self.path(base, c)
                number = [n for n, _ in base.type.fields].index(field_name)
                return name, (*path, Step("field", number, base.type))
            case _:
                raise InternalError("an assignment to something that is no place")


def _truths(parts: list[tuple[Bounds, Truth, Value]]) -> Iterator[tuple[Bounds, Truth, Truth]]:
    for bounds, when, body in parts:
        assert isinstance(body, Truth)
        yield bounds, when, body
