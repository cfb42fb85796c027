"""Two kernels, one with the bulk driver, that are given the same commands; and where they differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.results import Result
from hmmspec.conform.target import Finding, Target
from hmmspec.ref.cost.timeline import Kind, TimeLine
from hmmspec.ref.notifier import Subscriptions
from hmmspec.ref.state import Config, Kernel

SIZE = Config(cpus=2, system_pages=5120, device_pages=4096, swap_pages=512, page_tables=96)
DEVICES = ("dev0", "dev1", "dev2", "dev3")


class Prices:
    """Every event costs something else, so that a sum says a lot."""

    def price(self, kind: Kind, count: int, size: int) -> int:
        return 1 + 7 * len(kind.value) + 3 * count + size


class Pair(Target):
    """The stepped and the bulk driver side by side: a target whose two halves must give the same results."""

    name = "pair"
    atomic = True

    def __init__(self, config: Config = SIZE, profile: str = "latest") -> None:
        super().__init__()
        self.halves = [
            ReferenceTarget(profile, checks=False, driver=driver, config=config, line=TimeLine(Prices()))
            for driver in ("stepped", "bulk")
        ]
        bulk = self.halves[1]
        self.profile, self.capabilities, self.devices = bulk.profile, bulk.capabilities, bulk.devices
        self.compared = 0

    def _restart(self, seed: int) -> None:
        for half in self.halves:
            half.reset(seed)
            half.line.reset()

    def _run(self, commands: Sequence[Command]) -> Iterator[Result]:
        for command in commands:
            one, other = (half.run(command) for half in self.halves)
            if one != other:
                raise Differs([f"results: {one} and {other}"], command)
            yield one

    def _finish(self) -> tuple[Finding, ...]:
        self.compare()
        one, other = (half.finish() for half in self.halves)
        self.compare()
        return one if one == other else (*one, *other)

    def findings(self) -> tuple[Finding, ...]:
        return self.halves[0].findings()

    def compare(self, command: Command | None = None) -> None:
        """Raises Differs where the two are not in the same state."""
        one, other = (half.k.frames.data for half in self.halves)
        found = differ(*(everything(half.k, half.line) for half in self.halves))
        if one is not None and other is not None and not np.array_equal(one, other):
            rows = np.flatnonzero((one != other).any(axis=1))
            found.append(f"data of frames {rows[:8].tolist()}")
        if found:
            raise Differs(found, command)
        self.compared += 1


class Differs(Exception):
    """The two drivers are not in the same state, or gave different results."""

    def __init__(self, where: list[str], command: Command | None) -> None:
        super().__init__("\n".join([f"after {command}:" if command else "the drivers differ:", *where[:8]]))


def everything(k: Kernel, line: TimeLine) -> dict[str, Any]:
    """All of a kernel's state but the bytes of frames as plain data, with what is not visible yet but will be: free
    lists, sequences, costs."""
    data, k.frames.data = k.frames.data, None
    out = k.snapshot()
    k.frames.data = data
    out["locks"] = k.frames.v.lock.tobytes()
    out["pool"] = (k.pool.stack[: k.pool.top].tolist(), list(k.pool.blocks))
    out["rows"] = (list(k.tables._free), k.tables._next, dict(k.tables.owner))
    out["tlb order"] = [{m: list(e.items()) for m, e in cpu.tlb.items() if e} for cpu in k.cpus]
    out["lru clock"] = k.lru_clock
    out["findings"] = [str(f) for f in k.findings]
    out["cost"] = (line.now, {str(event): times for event, times in sorted(line.events().items(), key=str)})
    for name, device in k.devices.items():
        memory = device.memory
        out[f"{name} chunks"] = [
            (m.first, m.pages, m.live, m.dying, m.pool.stack[: m.pool.top].tolist(), list(m.pool.blocks))
            for m in memory.chunks
        ]
        out[f"{name} bindings"] = {
            number: (b.table.snapshot(), b.epoch, b.sub.seq, b.closing, b.users)
            for number, b in device.bindings.items()
        }
        out[f"{name} rest"] = (device.fail_alloc, list(device.warnings))
    for mm in k.mms.values():
        n = mm.notifiers
        if isinstance(n, Subscriptions):
            out[f"notifiers {mm.id}"] = (n.seq, n.active, len(n.subs), len(n.deferred), len(n.running))
    out["anons"] = {a.id: [(v.mm.id, v.start, v.end) for v in a.vmas] for a in k.anons.values()}
    return out


def differ(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two values differ, as paths."""
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        return [d for key in {**one, **other} for d in differ(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, bytes) and isinstance(other, bytes) and len(one) == len(other):
        first = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        return [f"{path} from byte {first} on"]
    return [f"{path}: {str(one)[:300]} and {str(other)[:300]}"]


LARGE = ((0, 700), (1024, 1200), (3000, 300))  # (first page, pages): where programs map something
MEDIUM = ((0, 90), (480, 130), (1024, 512), (2000, 40))


class Writer:
    """Random commands on a few areas: often whole ranges, sometimes a page, from a seed."""

    def __init__(self, seed: int, areas: Sequence[tuple[int, int]] = LARGE) -> None:
        self.random = Random(seed)
        self.areas = areas
        self.processes = ["p0"]
        self.made = 0
        self.holds: list[tuple[str, str]] = []
        self.next_up: list[Command] = []

    def start(self) -> list[Command]:
        """What makes the first commands worth something."""
        first: list[Command] = [c.Open("p0", "dev0"), c.Open("p0", "dev2")]
        return [*first, *(c.Mmap("p0", low, count) for low, count in self.areas)]

    def range(self) -> tuple[int, int]:
        low, count = self.random.choice(self.areas)
        if self.random.random() < 0.25:
            return low + self.random.randrange(count), self.random.randrange(1, 4)
        if self.random.random() < 0.3:
            return low, count
        at = self.random.randrange(count)
        return low + at, self.random.randrange(1, count - at + 1)

    def commands(self, count: int) -> list[Command]:
        """So many commands, from the start."""
        out = self.start()
        while len(out) < count:
            out.append(self.next())
        return out

    def next(self) -> Command:
        """One more command; a store is often followed by a migration of the same pages, and by their way back."""
        if self.next_up:
            return self.next_up.pop(0)
        made = self._next()
        if isinstance(made, c.Store) and self.random.random() < 0.5:
            device = self.random.choice(("dev0", "dev2"))
            p, page, count = made.process, made.page, made.count
            back = self.random.choice((c.MigrateToSystem(p, device, page, count), c.Load(p, page, count), made))
            self.next_up = [c.MigrateToDevice(p, device, page, count), back][: self.random.randrange(1, 3)]
        return made

    def _next(self) -> Command:
        rng = self.random
        p = rng.choice(self.processes)
        page, count = self.range()
        device = rng.choice(DEVICES if rng.random() < 0.3 else ("dev0", "dev0", "dev2", "dev1"))
        self.made += 1
        stamp = self.made * 10_000
        match rng.choices(*zip(*WEIGHTS.items(), strict=True))[0]:
            case "store":
                return c.Store(p, page, count, stamp=stamp)
            case "load":
                return c.Load(p, page, count)
            case "increment":
                return c.Increment(p, page, min(count, 40))
            case "send":
                return c.MigrateToDevice(p, device, page, count)
            case "fetch":
                return c.MigrateToSystem(p, device, page, count)
            case "dev_read":
                return c.DevRead(p, device, page, count)
            case "dev_write":
                return c.DevWrite(p, device, page, count, stamp=stamp)
            case "snapshot":
                return c.Snapshot(p, device, page, min(count, 64))
            case "exclusive":
                return c.Exclusive(p, device, page, min(count, 8))
            case "mmap":
                kind = rng.choice(("private", "private", "private", "shared"))
                return c.Mmap(p, page, count, prot=rng.choice(("rw", "rw", "rw", "r")), kind=kind)
            case "munmap":
                return c.Munmap(p, page, min(count, 200))
            case "mprotect":
                return c.Mprotect(p, page, count, prot=rng.choice(("rw", "rw", "r", "none")))
            case "mremap":
                low, _ = rng.choice(self.areas)
                return c.Mremap(p, page, min(count, 100), to=low + rng.randrange(200), dontunmap=rng.random() < 0.3)
            case "madvise":
                advice = rng.choice(("dontneed", "dontneed", "free", "hugepage", "nohugepage", "pageout", "collapse"))
                return c.Madvise(p, page, count, advice=advice)
            case "fork":
                name = f"p{self.made}"
                if len(self.processes) < 3:
                    self.processes.append(name)
                return c.Fork(p, name)
            case "exit":
                if p == "p0":
                    return c.Drain()
                self.processes.remove(p)
                return c.Exit(p)
            case "open":
                return c.Open(p, device)
            case "close":
                return c.Close(p, device)
            case "release":
                return c.ReleaseMemory(p, device)
            case "gup":
                hold = f"h{self.made}"
                self.holds.append((p, hold))
                return c.Gup(p, page, min(count, 5), write=rng.random() < 0.5, pin=rng.random() < 0.5, hold=hold)
            case "unpin":
                if self.holds:
                    return c.Unpin(*self.holds.pop(rng.randrange(len(self.holds))))
                return c.Drain()
            case "flags":
                return c.Flags(p, device)
            case "inject":
                return c.Inject(rng.choice(("alloc", "copy", "trylock")))
            case _:
                return c.Drain()


WEIGHTS = {
    "store": 16, "load": 14, "increment": 3, "send": 16, "fetch": 8, "dev_read": 6, "dev_write": 6, "snapshot": 2,
    "exclusive": 1, "mmap": 3, "munmap": 2, "mprotect": 3, "mremap": 1, "madvise": 4, "fork": 2, "exit": 3, "open": 3,
    "close": 1, "release": 1, "gup": 2, "unpin": 3, "flags": 1, "inject": 1, "drain": 1,
}  # fmt: skip


def play(commands: Sequence[Command], every: int, seed: int = 0) -> Pair:
    """Run commands on both, and compare the whole state after so many at a time, and at the end.

    Raises Differs; then the commands are run once more to find the first after which the two differ.
    """
    pair = Pair()
    pair.reset(seed)
    for number, command in enumerate(commands):
        pair.run(command)
        if number % every == every - 1 or number == len(commands) - 1:
            try:
                pair.compare(command)
            except Differs:
                if every > 1:
                    play(commands[: number + 1], 1, seed)
                raise
    return pair
