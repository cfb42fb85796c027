"""fork: every mapping of private memory is shared from now on, and copied by who writes first.

Page tables are copied under both page-table locks.  Parent and child lose write permission; device-private and
migration entries lose theirs, too; device-exclusive ones are made present first, and where that cannot be done the
fork fails. Pages that may be pinned are copied at once, so that the parent keeps the one that the pin means.

Source: `mm/memory.c` @009857a22860 (copy_pte_range, copy_nonpresent_pte, copy_present_pte), `kernel/fork.c` (dup_mmap);
notifier event: PROTECTION_PAGE over the whole address space.
"""

from __future__ import annotations

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.counts import account, add_anon, add_file, counted, dup, may_be_pinned, own_reverse_map
from hmmspec.ref.errors import Errno
from hmmspec.ref.exit import tear_down
from hmmspec.ref.frames import ANON, EXCLUSIVE, HUGE, PAGE, SWAPBACKED, UPTODATE
from hmmspec.ref.hugetlb import copy_pinned
from hmmspec.ref.lru import lru_add
from hmmspec.ref.spaces import (
    DONTFORK,
    HUGETLB,
    MIXEDMAP,
    PFNMAP,
    SHARED,
    UFFD_MISSING,
    UFFD_WP,
    WRITE,
    AnonVma,
    File,
    Mm,
    Vma,
)
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.thp import split_told
from hmmspec.ref.tlb import flush_range


def fork(k: Kernel, t: Task, parent: Mm, name: str) -> Steps[Mm]:
    """A child with a copy of the address space.  Raises ENOMEM, EBUSY (an exclusive page is locked), EINTR; then there
    is no child."""
    if k.fails("signal"):
        raise Errno("EINTR")
    yield from parent.mmap_lock.write(t)
    child = k.new_mm(name, parent.memcg)
    yield from child.mmap_lock.write(t)
    failed: Errno | None = None
    try:
        for vma in list(parent.vmas):
            if vma.flags & DONTFORK:
                continue
            new = yield from _copy_vma(k, t, child, vma)
            # What can be faulted in again is not copied.
            if vma.anon is not None or vma.flags & (MIXEDMAP | PFNMAP):
                yield from _copy_area(k, t, vma, new)
    except Errno as error:
        failed = error
    for vma in parent.vmas:
        if vma.cow and vma.anon is not None and "fork-no-flush" not in k.defects:
            flush_range(k, parent, vma.start, vma.end)
    child.mmap_lock.release(t)
    parent.mmap_lock.release(t)
    if failed is not None:
        yield from tear_down(k, t, child)
        raise failed
    return child


def _copy_vma(k: Kernel, t: Task, child: Mm, vma: Vma) -> Steps[Vma]:
    """The child's VMA: in all reverse maps of the parent's, and in one of its own for pages that are new.

    It is put into a reverse map under that map's lock: a walk that is under way has either restored the parent's
    entries before they are copied, or finds the child after the parent.
    """
    flags = vma.flags & ~(UFFD_MISSING | UFFD_WP)  # userfaultfd does not follow into a child that nobody asked for
    new = Vma(child, vma.start, vma.end, flags, vma.offset, vma.file, None, list(vma.chain), vma.driver, vma.opened)
    child.insert(new)
    lists: list[AnonVma | File] = [*new.chain, *([new.file] if new.file is not None else [])]
    for known in lists:
        yield from known.lock.write(t)
        known.vmas.append(new)
        known.lock.release(t)
    if vma.anon is not None:
        own_reverse_map(new, k.new_anon())
    return new


def _copy_area(k: Kernel, t: Task, vma: Vma, new: Vma) -> Steps[None]:
    """The entries of one VMA; where they become read-only, the parent's devices are told first."""
    event = notifier.Event(notifier.PROTECTION_PAGE, vma.start, vma.end)
    tells = vma.cow and "fork-no-notifier" not in k.defects
    if tells:
        yield from notifier.start(k, t, vma.mm, event)
    try:
        yield from _copy_tables(k, t, vma, new)
    finally:
        if tells:
            yield from notifier.end(k, t, vma.mm, event)


def _copy_tables(k: Kernel, t: Task, vma: Vma, new: Vma) -> Steps[None]:
    parent, child = vma.mm, new.mm
    vpn = vma.start
    while vpn < vma.end:
        stop = min(vma.end, (vpn | (HUGE - 1)) + 1)
        word = parent.pmd.get(vpn >> 9, 0)
        if word and word & e.KIND != e.TABLE:
            yield from _copy_huge(k, t, vma, new, vpn)
        if parent.pmd.get(vpn >> 9, 0) & e.KIND == e.TABLE:
            if not child.pmd.get(vpn >> 9):
                row = None if k.fails("table") else k.tables.take(child, vpn >> 9)
                if row is None:
                    raise Errno("ENOMEM")
                child.pmd[vpn >> 9] = e.entry(e.TABLE, row)
            yield from _copy_entries(k, t, vma, new, vpn, stop)
        vpn = stop


def _copy_entries(k: Kernel, t: Task, vma: Vma, new: Vma, start: int, end: int) -> Steps[None]:
    words = k.tables.words
    source, target = k.tables.slot(vma.mm, start), k.tables.slot(new.mm, start)
    assert source is not None and target is not None
    lock, below = k.tables.lock(source >> 9), k.tables.lock(target >> 9)
    for i in range(end - start):
        if not words[source + i]:
            continue
        # A page that has to be copied at once is allocated before the locks are taken.
        spare: int | None = None
        if _must_copy(k, vma, words[source + i]):
            spare = k.alloc("alloc", zero=False)
            if spare is None or not k.charge(spare, new.mm):
                if spare is not None:
                    k.put(spare, "alloc")
                raise Errno("ENOMEM")
        yield from below.acquire(t)
        yield from lock.acquire(t)
        try:
            _copy_entry(k, t, vma, new, start + i, source + i, target + i, spare)
        finally:
            lock.release(t)
            below.release(t)
        yield "pte written"


def _must_copy(k: Kernel, vma: Vma, word: int) -> bool:
    pfn = word >> e.SHIFT
    return bool(
        word & e.KIND in (e.PRES, e.PROTNONE)
        and not vma.flags & SHARED
        and k.frames.flags[pfn] & EXCLUSIVE
        and may_be_pinned(k, pfn)
        and "fork-shares-pinned" not in k.defects
    )


def _copy_entry(k: Kernel, t: Task, vma: Vma, new: Vma, vpn: int, source: int, target: int, spare: int | None) -> None:
    """Copy one entry; both locks are held.  `spare`: a page to copy into, if the page may be pinned."""
    words, f = k.tables.words, k.frames
    word = words[source]
    if word & e.KIND == e.DEVEXCL and "fork-shares-exclusive" not in k.defects:
        restore = k.hooks.exclusive_restore
        if restore is None or not restore(k, t, vma, vpn, word):
            raise Errno("EBUSY")
        word = words[source]
    kind, pfn = word & e.KIND, word >> e.SHIFT
    keep = -1 if new.flags & UFFD_WP else ~e.UFFD
    if spare is not None:
        if kind in (e.PRES, e.PROTNONE) and _must_copy(k, vma, word):
            f.copy(pfn, spare)
            k.line.charge(Kind.COPY_BY_CPU, size=PAGE)
            f.flags[spare] |= UPTODATE | SWAPBACKED
            k.hand_over(spare, "alloc", "map")
            add_anon(k, new, vpn, spare, True)
            account(k, new.mm, spare, 1)
            lru_add(k, t, spare)
            # As its VMA allows, whatever the parent's entry does: the copy is nobody else's.
            may_write = e.WRITE if new.flags & WRITE else 0
            words[target] = word & e.KIND | may_write | e.DIRTY | e.SOFT | spare << e.SHIFT
            return
        k.put(spare, "alloc")
    cow = vma.cow
    match kind:
        case e.PRES | e.PROTNONE:
            _share(k, new, pfn, 1)
            if cow:
                words[source] = word if "fork-keeps-write" in k.defects else word & ~e.WRITE
                word &= ~e.WRITE
            words[target] = word & ~(e.YOUNG | (0 if cow else e.DIRTY)) & keep
        case e.DEVPRIV:
            _share(k, new, pfn, 1)
            if cow and word & e.WRITE and "fork-keeps-device-write" not in k.defects:
                word &= ~(e.WRITE | e.SOFT)  # copy_nonpresent_pte says why nobody misses soft-dirty
                words[source] = word
            words[target] = word & keep
        case e.DEVEXCL:
            _share(k, new, pfn, 1)
            words[target] = word
        case e.MIGR:
            account(k, new.mm, pfn, 1)
            if cow and "fork-keeps-migration-write" not in k.defects:
                word &= ~(e.WRITE | e.EXCL)
                words[source] = word
            words[target] = word & keep
        case e.SWAP:
            if "fork-forgets-swap" not in k.defects:
                k.swap.count[pfn] += 1
            new.mm.rss_swap += 1
            words[source] = word & ~e.EXCL
            words[target] = word & ~e.EXCL & keep
        case e.MARKER:
            if pfn != e.UFFD_MARK or new.flags & UFFD_WP:
                words[target] = word
        case _:
            words[target] = word & keep


def _share(k: Kernel, new: Vma, pfn: int, pages: int) -> None:
    """One more mapping of a page, in the child."""
    k.get(pfn, "map")
    if not (k.frames.owner[pfn - k.frames.tail[pfn]] and "fork-forgets-mapcount" in k.defects):
        if k.frames.flags[pfn - k.frames.tail[pfn]] & ANON:
            dup(k, pfn, huge=pages > 1)
        else:
            add_file(k, pfn, huge=pages > 1)
    account(k, new.mm, pfn, pages)


def _copy_huge(k: Kernel, t: Task, vma: Vma, new: Vma, vpn: int) -> Steps[None]:
    """A PMD-size entry: shared as a whole; one that may be pinned, or that the VMA covers in part, is split first."""
    parent, child, f = vma.mm, new.mm, k.frames
    yield from parent.pmd_lock.acquire(t)
    word = parent.pmd.get(vpn >> 9, 0)
    kind, head = word & e.KIND, word >> e.SHIFT
    if kind in (e.NONE, e.TABLE):
        parent.pmd_lock.release(t)
        return
    pinned = kind in (e.PRES, e.PROTNONE) and f.flags[head] & EXCLUSIVE and may_be_pinned(k, head)
    good = True
    if pinned and not vma.flags & (HUGETLB | SHARED):
        parent.pmd_lock.release(t)
        if not (yield from split_told(k, t, parent, vpn >> 9)):
            raise Errno("ENOMEM")
        return
    if pinned and vma.flags & HUGETLB and not vma.flags & SHARED:
        good = copy_pinned(k, new, vpn, head)
    elif kind != e.MARKER:
        keep = -1 if new.flags & UFFD_WP else ~e.UFFD
        if kind in (e.PRES, e.PROTNONE, e.DEVPRIV) and counted(k, head):
            _share(k, new, head, HUGE)
        elif kind == e.MIGR:
            account(k, child, head, HUGE)
        if vma.cow:
            keeps = (kind == e.DEVPRIV and "fork-keeps-device-write" in k.defects) or (
                kind == e.MIGR and "fork-keeps-migration-write" in k.defects
            )
            if not keeps:
                word &= ~(e.WRITE | (e.EXCL if kind == e.MIGR else 0))
            if not (kind == e.PRES and "fork-keeps-write" in k.defects):
                parent.pmd[vpn >> 9] = word
        child.pmd[vpn >> 9] = word & ~e.YOUNG & keep & (~e.SOFT if kind == e.DEVPRIV else -1)
    parent.pmd_lock.release(t)
    yield "pmd written"
    if not good:
        raise Errno("ENOMEM")
