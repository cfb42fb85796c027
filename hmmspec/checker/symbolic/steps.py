"""Steps over unknown states: when a rule has an outcome, what the outcome is, and when it ends in a finding.

A rule's arguments and its choices are unknowns of their own (*inputs*): for each way that the interpreter finds from a
state there are values of the inputs for which the step is that one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from hmmspec.checker.symbolic.evaluate import Evaluator, Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.analyse import branches
from hmmspec.system.types import BOOL, Array, Record, Type, cardinality, from_ordinal, is_scalar, ordinal, values

MOST_WAYS = 1 << 14  # values that one choice is among


@dataclass(frozen=True)
class Ending:
    """How a step can end early: name of the finding, and when."""

    name: str
    condition: Formula


@dataclass(frozen=True)
class Step:
    """A rule from one unknown state.

    enabled: it has an outcome, which is `after`; findings: other ends.  valid: what the inputs must fulfil to stand for
    arguments and choices at all (part of `enabled` and of each finding's condition).
    """

    rule: core.Rule
    arguments: tuple[SymValue, ...]
    enabled: Formula
    after: Mapping[str, SymValue]
    findings: tuple[Ending, ...]
    valid: Formula


@dataclass
class _Way:
    """A part of a step: how far it has come."""

    alive: Formula
    state: dict[str, SymValue]
    bound: Mapping[str, SymValue]


class Stepper:
    """Makes the steps of a System."""

    def __init__(self, system: core.System, evaluator: Evaluator) -> None:
        self.system, self.e = system, evaluator
        self.f, self.v = evaluator.f, evaluator.v
        self._valid: list[Formula] = []
        self._endings: dict[str, list[Formula]] = {}
        self._inputs = 0
        self._rule = ""

    def step(self, rule: core.Rule, state: Mapping[str, SymValue]) -> Step:
        """The step of a rule with unknown arguments.  Raises Limit."""
        self._valid, self._endings, self._inputs, self._rule = [], {}, 0, f"rule {rule.number}"
        arguments = tuple(self._input(p.type) for p in rule.params)
        bound = {p.name: a for p, a in zip(rule.params, arguments, strict=True)}
        way = _Way(TRUE, dict(state), bound)
        self._restrict(way, rule.guard)
        self._block(way, rule.body)
        valid = self.f.all(self._valid)
        enabled = self.f.both(way.alive, valid)
        for a in self.system.assumes:
            fine, wrong = self.e.evaluate(a.body, Scope(way.state))
            self._ends("spec_error", self.f.both(way.alive, wrong))
            enabled = self.f.both(enabled, self.f.both(fine, wrong ^ 1))
        findings = [Ending(name, self.f.both(valid, self.f.any(c))) for name, c in self._endings.items()]
        return Step(rule, arguments, enabled, way.state, tuple(x for x in findings if x.condition != FALSE), valid)

    def possible(self, rule: core.Rule, state: Mapping[str, SymValue]) -> Formula:
        """Whether the rule has an outcome (before assumes) or ends in a finding, for any arguments and choices.

        No inputs: every way is followed.  Raises Limit where there are too many.
        """
        self._endings, self._rule = {}, f"rule {rule.number}"
        ends: list[Formula] = []
        for args in product(*(values(p.type) for p in rule.params)):
            bound = {p.name: self.v.constant(p.type, a) for p, a in zip(rule.params, args, strict=True)}
            self._follow(_Way(TRUE, dict(state), bound), (core.Guard(rule.guard), *rule.body), ends)
        return self.f.any([*ends, *(c for some in self._endings.values() for c in some)])

    def _follow(self, way: _Way, block: core.Block, ends: list[Formula]) -> None:
        """Every way through the block, one after the other."""
        for at, s in enumerate(block):
            if way.alive == FALSE:
                return
            rest = block[at + 1 :]
            match s:
                case core.Choose():
                    for bound, there in self._chosen(way, s):
                        self._follow(_Way(self.f.both(way.alive, there), dict(way.state), bound), rest, ends)
                    return
                case core.Either(branches_):
                    for b in branches_:
                        self._follow(_Way(way.alive, dict(way.state), way.bound), (*b, *rest), ends)
                    return
                case core.IfElse(condition, then, otherwise) if branches((*then, *otherwise)):
                    c = self._value(way, condition)
                    for here, b in ((c, then), (c ^ 1, otherwise)):
                        inner = _Way(self.f.both(way.alive, here), dict(way.state), way.bound)
                        self._follow(inner, (*b, *rest), ends)
                    return
                case core.For(_, _, body) if branches(body):
                    raise Limit("a loop with choices in it is too large for the symbolic engine to look for deadlocks")
                case _:
                    self._statement(way, s)
        ends.append(way.alive)
        if len(ends) > MOST_WAYS:
            raise Limit(f"more than {MOST_WAYS} ways through a step are too many for the symbolic engine")

    # ------------------------------------------------------------ conditions

    def _input(self, t: Type) -> SymValue:
        """An unknown value of a type."""
        self._inputs += 1
        value, valid = self.v.unknown(t, f"{self._rule} input {self._inputs}")
        self._valid.append(valid)
        return value

    def _ends(self, name: str, condition: Formula) -> None:
        if condition != FALSE:
            self._endings.setdefault(name, []).append(condition)

    def _value(self, way: _Way, e: E.Expr) -> SymValue:
        """An expression's value; where it errs the way ends."""
        value, wrong = self.e.evaluate(e, Scope(way.state, None, way.bound))
        self._ends("spec_error", self.f.both(way.alive, wrong))
        way.alive = self.f.both(way.alive, wrong ^ 1)
        return value

    def _restrict(self, way: _Way, condition: E.Expr) -> None:
        """Where the condition does not hold the way has no outcome."""
        holds = self._value(way, condition)
        way.alive = self.f.both(way.alive, holds)

    # ------------------------------------------------------------ statements

    def _block(self, way: _Way, block: core.Block) -> None:
        """What a name is bound to in a block is forgotten behind it."""
        bound = way.bound
        for s in block:
            if way.alive == FALSE:
                break
            self._statement(way, s)
        way.bound = bound

    def _statement(self, way: _Way, s: core.Stmt) -> None:
        match s:
            case core.Assign(target, value):
                # Indices of the target come first, then the value; which of two errors is first does not matter here.
                path = list(self._path(way, target))
                self._store(way, target, path, self._value(way, value))
            case core.Let(name, value):
                way.bound = {**way.bound, name: self._value(way, value)}
            case core.IfElse(condition, then, otherwise):
                c = self._value(way, condition)
                self._either(way, [(c, then), (c ^ 1, otherwise)])
            case core.For():
                self._for(way, s)
            case core.Choose():
                self._choose(way, s)
            case core.Either(branches):
                which = self._ways(len(branches))
                self._either(way, [(which.get(i, FALSE), b) for i, b in enumerate(branches)])
            case core.Guard(condition):
                self._restrict(way, condition)
            case core.Check(_, name, _, condition):
                holds = self._value(way, condition)
                self._ends(name, self.f.both(way.alive, holds ^ 1))
                way.alive = self.f.both(way.alive, holds)

    def _ways(self, n: int) -> dict[int, Formula]:
        """An unknown number below n."""
        if n > MOST_WAYS:
            raise Limit(f"a choice among {n} values is too large for the symbolic engine")
        self._inputs += 1
        atoms = [self.f.atom((f"{self._rule} input {self._inputs}", i)) for i in range(max(0, n - 1).bit_length())]
        found = {k: self.f.all(a if k >> i & 1 else a ^ 1 for i, a in enumerate(atoms)) for k in range(n)}
        self._valid.append(self.f.any(found.values()))
        return found

    def _either(self, way: _Way, branches: list[tuple[Formula, core.Block]]) -> None:
        """Exactly one of these branches is taken: the one whose condition holds."""
        ends: list[tuple[Formula, _Way]] = []
        for condition, block in branches:
            inner = _Way(self.f.both(way.alive, condition), dict(way.state), way.bound)
            if inner.alive != FALSE:
                self._block(inner, block)
                ends.append((condition, inner))
        self._join(way, ends)

    def _join(self, way: _Way, ends: list[tuple[Formula, _Way]]) -> None:
        way.alive = self.f.any(inner.alive for _, inner in ends)
        ends = [(c, inner) for c, inner in ends if inner.alive != FALSE]
        for variable in self.system.variables:
            name = variable.name
            options = [(c, inner.state[name]) for c, inner in ends]
            if any(value is not way.state[name] for _, value in options):
                way.state[name] = self.v.select(variable.type, options)

    def _for(self, way: _Way, s: core.For) -> None:
        """One pass for each value, one after the other: domains and filter see what the passes before have done."""
        self._passes(way, s.binders, s)

    def _passes(self, way: _Way, binders: tuple[E.Binder, ...], s: core.For) -> None:
        if not binders:
            c = self._value(way, s.filter) if s.filter is not None else TRUE
            self._either(way, [(c, s.body), (c ^ 1, ())])
            return
        b, *rest = binders
        for value, there in self._domain(way, b):
            bound = way.bound
            inner = _Way(self.f.both(way.alive, there), dict(way.state), bound)
            inner.bound = {**bound, b.name: self.v.constant(b.type, value)}
            if inner.alive == FALSE:
                continue
            self._passes(inner, tuple(rest), s)
            outer = _Way(self.f.both(way.alive, there ^ 1), way.state, bound)
            self._join(way, [(there, inner), (there ^ 1, outer)])
            way.bound = bound

    def _domain(self, way: _Way, b: E.Binder) -> Iterator[tuple[int, Formula]]:
        """The values of a binder as they are on entry."""
        match b.domain:
            case E.OverType(t):
                for i in range(cardinality(t)):
                    yield from_ordinal(t, i), TRUE
            case E.OverSet(of):
                there = self._value(way, of)
                for i, c in enumerate(there):
                    yield from_ordinal(_element(of.type), i), c
            case E.OverRange(low, high):
                a, z = self._value(way, low), self._value(way, high)
                for x in range(min(a, default=0), max(z, default=-1) + 1):
                    begun = self.f.any(c for n, c in a.items() if n <= x)
                    yield x, self.f.both(begun, self.f.any(c for n, c in z.items() if x <= n))

    def _choose(self, way: _Way, s: core.Choose) -> None:
        """The filter is evaluated for every value: an error of any of them is one of the whole."""
        passes = list(self._chosen(way, s))
        which = self._ways(len(passes)) if passes else {}
        way.alive = self.f.both(way.alive, self.f.any(self.f.both(which[i], p[1]) for i, p in enumerate(passes)))
        way.bound = {
            **way.bound,
            **{
                b.name: self.v.select(b.type, [(which[i], bound[b.name]) for i, (bound, _) in enumerate(passes)])
                for b in s.binders
            },
        }

    def _chosen(self, way: _Way, s: core.Choose) -> Iterator[tuple[Mapping[str, SymValue], Formula]]:
        """For each combination of values: names bound to them, and when it can be chosen."""
        wrong: list[Formula] = []
        passes = list(self._candidates(s, Scope(way.state, None, way.bound), wrong))
        failed = self.f.any(wrong)
        self._ends("spec_error", self.f.both(way.alive, failed))
        way.alive = self.f.both(way.alive, failed ^ 1)
        for there, chosen in passes:
            named = zip(s.binders, chosen, strict=True)
            yield {**way.bound, **{b.name: self.v.constant(b.type, x) for b, x in named}}, there

    def _candidates(
        self, s: core.Choose, scope: Scope, wrong: list[Formula]
    ) -> Iterator[tuple[Formula, tuple[int, ...]]]:
        """Each combination of values: when it can be chosen.  `wrong` gets the conditions of errors."""

        def below(
            binders: tuple[E.Binder, ...], scope: Scope, there: Formula, so_far: tuple[int, ...]
        ) -> Iterator[tuple[Formula, tuple[int, ...]]]:
            if not binders:
                fine, failed = TRUE, FALSE
                if s.filter is not None:
                    fine, failed = self.e.evaluate(s.filter, scope)
                wrong.append(self.f.both(there, failed))
                here = self.f.both(there, self.f.both(fine, failed ^ 1))
                if here != FALSE:
                    yield here, so_far
                return
            domain = E.Quant("exists", (binders[0],), None, E.TRUE, BOOL)
            _, failed = self.e.evaluate(domain, scope)
            wrong.append(self.f.both(there, failed))
            for here, inner, (value,) in self.e.passes(binders[:1], None, scope):
                yield from below(binders[1:], inner, self.f.both(there, here), (*so_far, value))

        yield from below(s.binders, scope, TRUE, ())

    # ------------------------------------------------------------ assignments

    def _path(self, way: _Way, target: E.Expr) -> Iterator[SymValue | str]:
        """How to get from the variable to the part that is assigned: values of indices, and names of fields."""
        match target:
            case E.Var():
                return
            case E.Index(base, index):
                yield from self._path(way, base)
                yield self._value(way, index)
            case E.Field(base, name):
                yield from self._path(way, base)
                yield name
            case _:
                raise InternalError("an assignment to something that is no part of a variable")

    def _store(self, way: _Way, target: E.Expr, path: list[SymValue | str], value: SymValue) -> None:
        whole = target
        while isinstance(whole, (E.Index, E.Field)):
            whole = whole.base
        assert isinstance(whole, E.Var)
        way.state[whole.name] = self._stored(whole.type, way.state[whole.name], path, value)

    def _stored(self, t: Type, old: SymValue, path: list[SymValue | str], value: SymValue) -> SymValue:
        if not path:
            return value
        first, *rest = path
        if isinstance(first, str):
            assert isinstance(t, Record)
            return tuple(
                self._stored(f, part, rest, value) if name == first else part
                for (name, f), part in zip(t.fields, old, strict=True)
            )
        assert isinstance(t, Array)
        conditions = {ordinal(t.index, x): c for x, c in _cases(first)}
        return tuple(
            self.v.choose(t.element, conditions[i], self._stored(t.element, part, rest, value), part)
            if i in conditions
            else part
            for i, part in enumerate(old)
        )


def _cases(value: SymValue) -> Iterator[tuple[int, Formula]]:
    if isinstance(value, dict):
        yield from value.items()
    else:
        yield from ((1, value), (0, value ^ 1))


def _element(t: Type) -> Type:
    element: Type = t.element  # type: ignore[union-attr]
    assert is_scalar(element)
    return element
