"""Expressions where some types have no bounds: what cannot be said without counting is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hmmspec.checker.symbolic.evaluate import Evaluator, Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula, Formulas
from hmmspec.checker.symbolic.open_values import (
    Described,
    Family,
    Holder,
    Key,
    Known,
    OpenValues,
    Plain,
    Read,
    Uncountable,
)
from hmmspec.checker.symbolic.terms import Replacement, Term
from hmmspec.checker.symbolic.values import Cases, SymValue
from hmmspec.diagnostics import InternalError
from hmmspec.system import expr as E
from hmmspec.system.convert import Mismatch, converter, partner
from hmmspec.system.faults import members_of
from hmmspec.system.show import text_of
from hmmspec.system.system import System
from hmmspec.system.types import (
    BOOL,
    Int,
    Set,
    Type,
    Union,
    inject,
    is_scalar,
)

MOST_COUNTED = 4  # "at most four" is said with five identities; beyond that the formulas get too large


class OpenEvaluator(Evaluator):
    """Evaluates expressions of a System some of whose symmetric types have no bounds."""

    v: OpenValues

    def __init__(self, system: System, formulas: Formulas, sorts: frozenset[str]) -> None:
        super().__init__(system, formulas)
        self.v = OpenValues(formulas, sorts)
        self.logic = self.v.logic

    def value(self, e: E.Expr, scope: Scope) -> SymValue:
        match e:
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
            case E.Size(operand) if self._open_set(operand.type):
                raise uncountable(e)
            case E.Quant() if any(self.is_open(b) for b in e.binders):
                return self._open_quantified(e, scope)
            case E.Cast(operand, t) if self._is_plain_cast(operand.type, t):
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

    def _is_plain_cast(self, source: Type, target: Type) -> bool:
        """Whether one of the two may be an identity, and neither is a union with members that are no scalars."""
        some = self.v.is_open(source) or self.v.is_open(target)
        return some and not any(isinstance(t, Union) and not is_scalar(t) for t in (source, target))

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

    def _held(self, source: Type, value: SymValue) -> Iterator[tuple[Formula, Type, SymValue]]:
        if not isinstance(value, Described):
            yield from super()._held(source, value)
            return
        for number, m in enumerate(members_of(source)):
            own = [(c, h) for c, h in value.options if h.member == number]
            there = self.f.any(c for c, _ in own)
            if self.v.is_open(m):
                yield there, m, Described(tuple((c, _as_member(h, 0)) for c, h in own))
            else:
                cases = self.v.cases((h.value, c) for c, h in own if isinstance(h, Plain))
                yield there, m, cases.get(1, FALSE) if m == BOOL else cases

    def _wrapped(self, held: Type, target: Type, inner: SymValue, condition: Formula) -> SymValue | None:
        if not isinstance(inner, Described) and not self.v.is_open(target):
            return super()._wrapped(held, target, inner, condition)
        number = partner(held, target)
        if number is None:
            self.error(condition)
            return None
        members = members_of(target)
        if not isinstance(inner, Described):
            before, self._here = self._here, self.f.both(self._here, condition)
            cases = self._converted(_cases(inner), converter(held, members[number]), members[number])
            self._here = before
            return Described(tuple((c, Plain(number, x)) for x, c in _cases(cases)))
        if is_scalar(target):
            return Described(tuple((c, _as_member(h, number)) for c, h in inner.options))
        return {number: TRUE}, tuple(inner if i == number else self.v.first(m) for i, m in enumerate(members))

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
        try:
            body()
            return self.f.any(self._errors)
        finally:
            self._errors, self._here = kept, here

    def errors_inside(self, e: E.Expr, scope: Scope) -> Formula:
        """When something in an expression that counts is an error, whether or not it comes to be evaluated.

        Raises Uncountable where what is counted decides whether there is an error."""
        try:
            return self.evaluate(e, scope)[1]
        except Uncountable:
            match e:
                case E.Quant("forall" | "exists" | "count" | "sum", binders, filter_, body):
                    return self._errors_of_passes(binders, filter_, body, scope)
                case E.Apply(name, args, _, False):
                    define = self.defines[name]
                    found = [self.evaluate(a, scope) for a in args]
                    bound = {p.name: value for p, (value, _) in zip(define.params, found, strict=True)}
                    inner = self.errors_inside(define.body, Scope(scope.state, None, bound))
                    return self.f.any([inner, *(wrong for _, wrong in found)])
                case E.Size():
                    return self.errors_inside(e.operand, scope)
                case E.Not() | E.Negate() | E.Compare() | E.Logic() | E.If() | E.InRange() | E.MinMax():
                    return self.f.any(self.errors_inside(c, scope) for c in E.children(e))
                case E.Arith("+" | "-" | "*") | E.Cast(_, Int()):
                    return self.f.any(self.errors_inside(c, scope) for c in E.children(e))
                case _:
                    raise

    def _errors_of_passes(
        self, binders: Sequence[E.Binder], filter_: E.Expr | None, body: E.Expr | None, scope: Scope
    ) -> Formula:
        def inside(inner: Scope) -> Formula:
            if body is not None:
                self.error(self.errors_inside(body, inner))
            return TRUE

        def inside_both(inner: Scope) -> Formula:
            assert filter_ is not None
            self.error(self.errors_inside(filter_, inner))
            return inside(inner)

        try:
            return self.errors_of(lambda: self.every(binders, filter_, scope, inside))
        except Uncountable:
            if filter_ is None:
                raise
            return self.errors_of(lambda: self.every(binders, None, scope, inside_both))

    def numbers(self, b: E.Binder, scope: Scope) -> Iterator[tuple[int, Formula]]:
        """The numbers of a range, with the condition of each."""
        kept, self._errors = self._errors, []
        yield from self._domain(b, scope, TRUE)
        self._errors = kept

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
                return self._comprehension(e, scope)
            case "min" | "max":
                return self._open_extreme(e, scope)
            case _:
                raise uncountable(e)

    def _open_extreme(self, e: E.Quant, scope: Scope) -> Cases:
        """The number that some have, and none a larger (smaller) one."""
        body = e.body
        assert body is not None
        self.every(e.binders, e.filter, scope, lambda inner: _said(self.value(body, inner)))  # for its errors
        kept, self._errors = self._errors, []
        found: dict[int, list[Formula]] = {}
        for there, names, inner in self.combinations(e.binders, e.filter, scope):
            for n, c in self.value(body, inner).items():
                found.setdefault(n, []).append(self.logic.some_of(names, self.f.both(there, c)))
        self._errors = kept
        some = {n: self.f.any(conditions) for n, conditions in found.items()}
        self.error(self.f.any(some.values()) ^ 1)
        best: Cases = {}
        for n in sorted(some, reverse=e.kind == "max"):
            best[n] = self.f.all([some[n], *(some[m] ^ 1 for m in best)])
        return best

    def combinations(
        self, binders: Sequence[E.Binder], filter_: E.Expr | None, scope: Scope
    ) -> Iterator[tuple[Formula, tuple[Term, ...], Scope]]:
        """What the names may be together: where that passes the filter, the variables of identities, and the scope."""
        if not binders:
            yield (self.truth(filter_, scope) if filter_ is not None else TRUE), (), scope
            return
        b, *rest = binders
        if self.is_open(b):
            firsts = self.identities(b, scope)
        else:
            firsts = [(c, (), self.v.constant(b.type, x)) for x, c in self._domain(b, scope, TRUE)]
        for there, names, value in firsts:
            for here, more, inner in self.combinations(rest, filter_, scope.bind(b.name, value)):
                if self.f.both(there, here) != FALSE:
                    yield self.f.both(there, here), (*names, *more), inner

    def _comprehension(self, e: E.Quant, scope: Scope) -> Family:
        """The set of the values of the body: everything is evaluated now, since the state goes on."""
        body = e.body
        assert body is not None
        self.every(e.binders, e.filter, scope, lambda inner: _said(self.value(body, inner)))  # for its errors
        kept, self._errors = self._errors, []
        found = [
            (there, names, self.value(body, inner))
            for there, names, inner in self.combinations(e.binders, e.filter, scope)
        ]
        self._errors = kept
        return Family(lambda key: self.f.any(self._is_made(key, *one) for one in found))

    def _is_made(self, key: Key, there: Formula, names: tuple[Term, ...], value: SymValue) -> Formula:
        """Whether the value, for some of these names, is this one."""
        match value.options, key:
            case ((0, Known(member, terms)),), Known(wanted, at) if terms == names:
                if member != wanted:
                    return FALSE
                return self.logic.replaced(there, Replacement(dict(zip(names, at, strict=True))))
            case _:
                return self.logic.some_of(names, self.f.both(there, self.v.is_one(value, key)))

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


def uncountable(e: E.Expr) -> Uncountable:
    what = "adds up over" if isinstance(e, E.Quant) and e.kind == "sum" else "counts"
    return Uncountable(
        f"`{text_of(e)}` {what} identities of a type without bounds; write with `forall` and `exists` who holds "
        f"what, or compare a count with a number up to {MOST_COUNTED}"
    )


def _said(_value: SymValue) -> Formula:
    """Of a value that is evaluated for its errors."""
    return TRUE


def _as_member(holder: Holder, number: int) -> Holder:
    return replace(holder, member=number)


def _cases(value: SymValue) -> Iterator[tuple[int, Formula]]:
    if isinstance(value, dict):
        yield from value.items()
    else:
        yield from ((1, value), (0, value ^ 1))


def _plain(target: Type, holder: Holder) -> int:
    assert isinstance(holder, Plain)
    if not isinstance(target, Union):
        return holder.value
    value = inject(target, holder.member, holder.value)
    assert isinstance(value, int)
    return value
