"""Faults on PMD-size entries of transparent huge pages.

Source: `mm/huge_memory.c` (do_huge_pmd_anonymous_page, do_huge_pmd_wp_page).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref.counts import account, add_anon, anon_prepare, take_over
from hmmspec.ref.frames import (
    ANON,
    DEVICE,
    EXCLUSIVE,
    HUGE,
    HUGE_ORDER,
    HUGE_ZERO_PFN,
    LRU,
    SWAPBACKED,
    UPTODATE,
)
from hmmspec.ref.lru import drain_cpu, lru_add
from hmmspec.ref.spaces import HUGEPAGE, NOHUGEPAGE, UFFD_MISSING, UFFD_WP, WRITE, Fault, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_told
from hmmspec.ref.tlb import flush_range


def suitable(vma: Vma, vpn: int) -> bool:
    """Whether a PMD-size page may be put around an address: asked for by MADV_HUGEPAGE, all in the VMA."""
    first = vpn & ~(HUGE - 1)
    fits = vma.start <= first and first + HUGE <= vma.end
    wanted = vma.flags & HUGEPAGE and not vma.flags & (NOHUGEPAGE | UFFD_MISSING | UFFD_WP)
    return bool(fits and wanted and vma.anonymous)


def anonymous_huge_fault(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """First touch of an empty PMD: the huge zero page, or 2 MiB of zeros; `fallback` where that cannot be had."""
    mm, vma = fault.mm, fault.vma
    first = fault.vpn & ~(HUGE - 1)
    anon_prepare(k, vma)
    if not fault.write:
        if not k.config.huge_zero:
            return "fallback"
        yield from mm.pmd_lock.acquire(t)
        if not mm.pmd.get(first >> 9):
            mm.pmd[first >> 9] = e.entry(e.ZERO, HUGE_ZERO_PFN, e.YOUNG)
        mm.pmd_lock.release(t)
        yield "pmd written"
        return "ok"
    head = k.alloc("alloc", HUGE_ORDER)
    if head is None:
        return "fallback"
    if not k.charge(head, mm):
        k.put(head, "alloc")
        return "fallback"
    k.frames.flags[head] |= UPTODATE | SWAPBACKED
    yield from mm.pmd_lock.acquire(t)
    if mm.pmd.get(first >> 9):
        mm.pmd_lock.release(t)
        k.put(head, "alloc")
        return "ok"
    _install(k, t, fault, first, head)
    mm.pmd_lock.release(t)
    yield "pmd written"
    return "ok"


def _install(k: Kernel, t: Task, fault: Fault, first: int, head: int) -> None:
    """Map a new huge page, and put it on the LRU; the PMD lock is held, the entry is none."""
    k.hand_over(head, "alloc", "map")
    add_anon(k, fault.vma, first, head, True, huge=True)
    account(k, fault.mm, head, HUGE)
    lru_add(k, t, head)
    bits = e.YOUNG | e.DIRTY | e.SOFT | (e.WRITE if fault.vma.flags & WRITE else 0)
    fault.mm.pmd[first >> 9] = e.entry(e.PRES, head, bits)


def huge_write_fault(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """A write to a read-only PMD entry: use the page again if nobody else has it; else split, and copy one page."""
    mm, first, f = fault.mm, fault.vpn & ~(HUGE - 1), k.frames
    yield from mm.pmd_lock.acquire(t)
    word = mm.pmd.get(first >> 9, 0)
    if word != fault.word:
        mm.pmd_lock.release(t)
        return "ok"
    head = word >> e.SHIFT
    if word & e.KIND == e.PRES and not word & e.UFFD and f.flags[head] & ANON:
        if not f.flags[head] & (LRU | DEVICE):
            drain_cpu(k, t.cpu)
        if f.flags[head] & EXCLUSIVE or (f.refcount[head] == 1 and not f.lock[head]):
            if not f.flags[head] & EXCLUSIVE:
                take_over(k, fault.vma, head)
            mm.pmd[first >> 9] = word | e.WRITE | e.DIRTY | e.SOFT | e.YOUNG
            flush_range(k, mm, first, first + HUGE)
            mm.pmd_lock.release(t)
            yield "pmd written"
            return "ok"
    mm.pmd_lock.release(t)
    good = yield from split_told(k, t, mm, first >> 9)
    return "ok" if good else "oom"
