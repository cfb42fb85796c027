"""k-induction on finite instances: what holds in k states of a run, one behind the other, holds in the next one, too.

Only runs in which all states are different need to be looked at: a shortest run to something bad is one.  Several
properties are assumed together and shown together; what was proved before is assumed everywhere.  Where no run from
the start has k steps between different states, every state is reached in fewer, and bounded search has seen them all.

M. Sheeran, S. Singh, G. Stalmarck, "Checking safety properties using induction and a SAT-solver", 2000.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hmmspec.checker.symbolic.encoding import Encoding, Shown
from hmmspec.checker.symbolic.formulas import FALSE
from hmmspec.checker.symbolic.sat import Circuit, Lit, Sat
from hmmspec.checker.symbolic.unrolling import behind


@dataclass(frozen=True)
class Shape:
    """Why something was proved: by induction over so many states, assuming these others; `all_seen`: there are no
    longer runs."""

    depth: int
    uses: tuple[str, ...] = ()
    all_seen: bool = False


class KInduction:
    """One instance.  tick: called before each question.  Questions take `seconds` at most: then Undecided is raised.

    depth: steps of the runs that are looked at, 0 to begin with; known: what was proved.
    """

    def __init__(self, encoding: Encoding, tick: Callable[[], None], seconds: float = 10.0) -> None:
        self.encoding, self.tick = encoding, tick
        self.sat = Sat(seconds)
        self.copies = [Circuit(self.sat, encoding.f)]
        self.sat.clause([self.copies[0].literal(encoding.valid)])
        self._start: Lit | None = None
        self._parts = [p for v in encoding.system.variables for p in encoding.v.parts(v.type, encoding.state[v.name])]
        self.known: list[Shown] = []
        self._fine: dict[tuple[str, int], Lit] = {}

    @property
    def depth(self) -> int:
        return len(self.copies) - 1

    def longer(self) -> None:
        """Look at runs of one step more."""
        self.copies.append(behind(self.copies[-1], self.encoding))
        for k in range(self.depth):
            self._different(k, self.depth)
        for shown in self.known:
            self._assume(shown, self.depth)

    def _different(self, i: int, j: int) -> None:
        some: list[Lit] = []
        for p in self._parts:
            a, b, differ = self.copies[i].literal(p), self.copies[j].literal(p), self.sat.literal()
            self.sat.clause([differ ^ 1, a, b])
            self.sat.clause([differ ^ 1, a ^ 1, b ^ 1])
            some.append(differ)
        self.sat.clause(some)

    def _bad(self, shown: Shown, k: int) -> Lit:
        return self.copies[k].literal(self.encoding.f.either(shown.state, shown.step))

    def _assume(self, shown: Shown, k: int) -> None:
        self.sat.clause([self._bad(shown, k) ^ 1])

    def proved(self, shown: Shown) -> None:
        """Something that was proved, no matter how, is assumed from now on."""
        self.known.append(shown)
        for k in range(len(self.copies)):
            self._assume(shown, k)

    def all_seen(self) -> bool:
        """Whether no run from the start has so many steps between different states."""
        self.tick()
        if self._start is None:
            self._start = self.copies[0].literal(self.encoding.start())
        return not self.sat.solve([self._start])

    def show(self, candidates: Mapping[str, Shown]) -> dict[str, Shape]:
        """What of the candidates holds by induction over `depth` states, if it holds in the first `depth` states of
        every run, and on the steps out of these."""
        still = {name: s for name, s in candidates.items() if self.encoding.f.either(s.state, s.step) != FALSE}
        out = {name: Shape(1) for name in candidates if name not in still}
        uses: dict[str, frozenset[str]] = {}
        todo = list(still)
        while todo:
            name = todo.pop(0)
            if name not in still:
                continue
            found = self._needed(name, still)
            if found is not None:
                uses[name] = found
                continue
            del still[name]
            # What was shown with its help has to be shown without it.
            todo += [n for n, some in uses.items() if n in still and name in some and n not in todo]
        out |= {name: Shape(self.depth, tuple(n for n in still if n in uses[name] - {name})) for name in still}
        return out

    def _needed(self, name: str, still: Mapping[str, Shown]) -> frozenset[str] | None:
        """The properties with which it is shown; None if it is not."""
        self.tick()
        fine = {self._fine_until(s, self.depth): n for n, s in still.items()}
        if self.sat.solve([self._bad(still[name], self.depth), *fine]):
            return None
        return frozenset(fine[x] for x in self.sat.core() if x in fine)

    def _fine_until(self, shown: Shown, k: int) -> Lit:
        """The property holds in the first k states, and on the steps out of these."""
        if k == 0:
            return self.sat.truth
        key = shown.name, k
        if key not in self._fine:
            self._fine[key] = lit = self.sat.literal()
            for i in range(k):
                self.sat.clause([lit ^ 1, self._bad(shown, i) ^ 1])
        return self._fine[key]
