"""A kernel of a hundred lines that keeps every promise to programs, and breaks one where it is told to.

It has no frames, no locks, no page tables: a mapped page is a box with a stamp and the name of the device it is on.
What conformance says of it can be foreseen, so it tests the judges, the search and the commands.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hmmspec.conform import commands as c
from hmmspec.conform import results as r
from hmmspec.conform.commands import Command
from hmmspec.conform.results import Result
from hmmspec.conform.target import Finding, Target, TargetLost, needs, register


@dataclass
class Box:
    stamp: int = 0
    device: str = ""
    held: int = 0


@dataclass
class Mapped:
    box: Box
    prot: str
    kind: str
    source: str | None = None
    index: int = 0
    copied: bool = True  # a private page of a file: it is a copy by now
    fork: bool = True


@dataclass
class Process:
    pages: dict[int, Mapped] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    holds: dict[str, list[Box]] = field(default_factory=dict)


class Refused(Exception):
    """The errno of a command."""


class FakeTarget(Target):
    name = "fake"
    capabilities = frozenset(
        {"race", "file", "mremap", "swap", "gup", "gup_longterm", "hold", "peek", "exclusive", "release_memory"}
    )
    devices: Mapping[str, str] = {"dev0": "private", "dev1": "private"}  # type: ignore[assignment]
    atomic = True

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.leaked = 0

    def _restart(self, seed: int) -> None:
        self.processes = {"p0": Process()}
        self.files: dict[str, list[Box]] = {}
        self.leaked = 0

    def _run(self, commands: Sequence[Command]) -> Iterable[Result]:
        return [self.do(command) for command in commands]

    def _race(self, threads: Sequence[Sequence[Command]], seed: int) -> list[list[Result | None]]:
        """Every command has one moment; a call may begin long before it and return long after."""
        rng = random.Random(seed)
        out: list[list[Result | None]] = [[] for _ in threads]
        at = [0] * len(threads)
        state: list[tuple[int, Result | None] | None] = [None] * len(threads)
        while live := [t for t in range(len(threads)) if at[t] < len(threads[t])]:
            t = rng.choice(live)
            command = threads[t][at[t]]
            now = state[t]
            if now is None:
                state[t] = (self.called(f"t{t}", command), None)
            elif now[1] is None:
                state[t] = (now[0], self.do(command))
            else:
                self.returned(now[0], f"t{t}", now[1])
                out[t].append(now[1])
                state[t], at[t] = None, at[t] + 1
        return out

    def _finish(self) -> tuple[Finding, ...]:
        return (Finding("leak", f"{self.leaked} pages"),) if self.leaked else ()

    def do(self, command: Command) -> Result:
        if not needs(command) <= self.capabilities:
            return Result("ENOSYS")
        try:
            return self._do(command)
        except Refused as refused:
            return Result(str(refused))

    # ---- the kernel

    def _process(self, name: str) -> Process:
        if name not in self.processes:
            raise Refused("ESRCH")
        return self.processes[name]

    def _at(self, m: Mapped) -> Box | None:
        if m.kind.startswith("file") and not m.copied:
            cells = self.files[m.source or ""]
            return cells[m.index] if m.index < len(cells) else None
        return m.box

    def _write(self, m: Mapped, stamp: int) -> None:
        box = self._at(m)
        assert box is not None
        if m.kind == "file_private" and not m.copied:
            m.box, m.copied = Box(), True
            box = m.box
        box.stamp = stamp

    def _do(self, command: Command) -> Result:
        match command:
            case c.FileWrite(file=file, page=page, count=count, stamp=stamp):
                cells = self.files.setdefault(file, [])
                cells.extend(Box() for _ in range(page + count - len(cells)))
                for k in range(count):
                    cells[page + k].stamp = stamp + k
                return Result(cpages=count)
            case c.FileRead(file=file, page=page, count=count):
                if file not in self.files:
                    raise Refused("ENOENT")
                if page + count > len(self.files[file]):
                    raise Refused("EINVAL")
                return Result(stamps=tuple(b.stamp for b in self.files[file][page : page + count]))
            case c.Spawn(process=name):
                if name in self.processes:
                    raise Refused("EEXIST")
                self.processes[name] = Process()
                return Result()
        process = self._process(command.process)  # type: ignore[attr-defined]
        if getattr(command, "page", 0) + getattr(command, "count", 0) > c.ARENA_PAGES:
            raise Refused("EINVAL")
        if (
            isinstance(command, c.OfDevice)
            and not isinstance(command, c.Open)
            and command.device not in process.devices
        ):
            raise Refused("EBADF")
        return self._of_process(command, process)

    def _of_process(self, command: Command, process: Process) -> Result:
        match command:
            case c.Fork(child=child):
                if child in self.processes:
                    raise Refused("EEXIST")
                new = Process()
                for page, m in process.pages.items():
                    if m.fork:
                        shared = m.kind in ("shared", "file") or self.bug == "fork_shares"
                        new.pages[page] = replace(m, box=m.box if shared else Box(m.box.stamp))
                self.processes[child] = new
            case c.Exit() | c.Kill():
                del self.processes[command.process]
            case c.Mmap(page=page, count=count, prot=prot, kind=kind, source=source, offset=offset):
                if kind.startswith("file") and source not in self.files:
                    raise Refused("ENOENT")
                for k in range(count):
                    process.pages[page + k] = Mapped(Box(), prot, kind, source, offset + k, not kind.startswith("file"))
            case c.Munmap(page=page, count=count):
                for p in range(page, page + count):
                    process.pages.pop(p, None)
            case c.Mprotect(page=page, count=count, prot=prot):
                for p in range(page, page + count):
                    if p not in process.pages:
                        raise Refused("ENOMEM")
                    process.pages[p].prot = prot
            case c.Mremap():
                return self._mremap(command, process)
            case c.Madvise(page=page, count=count, advice=advice):
                mapped = [process.pages[p] for p in range(page, page + count) if p in process.pages]
                for m in mapped:
                    if advice == "dontneed" and m.kind in ("private", "file_private"):
                        m.box, m.copied = Box(), m.kind == "private"
                    elif advice in ("dontfork", "dofork"):
                        m.fork = advice == "dofork"
                if len(mapped) < count:
                    raise Refused("ENOMEM")
            case c.Load() | c.Store() | c.Increment():
                return self._access(command, process)
            case c.Gup():
                return self._gup(command, process)
            case c.Peek() | c.Poke() | c.Unpin():
                return self._held(command, process)
            case c.Open(device=device):
                if device in process.devices:
                    raise Refused("EEXIST")
                process.devices.add(device)
            case c.Close(device=device):
                process.devices.discard(device)
            case c.OfMirror():
                return self._mirror(command, process)
        return Result()

    def _mremap(self, command: c.Mremap, process: Process) -> Result:
        page, count, to = command.page, command.count, command.to
        if page < to + count and to < page + count:
            raise Refused("EINVAL")
        if any(p not in process.pages for p in range(page, page + count)):
            raise Refused("EFAULT")
        for k in range(count):
            m = process.pages.pop(page + k)
            process.pages[to + k] = m
            if command.dontunmap:
                shared = m.kind in ("shared", "file")
                process.pages[page + k] = replace(
                    m, box=m.box if shared else Box(), copied=m.kind not in ("file", "file_private")
                )
        return Result()

    def _access(self, command: c.Load | c.Store | c.Increment, process: Process) -> Result:
        stamps: list[int] = []
        for k in range(command.count):
            m = process.pages.get(command.page + k)
            if m is None or m.prot == "none" or (m.prot == "r" and not isinstance(command, c.Load)):
                return Result("SIGSEGV", cpages=k, stamps=tuple(stamps))
            box = self._at(m)
            if box is None:
                return Result("SIGBUS", cpages=k, stamps=tuple(stamps))
            if box.device and self.bug == "lost_on_fault":
                box.stamp = 0
            if box.device and self.bug == "dies":
                raise TargetLost("the fake kernel panicked")
            box.device = ""
            stamps.append(box.stamp)
            if isinstance(command, c.Store):
                self._write(m, command.stamp + k)
            elif isinstance(command, c.Increment):
                self._write(m, box.stamp + 1)
        return Result(cpages=command.count, stamps=() if isinstance(command, c.Store) else tuple(stamps))

    def _gup(self, command: c.Gup, process: Process) -> Result:
        if command.hold in process.holds:
            raise Refused("EEXIST")
        boxes: list[Box] = []
        for p in range(command.page, command.page + command.count):
            m = process.pages.get(p)
            box = None if m is None or m.prot == "none" or (command.write and m.prot != "rw") else self._at(m)
            if m is None or box is None:
                break
            if command.write:
                self._write(m, box.stamp)
                box = self._at(m)
                assert box is not None
            box.device = ""
            boxes.append(box)
        if not boxes:
            raise Refused("EFAULT")
        if command.hold is not None:
            process.holds[command.hold] = boxes
            for box in boxes:
                box.held += 1
        return Result(cpages=len(boxes))

    def _held(self, command: c.Peek | c.Poke | c.Unpin, process: Process) -> Result:
        if command.hold not in process.holds:
            raise Refused("EBADF")
        boxes = process.holds[command.hold]
        if isinstance(command, c.Peek):
            return Result(stamps=tuple(b.stamp for b in boxes))
        if isinstance(command, c.Poke):
            for k, b in enumerate(boxes):
                b.stamp = command.stamp + k
            return Result()
        for b in process.holds.pop(command.hold):
            b.held -= 1
        return Result()

    def _mirror(self, command: c.OfMirror, process: Process) -> Result:
        mapped = [process.pages.get(p) for p in range(command.page, command.page + command.count)]
        if isinstance(command, c.Snapshot):
            return Result(cpages=command.count, snapshot=tuple(self._byte(m, command.device) for m in mapped))
        if isinstance(command, c.CheckExclusive):
            return Result()
        moves = isinstance(command, c.MigrateToDevice | c.MigrateToSystem)
        if moves and any(m is None or m.prot == "none" for m in mapped):
            raise Refused("EINVAL")
        for m in mapped:
            if isinstance(command, c.MigrateToSystem):
                break
            if m is None or m.prot == "none" or self._at(m) is None:
                raise Refused("ENOENT" if moves else "EFAULT")
            if isinstance(command, c.DevWrite | c.Exclusive) and m.prot != "rw":
                raise Refused("EPERM")
            if isinstance(command, c.MigrateToDevice) and m.kind != "private":
                raise Refused("ENOENT")
        boxes = [self._at(m) for m in mapped if m is not None]
        if isinstance(command, c.MigrateToDevice):
            if any(b is not None and b.held for b in boxes):
                raise Refused("ENOENT")
            for b in boxes:
                if b is not None:
                    if self.bug == "leak" and b.device:
                        self.leaked += 1
                    b.device = command.device
        if isinstance(command, c.MigrateToSystem):
            moved = [b for b in boxes if b is not None and b.device == command.device]
            for b in moved:
                b.device = ""
            return Result(cpages=len(moved))
        if isinstance(command, c.DevWrite):
            for k, m in enumerate(mapped):
                if m is not None:
                    self._write(m, command.stamp + k)
            return Result(cpages=command.count, faults=1)
        return Result(cpages=command.count, faults=1, stamps=tuple(b.stamp for b in boxes if b is not None))

    def _byte(self, m: Mapped | None, device: str) -> int:
        if m is None or m.prot == "none":
            return r.DMIRROR_ERROR
        if m.box.device and m.box.device != device:
            return r.DMIRROR_NONE
        return (r.DMIRROR_PRIV_LOCAL if m.box.device else 0) | (r.DMIRROR_WRITE if m.prot == "rw" else r.DMIRROR_READ)


register("fake", lambda options: FakeTarget(str(options.get("defect") or "")))


def make(options: Mapping[str, object]) -> FakeTarget:
    """For `--target tests.conform.fake:make`."""
    defects = options.get("defect") or ()
    return FakeTarget(next(iter(defects), ""))  # type: ignore[call-overload]
