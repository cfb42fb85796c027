"""What a program and its devices can be told to do: small frozen commands, and the results that come back.

A *process* `p0`, `p1`, .. has an *arena* of virtual pages numbered from 0; page 0 is aligned to 2 MiB, and a fork's
child has the same arena.  Who writes a command chooses the page numbers (every mapping is `MAP_FIXED`), so that one
list of commands means the same on every target.  *Devices* are `dev0`, `dev1`, .. (by custom 0 and 1 have private
memory, 2 and 3 coherent memory); each is opened by a process before that process can use it.  *Files* are `f0`, ..:
`FileWrite` makes them, and only a reset removes them.

NOTE(total): every list of commands can be carried out.  A process that does not exist gives the error `ESRCH`, a name
that is taken `EEXIST`, a device that the process has not opened or a hold that is not there `EBADF`, a file that does
not exist `ENOENT`, pages outside the arena `EINVAL`, a command that the target cannot do at all `ENOSYS`.  So a list
stays legal when commands are taken out of it.

Data are stamps (`stamps.py`), results have a module of their own (`results.py`), and so has JSON (`wire.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from hmmspec.conform.results import Json
from hmmspec.records import dataclass

PMD_PAGES = 512  # pages under one PMD entry
ARENA_PAGES = 1 << 17  # pages of an arena: 512 MiB of addresses

PROTS = ("none", "r", "rw")
KINDS = ("private", "shared", "file", "file_private", "hugetlb", "device")
ADVICE = ("dontneed", "free", "hugepage", "nohugepage", "collapse", "pageout", "dontfork", "dofork")
POINTS = ("alloc", "trylock", "copy", "signal")  # where a failure can be injected


@dataclass(frozen=True)
class Command:
    """Base of all commands.  `process` is who does it; '' where nobody in particular does."""

    word: ClassVar[str] = ""

    def to_json(self) -> Json:
        """The command as a JSON object."""
        out: Json = {"do": self.word}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if value != f.default:
                out[f.name] = value
        return out

    def __str__(self) -> str:
        """`store p0 page=3 count=2 stamp=17`: for people."""
        parts = [self.word]
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name in {"process", "device"} and value:
                parts.append(str(value))
            elif value != f.default or f.name == "count":
                parts.append(f.name if value is True else f"{f.name}={value}")
        return " ".join(parts)


@dataclass(frozen=True)
class OfProcess(Command):
    """Done by one process."""

    process: str


@dataclass(frozen=True)
class OfPages(OfProcess):
    """Done by one process to pages `page` .. `page + count - 1` of its arena."""

    page: int
    count: int = 1


# ---------------------------------------------------------------- processes


@dataclass(frozen=True)
class Spawn(OfProcess):
    """A new process that has nothing in common with the others.  `p0` exists from the start."""

    word: ClassVar[str] = "spawn"


@dataclass(frozen=True)
class Fork(OfProcess):
    """`process` forks; the child is called `child`.  It has opened no device, whatever its parent has open."""

    word: ClassVar[str] = "fork"
    child: str


@dataclass(frozen=True)
class Exit(OfProcess):
    """The process ends by itself, devices and holds included."""

    word: ClassVar[str] = "exit"


@dataclass(frozen=True)
class Kill(OfProcess):
    """SIGKILL from outside, whatever the process does at that moment (in a race: a thread of nobody).  With `reap` its
    memory is taken away at once, while its threads may still be in the kernel (process_mrelease, the OOM reaper)."""

    word: ClassVar[str] = "kill"
    reap: bool = False


# ---------------------------------------------------------------- the address space


@dataclass(frozen=True)
class Mmap(OfPages):
    """Map pages, replacing what is there.  `source`: the file's or the device's name for these kinds; it starts at page
    `offset` of the file.  `hugetlb` wants both ends aligned to 512 pages."""

    word: ClassVar[str] = "mmap"
    prot: str = "rw"
    kind: str = "private"
    source: str | None = None
    offset: int = 0


@dataclass(frozen=True)
class Munmap(OfPages):
    """Unmap pages; holes in the range are no error."""

    word: ClassVar[str] = "munmap"


@dataclass(frozen=True)
class Mprotect(OfPages):
    """Change the protection; a hole in the range is `ENOMEM`."""

    word: ClassVar[str] = "mprotect"
    prot: str = "rw"


@dataclass(frozen=True)
class Mremap(OfPages):
    """Move the range to page `to` (MAYMOVE and FIXED; the target is unmapped first).  Pages of hugetlb go whole."""

    word: ClassVar[str] = "mremap"
    to: int = 0
    dontunmap: bool = False


@dataclass(frozen=True)
class Madvise(OfPages):
    """One of `ADVICE`."""

    word: ClassVar[str] = "madvise"
    advice: str = "dontneed"


# ---------------------------------------------------------------- access by the program


@dataclass(frozen=True)
class Load(OfPages):
    """Read pages one after the other.  A signal ends it: then `cpages` and `stamps` tell of the pages before."""

    word: ClassVar[str] = "load"


@dataclass(frozen=True)
class Store(OfPages):
    """Write stamp + k into page k, one after the other.  After a signal `cpages` pages have been written."""

    word: ClassVar[str] = "store"
    stamp: int = 1


@dataclass(frozen=True)
class Increment(OfPages):
    """Read, check and write back each page with its stamp raised by 1; `stamps`: what was read before."""

    word: ClassVar[str] = "increment"


@dataclass(frozen=True)
class Gup(OfPages):
    """get_user_pages by somebody in the kernel; the references are dropped at once, or kept under the name `hold`.
    `cpages`: how many pages were got (fewer than `count` is no error; none is)."""

    word: ClassVar[str] = "gup"
    write: bool = False
    fast: bool = False
    pin: bool = False
    longterm: bool = False
    hold: str | None = None


@dataclass(frozen=True)
class Peek(OfProcess):
    """Read the pages of a hold, as the one who holds them sees them."""

    word: ClassVar[str] = "peek"
    hold: str


@dataclass(frozen=True)
class Poke(OfProcess):
    """Write stamp + k into page k of a hold taken for writing."""

    word: ClassVar[str] = "poke"
    hold: str
    stamp: int = 1


@dataclass(frozen=True)
class Unpin(OfProcess):
    """Drop the references of a hold."""

    word: ClassVar[str] = "unpin"
    hold: str


# ---------------------------------------------------------------- what a program can see of its pages


@dataclass(frozen=True)
class Pagemap(OfPages):
    """/proc/PID/pagemap: `pagemap` has the `PAGEMAP_*` bits of each page, without frame numbers."""

    word: ClassVar[str] = "pagemap"


@dataclass(frozen=True)
class ClearSoftDirty(OfProcess):
    """/proc/PID/clear_refs, 4."""

    word: ClassVar[str] = "clear_soft_dirty"


@dataclass(frozen=True)
class UffdWp(OfPages):
    """Write-protect (or not) by userfaultfd in asynchronous mode: a write clears the mark by itself."""

    word: ClassVar[str] = "uffd_wp"
    on: bool = True


@dataclass(frozen=True)
class Smaps(OfPages):
    """`counts`: pages by `rss`, `anon`, `swap`, `dirty`, `huge` of the range, device pages among rss and anon."""

    word: ClassVar[str] = "smaps"


# ---------------------------------------------------------------- files and the system


@dataclass(frozen=True)
class FileWrite(Command):
    """pwrite: stamp + k into page k; makes the file, and makes it longer, as needed."""

    word: ClassVar[str] = "file_write"
    file: str
    page: int
    count: int = 1
    stamp: int = 1


@dataclass(frozen=True)
class FileRead(Command):
    """pread: `stamps`."""

    word: ClassVar[str] = "file_read"
    file: str
    page: int
    count: int = 1


@dataclass(frozen=True)
class Drain(Command):
    """Put the pages of the per-CPU LRU batches onto the lists (lru_add_drain_all)."""

    word: ClassVar[str] = "drain"


@dataclass(frozen=True)
class Inject(Command):
    """The next `times` passages through `point` fail; `device` names whose, where it matters.  Few targets can."""

    word: ClassVar[str] = "inject"
    point: str
    times: int = 1
    device: str = ""


# ---------------------------------------------------------------- devices


@dataclass(frozen=True)
class OfDevice(Command):
    """Done by a process through a device that it has open."""

    process: str
    device: str


@dataclass(frozen=True)
class OfMirror(OfDevice):
    """Done by a device to pages of the process that opened it."""

    page: int
    count: int = 1


@dataclass(frozen=True)
class Open(OfDevice):
    """Bind the device to the process; a second time is `EEXIST`."""

    word: ClassVar[str] = "open"


@dataclass(frozen=True)
class Close(OfDevice):
    """End the binding; what happens to device pages is a behaviour of the profile."""

    word: ClassVar[str] = "close"


@dataclass(frozen=True)
class DevRead(OfMirror):
    """Read through the mirror: `stamps`, `cpages`, `faults`."""

    word: ClassVar[str] = "dev_read"


@dataclass(frozen=True)
class DevWrite(OfMirror):
    """Write stamp + k into page k through the mirror."""

    word: ClassVar[str] = "dev_write"
    stamp: int = 1


@dataclass(frozen=True)
class MigrateToDevice(OfMirror):
    """Move pages to device memory; then the mirror is read back: `stamps`."""

    word: ClassVar[str] = "migrate_to_device"


@dataclass(frozen=True)
class MigrateToSystem(OfMirror):
    """Move the device's pages back; `cpages`: how many moved."""

    word: ClassVar[str] = "migrate_to_system"


@dataclass(frozen=True)
class Snapshot(OfMirror):
    """`snapshot`: one byte for each page, as the test device gives it (the `DMIRROR_*` numbers)."""

    word: ClassVar[str] = "snapshot"


@dataclass(frozen=True)
class Exclusive(OfMirror):
    """Make pages device-exclusive; then the mirror is read back: `stamps`."""

    word: ClassVar[str] = "exclusive"


@dataclass(frozen=True)
class CheckExclusive(OfMirror):
    """Is no page of the range exclusive any more?  `EPERM` if one is."""

    word: ClassVar[str] = "check_exclusive"


@dataclass(frozen=True)
class ReleaseMemory(OfDevice):
    """Hot-remove all memory of the device: everybody's pages go back to system memory.  `EBUSY` while anybody
    holds any page for a short time: the kernel would wait until nobody holds one of the device."""

    word: ClassVar[str] = "release_memory"


@dataclass(frozen=True)
class Flags(OfDevice):
    """`fail_alloc`: the next page allocation of the driver fails once."""

    word: ClassVar[str] = "flags"
    fail_alloc: bool = True


def _commands(base: type[Command]) -> dict[str, type[Command]]:
    out: dict[str, type[Command]] = {}
    for cls in base.__subclasses__():
        if cls.word:
            out[cls.word] = cls
        out.update(_commands(cls))
    return out


COMMANDS: Mapping[str, type[Command]] = _commands(Command)  # word -> class
