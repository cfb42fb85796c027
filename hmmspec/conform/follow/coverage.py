"""Which transitions of a spec were exercised by what was followed.

NOTE(coverage): a transition is *exercised* where every explanation of a call uses it, *possible* where some explanation
does.  So a hidden step counts as exercised only if what was seen cannot be explained without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from hmmspec.conform.follow.nodes import Edge, Rules
from hmmspec.system.system import Rule, System


class Coverage:
    """names: of all transitions, in the order of the spec; exercised: how often each was; possible: how often each may
    have been.  Counts are kept over all runs; rules that some setting of the params switches off are not counted."""

    def __init__(self, system: System) -> None:
        self.names = names_of(system)
        visible = {n for e in system.events for n in e.rules}
        self.events = tuple(n for n, r in zip(self.names, system.rules, strict=True) if r.number in visible)
        # By what an edge uses, not by the edge: nodes are forgotten, counts are not.
        self._times: dict[tuple[Rules, Rules], int] = {}

    def add(self, edge: Edge) -> None:
        """A step from set to set was taken."""
        key = edge.sure, edge.maybe
        self._times[key] = self._times.get(key, 0) + 1

    @property
    def _sure(self) -> Counter[int]:
        return _counted((sure, times) for (sure, _), times in self._times.items())

    @property
    def _maybe(self) -> Counter[int]:
        return _counted((maybe, times) for (_, maybe), times in self._times.items())

    @property
    def exercised(self) -> dict[str, int]:
        """Name -> how often it was certainly taken; 0 is told too."""
        sure = self._sure
        return {name: sure[number] for number, name in enumerate(self.names)}

    @property
    def possible(self) -> dict[str, int]:
        """Name -> how often it may have been taken."""
        maybe = self._maybe
        return {name: maybe[number] for number, name in enumerate(self.names)}

    @property
    def never(self) -> tuple[str, ...]:
        """Transitions that no explanation ever used."""
        maybe = self._maybe
        return tuple(name for number, name in enumerate(self.names) if not maybe[number])

    @property
    def only_possible(self) -> tuple[str, ...]:
        """Transitions that were used by some explanations, but without which there were others."""
        sure, maybe = self._sure, self._maybe
        return tuple(name for number, name in enumerate(self.names) if maybe[number] and not sure[number])


def names_of(system: System) -> tuple[str, ...]:
    """A name for each rule: its own, with its number among its namesakes where there are some (`unmap#2`)."""
    many = Counter(r.name for r in system.rules)
    seen: Counter[str] = Counter()
    out = []
    for rule in system.rules:
        seen[rule.name] += 1
        out.append(_name(rule, seen[rule.name]) if many[rule.name] > 1 else rule.name)
    return tuple(out)


def _name(rule: Rule, number: int) -> str:
    return f"{rule.name}#{number}"


def _counted(found: Iterable[tuple[Rules, int]]) -> Counter[int]:
    out: Counter[int] = Counter()
    for rules, times in found:
        for rule in rules:
            out[rule] += times
    return out
