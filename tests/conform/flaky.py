"""Targets that misbehave now and then, on a schedule: the fake kernel (`fake.py`) with an error of its own.

They stand for a real kernel: what they do depends on how often they were asked, as that of a real one on its timing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.results import Result
from hmmspec.conform.target import Finding, TargetLost
from tests.conform.fake import FakeTarget

Twist = Callable[[Command, Result], Result]


class Flaky(FakeTarget):
    """The fake kernel, changed by `twist(command, result)`; dies before the commands with the numbers of `deaths`
    (counted from the making of the target, or where `kills` says so)."""

    name = "flaky"
    deterministic = False
    kernel = "6.12.117"

    def __init__(
        self,
        twist: Twist | None = None,
        *,
        deaths: Sequence[int] = (),
        kills: Callable[[Command], bool] | None = None,
        says: Callable[[Command], Finding | None] | None = None,
    ) -> None:
        super().__init__()
        self.twist, self.deaths, self.kills, self.says = twist, deaths, kills, says
        self.done = 0
        self.restarts = 0
        self.dead = False
        self.said: list[Finding] = []

    def _restart(self, seed: int) -> None:
        super()._restart(seed)
        self.restarts += self.dead
        self.dead = False
        self.said = []

    def _run(self, commands: Sequence[Command]) -> Iterable[Result]:
        for command in commands:
            yield self.do(command)

    def do(self, command: Command) -> Result:
        if self.dead:
            raise TargetLost("the guest is dead")
        self.done += 1
        if self.done in self.deaths or (self.kills is not None and self.kills(command)):
            self.dead = True
            raise TargetLost("the guest does not answer any more")
        if self.says is not None and (finding := self.says(command)) is not None:
            self.said.append(finding)
        result = super().do(command)
        return result if self.twist is None else self.twist(command, result)

    def findings(self) -> tuple[Finding, ...]:
        return tuple(self.said)


class Sometimes:
    """A twist that strikes at certain times only: `times` says whether, for the first, second, .. that it fits."""

    def __init__(self, fits: Callable[[Command], bool], result: Result, times: Callable[[int], bool]) -> None:
        self.fits, self.result, self.times = fits, result, times
        self.met = 0

    def __call__(self, command: Command, result: Result) -> Result:
        if not self.fits(command) or not result.ok:
            return result
        self.met += 1
        return self.result if self.times(self.met) else result


def skips(times: Callable[[int], bool]) -> Sometimes:
    """MIGRATE_TO_DEV says ENOENT."""
    return Sometimes(lambda x: isinstance(x, c.MigrateToDevice), Result("ENOENT"), times)


def make(options: Mapping[str, object]) -> Flaky:
    """For `--target tests.conform.flaky:make@death=500`: dies at these commands; with `skips`, always skips."""
    deaths = options.get("death") or ()
    told = [deaths] if isinstance(deaths, str) else deaths
    assert isinstance(told, Iterable)
    return Flaky(skips(lambda _: True) if options.get("skips") else None, deaths=tuple(int(str(x)) for x in told))
