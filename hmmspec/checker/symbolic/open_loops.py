"""Loops over types without bounds, done at once: every pass starts from the state before the loop.

That is what happens one after the other too where no pass sees another: each writes and reads of what is written only
parts of its own.  A pass is followed once, for an identity of which nothing is known; what it leaves behind is a
formula about that identity, which stands for all.  Choices in a pass are each identity's own: relations over the
identities of the loops around them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.open_evaluate import OpenEvaluator
from hmmspec.checker.symbolic.open_kinds import Described, Family, Key, Known, NotFirstOrder, Plain
from hmmspec.checker.symbolic.open_state import Place, Unknowns
from hmmspec.checker.symbolic.steps import Stepper, _Way
from hmmspec.checker.symbolic.terms import Replacement, Term
from hmmspec.checker.symbolic.values import SymValue
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.convert import Mismatch, converter, partner
from hmmspec.system.elaborate.forcheck import Crossing, own_parts
from hmmspec.system.faults import members_of
from hmmspec.system.types import Array, Record, Set, Type, Union, cardinality, from_ordinal, project


@dataclass(frozen=True)
class _Item:
    """From a tuple to the part with this number, or from a family to the part for this key."""

    which: int | Key

    def of(self, value: SymValue) -> SymValue:
        return value[self.which] if isinstance(self.which, int) else value.part(self.which)

    def type(self, t: Type) -> Type:
        """The type of the part."""
        if isinstance(t, Record):
            assert isinstance(self.which, int)
            return t.fields[self.which][1]
        assert isinstance(t, Array)
        return t.element


@dataclass(frozen=True)
class _Pass:
    """A pass for `key` (of variables `names`), which is in the domain where `there` holds.

    state: after it; alive: where it gets through, if it is made; endings: where it ends early, if it is made.
    """

    key: Key
    names: tuple[Term, ...]
    there: Formula
    state: Mapping[str, SymValue]
    alive: Formula
    endings: Mapping[str, Formula]
    valid: Formula
    given: dict[tuple[Term, ...], Replacement] = field(default_factory=dict)


class LoopStepper(Stepper):
    """Makes steps with loops over types without bounds."""

    e: OpenEvaluator

    def __init__(self, system: core.System, evaluator: OpenEvaluator) -> None:
        super().__init__(system, evaluator)
        self.open = evaluator.v
        self.logic = evaluator.logic
        self._around: tuple[Term, ...] = ()  # the identities of the loops that are being followed

    # ------------------------------------------------------------ all passes

    def _passes(self, way: _Way, binders: tuple[E.Binder, ...], s: core.For) -> None:
        if binders and self.e.is_open(binders[0]):
            self._all_at_once(way, binders, s)
        else:
            super()._passes(way, binders, s)

    def _all_at_once(self, way: _Way, binders: tuple[E.Binder, ...], s: core.For) -> None:
        b = binders[0]
        own = own_parts(core.For(binders, s.filter, s.body), frozenset([b.name]), self.e.defines)
        if isinstance(own, Crossing):
            raise _crossed(b, own)
        t, inside = b.type, Family(lambda _: TRUE)
        if isinstance(b.domain, E.OverSet):
            inside = self._value(way, b.domain.set)
            assert isinstance(b.domain.set.type, Set)
            t = b.domain.set.type.element
        start, bound = dict(way.state), way.bound
        entry = way.alive
        passes: list[_Pass] = []
        for key, names in self.open.keys(t):
            one = self._one_pass(start, {**bound, b.name: Described(((TRUE, key),))}, key, names, inside, binders, s)
            passes.append(one)
            for name, condition in one.endings.items():
                self._ends(name, self.f.both(entry, self.logic.some_of(names, condition)))
            self._valid.append(self.logic.every_of(names, one.valid))
        way.alive = self.f.all(
            [entry, *(self.logic.every_of(p.names, self.f.implies(p.there, p.alive)) for p in passes)]
        )
        for name, at in own.items():
            variable = self.system.variable(name)
            spread = _Spread(self, name, t, passes, start[name])
            way.state[name] = spread.whole(variable.type, start[name], min(at[b.name]), ())

    def _one_pass(
        self,
        start: Mapping[str, SymValue],
        bound: Mapping[str, SymValue],
        key: Key,
        names: tuple[Term, ...],
        inside: Family,
        binders: tuple[E.Binder, ...],
        s: core.For,
    ) -> _Pass:
        there = inside.part(key)
        kept = self._endings, self._valid, self._around
        self._endings, self._valid, self._around = {}, [], (*self._around, *names)
        way = _Way(there, dict(start), bound)
        if there != FALSE:
            self._passes(way, binders[1:], s)
        endings = {name: self.f.any(conditions) for name, conditions in self._endings.items()}
        valid = self.f.all(self._valid)
        self._endings, self._valid, self._around = kept
        return _Pass(key, names, there, way.state, way.alive, endings, valid)

    # ------------------------------------------------------------ choices of a pass

    def _input(self, t: Type) -> SymValue:
        if not self._around:
            return super()._input(t)
        place, unknowns = self._own_place(), self._own_unknowns()
        if self.open.is_open(t):
            value: SymValue = unknowns.identity(t, place, total=False)
        else:
            value = unknowns.value(t, place)
        self._valid += unknowns.axioms
        return value

    def _ways(self, n: int) -> dict[int, Formula]:
        if not self._around:
            return super()._ways(n)
        place, unknowns = self._own_place(), self._own_unknowns()
        found = unknowns.number(list(range(n)), place)
        self._valid += unknowns.axioms
        return found

    def _own_place(self) -> Place:
        self._inputs += 1
        return Place(f"{self._rule} input {self._inputs}").of(self._around)

    def _own_unknowns(self) -> Unknowns:
        return Unknowns(self.open, [], [])


@dataclass(frozen=True)
class _Spread:
    """The value of a variable after all passes: each part is what the pass that it belongs to leaves there."""

    stepper: LoopStepper
    variable: str
    domain: Type
    passes: list[_Pass]
    before: SymValue

    def whole(self, t: Type, old: SymValue, position: int, path: tuple[_Item, ...]) -> SymValue:
        """position: how many indices below here the loop's own stands; path: how to get here from the variable."""
        match t:
            case Record(_, fields):
                return tuple(
                    self.whole(f, part, position, (*path, _Item(i)))
                    for i, ((_, f), part) in enumerate(zip(fields, old, strict=True))
                )
            case Array(_, element) if position > 0:
                if isinstance(old, Family):
                    return Family(lambda k: self.whole(element, old.part(k), position - 1, (*path, _Item(k))))
                return tuple(self.whole(element, p, position - 1, (*path, _Item(i))) for i, p in enumerate(old))
            case Array(index, _):
                if isinstance(old, Family):
                    return Family(lambda k: self._own(k, index, old.part(k), (*path, _Item(k))))
                keys = (self._plain(index, from_ordinal(index, i)) for i in range(cardinality(index)))
                return tuple(self._own(k, index, old[i], (*path, _Item(i))) for i, k in enumerate(keys))
            case _:
                return old

    def _plain(self, t: Type, value: int) -> Plain:
        number, inner = project(t, value) if isinstance(t, Union) else (0, value)
        assert isinstance(inner, int)
        return Plain(number, inner)

    def _own(self, key: Key, index: Type, old: SymValue, path: tuple[_Item, ...]) -> SymValue:
        """The part at an index, after the pass of it."""
        own = self._converted(key, index)
        if own is None:
            return old
        value, there = self._after(own)
        for down in path:
            value = down.of(value)
        return value if there == TRUE else self.stepper.v.choose(self._type(path), there, value, old)

    def _type(self, path: tuple[_Item, ...]) -> Type:
        """Of the part that a path leads to."""
        t = self.stepper.system.variable(self.variable).type
        for down in path:
            t = down.type(t)
        return t

    def _converted(self, key: Key, index: Type) -> Key | None:
        """The loop's value that stands at this index; None: no value of the loop can."""
        held = members_of(index)[key.member]
        to = partner(held, self.domain)
        if to is None:
            return None
        if isinstance(key, Known):
            return Known(to, key.terms)
        try:
            value = converter(held, members_of(self.domain)[to])(key.value)
        except Mismatch:
            return None
        assert isinstance(value, int)
        return Plain(to, int(value))

    def _after(self, key: Key) -> tuple[SymValue, Formula]:
        """The variable after the pass of this value, and whether there is one."""
        one = next(p for p in self.passes if p.key == key or (isinstance(key, Known) and p.key.member == key.member))
        value = one.state[self.variable]
        if isinstance(key, Plain) or value is self.before:
            return value, one.there
        to = one.given.setdefault(key.terms, Replacement(dict(zip(one.names, key.terms, strict=True))))
        return self.stepper.open.replaced(value, to), self.stepper.logic.replaced(one.there, to)


def _crossed(b: E.Binder, crossing: Crossing) -> NotFirstOrder:
    if isinstance(crossing.at, core.Assign):
        return NotFirstOrder(
            f"a `for` over {b.name} that writes {crossing.variable} elsewhere than at its own index: without bounds all"
            f" passes are at once; write only `{crossing.variable}[{b.name}]`"
        )
    return NotFirstOrder(
        f"a `for` over {b.name} that reads what another pass may have written to {crossing.variable}: without bounds"
        f" all passes are at once; take a copy before the loop, or read only at the loop's own index"
    )
