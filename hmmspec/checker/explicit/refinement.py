"""Whether a spec refines another: every start maps to a start of it, every step to one of its steps or to no change."""

from __future__ import annotations

from hmmspec.checker.explicit.findings import Args, Finding, Findings
from hmmspec.checker.explicit.monitors import Faults, Steps
from hmmspec.system.expr import Binder
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import MappedVariable, RefinementMap
from hmmspec.system.types import values

_CACHE = 400_000


class Refinement:
    """The map of one concrete interpreter's states to the abstract ones, as a monitor of the search."""

    def __init__(self, interp: Interpreter, plan: RefinementMap, findings: Findings) -> None:
        self.interp, self.plan, self.findings = interp, plan, findings
        self.abstract = Interpreter(plan.abstract)
        self._images: dict[State, State] = {}
        self._next: dict[State, frozenset[State]] = {}

    def image(self, s: State) -> State:
        """The abstract state.  Raises SpecFault where the map cannot be evaluated."""
        found = self._images.get(s)
        if found is None:
            if len(self._images) >= _CACHE:
                self._images.clear()
            named = {m.name: self._value(m, m.binders, s, {}) for m in self.plan.variables}
            for v in self.plan.abstract.variables:
                if v.name not in named:
                    named[v.name] = self.interp.read(s, v.name)
            found = self._images[s] = self.abstract.build(named)
        return found

    def _value(self, m: MappedVariable, binders: tuple[Binder, ...], s: State, env: dict[str, object]) -> object:
        if not binders:
            return self.interp.evaluate(m.value, s, None, env)
        b = binders[0]
        return tuple(self._value(m, binders[1:], s, {**env, b.name: v}) for v in values(b.type))

    def successors(self, a: State) -> frozenset[State]:
        """Where the abstract system can go in one step."""
        found = self._next.get(a)
        if found is None:
            if len(self._next) >= _CACHE:
                self._next.clear()
            found = self._next[a] = frozenset(t for _, _, t in self.abstract.expand(a)[0])
        return found

    def begin(self, number: int, s: State) -> None:
        """A start of the concrete system."""
        if self.findings.full("refines"):
            return
        try:
            a = self.image(s)
            is_start = self.abstract.is_start(a)
        except SpecFault as e:
            self._erred(number, e, None)
            return
        if not is_start:
            shown = ", ".join(f"{cell} = {value}" for cell, value in self.abstract.cells(a).items())
            self.findings.add("refines", Finding(number, message=f"no start of {self.plan.abstract.name} has {shown}"))

    def see(self, number: int, s: State, steps: Steps, faults: Faults) -> None:
        if self.findings.full("refines"):
            return
        try:
            before = self.image(s)
        except SpecFault as e:
            self._erred(number, e, None)
            return
        for step in steps:
            try:
                after = self.image(step[2])
            except SpecFault as e:
                self._erred(number, e, step)
                continue
            if after != before and after not in self.successors(before):
                self.findings.add("refines", Finding(number, step=step, message=self.difference(before, after)))

    def difference(self, before: State, after: State) -> str:
        """What no step of the abstract system does, in words."""
        old, new = self.abstract.cells(before), self.abstract.cells(after)
        moved = ", ".join(f"{cell}: {old[cell]} -> {value}" for cell, value in new.items() if old[cell] != value)
        return f"no step of {self.plan.abstract.name} does {moved}"

    def _erred(self, number: int, e: SpecFault, step: tuple[int, Args, State] | None) -> None:
        self.findings.unjudged.add("refines")
        self.findings.add("spec_error", Finding(number, step=step, error=e.fault, message="in the refinement map"))
