"""Commands as operations of the reference kernel: each is a generator that ends with a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hmmspec.conform import commands as c
from hmmspec.conform import results as r
from hmmspec.conform.commands import ARENA_PAGES, Command
from hmmspec.conform.results import Result
from hmmspec.conform.stamps import WORDS, page_of, stamp_of
from hmmspec.ref import access, pagemap, protect, testdev
from hmmspec.ref import entries as e
from hmmspec.ref.device import Binding, Device
from hmmspec.ref.errors import Errno
from hmmspec.ref.exit import exit_mm, oom_reap
from hmmspec.ref.fork import fork
from hmmspec.ref.frames import ANON, DIRTY, PAGE, RESERVED
from hmmspec.ref.frames import HUGETLB as HUGETLB_PAGE
from hmmspec.ref.gup import gup, release
from hmmspec.ref.lru import drain_all
from hmmspec.ref.madvise import madvise
from hmmspec.ref.mmap import fill_with_pages, mmap, munmap
from hmmspec.ref.mremap import mremap
from hmmspec.ref.ranges import load_range, store_range
from hmmspec.ref.spaces import HUGETLB, MAY_WRITE, MIXEDMAP, READ, SHARED, UFFD_WP, WRITE, File, Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task, Waitable

BASE = 1 << 20  # virtual page number of page 0 of every arena: aligned to 2 MiB
PROTS = {"none": 0, "r": READ, "rw": READ | WRITE}
KINDS = {"private": 0, "shared": SHARED, "file": SHARED | MAY_WRITE, "file_private": 0, "hugetlb": HUGETLB}
INJECTED = {"alloc": "alloc", "trylock": "trylock", "copy": "copy", "signal": "signal"}


@dataclass
class Hold:
    """Frames that somebody keeps."""

    name: str
    pfns: list[int]
    write: bool
    pin: bool
    longterm: bool


@dataclass
class Process:
    """A process: its address space, what it has open, and the calls that are in it right now."""

    name: str
    mm: Mm
    bindings: dict[str, Binding] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    tasks: list[Task] = field(default_factory=list)
    idle: Waitable = field(default_factory=lambda: Waitable("the process's other threads"))
    dying: bool = False


class System:
    """A kernel with its processes, files and devices by name."""

    def __init__(self, kernel: Kernel, devices: dict[str, Device]) -> None:
        self.k = kernel
        self.devices = devices
        self.processes: dict[str, Process] = {}
        self.files: dict[str, File] = {}
        self._holds = 0
        self.one_long_hold = False  # whether there is room for one long-term hold only, as with gup_test
        self.processes["p0"] = Process("p0", kernel.new_mm("p0"))

    # ---- a command

    def call(self, t: Task, command: Command) -> Steps[Result]:
        """Carry out one command in a task.  An error is a result."""
        name = getattr(command, "process", "")
        if isinstance(command, c.Spawn):
            return self._spawn(name)
        process = self.processes.get(name)
        if name and (process is None or process.dying):
            return Result("ESRCH")
        wrong = self._refused(command, process)
        if wrong:
            return Result(wrong)
        if process is None:
            return (yield from self._errors(self._system(t, command)))
        if isinstance(command, c.Kill | c.Exit):
            yield from self._end(t, process, isinstance(command, c.Kill) and command.reap)
            return Result()
        process.tasks.append(t)
        try:
            result = yield from self._errors(self._of_process(t, process, command))
        finally:
            process.tasks.remove(t)
            t.signal = False
            process.idle.wake_all()
        if process.dying and result.error in {"EINTR", "EFAULT", "SIGKILL"}:
            return Result("SIGKILL", cpages=result.cpages, stamps=result.stamps)
        return result

    def _errors(self, steps: Steps[Result]) -> Steps[Result]:
        try:
            return (yield from steps)
        except Errno as error:
            return Result(error.name)

    def _refused(self, command: Command, process: Process | None) -> str:
        if isinstance(command, c.OfPages | c.OfMirror) and command.page + command.count > ARENA_PAGES:
            return "EINVAL"
        if isinstance(command, c.Mremap) and command.to + command.count > ARENA_PAGES:
            return "EINVAL"
        device = command.source if isinstance(command, c.Mmap) and command.kind == "device" else None
        if isinstance(command, c.OfDevice):
            device = command.device
            if device not in self.devices:
                return "ENOSYS"
        if device is not None and process is not None:
            is_open = device in process.bindings
            if isinstance(command, c.Open):
                return "EEXIST" if is_open else ""
            return "" if is_open else "EBADF"
        if isinstance(command, c.Peek | c.Poke | c.Unpin) and process is not None:
            return "" if command.hold in process.holds else "EBADF"
        if isinstance(command, c.Gup) and process is not None:
            return (
                "EINVAL" if command.longterm and not command.pin else "EEXIST" if command.hold in process.holds else ""
            )
        if isinstance(command, c.Mmap) and command.kind.startswith("file") and command.source not in self.files:
            return "ENOENT"
        if isinstance(command, c.Fork) and command.child in self.processes:
            return "EEXIST"
        return ""

    # ---- processes

    def _spawn(self, name: str) -> Result:
        if name in self.processes:
            return Result("EEXIST")
        self.processes[name] = Process(name, self.k.new_mm(name))
        return Result()

    def _fork(self, t: Task, process: Process, child: str) -> Steps[Result]:
        mm = yield from fork(self.k, t, process.mm, child)
        if child in self.processes:
            # Somebody else took the name meanwhile.
            yield from exit_mm(self.k, t, mm)
            return Result("EEXIST")
        self.processes[child] = Process(child, mm)
        return Result()

    def _end(self, t: Task, process: Process, reap: bool = False) -> Steps[None]:
        """The threads of the process end, then its memory goes, then its files are closed."""
        process.dying = True
        for other in process.tasks:
            other.signal = True
        if reap:
            yield from oom_reap(self.k, t, process.mm)
        while process.tasks:
            yield process.idle
        for hold in process.holds.values():
            release(self.k, hold.pfns, hold.name, hold.pin)
        process.holds.clear()
        yield from exit_mm(self.k, t, process.mm)
        for binding in list(process.bindings.values()):
            yield from testdev.close(self.k, t, binding)
        process.bindings.clear()
        del self.processes[process.name]

    def end_all(self, t: Task) -> Steps[None]:
        """End every process."""
        for process in list(self.processes.values()):
            yield from self._end(t, process)

    # ---- commands of nobody

    def _system(self, t: Task, command: Command) -> Steps[Result]:
        match command:
            case c.FileWrite(file=name, page=page, count=count, stamp=stamp):
                file = self._file(name, page + count)
                for i in range(count):
                    yield from pagemap.file_write(self.k, t, file, page + i, page_of(stamp + i).tobytes())
                return Result(cpages=count)
            case c.FileRead(file=name, page=page, count=count):
                if name not in self.files:
                    raise Errno("ENOENT")
                if page + count > self.files[name].size:
                    raise Errno("EINVAL")
                stamps = []
                for i in range(count):
                    got = yield from pagemap.file_read(self.k, t, self.files[name], page + i)
                    stamps.append(_stamp(got))
                return Result(cpages=count, stamps=tuple(stamps))
            case c.Drain():
                yield from drain_all(self.k, t)
                return Result()
            case c.Inject(point=point, times=times, device=device):
                what = "device-alloc" if device and point == "alloc" else INJECTED[point]
                self.k.inject.once(what, times)
                return Result()
            case _:
                return Result("ENOSYS")

    def _file(self, name: str, size: int) -> File:
        """The file, at least that long."""
        file = self.files.get(name)
        if file is None:
            file = self.files[name] = self.k.new_file(name, size)
        elif file.size < size and file.disk is not None:
            file.disk = np.concatenate([file.disk, np.zeros((size - file.size, PAGE), np.uint8)])
            file.size = size
        return file

    # ---- commands of a process

    def _of_process(self, t: Task, process: Process, command: Command) -> Steps[Result]:
        k, mm = self.k, process.mm
        match command:
            case c.Fork(child=child):
                return (yield from self._fork(t, process, child))
            case c.Load() | c.Store() | c.Increment():
                return (yield from self._access(t, mm, command))
            case c.Mmap():
                return (yield from self._mmap(t, process, command))
            case c.Munmap(page=page, count=count):
                yield from munmap(k, t, mm, BASE + page, count)
            case c.Mprotect(page=page, count=count, prot=prot):
                yield from protect.mprotect(k, t, mm, BASE + page, count, PROTS[prot])
            case c.Mremap(page=page, count=count, to=to, dontunmap=keep):
                yield from mremap(k, t, mm, BASE + page, count, BASE + to, dontunmap=keep)
            case c.Madvise(page=page, count=count, advice=advice):
                yield from madvise(k, t, mm, BASE + page, count, advice)
            case c.Gup():
                return (yield from self._gup(t, process, command))
            case c.Peek(hold=name):
                frames = process.holds[name].pfns
                return Result(stamps=tuple(self._frame_stamp(pfn) for pfn in frames))
            case c.Poke(hold=name, stamp=stamp):
                return self._poke(process.holds[name], stamp)
            case c.Unpin(hold=name):
                hold = process.holds.pop(name)
                release(k, hold.pfns, hold.name, hold.pin)
            case c.Pagemap(page=page, count=count):
                words = yield from pagemap.pagemap(k, t, mm, BASE + page, count)
                return Result(cpages=count, pagemap=tuple(map(_pagemap_word, words)))
            case c.ClearSoftDirty():
                yield from protect.clear_soft_dirty(k, t, mm)
            case c.UffdWp(page=page, count=count, on=on):
                if on:
                    yield from protect.userfault_register(k, t, mm, BASE + page, count, UFFD_WP)
                yield from protect.userfault_protect(k, t, mm, BASE + page, count, on)
            case c.Smaps(page=page, count=count):
                yield from mm.mmap_lock.read(t)
                counts = self._smaps(mm, page, count)
                mm.mmap_lock.release(t)
                return Result(counts=tuple(counts.items()))
            case c.OfDevice():
                return (yield from self._device(t, process, command))
            case _:
                return Result("ENOSYS")
        return Result()

    def _mmap(self, t: Task, process: Process, command: c.Mmap) -> Steps[Result]:
        k, mm, start, count = self.k, process.mm, BASE + command.page, command.count
        prot = PROTS[command.prot]
        if command.kind != "device":
            file = self.files[command.source or ""] if command.kind.startswith("file") else None
            yield from mmap(k, t, mm, start, count, prot, KINDS[command.kind], file, command.offset)
            return Result()
        driver = process.bindings[command.source or ""]
        fill = partial(fill_with_pages, k, t)
        yield from mmap(k, t, mm, start, count, prot, MIXEDMAP, driver=driver, fill=fill)
        return Result()

    # ---- data

    def _access(self, t: Task, mm: Mm, command: c.Load | c.Store | c.Increment) -> Steps[Result]:
        stamps: list[int] = []
        if self.k.bulk is not None and not isinstance(command, c.Increment):
            return (yield from self._range(t, mm, command))
        for i in range(command.count):
            vpn = BASE + command.page + i
            if isinstance(command, c.Store):
                answer = yield from access.store(self.k, t, mm, vpn, page_of(command.stamp + i).tobytes())
                if answer != "ok":
                    return Result(answer, cpages=i)
            elif isinstance(command, c.Load):
                got = yield from access.load(self.k, t, mm, vpn)
                if isinstance(got, str):
                    return Result(got, cpages=i, stamps=tuple(stamps))
                stamps.append(_stamp(got))
            else:
                pfn = yield from access.touch(self.k, t, mm, vpn, True)
                if isinstance(pfn, str):
                    return Result(pfn, cpages=i, stamps=tuple(stamps))
                stamps.append(self._frame_stamp(pfn))
                self._add(pfn)
        return Result(cpages=command.count, stamps=tuple(stamps))

    def _range(self, t: Task, mm: Mm, command: c.Load | c.Store) -> Steps[Result]:
        """The same for all pages at once."""
        start = BASE + command.page
        if isinstance(command, c.Load):
            out, signal = yield from load_range(self.k, t, mm, start, command.count)
            return Result(signal, cpages=len(out), stamps=_stamps(out))
        rows = np.stack([page_of(command.stamp + i).view(np.uint8) for i in range(command.count)])
        done, signal = yield from store_range(self.k, t, mm, start, rows)
        return Result(signal, cpages=done)

    def _add(self, pfn: int) -> None:
        """Every word of the page rises by what makes its stamp one more."""
        data = self.k.frames.data
        if data is not None:
            words = data[pfn].view(np.uint64)
            words += page_of(1)

    def _frame_stamp(self, pfn: int) -> int:
        data = self.k.frames.data
        return 0 if data is None else stamp_of(data[pfn].view(np.uint64))

    def _gup(self, t: Task, process: Process, command: c.Gup) -> Steps[Result]:
        self._holds += 1
        name = f"{command.hold or 'short'}{self._holds}"
        got: list[int] = []

        def more(start: int, count: int) -> Steps[list[int]]:
            return gup(
                self.k, t, process.mm, start, count,
                write=command.write, fast=command.fast, pin=command.pin, longterm=command.longterm, name=name,
            )  # fmt: skip

        holds = (h for p in self.processes.values() for h in p.holds.values())
        if self.one_long_hold and command.hold and command.longterm and any(h.longterm for h in holds):
            return Result("ENOSYS")
        start = BASE + command.page
        try:
            got = yield from more(start, command.count)
        except Errno as error:
            if error.name != "EFAULT" or command.count == 1:
                raise
            # What can be had before the first page that cannot is had.
            while len(got) < command.count:
                try:
                    got += yield from more(start + len(got), 1)
                except Errno:
                    break
            if not got:
                raise
        if command.hold is None or command.hold in process.holds:
            release(self.k, got, name, command.pin)
            return Result(cpages=len(got)) if command.hold is None else Result("EEXIST")
        process.holds[command.hold] = Hold(name, got, command.write, command.pin, command.longterm)
        return Result(cpages=len(got))

    def _poke(self, hold: Hold, stamp: int) -> Result:
        if not hold.write:
            return Result("EPERM")
        for i, pfn in enumerate(hold.pfns):
            access.put_bytes(self.k, pfn, page_of(stamp + i).tobytes())
            self.k.frames.flags[self.k.frames.head(pfn)] |= DIRTY
        return Result()

    def _smaps(self, mm: Mm, page: int, count: int) -> dict[str, int]:
        f = self.k.frames
        out = dict.fromkeys(("rss", "anon", "swap", "dirty", "huge"), 0)
        for vpn in range(BASE + page, BASE + page + count):
            word = self.k.tables.read(mm, vpn)
            kind, pfn = word & e.KIND, word >> e.SHIFT
            if kind == e.SWAP:
                out["swap"] += 1
            if kind not in (e.PRES, e.PROTNONE, e.DEVPRIV, e.DEVEXCL):
                continue
            head = f.head(pfn)
            if f.flags[head] & (RESERVED | HUGETLB_PAGE):
                continue
            out["rss"] += 1
            out["anon"] += bool(f.flags[head] & ANON)
            marked = bool(word & e.DIRTY) and kind in (e.PRES, e.PROTNONE)
            out["dirty"] += marked or bool(f.flags[head] & DIRTY)
            out["huge"] += self.k.tables.slot(mm, vpn) is None
        return out

    # ---- devices

    def _device(self, t: Task, process: Process, command: c.OfDevice) -> Steps[Result]:
        k, name = self.k, command.device
        if isinstance(command, c.Open):
            process.bindings[name] = yield from testdev.open_(k, t, self.devices[name], process.mm)
            return Result()
        binding = process.bindings[name]
        match command:
            case c.Close():
                del process.bindings[name]
                yield from testdev.close(k, t, binding)
                return Result()
            case c.ReleaseMemory():
                if any(not h.longterm for p in self.processes.values() for h in p.holds.values()):
                    # A real kernel would wait for ever, if a page of the device is among what is held.
                    return Result("EBUSY")
                yield from testdev.release_memory(k, t, binding)
                return Result()
            case c.Flags(fail_alloc=fail):
                yield from testdev.flags(k, t, binding, fail)
                return Result()
            case c.OfMirror(page=page, count=count):
                return (yield from self._mirror(t, binding, command, BASE + page, count))
            case _:
                return Result("ENOSYS")

    def _mirror(self, t: Task, b: Binding, command: c.OfMirror, start: int, count: int) -> Steps[Result]:
        k = self.k
        match command:
            case c.DevRead():
                out = yield from testdev.read(k, t, b, start, count)
                return Result(cpages=out.cpages, faults=out.faults, stamps=_stamps(out.data))
            case c.DevWrite(stamp=stamp):
                rows = np.stack([page_of(stamp + i).view(np.uint8) for i in range(count)])
                out = yield from testdev.write(k, t, b, start, rows)
                return Result(cpages=out.cpages, faults=out.faults)
            case c.MigrateToDevice():
                out = yield from testdev.migrate_to_device(k, t, b, start, count)
                return Result(cpages=out.cpages, stamps=_stamps(out.data))
            case c.MigrateToSystem():
                out = yield from testdev.migrate_to_system(k, t, b, start, count)
                return Result(cpages=out.cpages)
            case c.Snapshot():
                out = yield from testdev.snapshot(k, t, b, start, count)
                return Result(cpages=out.cpages, snapshot=tuple(out.snapshot))
            case c.Exclusive():
                out = yield from testdev.make_exclusive(k, t, b, start, count)
                return Result(cpages=out.cpages, stamps=_stamps(out.data))
            case c.CheckExclusive():
                yield from testdev.check_exclusive(k, t, b, start, count)
                return Result()
            case _:
                return Result("ENOSYS")


def _stamp(data: bytes) -> int:
    return stamp_of(np.frombuffer(data, np.uint64, WORDS))


def _stamps(rows: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> tuple[int, ...]:
    return tuple(stamp_of(row.view(np.uint64)) for row in rows)


_PAGEMAP = (
    (pagemap.PM_PRESENT, r.PAGEMAP_PRESENT),
    (pagemap.PM_SWAP, r.PAGEMAP_SWAPPED),
    (pagemap.PM_SOFT_DIRTY, r.PAGEMAP_SOFT_DIRTY),
    (pagemap.PM_EXCLUSIVE, r.PAGEMAP_EXCLUSIVE),
    (pagemap.PM_FILE, r.PAGEMAP_FILE),
    (pagemap.PM_UFFD_WP, r.PAGEMAP_UFFD_WP),
)


def _pagemap_word(word: int) -> int:
    return sum(ours for theirs, ours in _PAGEMAP if word & theirs)
