"""The whole state of the reference kernel, and the few operations on counts, locks and entries that all rules share.

A `Kernel` holds frames, page tables, address spaces, files, swap, CPUs and devices as plain data; what can happen to
it is in the modules beside this one, as generators that take the kernel and the task (`tasks.py`).  Nothing in here
yields.

Debug checks (`checks=True`): the reference ledger names the holder of every reference, and `checks.py` looks at the
invariants after every step.  What they find, and what the real kernel would warn of, is collected in `kernel.findings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from hmmspec.diagnostics import did_you_mean
from hmmspec.ref.cost.timeline import FREE, TimeLine
from hmmspec.ref.defects import DEFECTS
from hmmspec.ref.entries import SHIFT
from hmmspec.ref.frames import (
    ANON,
    BATCHED,
    DEVICE,
    EXCLUSIVE,
    FIRST_FREE,
    HUGE,
    HUGE_ORDER,
    HUGETLB,
    LRU,
    RESERVED,
    SWAPCACHE,
    Frames,
    Pfns,
    Pool,
)
from hmmspec.ref.hugepool import HugePages
from hmmspec.ref.profile import Profile, profile
from hmmspec.ref.schedule import Injector, Scheduler
from hmmspec.ref.spaces import AnonVma, Fault, File, Memcg, Mm, Vma
from hmmspec.ref.swap import Swap
from hmmspec.ref.tables import Tables
from hmmspec.ref.tasks import FolioLocks, Misuse, Steps, Task

BATCH = 31  # folios in a CPU's LRU batch (PAGEVEC_SIZE)
TLB_SIZE = 1536


@dataclass(frozen=True)
class Config:
    """How large the machine is, in pages; `data` False keeps no bytes; `page_tables` is the number of rows."""

    cpus: int = 2
    system_pages: int = 16384
    device_pages: int = 16384  # room for the memory of all devices together
    swap_pages: int = 4096
    page_tables: int = 4096
    data: bool = True
    huge_zero: bool = True
    hugetlb_pages: int = 16  # huge pages that MAP_HUGETLB may have in all


@dataclass(frozen=True)
class Finding:
    """Something that must not happen: `check` is I1..I10, `warning`, `oracle`, `deadlock` or `misuse`."""

    check: str
    text: str


@dataclass(eq=False)
class Cpu:
    """One CPU: its TLB (per mm: vpn -> entry as it was when loaded) and its batch of folios on their way to the LRU."""

    number: int
    tlb: dict[int, dict[int, int]] = field(default_factory=dict)
    batch: list[int] = field(default_factory=list)


class Pgmap(Protocol):
    """Device memory as core code sees it (dev_pagemap with its ops); `devmem.py` has the real one."""

    id: int
    owner: object

    def folio_free(self, k: Kernel, head: int) -> None: ...
    def folio_split(self, k: Kernel, head: int, tail: int | None) -> None: ...
    def migrate_to_ram(self, k: Kernel, t: Task, fault: Fault) -> Steps[str]: ...


@dataclass(eq=False)
class Hooks:
    """What the device side does for the CPU side; set by `devices.install`.  A kernel without devices needs none."""

    private_fault: Callable[[Kernel, Task, Fault, int], Steps[str]] | None = None
    exclusive_fault: Callable[[Kernel, Task, Fault, int], Steps[str]] | None = None
    exclusive_restore: Callable[[Kernel, Task, Vma, int, int], bool] | None = None
    migrate_coherent: Callable[[Kernel, Task, int], Steps[bool]] | None = None
    mirrors: list[Callable[[], Iterable[tuple[object, Mm, int, int, str]]]] = field(
        default_factory=list
    )  # owner, mm, vpn, pfn, tag


class Kernel:
    """One machine.  All fields are public: rules work on them directly."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        profile_name: str | Profile = "latest",
        defects: Iterable[str] = (),
        seed: int = 0,
        rates: dict[str, float] | None = None,
        checks: bool = False,
        line: TimeLine = FREE,
    ) -> None:
        self.config = config = config or Config()
        self.profile = profile(profile_name) if isinstance(profile_name, str) else profile_name
        self.defects = known(defects)
        self.checks = checks
        self.line = line
        self.inject = Injector(seed, rates)
        self.findings: list[Finding] = []
        self.frames = Frames(config.system_pages, config.device_pages, config.data)
        self.pool = Pool(FIRST_FREE, config.system_pages - FIRST_FREE)
        self.tables = Tables(config.page_tables)
        self.cpus = [Cpu(n) for n in range(config.cpus)]
        self.mms: dict[int, Mm] = {}
        self.anons: dict[int, AnonVma] = {}
        self.files: dict[int, File] = {}
        self.memcgs: dict[int, Memcg] = {}
        self.pgmaps: dict[int, Pgmap] = {}
        self.tasks: dict[int, Task] = {}
        self.folio_locks = FolioLocks(self.frames, self.tasks)
        self.hooks = Hooks()
        self.ledger: dict[int, Counter[str]] = {}
        self.swap = Swap(config.swap_pages, config.data)
        self.lru_clock = 0
        self.huge_pages = HugePages(config.hugetlb_pages)
        self.workers: Scheduler | None = None  # while one drives this kernel: where workers are started
        self.bulk: Any = None  # the bulk driver's short cuts, where one is installed
        self.devices: dict[str, Any] = {}  # the test devices by name (device.Device)
        self.next_mm = self.next_anon = self.next_file = self.next_memcg = self.next_task = self.next_open = 1
        self.root_memcg = self.new_memcg()

    # -- objects ------------------------------------------------------------------------------------------------------

    def task(self, name: str, cpu: int = 0) -> Task:
        """A new task on a CPU."""
        made = Task(self.next_task, name, cpu)
        self.tasks[made.id] = made
        self.next_task += 1
        return made

    def new_mm(self, name: str, memcg: Memcg | None = None) -> Mm:
        mm = Mm(self.next_mm, name, memcg or self.root_memcg)
        self.mms[mm.id] = mm
        self.next_mm += 1
        return mm

    def new_anon(self) -> AnonVma:
        anon = AnonVma(self.next_anon)
        self.anons[anon.id] = anon
        self.next_anon += 1
        return anon

    def new_file(self, name: str, pages: int, disk: bool = True, huge: bool = False) -> File:
        """A file of so many pages; without a disk: shared anonymous memory."""
        made = File.on_disk(self.next_file, name, pages) if disk else File(self.next_file, name, pages)
        made.huge = huge
        self.files[made.id] = made
        self.next_file += 1
        return made

    def new_memcg(self, limit: int | None = None) -> Memcg:
        made = Memcg(self.next_memcg, limit)
        self.memcgs[made.id] = made
        self.next_memcg += 1
        return made

    # -- findings -----------------------------------------------------------------------------------------------------

    def report(self, check: str, text: str) -> None:
        """Note something that must not happen (once for each text)."""
        found = Finding(check, text)
        if found not in self.findings:
            self.findings.append(found)

    def fails(self, what: str) -> bool:
        """Whether this attempt is made to fail (FAILURES in schedule.py)."""
        return self.inject.fails(what)

    # -- references ---------------------------------------------------------------------------------------------------

    def get(self, pfn: int, holder: str) -> None:
        """One more reference of the frame's folio, held by `holder` (`map`, `collect`, `gup NAME`, ..)."""
        head = pfn - self.frames.tail[pfn]
        self.frames.refcount[head] += 1
        if self.checks:
            if self.frames.refcount[head] == 1:
                self.report("I3", f"{holder} takes a reference of frame {pfn}, which is free")
            self.ledger.setdefault(head, Counter())[holder] += 1

    def try_get(self, pfn: int, holder: str) -> bool:
        """As `get`, unless the folio is free (folio_try_get)."""
        if not self.frames.refcount[pfn - self.frames.tail[pfn]]:
            return False
        self.get(pfn, holder)
        return True

    def put(self, pfn: int, holder: str) -> None:
        """Give up a reference; the last one frees the folio."""
        head = pfn - self.frames.tail[pfn]
        left = self.frames.refcount[head] - 1
        if left < 0:
            self.report("I10", f"{holder} gives up a reference of frame {pfn}, which is free")
            return
        self.frames.refcount[head] = left
        if self.checks:
            held = self.ledger.setdefault(head, Counter())
            if held[holder] <= 0:
                self.report(
                    "I10", f"{holder} gives up a reference of frame {pfn} that it does not hold ({show_held(held)})"
                )
            held[holder] -= 1
            if not held[holder]:
                del held[holder]
        if not left:
            self.free_folio(head)

    def hand_over(self, pfn: int, old: str, new: str) -> None:
        """A reference changes its holder, and nothing else."""
        if self.checks:
            held = self.ledger.setdefault(pfn - self.frames.tail[pfn], Counter())
            if held[old] <= 0:
                self.report(
                    "I10", f"{old} hands a reference of frame {pfn} to {new}, but holds none ({show_held(held)})"
                )
            held[old] -= 1
            if not held[old]:
                del held[old]
            held[new] += 1

    def get_many(self, pfns: Pfns, holder: str) -> None:
        """`get` of many frames, each named once; order-0 folios only."""
        self.frames.v.refcount[pfns] += 1
        if self.checks:
            for pfn in pfns.tolist():
                self.ledger.setdefault(pfn, Counter())[holder] += 1

    def put_many(self, pfns: Pfns, holder: str) -> None:
        """`put` of many frames, each named once; order-0 folios only; frees those that were the last."""
        counts = self.frames.v.refcount
        counts[pfns] -= 1
        if self.checks:
            for pfn in pfns.tolist():
                held = self.ledger.setdefault(pfn, Counter())
                held[holder] -= 1
                if not held[holder]:
                    del held[holder]
        for pfn in pfns[counts[pfns] == 0].tolist():
            self.free_folio(pfn)

    # -- frames -------------------------------------------------------------------------------------------------------

    def alloc(self, holder: str, order: int = 0, zero: bool = True) -> int | None:
        """A folio of system memory with one reference, or None (no memory, or the failure `alloc` is injected)."""
        if self.fails("alloc"):
            return None
        pfn = self.pool.take() if not order else self.pool.take_block()
        if pfn is None:
            return None
        if order:
            self.frames.make_folio(pfn, HUGE_ORDER)
        if zero:
            self.frames.clear(pfn, 1 << order)
        self.frames.refcount[pfn] = 1
        if self.checks:
            self.ledger[pfn] = Counter({holder: 1})
        return pfn

    def free_folio(self, head: int) -> None:
        """The last reference is gone: uncharge, leave the LRU, and back to the pool or to the driver.

        For device memory this is free_zone_device_folio: the mapping is cleared before the driver hears of it
        (7ab0ad0e74f8).
        """
        f = self.frames
        flags, order = f.flags[head], f.order[head]
        pages = 1 << order
        if flags & RESERVED:
            f.refcount[head] = 1
            return
        # The real kernel looks at this, too, and says "Bad page state".
        mapped = f.mapcount[head] if not order else f.folio_mapcount(head)
        if mapped or f.lock[head] or flags & (BATCHED | SWAPCACHE):
            self.report("warning", f"frame {head} is freed while mapped, locked, batched or in the swap cache")
        if self.checks:
            self.ledger.pop(head, None)
            self._reached(head, pages)
        if not (flags & DEVICE and "free-keeps-charge" in self.defects):
            self.uncharge(head)
        if flags & DEVICE:
            v = f.v
            v.flags[head : head + pages] &= ~EXCLUSIVE
            f.flags[head] &= DEVICE
            if "free-keeps-mapping" not in self.defects:
                f.mapping[head] = 0
            self.pgmaps[f.owner[head]].folio_free(self, head)
            return
        if flags & HUGETLB:
            self.huge_pages.put(head)
        f.v.flags[head : head + pages] = 0
        f.mapping[head] = f.index[head] = f.private[head] = 0
        if order:
            f.part_folio(head)
            self.pool.put_block(head)
        else:
            self.pool.put(head)

    def _reached(self, head: int, pages: int) -> None:
        """I4: a page is given back only after the last CPU has forgotten it."""
        for cpu in self.cpus:
            for number, cached in cpu.tlb.items():
                for vpn, word in cached.items():
                    if head <= word >> SHIFT < head + pages:
                        self.report(
                            "I4", f"frame {head} is freed while CPU {cpu.number} has it for page {vpn} of mm {number}"
                        )
                        return

    # -- memcg --------------------------------------------------------------------------------------------------------

    def charge(self, head: int, mm: Mm) -> bool:
        """Charge a folio to the process' memcg; False: over its limit, or made to fail."""
        group, pages = mm.memcg, self.frames.pages(head)
        if self.fails("memcg"):
            return False
        if group is not None:
            if group.limit is not None and group.charged + pages > group.limit:
                return False
            group.charged += pages
            self.frames.memcg[head] = group.id
        return True

    def uncharge(self, head: int) -> None:
        number = self.frames.memcg[head]
        if number:
            self.memcgs[number].charged -= self.frames.pages(head)
            self.frames.memcg[head] = 0

    # -- the whole state ----------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Everything visible as plain data, to compare two kernels: tables, counts, flags, bytes, files, swap.

        Nothing in it counts steps, and tasks are not in it.
        """
        f = self.frames
        columns = {name: column.tobytes() for name, column in vars(f.v).items() if name != "lock"}
        rows = {row: self.tables.v[row].tobytes() for row in self.tables.owner}
        spaces = {
            mm.id: {
                "vmas": [
                    (v.start, v.end, v.flags, v.offset, v.file and v.file.id, v.anon and v.anon.id) for v in mm.vmas
                ],
                "pmd": dict(mm.pmd),
                "rss": (mm.rss_anon, mm.rss_file, mm.rss_swap),
                "dead": mm.dead,
            }
            for mm in self.mms.values()
        }
        return {
            "frames": columns,
            "data": b"" if f.data is None else f.data.tobytes(),
            "tables": rows,
            "spaces": spaces,
            "files": {x.id: (dict(x.pages), b"" if x.disk is None else x.disk.tobytes()) for x in self.files.values()},
            "memcgs": {x.id: x.charged for x in self.memcgs.values()},
            "tlb": [{m: dict(e) for m, e in cpu.tlb.items() if e} for cpu in self.cpus],
            "batches": [list(cpu.batch) for cpu in self.cpus],
            "swap": self.swap.snapshot(),
            "free": np.sort(self.pool.free()).tolist(),
        }


def known(names: Iterable[str]) -> frozenset[str]:
    """The names of defects as a set; raises ValueError for one that is not on the list."""
    chosen = frozenset(names)
    if unknown := sorted(chosen - set(DEFECTS)):
        fix = did_you_mean(unknown[0], DEFECTS) or "docs/defects.md has their names"
        raise ValueError(f"there is no defect '{unknown[0]}'; {fix}")
    return chosen


def show_held(held: Counter[str]) -> str:
    """The holders of a folio, for findings."""
    return ", ".join(f"{name} x{n}" if n != 1 else name for name, n in held.items()) or "nobody holds any"


__all__ = ["ANON", "BATCH", "HUGE", "LRU", "TLB_SIZE", "Config", "Cpu", "Finding", "Hooks", "Kernel", "Misuse", "Pgmap"]
