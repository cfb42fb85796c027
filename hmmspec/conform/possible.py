"""Which transitions of a spec cannot happen on a target, whatever it is told to do.

An event cannot happen where every command that may be it asks for something that the target lacks, or where the
target's behaviour rules all its clauses out.  What follows from that: a variable that no possible step gives another
value than its first keeps that value, and a step whose guard is false with such values never comes, hidden or not; and
so on until nothing is added.  What is told is sure; not all of it is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Final

from hmmspec.conform import commands as c
from hmmspec.conform.follow import syntax as s
from hmmspec.conform.follow.coverage import names_of
from hmmspec.conform.follow.load import Loaded
from hmmspec.conform.target import Behaviour, needs_of
from hmmspec.system import expr as x
from hmmspec.system import system as y
from hmmspec.system.analyse import statements
from hmmspec.system.types import Int, Range

_UNKNOWN: Final = object()


def cannot_happen(loaded: Loaded, profile: Mapping[str, Behaviour], capabilities: Set[str]) -> tuple[str, ...]:
    """The names of these transitions, in the order of the spec."""
    bound = loaded.bound(profile)
    system = bound.system
    can = _events(loaded.binding, profile, capabilities)
    hidden = set(bound.hidden)
    rules = {r.number: r for r in system.rules if r.number in hidden or r.name in can}
    while True:
        values = _Values(system, _fixed(system, rules.values()))
        left = {n: r for n, r in rules.items() if values.of(r.guard, {}) is not False}
        if len(left) == len(rules):
            break
        rules = left
    return tuple(name for name, r in zip(names_of(system), system.rules, strict=True) if r.number not in rules)


# ---------------------------------------------------------------- events of commands


def _events(binding: s.Binding, profile: Mapping[str, Behaviour], capabilities: Set[str]) -> set[str]:
    """The events that some command of this target may be."""
    out = {step.event for body in binding.also for step, _ in s.happens(body)}
    for on in binding.ons:
        for name in on.names:
            for clause in on.clauses:
                if _can(name.name, clause.condition, profile, capabilities):
                    out.update(step.event for step, _ in s.happens(clause.body))
            if _can(name.name, None, profile, capabilities):
                for body in (on.at_call, on.at_return):
                    out.update(() if body is None else (step.event for step, _ in s.happens(body)))
    return out


def _can(word: str, condition: s.Expr | None, profile: Mapping[str, Behaviour], capabilities: Set[str]) -> bool:
    """Whether a command of this name that meets the condition can be carried out, as far as that is plain."""
    if word not in c.COMMANDS:
        return True
    if not needs_of(word) <= capabilities:
        return False
    for part in _conjuncts(condition):
        match part:
            case s.Profile(name) if profile.get(name) is False:
                return False
            case s.Binary("==", s.Name(field), s.Name(value)):
                options = [value]
            case s.In(s.Name(field), values) if all(isinstance(v, s.Name) for v in values):
                options = [v.name for v in values if isinstance(v, s.Name)]
            case _:
                continue
        if not any(needs_of(word, field, value) <= capabilities for value in options):
            return False
    return True


def _conjuncts(condition: s.Expr | None) -> Iterator[s.Expr]:
    match condition:
        case None:
            return
        case s.Binary("&&", left, right):
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _:
            yield condition


# ---------------------------------------------------------------- values that nothing changes


def _fixed(system: y.System, rules: Iterable[y.Rule]) -> dict[str, object]:
    """Variables that hold one value for ever, in every place: what they begin with."""
    start = {
        v.name: first.value
        for v in system.variables
        if isinstance(v.init, y.InitExpr) and isinstance(first := _plain(v.init.value), x.Const)
    }
    for rule in rules:
        for assign in statements(rule.body):
            if not isinstance(assign, y.Assign):
                continue
            name, value = _target(assign.target), _plain(assign.value)
            whole = _depth(assign.target) == system.variable(name).depth
            if not (whole and isinstance(value, x.Const) and name in start and value.value == start[name]):
                start.pop(name, None)
    return start


def _plain(e: x.Expr) -> x.Expr:
    """The expression without conversions that leave its value as it is: those of numbers."""
    while isinstance(e, x.Cast) and isinstance(e.type, Int | Range) and isinstance(e.operand.type, Int | Range):
        e = e.operand
    return e


def _target(target: x.Expr) -> str:
    while isinstance(target, x.Index | x.Field):
        target = target.base
    assert isinstance(target, x.Var)
    return target.name


def _depth(target: x.Expr) -> int:
    return 1 + _depth(target.base) if isinstance(target, x.Index | x.Field) else 0


class _Values:
    """What expressions are, as far as variables with one value for ever tell."""

    def __init__(self, system: y.System, fixed: Mapping[str, object]) -> None:
        self._defines = {d.name: d for d in system.defines}
        self._depths = {v.name: v.depth for v in system.variables}
        self._fixed = fixed

    def of(self, e: x.Expr | None, local: Mapping[str, object]) -> object:
        """The value, or that it is not known."""
        match e if e is None else _plain(e):
            case x.Const(value):
                return value
            case x.Local(name):
                return local.get(name, _UNKNOWN)
            case x.Var() | x.Index() as place if _of_variable(place):
                name = _target(place)
                return self._fixed.get(name, _UNKNOWN) if _depth(place) == self._depths[name] else _UNKNOWN
            case x.Not(operand):
                value = self.of(operand, local)
                return _UNKNOWN if value is _UNKNOWN else not value
            case x.Compare("==" | "!=" as op, left, right):
                one, other = self.of(left, local), self.of(right, local)
                return _UNKNOWN if _UNKNOWN in (one, other) else (one == other) == (op == "==")
            case x.Logic(op, left, right):
                return _logic(op, self.of(left, local), self.of(right, local))
            case x.If(condition, then, otherwise):
                decided = self.of(condition, local)
                if decided is not _UNKNOWN:
                    return self.of(then if decided else otherwise, local)
                one, other = self.of(then, local), self.of(otherwise, local)
                return one if one == other else _UNKNOWN
            case x.Quant("exists", _, only, body):
                return False if False in (self.of(only, local), self.of(body, local)) else _UNKNOWN
            case x.Quant("forall", _, only, body):
                return True if self.of(only, local) is False or self.of(body, local) is True else _UNKNOWN
            case x.Apply(define, args):
                known = self._defines[define]
                given = {p.name: self.of(a, local) for p, a in zip(known.params, args, strict=True)}
                return self.of(known.body, given)
            case _:
                return _UNKNOWN


def _of_variable(e: x.Expr) -> bool:
    """Whether this is (an element of) a variable, and not of a value made otherwise."""
    while isinstance(e, x.Index | x.Field):
        e = e.base
    return isinstance(e, x.Var)


def _logic(op: str, left: object, right: object) -> object:
    if op == "&&":
        return False if False in (left, right) else True if left is True and right is True else _UNKNOWN
    if op == "||":
        return True if True in (left, right) else False if left is False and right is False else _UNKNOWN
    if op == "=>":
        return True if left is False or right is True else False if left is True and right is False else _UNKNOWN
    return _UNKNOWN if _UNKNOWN in (left, right) else left == right
