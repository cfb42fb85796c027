"""Faults on PMD-size entries: transparent huge pages and hugetlb.

Sources: `mm/huge_memory.c` (do_huge_pmd_anonymous_page, do_huge_pmd_wp_page), `mm/hugetlb.c` (hugetlb_fault,
hugetlb_wp).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import account, add_anon, add_file, anon_prepare, remove
from hmmspec.ref.frames import (
    ANON,
    DEVICE,
    EXCLUSIVE,
    HUGE,
    HUGE_ORDER,
    HUGE_ZERO_PFN,
    HUGETLB,
    LRU,
    PAGE,
    SWAPBACKED,
    UPTODATE,
)
from hmmspec.ref.lru import drain_cpu, lru_add
from hmmspec.ref.spaces import HUGEPAGE, NOHUGEPAGE, SHARED, UFFD_MISSING, UFFD_WP, WRITE, Fault, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_pmd
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
    if not k.frames.flags[head] & HUGETLB:
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
            f.flags[head] |= EXCLUSIVE
            mm.pmd[first >> 9] = word | e.WRITE | e.DIRTY | e.SOFT | e.YOUNG
            flush_range(k, mm, first, first + HUGE)
            mm.pmd_lock.release(t)
            yield "pmd written"
            return "ok"
    good = split_pmd(k, mm, first >> 9)
    mm.pmd_lock.release(t)
    yield "pmd written"
    return "ok" if good else "oom"


def hugetlb_fault(k: Kernel, t: Task, fault: Fault) -> Steps[str]:
    """hugetlb: first touch from the pool of huge pages, and a copy of 2 MiB on a write after fork."""
    mm, vma, f = fault.mm, fault.vma, k.frames
    first = fault.vpn & ~(HUGE - 1)
    word = mm.pmd.get(first >> 9, 0)
    if word & e.KIND not in (e.NONE, e.PRES) or (word and (word & e.WRITE or not fault.write)):
        return "ok" if word & e.KIND in (e.NONE, e.PRES) else "sigbus"
    if vma.flags & SHARED:
        return (yield from _shared_hugetlb(k, t, fault, first, word))
    old = word >> e.SHIFT if word else None
    if old is not None and (f.flags[old] & EXCLUSIVE or f.refcount[old] == 1):
        yield from mm.pmd_lock.acquire(t)
        if mm.pmd.get(first >> 9) == word:
            f.flags[old] |= EXCLUSIVE
            mm.pmd[first >> 9] = word & ~e.UFFD | e.WRITE | e.DIRTY | e.SOFT | e.YOUNG
            flush_range(k, mm, first, first + HUGE)
        mm.pmd_lock.release(t)
        yield "pmd written"
        return "ok"
    new = _from_pool(k, fault)
    if new is None:
        return "sigbus"
    anon_prepare(k, vma)
    if old is not None:
        f.copy(old, new, HUGE)
        k.line.charge(Kind.COPY_BY_CPU, size=HUGE * PAGE)
    event = notifier.Event(notifier.CLEAR, first, first + HUGE)
    if old is not None:
        yield from notifier.start(k, t, mm, event)
    yield from mm.pmd_lock.acquire(t)
    same = mm.pmd.get(first >> 9, 0) == word
    if same:
        if old is not None:
            flush_range(k, mm, first, first + HUGE)
            remove(k, old, huge=True)
            account(k, mm, old, -HUGE)
        _install(k, t, fault, first, new)
    mm.pmd_lock.release(t)
    yield "pmd written"
    if not same:
        k.put(new, "alloc")
    elif old is not None:
        k.put(old, "map")
    if old is not None:
        yield from notifier.end(k, t, mm, event)
    return "ok"


def _from_pool(k: Kernel, fault: Fault) -> int | None:
    """A huge page of the hugetlb pool: the mapping reserved its own, a copy needs a free one."""
    head = k.alloc("alloc", HUGE_ORDER)
    if head is None or not k.charge(head, fault.mm):
        if head is not None:
            k.put(head, "alloc")
        return None
    k.frames.flags[head] |= UPTODATE | SWAPBACKED | HUGETLB
    return head


def _shared_hugetlb(k: Kernel, t: Task, fault: Fault, first: int, word: int) -> Steps[str]:
    mm, vma, f, file = fault.mm, fault.vma, k.frames, fault.vma.file
    assert file is not None
    index = vma.index(first)
    if not word and index not in file.pages:
        new = _from_pool(k, fault)
        if new is None:
            return "sigbus"
        k.hand_over(new, "alloc", "cache")
        file.pages[index] = new
        f.mapping[new], f.index[new] = -file.id, index
    yield from mm.pmd_lock.acquire(t)
    if mm.pmd.get(first >> 9, 0) == word:
        head = file.pages[index]
        if not word:
            k.get(head, "map")
            add_file(k, head, huge=True)
            account(k, mm, head, HUGE)
        bits = e.YOUNG | (e.WRITE | e.DIRTY | e.SOFT if vma.flags & WRITE else 0)
        mm.pmd[first >> 9] = e.entry(e.PRES, head, bits)
        flush_range(k, mm, first, first + HUGE)
    mm.pmd_lock.release(t)
    yield "pmd written"
    return "ok"
