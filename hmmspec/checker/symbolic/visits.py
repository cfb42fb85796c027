"""States that an instance is known to reach, as the literals of PDR see them: no cube with one of them can be blocked.

That saves most of the questions that Z3 would say no to, and it makes clauses general where it matters.  Nothing is
taken as shown because no such state speaks against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from hmmspec.checker.explicit.chance import Chance, some_starts
from hmmspec.checker.symbolic.predicates import Cube, Predicates
from hmmspec.system.run import Interpreter, State

STATES = 3000
RUNS, DEPTH = 100, 60  # random runs, and steps of each


class Visits:
    """Of each literal the states in which it holds, as the bits of a number."""

    def __init__(self, predicates: Predicates, interp: Interpreter, tick: Callable[[], None]) -> None:
        self.states = list(reached(interp, tick))
        everything = (1 << len(self.states)) - 1
        self.masks: list[int] = []
        for column in predicates.columns(self.states):
            # What is not known speaks against nothing.
            self.masks += [0, 0] if column is None else [column, column ^ everything]
        self._everything = everything

    def meets(self, cube: Cube) -> bool:
        """Whether one of the states is in the cube."""
        here = self._everything
        for x in cube:
            here &= self.masks[x]
            if not here:
                return False
        return True


def reached(interp: Interpreter, tick: Callable[[], None]) -> Iterator[State]:
    """Some reachable states: half of them by breadth-first search, half on random runs."""
    starts = some_starts(interp, Chance(0), STATES // 4, tick)
    seen: dict[State, None] = dict.fromkeys(starts.states)
    todo = list(seen)
    for s in todo:
        if len(seen) >= STATES // 2:
            break
        tick()
        for _, _, t in interp.expand(s)[0]:
            if t not in seen:
                seen[t] = None
                todo.append(t)
    else:
        yield from seen
        return
    random, runs = Random(0), 0
    while starts.states and len(seen) < STATES and runs < RUNS:
        runs += 1
        s = random.choice(starts.states)
        tick()
        for _ in range(DEPTH):
            steps = interp.expand(s)[0]
            if not steps:
                break
            s = random.choice(steps)[2]
            seen[s] = None
    yield from seen
