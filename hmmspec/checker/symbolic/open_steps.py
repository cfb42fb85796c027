"""Steps where some types have no bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import TRUE, Formula
from hmmspec.checker.symbolic.open_evaluate import OpenEvaluator
from hmmspec.checker.symbolic.open_kinds import Described, Family, Key, Known, Plain, Uncountable
from hmmspec.checker.symbolic.open_loops import LoopStepper
from hmmspec.checker.symbolic.steps import Step, _Way
from hmmspec.checker.symbolic.terms import Term
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.diagnostics import Limit
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.faults import members_of
from hmmspec.system.show import text_of
from hmmspec.system.types import Array, Type, cardinality, from_ordinal


@dataclass(frozen=True)
class Wait:
    """A place in a step where a thread waits for a lock.

    arrives: when the step comes so far; index: which lock of an array; me: the thread, as the lock's owner;
    names: of the loops around it; state: there.
    """

    wait: core.LockWait
    arrives: Formula
    index: tuple[SymValue, ...]
    me: SymValue
    names: tuple[Term, ...]
    state: Mapping[str, SymValue]


class OpenStepper(LoopStepper):
    """Makes the steps of a System some of whose symmetric types have no bounds."""

    def __init__(self, system: core.System, evaluator: OpenEvaluator) -> None:
        super().__init__(system, evaluator)
        self.left_out: dict[str, None] = {}  # conjuncts of guards that count, in the order in which they are met
        self.waits: list[Wait] = []  # of the step that is made
        self._name = ""

    def step(self, rule: core.Rule, state: Mapping[str, SymValue]) -> Step:
        self.waits, self._name = [], rule.name
        return super().step(rule, state)

    # ------------------------------------------------------------ guards

    def _statement(self, way: _Way, s: core.Stmt) -> None:
        if isinstance(s, core.Guard) and s.waits is not None:
            index = tuple(self._value(way, i) for i in s.waits.index)
            me = self._value(way, s.waits.me)
            self.waits.append(Wait(s.waits, way.alive, index, me, self._around, dict(way.state)))
        super()._statement(way, s)

    def _restrict(self, way: _Way, condition: E.Expr) -> None:
        """A conjunct that counts is left out: that gives more outcomes (and more errors), never less."""
        try:
            super()._restrict(way, condition)
        except Uncountable:
            for e, scope in self._conjuncts(way, condition, Scope(way.state, None, way.bound)):
                try:
                    holds, wrong = self.e.evaluate(e, scope)
                except Uncountable:
                    holds, wrong = TRUE, self.e.errors_inside(e, scope)
                    self.left_out[f"{self._name}: {text_of(e)}"] = None
                self._ends("spec_error", self.f.both(way.alive, wrong))
                way.alive = self.f.all([way.alive, wrong ^ 1, holds])

    def _conjuncts(self, way: _Way, e: E.Expr, scope: Scope) -> Iterator[tuple[E.Expr, Scope]]:
        match e:
            case E.Logic("&&", left, right):
                yield from self._conjuncts(way, left, scope)
                yield from self._conjuncts(way, right, scope)
            case E.Apply(name, args, _, False):
                define = self.e.defines[name]
                bound: dict[str, SymValue] = {}
                for p, a in zip(define.params, args, strict=True):
                    bound[p.name], wrong = self.e.evaluate(a, scope)
                    self._ends("spec_error", self.f.both(way.alive, wrong))
                    way.alive = self.f.both(way.alive, wrong ^ 1)
                yield from self._conjuncts(way, define.body, Scope(scope.state, None, bound))
            case _:
                yield e, scope

    def _input(self, t: Type) -> SymValue:
        if self._around or not self.open.is_open(t):
            return super()._input(t)
        self._inputs += 1
        name = f"{self._rule} input {self._inputs}"
        members = members_of(t)
        choices: list[Known | Plain] = []
        for number, m in enumerate(members):
            sorts = self.open.sorts_of(m)
            if sorts is not None:
                choices.append(Known(number, tuple(Term(s, f"{name}.{number}.{i}") for i, s in enumerate(sorts))))
            else:
                choices += [Plain(number, from_ordinal(m, i)) for i in range(cardinality(m))]
        if len(choices) == 1:
            return Described(((TRUE, choices[0]),))
        which = self._ways(len(choices))
        return Described(tuple((which[i], c) for i, c in enumerate(choices)))

    # ------------------------------------------------------------ assignments

    def _stored(self, t: Type, old: SymValue, path: list[SymValue | str], value: SymValue) -> SymValue:
        if not path or not isinstance(old, Family):
            return super()._stored(t, old, path, value)
        assert isinstance(t, Array)
        index, rest, element = path[0], path[1:], t.element
        assert isinstance(index, Described)
        part = old.part

        def new(x: Key) -> SymValue:
            here = self.open.is_one(index, x)
            return self.v.choose(element, here, self._stored(element, part(x), rest, value), part(x))

        return Family(new)

    # ------------------------------------------------------------ choices

    def _choose(self, way: _Way, s: core.Choose) -> None:
        if not self._around and not any(self.e.is_open(b) for b in s.binders):
            super()._choose(way, s)
            return
        scope = Scope(way.state, None, way.bound)
        # An error of the filter for any value is one of the whole.
        wrong = self.e.errors_of(lambda: self.e.every(s.binders, s.filter, scope, lambda _: TRUE))
        self._ends("spec_error", self.f.both(way.alive, wrong))
        way.alive = self.f.both(way.alive, wrong ^ 1)
        for b in s.binders:
            match b.domain:
                case E.OverSet(of):
                    value = self._input(b.type)
                    there = self.e.evaluate(E.InSet(E.Local(b.name, b.type), of), scope.bind(b.name, value))[0]
                    way.alive = self.f.both(way.alive, there)
                case E.OverRange():
                    numbers = list(self.e.numbers(b, scope))
                    which = self._ways(len(numbers)) if numbers else {}
                    value = {x: which[i] for i, (x, _) in enumerate(numbers)}
                    there = self.f.any(self.f.both(which[i], c) for i, (_, c) in enumerate(numbers))
                    way.alive = self.f.both(way.alive, there)
                case E.OverType():
                    value = self._input(b.type)
            if isinstance(value, Described):  # in a loop it may be nothing
                way.alive = self.f.both(way.alive, self.f.any(c for c, _ in value.options))
            scope = scope.bind(b.name, value)
        way.bound = scope.bound
        if s.filter is not None:
            way.alive = self.f.both(way.alive, self.e.evaluate(s.filter, scope)[0])

    def possible(self, rule: core.Rule, state: Mapping[str, SymValue]) -> Formula:
        raise Limit("deadlocks are not looked for where types have no bounds")
