"""The end of an address space.

Notifiers hear of it before anything is unmapped (RELEASE over everything); then all mappings and page tables go.

Source: `mm/mmap.c` (exit_mmap), `mm/mmu_notifier.c` (mn_itree_release); `mm_users` is 0 from the beginning, so no
driver can get hold of the mm any more (mmget_not_zero).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.hugepool import close
from hmmspec.ref.layout import unlist
from hmmspec.ref.spaces import HUGETLB, PFNMAP, SHARED, Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.tlb import flush_mm
from hmmspec.ref.zap import zap_range


def mmget(mm: Mm) -> bool:
    """Keep an address space alive (mmget_not_zero); False: it is dead."""
    if not mm.users:
        return False
    mm.users += 1
    return True


def mmput(k: Kernel, t: Task, mm: Mm) -> Steps[None]:
    """Give it up; who is last tears it down.  Not from a notifier's callback (a29e067bd389)."""
    mm.users -= 1
    if not mm.users:
        yield from tear_down(k, t, mm)


def exit_mm(k: Kernel, t: Task, mm: Mm) -> Steps[None]:
    """The process is done with its address space: its threads take no step in it any more."""
    mm.dead = True
    yield from mmput(k, t, mm)


def oom_reap(k: Kernel, t: Task, mm: Mm) -> Steps[bool]:
    """The OOM reaper: take a killed process' private memory away without waiting for anybody (__oom_reap_task_mm).

    Notifiers are called in their non-blocking form; where a driver would have to sleep, that VMA is left for later.
    False: there is something left.  From now on no page may be put into the mm (`mm.reaped`).
    """
    if not mm.mmap_lock.try_read(t):
        return False
    mm.reaped = True
    done = True
    for vma in list(mm.vmas):
        if vma.flags & (HUGETLB | PFNMAP | SHARED):
            continue
        event = notifier.Event(notifier.CLEAR, vma.start, vma.end, blockable=False)
        if (yield from notifier.start(k, t, mm, event)):
            yield from zap_range(k, t, vma, vma.start, vma.end)
            yield from notifier.end(k, t, mm, event)
        else:
            done = False
    mm.mmap_lock.release(t)
    return done


def tear_down(k: Kernel, t: Task, mm: Mm) -> Steps[None]:
    """exit_mmap: RELEASE to the notifiers, then every mapping, the page tables and the mm itself go."""
    mm.dead = True
    mm.users = 0
    if mm.notifiers is not None:
        event = notifier.Event(notifier.RELEASE, 0, notifier.EVERYTHING)
        yield from notifier.start(k, t, mm, event)
        yield from notifier.end(k, t, mm, event)
    yield from mm.mmap_lock.write(t)
    for vma in list(mm.vmas):
        yield from zap_range(k, t, vma, vma.start, vma.end)
        close(k.huge_pages, vma)
    flush_mm(k, mm)
    for vma in list(mm.vmas):
        unlist(k, vma)
    for word in mm.pmd.values():
        if word & e.KIND == e.TABLE:
            row = word >> e.SHIFT
            if k.tables.v[row].any() and "zap-stops-early" not in k.defects:
                k.report("I10", f"a page table of {mm} is freed with entries in it")
            k.tables.v[row] = 0
            k.tables.put(row)
    mm.pmd.clear()
    mm.mmap_lock.release(t)
    left = sum(owner == mm.id for owner, _ in k.tables.owner.values())
    if left:
        k.report("warning", f"{left} page tables of {mm} are left after everything was unmapped")
    if mm.rss_anon or mm.rss_file or mm.rss_swap:
        k.report(
            "warning", f"the RSS of {mm} is {mm.rss_anon}/{mm.rss_file}/{mm.rss_swap} after everything was unmapped"
        )
    k.mms.pop(mm.id, None)
