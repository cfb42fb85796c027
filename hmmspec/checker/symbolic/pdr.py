"""Property-directed reachability: is a finite instance free of bad states and steps, for runs of any length?

Frames over-approximate what runs of at most i steps reach, as sets of clauses: F_0 is the start, each F_i implies
F_i+1, and a step out of F_i ends in F_i+1.  A state of the last frame that is bad, or leads there, is blocked by a
clause as general as can be shown one frame further, or is reached from the start: then there is a real run, which
bounded search finds.  Where two frames are equal they are an invariant.  Clauses are about values of cells, and where
one is shown so are all its renamings: start, steps and what is bad do not tell identities apart.

A. R. Bradley, "SAT-based model checking without unrolling", 2011; N. Een, A. Mishchenko, R. Brayton, "Efficient
implementation of property directed reachability", 2011; Z. Hassan, A. R. Bradley, F. Somenzi, "Better generalization
in IC3", 2013 (counterexamples to generalization).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.formulas import FALSE, TRUE, Formula
from hmmspec.checker.symbolic.predicates import Cube, Literal, Predicates
from hmmspec.checker.symbolic.sat import Circuit, Lit, Sat
from hmmspec.checker.symbolic.visits import Visits

TRIES = 3  # counterexamples to a generalization that are blocked before a literal is kept
REBUILD = 3000  # questions with a clause of their own, of which the solver keeps the remains


@dataclass(order=True)
class _Obligation:
    level: int
    order: int
    cube: Cube = field(compare=False)
    depth: int = field(compare=False)  # steps from here to what is bad


@dataclass(eq=False)
class _Clause:
    """A blocked cube with its renamings."""

    cubes: list[Cube]


class _Solver:
    """One state and the step out of it.  now, then: literals of the state before and after, by those of predicates."""

    def __init__(self, predicates: Predicates, seconds: float) -> None:
        self.p = predicates
        self.sat = Sat(seconds)
        self.circuit = Circuit(self.sat, predicates.encoding.f)
        self.now = self._both(predicates.holds)
        self.then = self._both(predicates.after)
        self.moves = self.circuit.literal(predicates.encoding.moves)
        self.spent = 0

    def _both(self, formulas: Sequence[Formula]) -> list[Lit]:
        return [self.circuit.literal(f) ^ sign for f in formulas for sign in (0, 1)]

    def ask(self, assumptions: Sequence[Lit], clause: Sequence[Lit] | None = None) -> bool:
        """Whether all of this can hold together with the clause."""
        if clause is None:
            return self.sat.solve(assumptions)
        self.spent += 1
        name = self.sat.literal()
        self.sat.clause([name ^ 1, *clause])
        return self.sat.solve([name, *assumptions])

    def core(self, literals: Iterable[Literal], of: Sequence[Lit]) -> Cube:
        """After a no: those of these literals (of the state before or after: `of`) that suffice for it."""
        found = self.sat.core()
        return frozenset(x for x in literals if of[x] in found)

    def state(self) -> Cube:
        """After a yes: the state before."""
        return self.p.of_state(self.sat.values(self.now[::2]))


class Pdr:
    """One instance.  tick: called again and again, with the number of frames; it may raise to end the search."""

    def __init__(
        self, predicates: Predicates, visits: Visits | None, tick: Callable[[int], None], seconds: float = 10.0
    ) -> None:
        self.p, self.visits, self.tick, self.seconds = predicates, visits, tick, seconds
        self.encoding: Encoding = predicates.encoding
        self.f = self.encoding.f
        self.frames: list[list[_Clause]] = [[]]  # clauses by the last frame that they were shown for
        self._order = count()
        state = set(self.encoding.atoms)
        self._inputs = [2 * node for node, a in self.f.atoms.items() if a not in state]
        self._activity: dict[Literal, float] = {}
        self._moving: dict[Cube, Formula] = {}
        self.bad: Formula = FALSE
        self.known: Formula = self.encoding.valid
        self.asked = 0
        self._begin()
        self._only = self._only_start()

    def _begin(self) -> None:
        """New solvers, without the remains of old questions."""
        self.s, self.lift = _Solver(self.p, self.seconds), _Solver(self.p, self.seconds)
        self.start = self.s.circuit.literal(self.encoding.start())
        self._switch: list[Lit] = []
        for level, clauses in enumerate(self.frames):
            self._switch.append(self.s.sat.literal())
            for c in clauses:
                self._assert(c, level)
        self._bad = self.s.circuit.literal(self.bad)
        self._known = self.s.circuit.literal(self.known)

    def _only_start(self) -> Cube | None:
        """All literals that hold at the start, if that is one state."""
        if not self.s.ask([self.start]):
            return frozenset()
        holds = self.s.sat.values(self.s.now[::2])
        here = self.p.of_state(holds)
        if self.s.ask([self.start], [self.s.now[x ^ 1] for x in here]):
            return None
        return frozenset(2 * n + (not h) for n, h in enumerate(holds))

    def _assert(self, c: _Clause, level: int) -> None:
        off = self._switch[level] ^ 1
        for cube in c.cubes:
            self.s.sat.clause([off, *(self.s.now[x ^ 1] for x in cube)])

    def _frame(self, level: int) -> list[Lit]:
        if level == 0:
            return [self.start]
        return [self._known, *self._switch[level:]]

    # ------------------------------------------------------------ the search

    def run(self, bad: Formula, known: Formula = TRUE) -> list[Cube] | None:
        """Cubes that no run reaches (one of each orbit) and that show, being blocked, that nothing bad can happen; None
        where a run does something bad.  May be asked again, for other bad things: frames are kept.  Raises Undecided.

        known: holds in all reachable states and on the steps out of them.
        """
        self.bad, self.known = bad, self.f.both(known, self.encoding.valid)
        self._bad = self.s.circuit.literal(bad)
        self._known = self.s.circuit.literal(self.known)
        if self.s.ask([self.start, self._bad]):
            return None
        if len(self.frames) == 1:
            self._extend()
        while True:
            while (cube := self._bad_state()) is not None:
                if not self._block(cube):
                    return None
            self._extend()
            invariant = self._propagate()
            if invariant is not None:
                return invariant

    def _extend(self) -> None:
        self.frames.append([])
        self._switch.append(self.s.sat.literal())

    @property
    def last(self) -> int:
        return len(self.frames) - 1

    def _bad_state(self) -> Cube | None:
        self.tick(self.last)
        self.asked += 1
        if not self.s.ask([*self._frame(self.last), self._bad]):
            return None
        return self._lifted(lambda s: [s.circuit.literal(self.bad) ^ 1])

    def _lifted(self, avoided: Callable[[_Solver], Sequence[Lit]]) -> Cube:
        """The part of the state that was found that suffices, with the inputs that were found, for all of what
        `avoided` gives the negations of."""
        state = self.s.state()
        inputs = [f for f in self._inputs if self.s.circuit.knows(f)]
        values = self.s.sat.values(self.s.circuit.literal(f) for f in inputs)
        if self.lift.spent > REBUILD:
            self.lift = _Solver(self.p, self.seconds)
        lift = self.lift
        known = [lift.circuit.literal(f) ^ (not v) for f, v in zip(inputs, values, strict=True)]
        order = sorted(state, key=lambda x: (self._activity.get(x, 0.0), x))
        self.asked += 1
        if lift.ask([*known, *(lift.now[x] for x in order)], avoided(lift)):
            return state
        return lift.core(state, lift.now)

    def _block(self, bad: Cube) -> bool:
        """Exclude the cube from the last frame; False: it is reached from the start."""
        todo = [_Obligation(self.last, next(self._order), bad, 0)]
        while todo:
            self.tick(self.last)
            o = heappop(todo)
            if self._blocked(o.cube, o.level):
                continue
            found = self._consecution(o.cube, o.level - 1)
            if found is None:
                if o.level == 1:
                    return False
                cube = self._lifted(self._elsewhere(o.cube))
                if self._starts(cube):
                    return False
                heappush(todo, _Obligation(o.level - 1, next(self._order), cube, o.depth + 1))
                heappush(todo, o)
                continue
            level = self._learn(self._general(found, o.level, 0), o.level)
            if level < self.last:
                heappush(todo, _Obligation(level + 1, next(self._order), o.cube, o.depth))
        return True

    def _elsewhere(self, cube: Cube) -> Callable[[_Solver], Sequence[Lit]]:
        """There is no step, or it does not end in the cube."""
        return lambda s: [s.moves ^ 1, *(s.then[x] ^ 1 for x in sorted(cube))]

    def _blocked(self, cube: Cube, level: int) -> bool:
        """Whether clauses that are there exclude the cube from the frame."""
        self.asked += 1
        return not self.s.ask([*self._frame(level), *(self.s.now[x] for x in cube)])

    def _starts(self, cube: Cube) -> bool:
        """Whether a start state is in the cube."""
        if self._only is not None:
            return cube <= self._only
        self.asked += 1
        return self.s.ask([self.start, *(self.s.now[x] for x in cube)])

    def _visited(self, cube: Cube) -> bool:
        """Whether some state in the cube is known to be reached."""
        return self.visits is not None and self.visits.meets(cube)

    def _consecution(self, cube: Cube, level: int) -> Cube | None:
        """The part of the cube that no step out of the frame (and not out of the cube) reaches, and no start state is
        in; None where a state (`s.state()`) has a step into the cube."""
        self.asked += 1
        if self.s.spent > REBUILD:
            self._begin()
        s = self.s
        if s.ask([*self._frame(level), s.moves, *(s.then[x] for x in cube)], [s.now[x ^ 1] for x in cube]):
            return None
        core = s.core(cube, s.then)
        if not self._starts(core):
            return core
        if self._only is not None:
            return core | {min(cube - self._only)}
        self._starts(cube)
        return core | s.core(cube, s.now)

    # ------------------------------------------------------------ clauses

    def _general(self, cube: Cube, level: int, nested: int) -> Cube:
        """A part of the cube that can be blocked at the level, too: literals are left out one by one."""
        keep: set[Literal] = set()
        for x in sorted(cube, key=lambda x: (self._activity.get(x, 0.0), x)):
            if x in cube and len(cube) > 1:
                smaller = self._down(cube - {x}, keep, level, nested)
                if smaller is None:
                    keep.add(x)
                else:
                    cube = smaller
        return cube

    def _down(self, cube: Cube, keep: set[Literal], level: int, nested: int) -> Cube | None:
        """A part of the cube, with all that is to be kept, that can be blocked at the level; None if there is none."""
        tries = 0
        while not self._starts(cube):
            if self._visited(cube):
                return None
            found = self._consecution(cube, level - 1)
            if found is not None:
                return found
            state = self.s.state()
            if not nested and tries < TRIES and level > 1 and not self._starts(state) and not self._visited(state):
                # The state in the way may itself be out of reach.
                other = self._consecution(state, level - 2)
                if other is not None:
                    tries += 1
                    self._learn(self._general(other, level - 1, nested + 1), level - 1)
                    continue
            smaller = self.p.common(cube, state)
            if not keep <= smaller or not smaller:
                return None
            cube = smaller
        return None

    def _learn(self, cube: Cube, level: int) -> int:
        """Block a cube and its renamings, as far as it goes; the last frame for which it was shown."""
        while level < self.last and self._consecution(cube, level) is not None:
            level += 1
        clause = _Clause(self.p.orbit(cube))
        for older in self.frames[1 : level + 1]:
            older[:] = [c for c in older if not any(b <= c.cubes[0] for b in clause.cubes)]
        self.frames[level].append(clause)
        self._assert(clause, level)
        for x in self._activity:
            self._activity[x] *= 0.99
        for x in cube:
            self._activity[x] = self._activity.get(x, 0.0) + 1.0
        return level

    def _propagate(self) -> list[Cube] | None:
        """Move clauses on as far as they go; the invariant, if two frames are now equal."""
        for level in range(1, self.last):
            for c in list(self.frames[level]):
                self.tick(self.last)
                if self._consecution(c.cubes[0], level) is None:
                    continue
                if c in self.frames[level]:
                    self.frames[level].remove(c)
                    self.frames[level + 1].append(c)
                    self._assert(c, level + 1)
            if not self.frames[level]:
                return [c.cubes[0] for clauses in self.frames[level + 1 :] for c in clauses]
        return None
