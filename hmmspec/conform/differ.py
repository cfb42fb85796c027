"""Two targets held against each other: the same programs on both, and every visible thing equal.

NOTE(pair): a program without races is sent whole to both, and what they answered is compared command by command (see
NOTE(visible)).  A page that only one of them skipped is tried again, up to three times, in a fresh run of the program
in which that command comes twice; only then it is a difference.  Where both answered the same the judges look at one
log, which is both; where they differ each log is judged by itself, and experts are asked, too: so the report tells
whom the specs explain.  Programs with races are not compared: each target is judged by itself, must lose no data and
end clean.

A difference that an entry of the known ones explains is none; if the kernels are in different states afterwards
(`apart`), nothing more of that program is compared, and of the second target only what it says of itself counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

from hmmspec.conform.commands import Command
from hmmspec.conform.difference import REPEATS, Comparison, Difference, differences
from hmmspec.conform.judging import Judge, Outcome, run_program
from hmmspec.conform.known import Entry, Known
from hmmspec.conform.lastlook import last_looks
from hmmspec.conform.program import Program, Race, length
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.target import Event, Finding, Target, TargetLost


class Pair:
    """Two targets that run the same programs.  Only what both can do is asked of them.

    The one that is not the reference is the second by custom; it works in a thread of its own meanwhile.
    experts: makes judges that are asked only where the two differ.
    """

    def __init__(
        self,
        first: Target,
        second: Target,
        judges: Sequence[Judge],
        known: Known | None = None,
        seed: int = 0,
        experts: Callable[[], Sequence[Judge]] = tuple,
    ) -> None:
        self.targets = first, second
        self.names = first.name, second.name if second.name != first.name else f"{second.name}'"
        self.judges = judges
        self.experts = cache(experts)
        self.seed = seed
        self.kernel = second.kernel or first.kernel
        self.known = (known or Known()).of(self.kernel)
        self._worker = ThreadPoolExecutor(1, "second-target")
        capabilities = first.capabilities & second.capabilities
        devices = {n: kind for n, kind in first.devices.items() if second.devices.get(n) == kind}
        for target in self.targets:
            target.capabilities = capabilities
            target.devices = devices

    @property
    def name(self) -> str:
        """Both names."""
        return ",".join(self.names)

    @property
    def deterministic(self) -> bool:
        """Whether both are."""
        return all(t.deterministic for t in self.targets)

    def renew(self) -> bool:
        """As of a target, of both."""
        renewed = [target.renew() for target in self.targets]
        return any(renewed)

    def close(self) -> None:
        """Give both targets back."""
        for target in self.targets:
            target.close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    # ---- one program

    def run(self, program: Program) -> Outcome:
        """Run a program on both, and compare or judge: what is wrong, of either."""
        if any(isinstance(step, Race) for step in program):
            return self._each(program)
        again: Counter[int] = Counter()
        repeated = 0
        while True:
            run = _Run(self, program, again)
            run.play()
            worst = run.skipped()
            if worst is None or run.lost or again[worst] >= REPEATS:
                break
            again[worst] += 1
            repeated += 1
        outcome = run.judged()
        assert outcome.comparison is not None
        outcome.comparison.repeated = repeated
        outcome.commands = length(program)
        return outcome

    def _each(self, program: Program) -> Outcome:
        """Each by itself; the first that has a finding tells."""
        comparison = Comparison(self.names)
        incomplete: list[str] = []
        for name, target in zip(self.names, self.targets, strict=True):
            outcome = run_program(target, program, self.judges, self.seed)
            outcome.seen_on = name
            outcome.findings = self.unknown(name, outcome.findings, comparison)
            incomplete += [f"on {name}: {told}" for told in outcome.incomplete]
            comparison.logs[name] = outcome.log
            if outcome.findings or outcome.lost:
                break
        outcome.comparison, outcome.incomplete = comparison, incomplete
        return outcome

    def unknown(self, name: str, findings: Sequence[Finding], comparison: Comparison) -> list[Finding]:
        """What a target's findings are, without those that are known."""
        out: list[Finding] = []
        for finding in findings:
            entry = self.known.accepts(name, finding)
            if entry is None:
                out.append(finding)
            else:
                comparison.explained[entry.name] += 1
        return out

    def not_needed(self, explained: Counter[str]) -> list[Entry]:
        """The entries of this kernel that neither a run has needed, nor the program that should show them needs.

        Entries of other targets than these two are left alone.
        """
        out: list[Entry] = []
        for entry in self.known.entries:
            mine = {entry.target} if entry.check else set(entry.results)
            if explained[entry.name] or not mine <= set(self.names):
                continue
            if entry.program:
                shown = self.run(entry.program)
                if shown.comparison is not None and shown.comparison.explained[entry.name]:
                    continue
            out.append(entry)
        return out


class _Run:
    """One program on both targets, once.  `again`: positions of commands -> how often each comes once more."""

    def __init__(self, pair: Pair, program: Program, again: Counter[int]) -> None:
        self.pair = pair
        self.first, self.second = pair.targets
        self.commands: list[Command] = []
        self.step_of: list[int] = []  # call -> position in the program
        self.passing: set[int] = set()  # calls that are repeated: what they skip does not matter
        for at, step in enumerate(program):
            assert not isinstance(step, Race)
            for left in reversed(range(again[at] + 1)):
                if left:
                    self.passing.add(len(self.commands))
                self.commands.append(step)
                self.step_of.append(at)
        self.lost: dict[str, str] = {}
        self.comparison = Comparison(pair.names)
        self.data: DataJudge | None = next((j for j in pair.judges if isinstance(j, DataJudge)), None)
        self.wrong: Difference | None = None
        self.apart = False
        self._compared = 0
        self._said: list[Finding] = []

    def play(self) -> None:
        """Run it, and compare."""
        other = self.pair._worker.submit(self._play, 1, None)
        self._play(0, None)
        other.result()
        self._compare()

    def _play(self, which: int, more: Sequence[Command] | None) -> None:
        target = self.pair.targets[which]
        try:
            if more is None:
                target.reset(self.pair.seed)
            target.run_all(self.commands if more is None else more)
        except TargetLost as lost:
            self.lost[self.pair.names[which]] = str(lost)

    def _compare(self) -> None:
        """Look at what came since the last time; stops at a difference that nothing explains."""
        one, two = self.first.log, self.second.log
        start = self._compared
        self._compared = min(len(one), len(two))
        self.comparison.compared += (self._compared - start) // 2
        if self.apart or self.wrong is not None:
            return
        for difference in differences(self.pair.names, one[start : self._compared], two[start : self._compared]):
            if difference.call in self.passing and difference.skipped:
                continue
            entry = self.pair.known.explains(difference)
            if entry is None:
                self.wrong = difference
                return
            self.comparison.explained[entry.name] += 1
            if entry.apart:
                self.apart = True
                return

    def skipped(self) -> int | None:
        """The position of a command at which one target only skipped a page."""
        wrong = self.wrong
        return self.step_of[wrong.call] if wrong is not None and wrong.skipped else None

    # ---- judging

    def judged(self) -> Outcome:
        """What is wrong, if anything is."""
        out = Outcome(comparison=self.comparison)
        names = self.pair.names
        said = {n: self._says(n, t) for n, t in zip(names, self.pair.targets, strict=True)}
        if self.wrong is not None:
            out.findings.append(self._differs(self.wrong, said, out))
        elif not self.lost:
            out.findings += self._judge(self.first, self.pair.judges)
            if not out.findings and not any(said.values()):
                self._end(out, said)
        out.lost = bool(self.lost)
        for name in names:
            if name in self.lost:
                call = max((e.call for e in self._log(name)), default=None)
                out.findings.insert(0, Finding("crash", f"{name}: {self.lost[name]}", "", call))
                out.seen_on = name
            out.findings += [replace(f, message=f"{name}: {f.message}") for f in said[name]]
            out.seen_on = out.seen_on or (name if said[name] else "")
        self.comparison.logs = {n: list(self._log(n)) for n in names}
        out.log = self.comparison.logs[out.seen_on or names[0]]
        return out

    def _differs(self, wrong: Difference, said: dict[str, list[Finding]], out: Outcome) -> Finding:
        """The difference, with what the judges say of either log up to there."""
        told: list[Finding] = []
        judges = [*self.pair.judges, *self.pair.experts()]
        for name, target in zip(self.pair.names, self.pair.targets, strict=True):
            specs = self._judge(target, judges, wrong.call)
            self._close(specs, judges, out)
            told += [replace(f, message=f"({name}) {f.message}") for f in (*specs, *said[name])]
            if not specs:
                told.append(Finding("specs", f"({name}) they explain what was seen on {name}"))
        return wrong.finding(told)

    def _says(self, name: str, target: Target) -> list[Finding]:
        """What a target says of itself that it has not said before and that is not known."""
        fresh = [f for f in target.findings() if f not in self._said]
        self._said += fresh
        return self.pair.unknown(name, fresh, self.comparison)

    def _log(self, name: str) -> list[Event]:
        return self.pair.targets[self.pair.names.index(name)].log

    def _judge(self, target: Target, judges: Sequence[Judge], until: int | None = None) -> list[Finding]:
        """What judges say of a target's log, to the end of a call or all of it; the log may go on."""
        found: list[Finding] = []
        for judge in judges:
            judge.begin(target)
            for event in target.log:
                if until is not None and event.call > until:
                    break
                found += judge.feed(event)
        return found

    def _close(self, found: list[Finding], judges: Sequence[Judge], out: Outcome) -> None:
        for judge in judges:
            found += judge.finish()
            if why := getattr(judge, "incomplete", None):
                out.incomplete.append(f"{judge.name}: {why}")

    def _end(self, out: Outcome, said: dict[str, list[Finding]]) -> None:
        """Everything is read once more, and all processes end: the judges of the first target go on meanwhile."""
        back = last_looks(self.first.log, self.data) if self.data is not None else []
        seen = len(self.first.log)
        other = self.pair._worker.submit(self._play, 1, back)
        self._play(0, back)
        for event in self.first.log[seen:]:
            for judge in self.pair.judges:
                out.findings += judge.feed(event)
        other.result()
        self._compare()
        if self.wrong is not None:
            out.findings = [self._differs(self.wrong, said, out)]
            return
        self._close(out.findings, self.pair.judges, out)
        if not self.lost and not out.findings:
            ending = self.pair._worker.submit(self._finish, 1)
            ended = self._finish(0), ending.result()
            self._said += [f for found in ended for f in found]
            for name, found in zip(self.pair.names, ended, strict=True):
                out.findings += [
                    replace(f, message=f"{name}: {f.message}") for f in self.pair.unknown(name, found, self.comparison)
                ]
                if out.findings and not out.seen_on:
                    out.seen_on = name
        for name, target in zip(self.pair.names, self.pair.targets, strict=True):
            said[name] = self._says(name, target)

    def _finish(self, which: int) -> tuple[Finding, ...]:
        try:
            return self.pair.targets[which].finish()
        except TargetLost as lost:
            self.lost[self.pair.names[which]] = str(lost)
            return ()
