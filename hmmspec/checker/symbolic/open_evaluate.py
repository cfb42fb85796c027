"""Expressions where some types have no bounds: what cannot be said without counting is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hmmspec.checker.symbolic.evaluate import Evaluator, Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.open_values import (
    Described,
    Family,
    Holder,
    Key,
    Known,
    NotFirstOrder,
    OpenValues,
    Plain,
    Read,
)
from hmmspec.checker.symbolic.terms import Term, distinct
from hmmspec.checker.symbolic.values import Cases, SymValue
from hmmspec.diagnostics import InternalError
from hmmspec.system import expr as E
from hmmspec.system.convert import Mismatch, converter, partner
from hmmspec.system.faults import members_of
from hmmspec.system.show import text_of
from hmmspec.system.system import System
from hmmspec.system.types import (
    BOOL,
    Array,
    Queue,
    Set,
    Type,
    Union,
    inject,
)

MOST_COUNTED = 3  # "at most two" is said with three identities; beyond that the formulas get too large

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


class OpenEvaluator(Evaluator):
    """Evaluates expressions of a System some of whose symmetric types have no bounds."""

    v: OpenValues

    def __init__(self, system: System, formulas: Formulas, sorts: frozenset[str]) -> None:
        super().__init__(system, formulas)
        self.v = OpenValues(formulas, sorts)
        self.logic = self.v.logic

    def value(self, e: E.Expr, scope: Scope) -> SymValue:
        match e:
            case E.Compare(op, left, right) if self._counts(left) or self._counts(right):
                if self._counts(left):
                    return self._counted(op, left, right, scope)
                return self._counted(_FLIPPED[op], right, left, scope)
            case E.SetOp(op, left, right) if self._open_set(e.type):
                a, b = self.value(left, scope), self.value(right, scope)
                if op == "+":
                    return Family(lambda x: self.f.either(a.part(x), b.part(x)))
                return Family(lambda x: self.f.both(a.part(x), b.part(x) ^ 1))
            case E.InSet(element, of) if self._open_set(of.type):
                return self.at(BOOL, self.value(of, scope), self.value(element, scope), element.type)
            case E.IsMember(value, members) if self.v.is_open(value.type):
                described = self.value(value, scope)
                return self.f.any(c for c, h in described.options if h.member in members)
            case E.MakeSet(elements, t) if self._open_set(t):
                inside = [self.value(x, scope) for x in elements]
                return Family(lambda x: self.f.any(self.v.is_one(d, x) for d in inside))
            case E.MakeThreadId(args, t) if self.v.is_open(t):
                return self._thread([self.value(a, scope) for a in args])
            case E.Size() if self._counts(e):
                raise self._uncountable(e)
            case E.Quant() if any(self.is_open(b) for b in e.binders):
                return self._open_quantified(e, scope)
            case E.Cast(operand, t) if self.v.is_open(t) or self.v.is_open(operand.type):
                return self._open_cast(operand.type, t, self.value(operand, scope))
            case _:
                return super().value(e, scope)

    # ------------------------------------------------------------ parts

    def _index(self, e: E.Index, base: SymValue, index: SymValue) -> SymValue:
        if isinstance(base, Family):
            return self.at(e.type, base, index, e.index.type)
        return super()._index(e, base, index)

    def at(self, t: Type, family: Family, index: Described, index_type: Type) -> SymValue:
        """The part for an identity that is described."""
        options: list[tuple[Formula, SymValue]] = []
        for c, holder in index.options:
            match holder:
                case Read():
                    options.append((c, self._through(index_type, holder, family.part)))
                case _:
                    options.append((c, family.part(holder)))
        return self.v.select(t, options)

    def _through(self, index_type: Type, read: Read, part: Callable[[Key], SymValue]) -> SymValue:
        """The part for the identity that was read."""
        sorts = self.v.sorts_of(members_of(index_type)[read.member])
        assert sorts is not None
        names = self.logic.fresh(sorts)
        return self._of_the(names, read.which(names), part(Known(read.member, names)))

    def _of_the(self, names: tuple[Term, ...], which: Formula, value: SymValue) -> SymValue:
        """A value that speaks of `names`, of the one identity that is meant."""
        match value:
            case int():
                return self.logic.the(names, which, value)
            case dict():
                return {x: self.logic.the(names, which, c) for x, c in value.items()}
            case tuple():
                return tuple(self._of_the(names, which, part) for part in value)
            case Family(part):
                return Family(lambda x: self._of_the(names, which, part(x)))
            case Described(options):
                return Described(
                    tuple((self.logic.the(names, which, c), self._held_by(names, which, c, h)) for c, h in options)
                )
            case _:
                raise InternalError("a value of no kind")

    def _held_by(self, names: tuple[Term, ...], which: Formula, condition: Formula, holder: Holder) -> Holder:
        match holder:
            case Known(member, terms) if set(terms) & set(names):
                return Read(
                    member,
                    lambda y: self.logic.the(names, which, self.f.both(condition, self.logic.all_same(terms, y))),
                )
            case Read(member, of):
                return Read(member, lambda y: self.logic.the(names, which, of(y)))
            case _:
                return holder

    def _thread(self, args: Sequence[Described]) -> Described:
        if all(len(a.options) == 1 and isinstance(a.options[0][1], Known) for a in args):
            return Described(((TRUE, Known(0, tuple(t for a in args for t in a.options[0][1].terms))),))  # type: ignore[union-attr]

        def which(terms: tuple[Term, ...]) -> Formula:
            return self.f.all(self.v.is_one(a, Known(0, (t,))) for a, t in zip(args, terms, strict=True))

        return Described(((TRUE, Read(0, which)),))

    def _open_set(self, t: Type) -> bool:
        return isinstance(t, Set) and self.v.is_open(t.element)

    # ------------------------------------------------------------ conversions

    def _open_cast(self, source: Type, target: Type, value: SymValue) -> SymValue:
        options: list[tuple[Formula, Holder]] = []
        for c, holder in self._holders(source, value):
            held = members_of(source)[holder.member]
            to = partner(held, target)
            if to is None:
                self.error(c)
                continue
            match holder:
                case Known(_, terms):
                    options.append((c, Known(to, terms)))
                case Read(_, which):
                    options.append((c, Read(to, which)))
                case Plain(_, x):
                    try:
                        there = converter(held, members_of(target)[to])(x)
                    except Mismatch:
                        self.error(c)
                        continue
                    assert isinstance(there, int)
                    options.append((c, Plain(to, int(there))))
        if self.v.is_open(target):
            return Described(tuple(options))
        found: Cases = self.v.cases((_plain(target, h), c) for c, h in options)
        return found.get(1, FALSE) if target == BOOL else found

    def _holders(self, source: Type, value: SymValue) -> Sequence[tuple[Formula, Holder]]:
        if isinstance(value, Described):
            return value.options
        out: list[tuple[Formula, Holder]] = []
        for number, (c, _, inner) in enumerate(self._held(source, value)):
            if isinstance(inner, dict):
                out += [(self.f.both(c, d), Plain(number, x)) for x, d in inner.items()]
            else:
                out += [(self.f.both(c, inner), Plain(number, 1)), (self.f.both(c, inner ^ 1), Plain(number, 0))]
        return [(c, h) for c, h in out if c != FALSE]

    # ------------------------------------------------------------ quantifiers

    def errors_of(self, body: Callable[[], object]) -> Formula:
        """When what the body evaluates is an error."""
        kept, here = self._errors, self._here
        self._errors, self._here = [], TRUE
        body()
        found = self.f.any(self._errors)
        self._errors, self._here = kept, here
        return found

    def is_open(self, b: E.Binder) -> bool:
        """Whether a binder ranges over identities of a type without bounds."""
        match b.domain:
            case E.OverType(t):
                return self.v.is_open(t)
            case E.OverSet(of):
                return self._open_set(of.type)
            case E.OverRange():
                return False

    def _open_quantified(self, e: E.Quant, scope: Scope) -> SymValue:
        match e.kind:
            case "forall":
                assert e.body is not None
                return self.every(e.binders, e.filter, scope, lambda inner: self.truth(e.body, inner))  # type: ignore[arg-type]
            case "exists":
                assert e.body is not None
                return self.every(e.binders, e.filter, scope, lambda inner: self.truth(e.body, inner) ^ 1) ^ 1  # type: ignore[arg-type]
            case "set" if self._open_set(e.type):
                assert e.body is not None
                self.every(e.binders, e.filter, scope, lambda inner: self.value(e.body, inner) and TRUE)  # type: ignore[arg-type]
                return Family(lambda x: self._in_comprehension(e, scope, x))
            case _:
                raise self._uncountable(e)

    def _in_comprehension(self, e: E.Quant, scope: Scope, x: Key) -> Formula:
        kept = self._errors
        self._errors = []  # noted where the set is made

        def is_it(inner: Scope) -> Formula:
            assert e.body is not None
            return self.v.is_one(self.value(e.body, inner), x) ^ 1

        found = self.every(e.binders, e.filter, scope, is_it) ^ 1
        self._errors = kept
        return found

    def every(
        self, binders: Sequence[E.Binder], filter_: E.Expr | None, scope: Scope, body: Callable[[Scope], Formula]
    ) -> Formula:
        """For all values that pass the filter; an error of any of them is one of the whole."""
        if not binders:
            if filter_ is None:
                return body(scope)
            passes = self.truth(filter_, scope)
            before = self._here
            self._here = self.f.both(before, passes)
            found = self.f.implies(passes, body(scope)) if passes != FALSE else TRUE
            self._here = before
            return found
        b, *rest = binders
        if not self.is_open(b):
            out: list[Formula] = []
            for value, there in self._domain(b, scope, TRUE):
                inner = scope.bind(b.name, self.v.constant(b.type, value))
                out.append(self._within(there, (), lambda inner=inner: self.every(rest, filter_, inner, body)))  # type: ignore[misc]
            return self.f.all(out)
        return self.f.all(
            self._within(there, names, lambda v=value: self.every(rest, filter_, scope.bind(b.name, v), body))  # type: ignore[misc]
            for there, names, value in self.identities(b, scope)
        )

    def _within(self, there: Formula, names: tuple[Term, ...], body: Callable[[], Formula]) -> Formula:
        """For all `names` where `there` holds; errors in the body are errors for some of them."""
        kept, here = self._errors, self._here
        self._errors, self._here = [], there
        found = self.f.implies(there, body()) if there != FALSE else TRUE
        inside = self.f.any(self._errors)
        self._errors, self._here = kept, here
        self.error(self.logic.some_of(names, inside))
        return self.logic.every_of(names, found)

    def identities(self, b: E.Binder, scope: Scope) -> list[tuple[Formula, tuple[Term, ...], SymValue]]:
        """What a binder stands for: where it is in its domain, the variables, the value."""
        match b.domain:
            case E.OverSet(of):
                family = self.value(of, scope)
                assert isinstance(of.type, Set)
                t = of.type.element
            case E.OverType(t):
                family = Family(lambda _: TRUE)
            case E.OverRange():
                raise InternalError("a range has bounds")
        return [(family.part(k), names, Described(((TRUE, k),))) for k, names in self.v.keys(t)]

    # ------------------------------------------------------------ counting

    def _counts(self, e: E.Expr) -> bool:
        match e:
            case E.Cast(operand, _):
                return self._counts(operand)
            case E.Quant("count", binders):
                return any(self.is_open(b) for b in binders)
            case E.Size(operand):
                return self._open_set(operand.type)
            case _:
                return False

    def _counted(self, op: str, e: E.Expr, limit: E.Expr, scope: Scope) -> Formula:
        """A comparison of how many there are with a small number: said with as many identities."""
        number = self.value(limit, scope)
        if not isinstance(number, dict) or max(number, default=0) + 1 > MOST_COUNTED:
            raise self._uncountable(e)
        return self.f.any(self.f.both(c, self._compared(op, e, n, scope)) for n, c in number.items())

    def _compared(self, op: str, e: E.Expr, n: int, scope: Scope) -> Formula:
        match op:
            case ">=":
                return self._at_least(e, n, scope)
            case ">":
                return self._at_least(e, n + 1, scope)
            case "<":
                return self._at_least(e, n, scope) ^ 1
            case "<=":
                return self._at_least(e, n + 1, scope) ^ 1
            case "==":
                return self.f.both(self._at_least(e, n, scope), self._at_least(e, n + 1, scope) ^ 1)
            case _:
                return self._compared("==", e, n, scope) ^ 1

    def _at_least(self, e: E.Expr, n: int, scope: Scope) -> Formula:
        if n <= 0:
            return TRUE
        while isinstance(e, E.Cast):
            e = e.operand
        if isinstance(e, E.Size):
            family, t = self.value(e.operand, scope), e.operand.type
            assert isinstance(t, Set)
            return self._several(n, self._sorts(e, t.element), family.part)
        assert isinstance(e, E.Quant)
        if len(e.binders) != 1:
            raise self._uncountable(e)
        b = e.binders[0]
        sorts = self._sorts(e, b.type)
        self.every(e.binders, e.filter, scope, lambda _: TRUE)  # for its errors
        kept = self._errors
        self._errors = []

        def is_one(key: Key) -> Formula:
            value = Described(((TRUE, key),))
            there = TRUE
            if isinstance(b.domain, E.OverSet):
                there = self.value(b.domain.set, scope).part(key)
            if e.filter is not None:
                there = self.f.both(there, self.truth(e.filter, scope.bind(b.name, value)))
            return there

        found = self._several(n, sorts, is_one)
        self._errors = kept
        return found

    def _sorts(self, e: E.Expr, t: Type) -> tuple[str, ...]:
        sorts = self.v.sorts_of(t)
        if sorts is None:
            raise self._uncountable(e)
        return sorts

    def _several(self, n: int, sorts: Sequence[str], is_one: Callable[[Key], Formula]) -> Formula:
        groups = [self.logic.fresh(sorts) for _ in range(n)]
        body = self.f.all([distinct(self.logic, groups), *(is_one(Known(0, g)) for g in groups)])
        return self.logic.some_of(tuple(t for g in groups for t in g), body)

    def _uncountable(self, e: E.Expr) -> NotFirstOrder:
        return NotFirstOrder(
            f"`{text_of(e)}` counts identities of a type without bounds; write with `forall` and `exists` who holds "
            f"what, or compare the count with a number below {MOST_COUNTED}"
        )


def _plain(target: Type, holder: Holder) -> int:
    assert isinstance(holder, Plain)
    if not isinstance(target, Union):
        return holder.value
    value = inject(target, holder.member, holder.value)
    assert isinstance(value, int)
    return value


__all__ = ["Array", "OpenEvaluator", "Queue"]
