"""Expressions over unknown states: the value, and the condition under which evaluating it is a spec error.

The meaning is that of NOTE(evaluation) in `hmmspec.system.expr`: what the interpreter computes for one state this does
for all at once.  Which of several errors comes first makes no difference here: any of them ends the run.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.values import Cases, SymValue, Values, combinations
from hmmspec.diagnostics import InternalError
from hmmspec.system import expr as E
from hmmspec.system.convert import Mismatch, converter
from hmmspec.system.system import Define, System
from hmmspec.system.types import (
    BOOL,
    INT,
    Array,
    Queue,
    Record,
    Set,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    offsets,
    ordinal,
)

State = Mapping[str, SymValue]  # of each variable

_ORDER: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITH: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclass(frozen=True)
class Scope:
    """What names mean: the variables before and (`after`) after the step, and the bound names."""

    state: State
    after: State | None = None
    bound: Mapping[str, SymValue] = field(default_factory=dict)

    def bind(self, name: str, value: SymValue) -> Scope:
        return replace(self, bound={**self.bound, name: value})


class Evaluator:
    """Evaluates expressions of one System.  `value` collects the conditions of errors in `errors`."""

    def __init__(self, system: System, formulas: Formulas) -> None:
        self.f = formulas
        self.v = Values(formulas)
        self.defines: dict[str, Define] = {d.name: d for d in system.defines}
        self._errors: list[Formula] = []
        self._here = TRUE  # the condition under which what is being evaluated is evaluated at all

    def evaluate(self, e: E.Expr, scope: Scope) -> tuple[SymValue, Formula]:
        """The value, and when evaluating it is an error."""
        kept, here = self._errors, self._here
        self._errors, self._here = [], TRUE
        try:
            value = self.value(e, scope)
            return value, self.f.any(self._errors)
        finally:
            self._errors, self._here = kept, here

    def error(self, condition: Formula) -> None:
        """Where this holds, what is being evaluated is an error."""
        found = self.f.both(self._here, condition)
        if found != FALSE:
            self._errors.append(found)

    def under(self, condition: Formula, e: E.Expr, scope: Scope) -> SymValue:
        """The value of what is evaluated only under a condition."""
        if condition == FALSE:
            return self.v.first(e.type)
        before = self._here
        self._here = self.f.both(before, condition)
        try:
            return self.value(e, scope)
        finally:
            self._here = before

    def truth(self, e: E.Expr, scope: Scope) -> Formula:
        """Of a bool."""
        found: Formula = self.value(e, scope)
        return found

    def value(self, e: E.Expr, scope: Scope) -> SymValue:
        """The value; errors are noted."""
        v, f = self.v, self.f
        match e:
            case E.Const(value, t):
                return v.constant(t, value)
            case E.Var(name, _, primed):
                state = scope.after if primed else scope.state
                if state is None:
                    raise InternalError(f"{name}' where there is no step")
                return state[name]
            case E.Local(name, _):
                return scope.bound[name]
            case E.Index(base, index):
                return self._index(e, self.value(base, scope), self.value(index, scope))
            case E.Field(base, name):
                assert isinstance(base.type, Record)
                number = [n for n, _ in base.type.fields].index(name)
                return self.value(base, scope)[number]
            case E.Not(operand):
                return self.truth(operand, scope) ^ 1
            case E.Negate(operand):
                return v.mapped(self.value(operand, scope), operator.neg)
            case E.Arith():
                return self._arith(e, self.value(e.left, scope), self.value(e.right, scope))
            case E.Compare("==", left, right):
                return v.equal(left.type, self.value(left, scope), self.value(right, scope))
            case E.Compare("!=", left, right):
                return v.equal(left.type, self.value(left, scope), self.value(right, scope)) ^ 1
            case E.Compare(op, left, right):
                return v.related(self.value(left, scope), self.value(right, scope), _ORDER[op])
            case E.Logic():
                return self._logic(e, scope)
            case E.SetOp(op, left, right):
                pairs = zip(self.value(left, scope), self.value(right, scope), strict=True)
                return tuple(f.either(a, b) if op == "+" else f.both(a, b ^ 1) for a, b in pairs)
            case E.InSet(element, of):
                cases, there = self.value(element, scope), self.value(of, scope)
                return f.any(f.both(c, there[_ordinal(element.type, x)]) for x, c in _cases(cases))
            case E.InRange(value, low, high):
                x, a, b = (self.value(part, scope) for part in (value, low, high))
                return f.both(v.related(a, x, operator.le), v.related(x, b, operator.le))
            case E.IsMember(value, members):
                return self._is_member(value.type, self.value(value, scope), members)
            case E.If(condition, then, otherwise, t):
                c = self.truth(condition, scope)
                return v.choose(t, c, self.under(c, then, scope), self.under(c ^ 1, otherwise, scope))
            case E.Quant():
                return self._quantified(e, scope)
            case E.MinMax(kind, args):
                pick = min if kind == "min" else max
                numbers: list[Cases] = [self.value(a, scope) for a in args]
                out = numbers[0]
                for n in numbers[1:]:
                    out = v.combined(out, n, pick)
                return out
            case E.Apply(name, args, _, primed):
                define = self.defines[name]
                state = scope.after if primed else scope.state
                assert state is not None
                bound = {p.name: self.value(a, scope) for p, a in zip(define.params, args, strict=True)}
                return self.value(define.body, Scope(state, None, bound))
            case E.MakeRecord(parts, _):
                return tuple(self.value(part, scope) for part in parts)
            case E.MakeSet(elements, t):
                return self._make_set(t, elements, scope)
            case E.MakeThreadId(args, t):
                assert isinstance(t, ThreadId)
                total: Cases = {0: TRUE}
                for i, a in zip(t.index, args, strict=True):
                    size, at = cardinality(i), self.value(a, scope)
                    numbers_ = v.mapped(dict(_cases(at)), lambda x, i=i: _ordinal(i, x))  # type: ignore[misc]
                    total = v.combined(total, numbers_, lambda x, y, size=size: x * size + y)  # type: ignore[misc]
                return total
            case E.Size(operand):
                inner = self.value(operand, scope)
                return inner[0] if isinstance(operand.type, Queue) else self.count((TRUE, there) for there in inner)
            case E.Head(queue, _):
                length, elements_ = self.value(queue, scope)
                self.error(length.get(0, FALSE))
                return elements_[0]
            case E.Popped(queue, t):
                assert isinstance(t, Queue)
                length, elements_ = self.value(queue, scope)
                self.error(length.get(0, FALSE))
                shorter = v.cases((max(0, n - 1), c) for n, c in length.items())
                return shorter, (*elements_[1:], v.first(t.element))
            case E.Pushed(queue, value, t):
                return self._pushed(t, self.value(queue, scope), self.value(value, scope))
            case E.Cast(operand, t):
                return self._cast(operand.type, t, self.value(operand, scope))

    # ------------------------------------------------------------ parts and numbers

    def _index(self, e: E.Index, base: SymValue, index: SymValue) -> SymValue:
        assert isinstance(e.base.type, Array)
        t = e.base.type.index
        return self.v.select(e.type, [(c, base[_ordinal(t, x)]) for x, c in _cases(index)])

    def _arith(self, e: E.Arith, a: Cases, b: Cases) -> Cases:
        if e.op not in "/%":
            return self.v.combined(a, b, _ARITH[e.op])
        self.error(b.get(0, FALSE))
        rest = {x: c for x, c in b.items() if x != 0}
        return self.v.combined(a, rest, operator.floordiv if e.op == "/" else operator.mod)

    def _logic(self, e: E.Logic, scope: Scope) -> Formula:
        a = self.truth(e.left, scope)
        match e.op:
            case "&&":
                return self.f.both(a, self.under(a, e.right, scope))
            case "||":
                return self.f.either(a, self.under(a ^ 1, e.right, scope))
            case "=>":
                return self.f.implies(a, self.under(a, e.right, scope))
            case "<=>":
                return self.f.same(a, self.truth(e.right, scope))

    def _is_member(self, t: Type, value: SymValue, members: tuple[int, ...]) -> Formula:
        assert isinstance(t, Union)
        if not is_scalar(t):
            return self.f.any(value[0].get(m, FALSE) for m in members)
        return self.f.any(c for x, c in value.items() if _member(t, x) in members)

    def _make_set(self, t: Type, elements: Sequence[E.Expr], scope: Scope) -> SymValue:
        assert isinstance(t, Set)
        there: list[Formula] = [FALSE] * cardinality(t.element)
        for e in elements:
            for x, c in _cases(self.value(e, scope)):
                at = _ordinal(t.element, x)
                there[at] = self.f.either(there[at], c)
        return tuple(there)

    def _pushed(self, t: Type, queue: tuple[Cases, tuple[SymValue, ...]], value: SymValue) -> SymValue:
        assert isinstance(t, Queue)
        length, elements = queue
        self.error(length.get(t.capacity, FALSE))
        longer = self.v.cases((min(n + 1, t.capacity), c) for n, c in length.items())
        return longer, tuple(
            self.v.choose(t.element, length.get(i, FALSE), value, old) for i, old in enumerate(elements)
        )

    def _cast(self, source: Type, target: Type, value: SymValue) -> SymValue:
        if source == target:
            return value
        if _simple(source) and _simple(target):
            return self._converted(_cases(value), converter(source, target), target)
        return self._cast_large(source, target, value)

    def _converted(
        self, cases: Iterator[tuple[int, Formula]], convert: Callable[[object], object], target: Type
    ) -> SymValue:
        fine: list[tuple[int, Formula]] = []
        for x, c in cases:
            try:
                to = convert(x)
            except Mismatch:
                self.error(c)
                continue
            assert isinstance(to, int)
            fine.append((int(to), c))
        found = self.v.cases(fine)
        return found if target != BOOL else found.get(1, FALSE)

    def _cast_large(self, source: Type, target: Type, value: SymValue) -> SymValue:
        """Where one of the two is a union with members that are no scalars: member by member."""
        options: list[tuple[Formula, SymValue]] = []
        for c, held, inner in self._held(source, value):
            wanted = self._wrapped(held, target, inner, c)
            if wanted is not None:
                options.append((c, wanted))
        return self.v.select(target, options)

    def _held(self, source: Type, value: SymValue) -> Iterator[tuple[Formula, Type, SymValue]]:
        """What a value may hold: the condition, of which type, and the value of that type."""
        if not isinstance(source, Union):
            yield TRUE, source, value
        elif is_scalar(source):
            for number, (m, start) in enumerate(zip(source.members, offsets(source), strict=True)):
                own = {from_ordinal(m, x - start): c for x, c in value.items() if _member(source, x) == number}
                yield self.f.any(own.values()), m, own.get(1, FALSE) if m == BOOL else own
        else:
            for number, m in enumerate(source.members):
                yield value[0].get(number, FALSE), m, value[1][number]

    def _wrapped(self, held: Type, target: Type, inner: SymValue, condition: Formula) -> SymValue | None:
        """A value of no union as a value of the target; None (and an error) where it is none."""
        members = target.members if isinstance(target, Union) else (target,)
        number = next((i for i, m in enumerate(members) if _fits(held, m)), None)
        if number is None:
            self.error(condition)
            return None
        before = self._here
        self._here = self.f.both(before, condition)
        m = members[number]
        if _simple(held):
            inner = self._converted(_cases(inner), converter(held, m), m)
        self._here = before
        if not isinstance(target, Union):
            return inner
        if is_scalar(target):
            start = offsets(target)[number]
            return self.v.cases((start + _ordinal(m, x), c) for x, c in _cases(inner))
        return {number: TRUE}, tuple(inner if i == number else self.v.first(t) for i, t in enumerate(members))

    # ------------------------------------------------------------ quantifiers

    def passes(
        self, binders: Sequence[E.Binder], filter_: E.Expr | None, scope: Scope
    ) -> Iterator[tuple[Formula, Scope, tuple[int, ...]]]:
        """Each combination of values of the binders: the condition under which it is one and passes the filter, the
        scope with the names bound, and the values."""
        yield from self._passes(tuple(binders), filter_, scope, TRUE, ())

    def _passes(
        self,
        binders: tuple[E.Binder, ...],
        filter_: E.Expr | None,
        scope: Scope,
        there: Formula,
        so_far: tuple[int, ...],
    ) -> Iterator[tuple[Formula, Scope, tuple[int, ...]]]:
        if not binders:
            if filter_ is not None:
                there = self.f.both(there, self.under(there, filter_, scope))
            if there != FALSE:
                yield there, scope, so_far
            return
        b, *rest = binders
        for value, condition in self._domain(b, scope, there):
            here = self.f.both(there, condition)
            if here != FALSE:
                inner = scope.bind(b.name, self.v.constant(b.type, value))
                yield from self._passes(tuple(rest), filter_, inner, here, (*so_far, value))

    def _domain(self, b: E.Binder, scope: Scope, there: Formula) -> Iterator[tuple[int, Formula]]:
        match b.domain:
            case E.OverType(t):
                yield from ((x, TRUE) for (x,) in combinations([t]))
            case E.OverSet(of):
                assert isinstance(of.type, Set)
                for i, c in enumerate(self.under(there, of, scope)):
                    yield from_ordinal(of.type.element, i), c
            case E.OverRange(low, high):
                a, z = self.under(there, low, scope), self.under(there, high, scope)
                for x in range(min(a, default=0), max(z, default=-1) + 1):
                    begun = self.f.any(c for n, c in a.items() if n <= x)
                    yield x, self.f.both(begun, self.f.any(c for n, c in z.items() if x <= n))

    def _quantified(self, e: E.Quant, scope: Scope) -> SymValue:
        items: list[tuple[Formula, SymValue, int]] = []
        for there, inner, chosen in self.passes(e.binders, e.filter, scope):
            value = self.under(there, e.body, inner) if e.body is not None else TRUE
            items.append((there, value, chosen[0]))
        f = self.f
        match e.kind:
            case "forall":
                return f.all(f.implies(there, x) for there, x, _ in items)
            case "exists":
                return f.any(f.both(there, x) for there, x, _ in items)
            case "count":
                return self.count((there, TRUE) for there, _, _ in items)
            case "sum":
                total: Cases = {0: TRUE}
                for there, x, _ in items:
                    term = self.v.cases([*((n, f.both(there, c)) for n, c in x.items()), (0, there ^ 1)])
                    total = self.v.combined(total, term, operator.add)
                return total
            case "min" | "max":
                return self._extreme(e.kind, [(there, x) for there, x, _ in items])
            case "set":
                assert isinstance(e.type, Set)
                out: list[Formula] = [FALSE] * cardinality(e.type.element)
                for there, x, _ in items:
                    for value, c in _cases(x):
                        at = _ordinal(e.type.element, value)
                        out[at] = f.either(out[at], f.both(there, c))
                return tuple(out)

    def count(self, items: Iterator[tuple[Formula, Formula]]) -> Cases:
        """How many of these pairs hold."""
        total: Cases = {0: TRUE}
        for a, b in items:
            here = self.f.both(a, b)
            total = self.v.cases(
                [
                    *((n + 1, self.f.both(here, c)) for n, c in total.items()),
                    *((n, self.f.both(here ^ 1, c)) for n, c in total.items()),
                ]
            )
        return total

    def _extreme(self, kind: str, items: list[tuple[Formula, Cases]]) -> Cases:
        pick = min if kind == "min" else max
        none, best = TRUE, dict[int, Formula]()
        for there, x in items:
            joined = self.v.combined(best, x, pick)
            first = self.f.both(there, none)
            again = self.f.both(there, none ^ 1)
            best = self.v.cases(
                [
                    *((n, self.f.both(first, c)) for n, c in x.items()),
                    *((n, self.f.both(again, c)) for n, c in joined.items()),
                    *((n, self.f.both(there ^ 1, c)) for n, c in best.items()),
                ]
            )
            none = self.f.both(none, there ^ 1)
        self.error(none)
        return best


def _simple(t: Type) -> bool:
    return is_scalar(t) or t == INT


def _ordinal(t: Type, value: int) -> int:
    return ordinal(t, value)


def _member(t: Union, value: int) -> int:
    return max(i for i, start in enumerate(offsets(t)) if start <= value and cardinality(t.members[i]) > 0)


def _fits(held: Type, member: Type) -> bool:
    try:
        converter(held, member)
    except InternalError:
        return False
    return True


def _cases(value: SymValue) -> Iterator[tuple[int, Formula]]:
    """The cases of any scalar, bools too."""
    if isinstance(value, dict):
        yield from value.items()
    else:
        yield from ((x, c) for x, c in ((1, value), (0, value ^ 1)) if c != FALSE)
