"""A program's loads and stores: through the TLB of its CPU, by a walk of the page table, with faults in between.

One load or store is inside one page and happens at one moment.  The hardware walks without any lock; it marks an entry
young, and dirty when it writes through it for the first time, only if the entry is still there.
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.fault import handle_fault
from hmmspec.ref.frames import PAGE
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import fill

TRIES = 10_000  # faults of one access, after which nobody may say that it makes progress (L1)
ALONE = 200  # the same where nobody else runs
PATIENCE = 8  # faults that may run out of memory before the program is killed


def load(k: Kernel, t: Task, mm: Mm, vpn: int, offset: int = 0, size: int = PAGE) -> Steps[bytes | str]:
    """Read bytes of one page: the bytes, or what ended the program: `SIGSEGV`, `SIGBUS`, `SIGKILL` (or no memory)."""
    pfn = yield from touch(k, t, mm, vpn, False)
    if isinstance(pfn, str):
        return pfn
    data = k.frames.data
    got = bytes(size) if data is None else data[pfn, offset : offset + size].tobytes()
    return got


def store(k: Kernel, t: Task, mm: Mm, vpn: int, data: bytes, offset: int = 0) -> Steps[str]:
    """Write bytes into one page: `ok`, or what ended the program."""
    pfn = yield from touch(k, t, mm, vpn, True)
    if isinstance(pfn, str):
        return pfn
    put_bytes(k, pfn, data, offset)
    return "ok"


def put_bytes(k: Kernel, pfn: int, data: bytes, offset: int = 0) -> None:
    """Change bytes of a frame, as a CPU or a device does that has found it."""
    if k.frames.data is not None:
        memoryview(k.frames.data[pfn])[offset : offset + len(data)] = data


def touch(k: Kernel, t: Task, mm: Mm, vpn: int, write: bool) -> Steps[int | str]:
    """Find the frame for an access, faulting as often as it takes.  The access itself has to follow at once: nothing
    keeps the frame after the next yield."""
    cpu = k.cpus[t.cpu]
    short = 0
    for turn in range(TRIES):
        yield "cpu access"
        cached = cpu.tlb.get(mm.id)
        word = cached.get(vpn, 0) if cached else 0
        if not word or (write and word & (e.WRITE | e.DIRTY) != e.WRITE | e.DIRTY):
            word = walk(k, mm, vpn, write)
            if word:
                fill(cpu, mm, vpn, word)
        if word:
            return word >> e.SHIFT
        if t.signal or gone(mm):
            return "SIGKILL"
        yield from mm.mmap_lock.read(t)
        answer = "sigkill" if gone(mm) else (yield from handle_fault(k, t, mm, vpn, write))
        mm.mmap_lock.release(t)
        if answer == "oom" and short < PATIENCE:
            short += 1  # running out of memory kills nobody by itself: the access is tried again
        elif answer != "ok":
            return {"oom": "SIGKILL", "hwpoison": "SIGBUS"}.get(answer, answer.upper())
        if k.workers is None and turn > ALONE:
            break
    k.report("L1", f"{t} faults on page {vpn} of {mm} again and again, and nothing changes")
    return "SIGBUS"


def gone(mm: Mm) -> bool:
    """Whether the process has ended meanwhile."""
    return mm.dead


def walk(k: Kernel, mm: Mm, vpn: int, write: bool) -> int:
    """What the hardware's walk finds: the entry (one that allows the access), now young and perhaps dirty, or 0."""
    top = mm.pmd.get(vpn >> 9, 0)
    kind = top & e.KIND
    if kind == e.TABLE:
        slot = (top >> e.SHIFT << 9) | (vpn & 511)
        word = k.tables.words[slot]
        kind = word & e.KIND
        if kind == e.PRES:
            if write:
                if not word & e.WRITE:
                    return 0
                word |= e.DIRTY
            word |= e.YOUNG
            k.tables.words[slot] = word
            return word
        return word if kind == e.ZERO and not write and not word & e.HIDDEN else 0
    if kind == e.PRES:
        if write:
            if not top & e.WRITE:
                return 0
            top |= e.DIRTY
        top |= e.YOUNG
        mm.pmd[vpn >> 9] = top
        return top + ((vpn & 511) << e.SHIFT)
    usable = kind == e.ZERO and not write and not top & e.HIDDEN
    return top + ((vpn & 511) << e.SHIFT) if usable else 0
