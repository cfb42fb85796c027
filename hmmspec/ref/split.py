"""Parting a folio of 512 that is mapped, wherever that is: into single ones, of which each keeps its mappings.

Every mapping is a migration entry meanwhile, as if the folio moved, so devices hear of all of it.  Parts that nobody
maps are freed, and parts that hold nothing but zeros are mapped as the zero page from then on.

Source: `mm/huge_memory.c` (split_huge_page_to_list_to_order, unmap_folio, remap_page), `mm/migrate.c`
(try_to_map_unused_to_zeropage); `include/linux/mm.h` (folio_likely_mapped_shared).
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import rmap
from hmmspec.ref.counts import account
from hmmspec.ref.frames import ANON, BATCHED, HUGE, SWAPCACHE, ZERO_PFN
from hmmspec.ref.spaces import READ, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import part, split_pmd


def shared(k: Kernel, head: int) -> bool:
    """Whether several processes seem to map a folio: known of small ones, guessed by the first page of large ones."""
    f = k.frames
    count = f.folio_mapcount(head)
    if not f.order[head] or count <= 1:
        return count > 1
    return bool(f.entire[head]) or count > HUGE or f.mapcount[head] > 1


def split_entries(k: Kernel, t: Task, head: int, kinds: tuple[int, ...]) -> Steps[bool]:
    """Split every PMD-size entry of these kinds that names the folio, in every process.  False: no page table."""
    for vma, low, _ in rmap.places(k, head):
        mm = vma.mm
        yield from mm.pmd_lock.acquire(t)
        word = mm.pmd.get(low // HUGE, e.NONE)
        good = not (word & e.KIND in kinds and word >> e.SHIFT == head) or split_pmd(k, mm, low // HUGE)
        mm.pmd_lock.release(t)
        if not good:
            return False
    return True


def split_mapped(k: Kernel, t: Task, head: int, holder: str) -> Steps[bool]:
    """Part a locked folio of system memory; False: somebody else refers to it, and all is as before.

    The caller holds the lock and one reference, `holder`, both of the head, and keeps them.
    """
    f = k.frames
    if f.pages(head) == 1:
        return True
    if f.refcount[head] != f.folio_mapcount(head) + 1 or f.flags[head] & (BATCHED | SWAPCACHE):
        return False
    if not (yield from split_entries(k, t, head, (e.PRES, e.PROTNONE))):
        return False
    yield from rmap.try_to_migrate(k, t, head)
    if f.folio_mapcount(head) or f.refcount[head] != 1:
        yield from rmap.remove_migration_entries(k, t, head, head)
        return False
    part(k, head, holder, whole=True)
    for pfn in range(head + 1, head + HUGE):
        k.folio_locks.take(t, pfn)
    empty = f.data is not None and bool(f.flags[head] & ANON)
    for pfn in range(head, head + HUGE):
        if empty and f.data is not None and not f.data[pfn].any():
            yield from _map_zeros(k, t, pfn)
        else:
            yield from rmap.remove_migration_entries(k, t, pfn, pfn)
        if pfn != head:
            k.folio_locks.unlock(t, pfn)
            k.put(pfn, holder)
    return True


def _map_zeros(k: Kernel, t: Task, pfn: int) -> Steps[None]:
    """In place of a page of zeros: the zero page."""

    def change(vma: Vma, vpn: int, huge: bool) -> bool:
        old = rmap.entry_of(k, vma.mm, vpn, huge)
        hidden = 0 if vma.flags & READ else e.HIDDEN
        rmap.write_entry(k, vma.mm, vpn, huge, e.entry(e.ZERO, ZERO_PFN, old & (e.SOFT | e.UFFD) | hidden))
        account(k, vma.mm, pfn, -1)
        return True

    yield from rmap.restore_walk(k, t, pfn, pfn, change)
