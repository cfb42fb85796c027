"""Who judges a run: everything that looks at the events of a log and tells what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hmmspec.conform.difference import Comparison
from hmmspec.conform.lastlook import last_looks
from hmmspec.conform.program import Program, length, play
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.target import Event, Finding, Target, TargetLost


class Judge(Protocol):
    """One way to look at runs.  `begin` starts a run, `feed` gives it the next event, `finish` ends the run.

    name: how findings and reports call it.
    """

    name: str

    def begin(self, target: Target) -> None: ...

    def feed(self, event: Event) -> Sequence[Finding]: ...

    def finish(self) -> Sequence[Finding]: ...


class Covers(Protocol):
    """A judge that also tells what it has seen happen: how often each transition of its spec was exercised."""

    def covered(self) -> Mapping[str, int]: ...


@dataclass
class Outcome:
    """What a run came to.

    findings: what is wrong, in the order of the events; commands: how many were carried out; log: what was seen;
    incomplete: what could not be judged to its end, and why; lost: the target died.  Where two targets are held against
    each other: seen_on: the target that showed what was found, if it was one; comparison: what they had in common.
    """

    findings: list[Finding] = field(default_factory=list)
    commands: int = 0
    log: list[Event] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    lost: bool = False
    seen_on: str = ""
    comparison: Comparison | None = None


def run_program(
    target: Target, program: Program, judges: Iterable[Judge], seed: int = 0, *, read_back: bool = True
) -> Outcome:
    """Run a program on a fresh target and judge all of it.

    read_back: at the end every page that can be read is read once more, so that no loss goes unseen; then all
    processes end, and what the target still holds is a leak.
    """
    out = Outcome(commands=length(program))
    everyone = list(judges)
    data = next((j for j in everyone if isinstance(j, DataJudge)), None)
    for judge in everyone:
        judge.begin(target)
    seen = 0

    def look() -> None:
        nonlocal seen
        for event in target.log[seen:]:
            for judge in everyone:
                out.findings.extend(judge.feed(event))
        seen = len(target.log)

    try:
        play(target, program, seed)
        look()
        told = target.findings()
        out.findings.extend(told)
        if data is not None and read_back and not out.findings:
            target.run_all(last_looks(target.log, data))
            look()
            out.findings.extend(f for f in target.findings() if f not in told)
        if not out.findings:
            out.findings.extend(target.finish())
    except TargetLost as lost:
        look()
        out.lost = True
        out.findings.extend(target.findings())
        out.findings.append(Finding("crash", str(lost), "", max((e.call for e in target.log), default=None)))
    for judge in everyone:
        out.findings.extend(judge.finish())
        if why := getattr(judge, "incomplete", None):
            out.incomplete.append(f"{judge.name}: {why}")
    out.log = list(target.log)
    return out


# Makes the judges of a run on a target; called once for each session.
Judges = Callable[[Target], Sequence[Judge]]
