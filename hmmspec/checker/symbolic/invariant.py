"""An invariant that was found is looked at once more, by plain questions, before anybody is told.

Nothing of how it was found is taken over but the cubes that no run is to reach: the start is in none of them, no step
out of a state in none of them leads into one, and a state in none of them is not bad, nor is a step out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hmmspec.checker.symbolic.encoding import Encoding, Shown
from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.predicates import Cube, Predicates
from hmmspec.checker.symbolic.sat import Circuit, Lit, Sat
from hmmspec.checker.symbolic.unrolling import behind
from hmmspec.diagnostics import InternalError

SECONDS = 60.0  # of one question


@dataclass(frozen=True)
class Needed:
    """What a proof needs: cubes (one of each orbit), and properties that were proved before."""

    cubes: tuple[Cube, ...]
    uses: tuple[str, ...]


class Invariant:
    """Orbits of cubes that are blocked together; known: what was proved before, and is assumed.

    Raises InternalError where one of them is not kept.
    """

    def __init__(
        self, predicates: Predicates, cubes: Iterable[Cube], known: Sequence[Shown], tick: Callable[[], None]
    ) -> None:
        self.p, self.tick = predicates, tick
        self.encoding: Encoding = predicates.encoding
        self.orbits = [predicates.orbit(c) for c in cubes]
        self.known = [s.name for s in known]
        self.sat = Sat(SECONDS)
        self.copy = Circuit(self.sat, self.encoding.f)
        self.sat.clause([self.copy.literal(self.encoding.valid)])
        # What may be assumed: the orbits by number, then what is known.
        self._on = [self.sat.literal() for _ in range(len(self.orbits) + len(self.known))]
        self._number = {x: n for n, x in enumerate(self._on)}
        for on, orbit in zip(self._on, self.orbits, strict=False):
            for cube in orbit:
                self.sat.clause([on ^ 1, *(x ^ 1 for x in self._literals(self.copy, cube))])
        for on, shown in zip(self._on[len(self.orbits) :], known, strict=True):
            self.sat.clause([on ^ 1, self.copy.literal(self._bad(shown)) ^ 1])
        self._needs: dict[int, set[int]] = {}

    def _bad(self, shown: Shown) -> Formula:
        return self.encoding.f.either(shown.state, shown.step)

    def _literals(self, copy: Circuit, cube: Cube) -> list[Lit]:
        return [copy.literal(self.p.formula(x)) for x in sorted(cube)]

    def _within(self, copy: Circuit, orbit: Sequence[Cube]) -> list[Lit]:
        """The state is in one of the cubes: names of the cubes, one of which holds."""
        out: list[Lit] = []
        for cube in orbit:
            name = copy.sat.literal()
            out.append(name)
            for x in self._literals(copy, cube):
                copy.sat.clause([name ^ 1, x])
        return out

    def _none(self, clause: Iterable[Lit], what: str) -> set[int]:
        """That nothing fulfils the clause, and what has to be assumed to say so."""
        self.tick()
        question = self.sat.literal()
        self.sat.clause([question ^ 1, *clause])
        if self.sat.solve([question, *self._on]):
            raise InternalError(f"the invariant that the symbolic engine found does not show {what}")
        return {self._number[x] for x in self.sat.core() if x in self._number}

    def needed(self, shown: Mapping[str, Shown]) -> dict[str, Needed]:
        """Check that the invariant shows these; for each of them what is enough for it, and is kept by itself."""
        roots = {name: self._none([self.copy.literal(self._bad(s))], name) for name, s in shown.items()}
        start = Circuit(Sat(SECONDS), self.encoding.f)
        start.sat.clause([start.literal(self.encoding.start())])
        start.sat.clause(x for orbit in self.orbits for x in self._within(start, orbit))
        if start.sat.solve([]):
            raise InternalError("the invariant that the symbolic engine found does not hold at the start")
        self.after = behind(self.copy, self.encoding)  # from here on there is a step
        self._none([self.after.literal(self.encoding.valid) ^ 1], "that states stay states")
        return {name: self._closed(some) for name, some in roots.items()}

    def _closed(self, some: set[int]) -> Needed:
        todo, done = sorted(some), set(some)
        while todo:
            n = todo.pop()
            if n >= len(self.orbits):
                continue
            if n not in self._needs:
                self._needs[n] = self._none(self._within(self.after, self.orbits[n]), "that it is kept")
            todo += sorted(self._needs[n] - done)
            done |= self._needs[n]
        cubes = tuple(self.orbits[n][0] for n in sorted(done) if n < len(self.orbits))
        return Needed(cubes, tuple(self.known[n - len(self.orbits)] for n in sorted(done) if n >= len(self.orbits)))
