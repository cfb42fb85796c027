"""A target of a few lines: pages are numbers in a dictionary, devices read and write the same ones.

`wrong` names what it does wrong, so that tests can see it caught: `loses` (migration drops the data), `leaks` (device
pages stay after the end), `warns` (its own checks speak at a migration), `dies` (at a migration), `quiet` (tells no
numbers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import ClassVar

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.results import (
    DMIRROR_COH_LOCAL,
    DMIRROR_ERROR,
    DMIRROR_NONE,
    DMIRROR_PRIV_LOCAL,
    DMIRROR_READ,
    DMIRROR_WRITE,
    Result,
)
from hmmspec.conform.target import Finding, Target, TargetLost


class Fake(Target):
    """See above."""

    name = "fake"
    profile: ClassVar[dict[str, bool]] = {"device_thp": False, "fail_alloc": True}
    capabilities = frozenset({"race", "fail_alloc", "exclusive"})
    devices: ClassVar[dict[str, str]] = {"dev0": "private", "dev1": "private", "dev2": "coherent"}

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self._restart(0)

    def _restart(self, seed: int) -> None:
        self.pages: dict[str, dict[int, int]] = {"p0": {}}
        self.prot: dict[tuple[str, int], str] = {}
        self.open: set[tuple[str, str]] = set()
        self.moved: dict[tuple[str, int], str] = {}
        self.warned: list[Finding] = []

    def _run(self, commands: Sequence[Command]) -> Iterable[Result]:
        return (self._one(command) for command in commands)

    def _race(self, threads: Sequence[Sequence[Command]], seed: int) -> list[list[Result | None]]:
        chance = Random(seed)
        left = [list(enumerate(thread)) for thread in threads]
        out: list[list[Result | None]] = [[None] * len(thread) for thread in threads]
        while any(left):
            number = chance.choice([i for i, thread in enumerate(left) if thread])
            at, command = left[number].pop(0)
            call = self.called(f"t{number}", command)
            out[number][at] = result = self._one(command)
            self.returned(call, f"t{number}", result)
        return out

    def _one(self, command: Command) -> Result:
        process = getattr(command, "process", "")
        if not isinstance(command, c.Spawn) and process and process not in self.pages:
            return Result("ESRCH")
        match command:
            case c.Spawn():
                self.pages[process] = {}
            case c.Fork(child=child):
                self.pages[child] = dict(self.pages[process])
                self.prot |= {(child, p): self.prot[process, p] for p in self.pages[child]}
            case c.Exit() | c.Kill():
                del self.pages[process]
            case c.Open(device=device):
                self.open.add((process, device))
            case c.OfDevice(device=device) if (process, device) not in self.open:
                return Result("EBADF")
            case c.Mmap(page=page, count=count, prot=prot):
                self.pages[process] |= dict.fromkeys(range(page, page + count), 0)
                self.prot |= {(process, p): prot for p in range(page, page + count)}
            case c.Munmap(page=page, count=count):
                for p in range(page, page + count):
                    self.pages[process].pop(p, None)
            case c.Mprotect(page=page, count=count, prot=prot):
                self.prot |= {(process, p): prot for p in range(page, page + count)}
            case c.OfPages() | c.OfMirror():
                return self._access(command)
            case c.Close(device=device):
                self.open.discard((process, device))
            case _:
                pass
        return Result()

    def _access(self, command: c.OfPages | c.OfMirror) -> Result:
        mine, process = self.pages[command.process], command.process
        wanted = range(command.page, command.page + command.count)
        device = isinstance(command, c.OfMirror)
        if isinstance(command, c.Snapshot):
            return Result(snapshot=tuple(self._byte(process, p, command.device) for p in wanted), cpages=command.count)
        for k, p in enumerate(wanted):
            writes = isinstance(command, c.Store | c.DevWrite | c.Increment)
            prot = self.prot.get((process, p), "none") if p in mine else "none"
            if prot == "none":
                return Result("EFAULT") if device else self._stopped(command, k)
            if writes and prot != "rw":
                return Result("EPERM") if device else self._stopped(command, k)
            if isinstance(command, c.Store | c.DevWrite):
                mine[p] = command.stamp + k
        numbers: dict[str, int] = {} if self.wrong == "quiet" else {"cpages": command.count}
        stamps = tuple(mine[p] for p in wanted)
        match command:
            case c.MigrateToDevice(device=name):
                self._migrated(command, name)
                return Result(stamps=stamps, **numbers)
            case c.DevRead() | c.DevWrite():
                return Result(stamps=stamps if isinstance(command, c.DevRead) else (), faults=1, **numbers)
            case c.Load():
                return Result(stamps=stamps, **numbers)
            case _:
                return Result(**numbers)

    def _stopped(self, command: c.OfPages | c.OfMirror, done: int) -> Result:
        mine = self.pages[command.process]
        seen = tuple(mine[command.page + k] for k in range(done)) if isinstance(command, c.Load) else ()
        return Result("SIGSEGV", cpages=done, stamps=seen)

    def _migrated(self, command: c.MigrateToDevice, device: str) -> None:
        if self.wrong == "dies":
            raise TargetLost("it hangs")
        if self.wrong == "warns":
            self.warned.append(Finding("kernel", "a warning"))
        for p in range(command.page, command.page + command.count):
            self.moved[command.process, p] = device
            if self.wrong == "loses":
                self.pages[command.process][p] = 0

    def _byte(self, process: str, page: int, device: str) -> int:
        prot = self.prot.get((process, page), "none") if page in self.pages[process] else "none"
        if prot == "none":
            return DMIRROR_ERROR
        at = self.moved.get((process, page), device)
        if at != device:
            return DMIRROR_NONE
        kind = DMIRROR_PRIV_LOCAL if self.devices[device] == "private" else DMIRROR_COH_LOCAL
        local = kind if (process, page) in self.moved else 0
        return (DMIRROR_WRITE if prot == "rw" else DMIRROR_READ) | local

    def findings(self) -> tuple[Finding, ...]:
        return tuple(self.warned)

    def _finish(self) -> tuple[Finding, ...]:
        return (Finding("leak", "2 device pages are not free", "dev0"),) if self.wrong == "leaks" else ()
