"""Real runs from stored numbers: the parents say which states, running each parent again says by which step.

Under symmetry what is stored are representatives; a run of representatives is made real by carrying along the renaming
that leads from each representative to the state that the run is really in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hmmspec.checker.explicit.edges import Units
from hmmspec.checker.explicit.findings import Args
from hmmspec.checker.explicit.graphs import Hop
from hmmspec.checker.explicit.symmetry import Renaming, Symmetry
from hmmspec.diagnostics import InternalError
from hmmspec.system.faults import Fault
from hmmspec.system.run import Interpreter, State

Step = tuple[int, Args, State]


@dataclass(frozen=True)
class Run:
    """A start state and steps, each with the state after it."""

    start: State
    steps: tuple[Step, ...] = ()

    @property
    def last(self) -> State:
        return self.steps[-1][2] if self.steps else self.start

    @property
    def states(self) -> list[State]:
        return [self.start, *(t for _, _, t in self.steps)]

    def then(self, step: Step) -> Run:
        return Run(self.start, (*self.steps, step))


@dataclass(frozen=True)
class RealLasso:
    """A run whose last state is that after `loop` steps, and so goes on from there for ever; `pending`: after how many
    steps the left side holds that is never answered."""

    run: Run
    pending: int
    loop: int


class Walker:
    """Goes along stored states, really."""

    def __init__(self, interp: Interpreter, states: Sequence[State], symmetry: Symmetry | None, start: int) -> None:
        self.interp, self.states, self.symmetry = interp, states, symmetry
        self.here = start
        self.renaming: Renaming = tuple(tuple(range(t.size)) for t in symmetry.types) if symmetry else ()
        self.run = Run(states[start])

    def really(self, t: State) -> State:
        """What a successor of the stored state corresponds to in the real run."""
        return self.symmetry.rename(t, self.renaming) if self.symmetry else t

    def go(self, target: int, units: Units | None = None, label: int = 0) -> None:
        """One step to the stored state `target`; with `units`, one that belongs to this set of units."""
        wanted = self.states[target]
        steps, _ = self.interp.expand(self.states[self.here])
        for rule, args, t in steps:
            if units is not None and units.set_of(rule, args) != label:
                continue
            if t == wanted and self.symmetry is None:
                self._add((rule, args, t), target)
                return
            if self.symmetry is not None and self.symmetry.canonical(t) == wanted:
                back = self.symmetry.renaming(t)
                self.step(rule, t, units, label)
                self.here = target
                self.renaming = tuple(
                    tuple(mine[c.index(j)] for j in range(len(c))) for mine, c in zip(self.renaming, back, strict=True)
                )
                return
        raise InternalError("a stored step cannot be found again")

    def step(self, rule: int, t: State, units: Units | None = None, label: int = 0) -> None:
        """The real step that corresponds to a step of this rule from the stored state here to `t`."""
        target = self.really(t)
        for r, args, t2 in self.interp.expand(self.run.last)[0]:
            if r == rule and t2 == target and (units is None or units.set_of(r, args) == label):
                self.run = self.run.then((r, args, t2))
                return
        raise InternalError("a step has no counterpart under a renaming of identities")

    def fault(self, rule: int, fault: Fault) -> tuple[int, Args, Fault]:
        """The real step that ends in such an error."""
        for r, args, f in self.interp.expand(self.run.last)[1]:
            if r == rule and (f.finding, f.name, f.kind, f.span) == (fault.finding, fault.name, fault.kind, fault.span):
                return r, args, f
        raise InternalError("an error has no counterpart under a renaming of identities")

    def _add(self, step: Step, target: int) -> None:
        self.run = self.run.then(step)
        self.here = target


def walk(interp: Interpreter, states: Sequence[State], symmetry: Symmetry | None, numbers: Sequence[int]) -> Walker:
    """A real run through these stored states."""
    walker = Walker(interp, states, symmetry, numbers[0])
    for n in numbers[1:]:
        walker.go(n)
    return walker


_TURNS = 5000


def around(walker: Walker, loop: Sequence[Hop], units: Units) -> None:
    """Go round the loop until the run is really back where it began: a renaming may take several turns."""
    begin = walker.run.last
    for _ in range(_TURNS):
        for label, target in loop:
            walker.go(target, units, label)
        if walker.run.last == begin:
            return
    raise InternalError("a loop does not close")
