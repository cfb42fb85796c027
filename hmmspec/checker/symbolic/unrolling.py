"""Copies of an encoding, one behind the other, in a Z3 solver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.sat import Circuit, Lit, Sat, Undecided


class Unrolling:
    """Runs of an encoded System: state 0, a step, state 1, ..  Z3 decides whether there is one."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.sat = Sat()
        self._copies: list[Circuit] = []
        self._always: list[list[Formula]] = []

    def states(self, count: int) -> None:
        """Make as many states, with the steps between them."""
        while len(self._copies) < count:
            before = self._copies[-1:]
            self._copies += [behind(x, self.encoding) for x in before] or [Circuit(self.sat, self.encoding.f)]
            for clause in self._always:
                self.sat.clause(self._copies[-1].literal(f) for f in clause)

    def always(self, clause: Sequence[Formula]) -> None:
        """One of these is known to hold in every reachable state (and on every step out of it)."""
        self._always.append(list(clause))
        for copy in self._copies:
            self.sat.clause(copy.literal(f) for f in clause)

    def start(self) -> None:
        """State 0 is a start state."""
        self.sat.clause([self.literal(self.encoding.start(), 0)])

    def literal(self, f: Formula, k: int) -> Lit:
        """A formula about state k and the step out of it."""
        self.states(k + 1)
        return self._copies[k].literal(f)

    def found(self, f: Formula, k: int, seconds: float) -> bool | None:
        """Whether some run has this in state k (or on the step out of it); None: not decided in so much time."""
        self.sat.limit(seconds)
        try:
            return self.sat.solve([self.literal(f, k)])
        except Undecided:
            return None

    def run(self, last: int) -> list[dict[str, object]]:
        """The values of all variables in states 0..last of the run that was found."""
        return list(self._run(last))

    def _run(self, last: int) -> Iterator[dict[str, object]]:
        e = self.encoding
        atoms: list[object] = list(e.atoms)
        for copy in self._copies[: last + 1]:
            values = self.sat.values(copy.literal(e.f.atom(a)) for a in e.atoms)
            yield e.plain(dict(zip(atoms, values, strict=True)))


def behind(last: Circuit, encoding: Encoding) -> Circuit:
    """A copy whose state is the one after the step of the last copy, which is taken."""
    last.sat.clause([last.literal(encoding.moves)])
    after = (last.literal(f) for f in encoding.after)
    return Circuit(last.sat, encoding.f, {encoding.f.atom(a): x for a, x in zip(encoding.atoms, after, strict=True)})
