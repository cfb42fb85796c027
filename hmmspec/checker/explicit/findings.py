"""What a search came across, before it becomes verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field

from hmmspec.system.faults import Fault
from hmmspec.system.run import State

Args = tuple[object, ...]


@dataclass(frozen=True)
class Finding:
    """Something found at the stored state `number`.

    step: the step out of it that breaks a step property, refinement or lock order; fault: the step out of it that ends
    in an error; error: the fault of an expression evaluated in it; message: more words.
    """

    number: int
    step: tuple[int, Args, State] | None = None
    fault: tuple[int, Args, Fault] | None = None
    error: Fault | None = None
    message: str = ""


@dataclass
class Findings:
    """The first `keep` findings of each name, those with the shortest runs first.  `unjudged`: properties whose
    evaluation was an error somewhere.
    """

    keep: int = 1
    by_name: dict[str, list[Finding]] = field(default_factory=dict)
    unjudged: set[str] = field(default_factory=set)
    _older: dict[str, int] = field(default_factory=dict)

    def new_level(self) -> None:
        """The states of another level are going to be expanded."""
        self._older = {name: len(known) for name, known in self.by_name.items()}

    def add_now(self, name: str, finding: Finding) -> None:
        """As `add`, of an expanded state itself: its run is a step shorter than what its level has shown so far."""
        known, at = self.by_name.setdefault(name, []), self._older.get(name, 0)
        if at < self.keep:
            known.insert(at, finding)
            del known[self.keep :]
            self._older[name] = at + 1

    def add(self, name: str, finding: Finding) -> bool:
        """Keep it if there is room; whether more are welcome."""
        known = self.by_name.setdefault(name, [])
        if len(known) < self.keep:
            known.append(finding)
        return len(known) < self.keep

    def clear(self) -> None:
        """Nothing was found."""
        self.by_name.clear()
        self.unjudged.clear()
        self._older.clear()

    def full(self, name: str) -> bool:
        return len(self.by_name.get(name, ())) >= self.keep

    def of(self, name: str) -> list[Finding]:
        return self.by_name.get(name, [])
