"""A System as formulas: the start, one step, and what each finding means.

NOTE(symbolic-encoding): one unknown state and, of each rule, one step out of it with unknown arguments and choices
(`hmmspec.checker.symbolic.steps`).  Everything here speaks of that state and those inputs alone; `unrolling` makes as
many copies as a run has states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from hmmspec.checker.symbolic.evaluate import Evaluator, Scope
from hmmspec.checker.symbolic.formulas import FALSE, Formula, Formulas
from hmmspec.checker.symbolic.steps import Step, Stepper
from hmmspec.checker.symbolic.values import Cases, SymValue
from hmmspec.diagnostics import Limit
from hmmspec.system.expr import Expr
from hmmspec.system.initial import elements
from hmmspec.system.run import Interpreter
from hmmspec.system.system import InitAny, Invariant, Reachable, StepProperty, Variable
from hmmspec.system.types import Array, Type, ordinal

RULE = "rule"  # the name of the atoms that say which rule is taken


@dataclass(frozen=True)
class Shown:
    """When a name is found: `state`: in the state itself; `step`: on the step out of it that the inputs stand for."""

    name: str
    state: Formula
    step: Formula


class Encoding:
    """Formulas of one System.  Raises Limit for what has too many values.

    atoms: the atoms of the state, in order; after: for each of them the formula that it is equal to after the step.
    """

    def __init__(self, interp: Interpreter) -> None:
        self.interp, self.system = interp, interp.system
        self.f = Formulas()
        self.e = Evaluator(self.system, self.f)
        self.v = self.e.v
        self.state: dict[str, SymValue] = {}
        valid: list[Formula] = []
        for variable in self.system.variables:
            self.state[variable.name], fine = self.v.unknown(variable.type, variable.name)
            valid.append(fine)
        self.valid = self.f.all(valid)
        self.atoms = [(v.name, i) for v in self.system.variables for i, _ in enumerate(self._parts(v, self.state))]
        self.stepper = Stepper(self.system, self.e)
        self.unjudged: dict[str, str] = {}  # findings that are not looked for, and why
        self.steps: list[Step] = [self.stepper.step(r, self.state) for r in self.system.rules]
        self.taken = self._numbers(len(self.steps))

    @cached_property
    def moves(self) -> Formula:
        """The rule that is taken can be taken."""
        return self.f.any(self.f.both(t, s.enabled) for t, s in zip(self.taken, self.steps, strict=True))

    def _parts(self, v: Variable, state: Mapping[str, SymValue]) -> Iterator[Formula]:
        yield from self.v.parts(v.type, state[v.name])

    def _numbers(self, n: int) -> list[Formula]:
        atoms = [self.f.atom((RULE, i)) for i in range(max(0, n - 1).bit_length())]
        return [self.f.all(a if k >> i & 1 else a ^ 1 for i, a in enumerate(atoms)) for k in range(n)]

    @cached_property
    def after(self) -> list[Formula]:
        """A part that no step changes is itself; one that some change is chosen by the rule that is taken."""
        out: list[Formula] = []
        for v in self.system.variables:
            before = list(self._parts(v, self.state))
            changed = [
                (taken, list(self._parts(v, step.after)))
                for taken, step in zip(self.taken, self.steps, strict=True)
                if step.after[v.name] is not self.state[v.name]
            ]
            for i, old in enumerate(before):
                new = [(t, parts[i]) for t, parts in changed if parts[i] != old]
                kept = self.f.any(t for t, _ in new) ^ 1
                terms = [self.f.both(t, part) for t, part in new]
                out.append(self.f.any([*terms, self.f.both(kept, old)]))
        return out

    # ------------------------------------------------------------ the start

    def start(self) -> Formula:
        """The start states: first values, and the assumes."""
        out = [self.first_values()]
        for a in self.system.assumes:
            fine, wrong = self.e.evaluate(a.body, Scope(self.state))
            out += [fine, wrong ^ 1]
        return self.f.all(out)

    def start_error(self) -> Formula:
        """The first values, and an assume that errs there, after others that hold."""
        before, found = [self.first_values()] if self.system.assumes else [], []
        for a in self.system.assumes:
            fine, wrong = self.e.evaluate(a.body, Scope(self.state))
            found.append(self.f.all([*before, wrong]))
            before += [fine, wrong ^ 1]
        return self.f.any(found)

    def first_values(self) -> Formula:
        """Whatever the assumes exclude."""
        out = [self.valid]
        for v in self.system.variables:
            for index, t in elements(v):
                here = self._element(v, index)
                if isinstance(v.init, InitAny):
                    if v.init.allowed is not None:
                        options = (self.v.constant(t, x) for x in dict.fromkeys(v.init.allowed))
                        out.append(self.f.any(self.v.equal(t, here, x) for x in options))
                    continue
                bound = {
                    name: self.v.constant(i, x) for name, i, x in zip(v.init.binders, _indices(v), index, strict=False)
                }
                value, _ = self.e.evaluate(v.init.value, Scope({}, None, bound))
                out.append(self.v.equal(t, here, value))
        return self.f.all(out)

    def _element(self, v: Variable, index: tuple[int, ...]) -> SymValue:
        t, value = v.type, self.state[v.name]
        for i in index:
            assert isinstance(t, Array)
            value, t = value[ordinal(t.index, i)], t.element
        return value

    # ------------------------------------------------------------ what is looked for

    def shown(self) -> list[Shown]:
        """Every invariant, step property, goal and finding of a step, and 'spec_error'."""
        state: dict[str, list[Formula]] = {}
        step: dict[str, list[Formula]] = {"spec_error": []}
        for p in self.system.properties:
            if isinstance(p, Invariant | Reachable):
                holds, wrong = self.e.evaluate(p.body, Scope(self.state))
                found = self.f.both(holds ^ isinstance(p, Invariant), wrong ^ 1)
                state.setdefault(p.name, []).append(found)
                state.setdefault("spec_error", []).append(wrong)
            elif isinstance(p, StepProperty):
                self._on_steps(p.name, p.body, step)
        for taken, s in zip(self.taken, self.steps, strict=True):
            for ending in s.findings:
                step.setdefault(ending.name, []).append(self.f.both(taken, ending.condition))
        self._resting(state)
        names = dict.fromkeys([*state, *step])
        return [Shown(n, self.f.any(state.get(n, ())), self.f.any(step.get(n, ()))) for n in names]

    def _resting(self, state: dict[str, list[Formula]]) -> None:
        """'deadlock': nothing can move, no `terminal` holds, and where there is none some thread has not stopped."""
        try:
            here = self.f.any(self.stepper.possible(r, self.state) for r in self.system.rules) ^ 1
        except Limit as limit:
            self.unjudged["deadlock"] = str(limit)
            return
        for t in self.system.terminal:
            holds, wrong = self.e.evaluate(t.body, Scope(self.state))
            state.setdefault("spec_error", []).append(self.f.both(here, wrong))
            here = self.f.all([here, wrong ^ 1, holds ^ 1])
        if not self.system.terminal and self.system.threads:
            stopped = (
                cases.get(len(t.labels) - 1, FALSE)
                for t in self.system.threads
                for cases in _leaves(self.state[t.place])
            )
            here = self.f.both(here, self.f.all(stopped) ^ 1)
        state["deadlock"] = [here]

    def _on_steps(self, name: str, body: Expr, step: dict[str, list[Formula]]) -> None:
        for taken, s in zip(self.taken, self.steps, strict=True):
            if s.enabled == FALSE:
                continue
            holds, wrong = self.e.evaluate(body, Scope(self.state, s.after))
            here = self.f.both(taken, s.enabled)
            step.setdefault(name, []).append(self.f.all([here, holds ^ 1, wrong ^ 1]))
            step["spec_error"].append(self.f.both(here, wrong))

    # ------------------------------------------------------------ back

    def plain(self, holds: Mapping[object, bool]) -> dict[str, object]:
        """The values of all variables where the state's atoms are as given."""
        known: dict[int, bool] = {0: True}
        for node in self.f.below(self.parts()):
            parts = self.f.parts[node]
            if node == 0:
                continue
            if parts is None:
                known[node] = holds.get(self.f.atoms[node], False)
            else:
                known[node] = all(known[p >> 1] ^ bool(p & 1) for p in parts)
        return self.values(lambda f: known[f >> 1] ^ bool(f & 1))

    def values(self, holds: Callable[[Formula], bool]) -> dict[str, object]:
        """The values of all variables where it is known of each of `parts` whether it holds."""
        return {v.name: self.v.plain(v.type, self.state[v.name], holds) for v in self.system.variables}

    def parts(self) -> Iterator[Formula]:
        """Whatever the values of the variables are made of."""
        todo: list[SymValue] = list(self.state.values())
        while todo:
            x = todo.pop()
            if isinstance(x, int):
                yield x
            elif isinstance(x, dict):
                yield from x.values()
            else:
                todo += x


def _leaves(value: SymValue) -> Iterator[Cases]:
    if isinstance(value, tuple):
        for part in value:
            yield from _leaves(part)
    else:
        yield value


def _indices(v: Variable) -> Iterator[Type]:
    t = v.type
    for _ in range(v.depth):
        assert isinstance(t, Array)
        yield t.index
        t = t.element
