"""Copies of an encoding, one behind the other, in a Z3 solver."""

from __future__ import annotations

from typing import Any

import z3

from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.formulas import Formula


class Unrolling:
    """Runs of an encoded System: state 0, a step, state 1, ..  Z3 decides whether there is one."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.solver = z3.SolverFor("QF_FD")
        self._made: list[dict[int, Any]] = []  # of each copy: the Z3 term of each node
        self._steps = 0  # copies whose step is there

    def states(self, count: int) -> None:
        """Make as many states, with the steps between them."""
        e = self.encoding
        while len(self._made) < count:
            k = len(self._made)
            self._made.append({0: z3.BoolVal(True)})
            if k:
                before = [self.term(f, k - 1) for f in e.after]
                for atom, value in zip(e.atoms, before, strict=True):
                    self.solver.add(self._atom(atom, k) == value)
                self.solver.add(self.term(e.moves, k - 1))

    def start(self) -> None:
        """State 0 is a start state."""
        self.states(1)
        self.solver.add(self.term(self.encoding.start(), 0))

    def term(self, f: Formula, k: int) -> Any:
        """A formula about state k and the step out of it."""
        known = self._made[k]
        if f >> 1 not in known:
            formulas = self.encoding.f
            for node in formulas.below([f]):
                if node in known:
                    continue
                parts = formulas.parts[node]
                if parts is None:
                    known[node] = self._atom(formulas.atoms[node], k)
                else:
                    known[node] = z3.And(*(self._signed(known, p) for p in parts))
        return self._signed(known, f)

    @staticmethod
    def _signed(known: dict[int, Any], f: Formula) -> Any:
        return z3.Not(known[f >> 1]) if f & 1 else known[f >> 1]

    @staticmethod
    def _atom(atom: object, k: int) -> Any:
        return z3.Bool(f"{k}:{atom}")

    def found(self, f: Formula, k: int, seconds: float) -> bool | None:
        """Whether some run has this in state k (or on the step out of it); None: not decided in so much time."""
        self.solver.set("timeout", max(1, round(1000 * seconds)))
        answer = self.solver.check(self.term(f, k))
        return None if answer == z3.unknown else bool(answer == z3.sat)

    def run(self, last: int) -> list[dict[str, object]]:
        """The values of all variables in states 0..last of the run that was found."""
        model = self.solver.model()
        out = []
        for k in range(last + 1):
            holds: dict[object, bool] = {a: z3.is_true(model.eval(self._atom(a, k))) for a in self.encoding.atoms}
            out.append(self.encoding.plain(holds))
        return out
