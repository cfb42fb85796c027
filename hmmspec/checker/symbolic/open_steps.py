"""Steps where some types have no bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from hmmspec.checker.symbolic.evaluate import Scope
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.open_evaluate import OpenEvaluator
from hmmspec.checker.symbolic.open_values import Described, Family, Key, Known, NotFirstOrder, Plain
from hmmspec.checker.symbolic.steps import Stepper, _Way
from hmmspec.checker.symbolic.terms import Term
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.diagnostics import Limit
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.analyse import branches
from hmmspec.system.faults import members_of
from hmmspec.system.types import Array, Type, cardinality, from_ordinal


@dataclass(frozen=True)
class _Pass:
    """One pass of a loop: the state after it, where it gets through, and where it ends early."""

    state: Mapping[str, SymValue]
    alive: Formula
    endings: Mapping[str, Formula]


class OpenStepper(Stepper):
    """Makes the steps of a System some of whose symmetric types have no bounds."""

    e: OpenEvaluator

    def __init__(self, system: core.System, evaluator: OpenEvaluator) -> None:
        super().__init__(system, evaluator)
        self.open = evaluator.v
        self.logic = evaluator.logic

    def _input(self, t: Type) -> SymValue:
        if not self.open.is_open(t):
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

    # ------------------------------------------------------------ loops

    def _passes(self, way: _Way, binders: tuple[E.Binder, ...], s: core.For) -> None:
        if binders and self.e.is_open(binders[0]):
            self._all_at_once(way, binders, s)
            return
        super()._passes(way, binders, s)

    def _all_at_once(self, way: _Way, binders: tuple[E.Binder, ...], s: core.For) -> None:
        """A pass for each identity of a type without bounds.  Passes must not see one another: each assigns parts of
        its own identity only, and reads of what is assigned these parts only; then all can be done at once."""
        if len(binders) != 1:
            raise NotFirstOrder("a `for` over several types, one of them without bounds")
        b = binders[0]
        if branches(s.body):
            raise NotFirstOrder(f"a `for` over {b.name} with choices in it: the type has no bounds")
        written = _written(s.body)
        for e in (s.filter, *_expressions(s.body)):
            if e is not None and not self._own(e, written, b.name):
                raise NotFirstOrder(
                    f"a `for` over {b.name} that reads what another pass may have written: the type has no bounds"
                )
        start, bound = dict(way.state), way.bound
        alive: list[Formula] = []
        for there, names, value in self.e.identities(b, Scope(start, None, bound)):
            one = self._one_pass(start, bound, b, value, self.f.both(way.alive, there), s)
            for name, condition in one.endings.items():
                self._ends(name, self.logic.some_of(names, condition))
            alive.append(self.logic.every_of(names, self.f.implies(self.f.both(way.alive, there), one.alive)))
        way.alive = self.f.all([way.alive, *alive])
        inside = Family(lambda _: TRUE)
        if isinstance(b.domain, E.OverSet):
            inside = self.e.evaluate(b.domain.set, Scope(start, None, bound))[0]

        def part_after(name: str, key: Key) -> SymValue:
            one = self._one_pass(start, bound, b, Described(((TRUE, key),)), inside.part(key), s)
            return one.state[name].part(key)

        for name in written:
            way.state[name] = Family(partial(part_after, name))

    def _one_pass(
        self,
        start: Mapping[str, SymValue],
        bound: Mapping[str, SymValue],
        b: E.Binder,
        value: SymValue,
        there: Formula,
        s: core.For,
    ) -> _Pass:
        """The pass for one identity that is in the domain where `there` holds."""
        kept = self._endings
        self._endings = {}
        way = _Way(there, dict(start), {**bound, b.name: value})
        c = self._value(way, s.filter) if s.filter is not None else TRUE
        inner = _Way(self.f.both(way.alive, c), dict(way.state), way.bound)
        if inner.alive != FALSE:
            self._block(inner, s.body)
        endings = {name: self.f.any(conditions) for name, conditions in self._endings.items()}
        self._endings = kept
        alive = self.f.either(inner.alive, self.f.both(way.alive, c ^ 1))
        condition = self.f.both(there, c)
        state = dict(start)
        for variable in self.system.variables:
            name = variable.name
            if inner.state[name] is not start[name]:
                state[name] = self.v.choose(variable.type, condition, inner.state[name], start[name])
        return _Pass(state, alive, endings)

    def _own(self, e: E.Expr, written: set[str], name: str) -> bool:
        """Whether every read of a written variable is of the part of this identity."""
        match e:
            case E.Index(E.Var(variable), E.Local(local)) if variable in written and local == name:
                return True
            case E.Var(variable):
                return variable not in written
            case E.Apply(define, args):
                d = self.e.defines[define]
                inside = E.substitute(d.body, {p.name: a for p, a in zip(d.params, args, strict=True)})
                return self._own(inside, written, name)
            case _:
                return all(self._own(c, written, name) for c in E.children(e))

    # ------------------------------------------------------------ choices

    def _choose(self, way: _Way, s: core.Choose) -> None:
        if not any(self.e.is_open(b) for b in s.binders):
            super()._choose(way, s)
            return
        scope = Scope(way.state, None, way.bound)
        # An error of the filter for any value is one of the whole.
        wrong = self.e.errors_of(lambda: self.e.every(s.binders, s.filter, scope, lambda _: TRUE))
        self._ends("spec_error", self.f.both(way.alive, wrong))
        way.alive = self.f.both(way.alive, wrong ^ 1)
        for b in s.binders:
            value = self._input(b.type)
            match b.domain:
                case E.OverSet(of):
                    there = self.e.evaluate(E.InSet(E.Local(b.name, b.type), of), scope.bind(b.name, value))[0]
                    way.alive = self.f.both(way.alive, there)
                case E.OverRange(low, high):
                    e = E.InRange(E.Local(b.name, b.type), low, high)
                    way.alive = self.f.both(way.alive, self.e.evaluate(e, scope.bind(b.name, value))[0])
                case E.OverType():
                    pass
            scope = scope.bind(b.name, value)
        way.bound = scope.bound
        if s.filter is not None:
            way.alive = self.f.both(way.alive, self.e.evaluate(s.filter, scope)[0])

    def possible(self, rule: core.Rule, state: Mapping[str, SymValue]) -> Formula:
        raise Limit("deadlocks are not looked for where types have no bounds")


def _blocks(s: core.Stmt) -> Iterator[core.Block]:
    match s:
        case core.IfElse(_, then, otherwise):
            yield then
            yield otherwise
        case core.For(_, _, body):
            yield body
        case core.Either(some):
            yield from some
        case _:
            pass


def _written(block: core.Block) -> set[str]:
    out: set[str] = set()
    for s in block:
        if isinstance(s, core.Assign):
            target = s.target
            while isinstance(target, (E.Index, E.Field)):
                target = target.base
            assert isinstance(target, E.Var)
            out.add(target.name)
        for b in _blocks(s):
            out |= _written(b)
    return out


def _expressions(block: core.Block) -> Iterator[E.Expr]:
    for s in block:
        match s:
            case core.Assign(target, value):
                yield target
                yield value
            case core.Let(_, value):
                yield value
            case core.IfElse(condition, _, _):
                yield condition
            case core.For(_, filter_, _) if filter_ is not None:
                yield filter_
            case core.Guard(condition) | core.Check(_, _, _, condition):
                yield condition
            case _:
                pass
        for b in _blocks(s):
            yield from _expressions(b)
