"""Moving device pages to system memory by their frame numbers: eviction, removal of memory, long-term pins.

There is no process and no mmap_lock here: whoever maps a page is found by the reverse map, and told by CLEAR.  A page
that somebody else works on at that moment is left out, and its turn comes again.

Sources: `mm/migrate_device.c` (migrate_device_range, migrate_device_coherent_folio), `mm/memremap.c` (memunmap_pages),
`lib/test_hmm.c` (dmirror_device_evict_chunk); 249881232e14 (evict before the memory goes), 0dc45ca1ce18.
"""

from __future__ import annotations

import numpy as np

from hmmspec.ref import lru, rmap, thp
from hmmspec.ref import selection as sel
from hmmspec.ref.commit import finalize, move_identity, pages
from hmmspec.ref.copying import copy_frames
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.device import Device
from hmmspec.ref.devmem import Chunk
from hmmspec.ref.driver import bring_back
from hmmspec.ref.entries import DEVPRIV, PRES, PROTNONE
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import HUGE, PAGE, UPTODATE, Pfns
from hmmspec.ref.migrate import unmap
from hmmspec.ref.migrate_args import MigrateArgs
from hmmspec.ref.split import split_entries
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task

PIECE = 512  # entries of one migration by frame numbers
ROUNDS = 200  # evictions of a chunk that moved nothing, although nothing was locked, after which the removal gives up


def collect_pfns(k: Kernel, t: Task, pfns: list[int], owner: int) -> MigrateArgs:
    """Reference and lock the folios at these frames; free ones and those that somebody has locked are left out."""
    f = k.frames
    args = MigrateArgs(None, None, 0, len(pfns), owner=owner)
    for i, pfn in enumerate(pfns):
        if f.tail[pfn] or not k.try_get(pfn, "collect"):
            continue
        if k.fails("trylock") or not k.folio_locks.trylock(t, pfn):
            k.put(pfn, "collect")
            continue
        args.src[i] = sel.word(pfn, sel.MIGRATE)
        args.cpages += 1
    args.npages = len(pfns)
    return args


def evict(k: Kernel, t: Task, device: Device, pfns: Pfns) -> Steps[int]:
    """Move these device pages to system memory; how many base pages moved.

    A large page goes whole if a large system page is to be had, else it is split first.
    """
    f = k.frames
    before = device.memory.live
    large = [p for p in pfns.tolist() if f.order[p] and not f.tail[p]]
    for head in large:
        yield from _evict_large(k, t, device, head)
    single = [p for p in pfns.tolist() if not f.order[p] and not f.tail[p] and f.refcount[p]]
    for low in range(0, len(single), PIECE):
        args = collect_pfns(k, t, single[low : low + PIECE], device.memory.id)
        yield "evict"
        yield from _move(k, t, device, args)
    return before - device.memory.live


def _move(k: Kernel, t: Task, device: Device, args: MigrateArgs) -> Steps[None]:
    k.line.charge(Kind.MIGRATE_CALL)
    if args.cpages:
        yield from unmap(k, t, args)
    failing, device.fail_alloc = device.fail_alloc, False  # these allocations may not fail
    answer = yield from bring_back(k, t, device, args)
    device.fail_alloc = failing
    if answer != "oom":
        yield from pages(k, t, args)
    yield from finalize(k, t, args)


def _evict_large(k: Kernel, t: Task, device: Device, head: int) -> Steps[None]:
    """One PMD-size page.  Single pages cannot be its destination here, so without a large one it is parted."""
    f = k.frames
    if not k.try_get(head, "collect"):
        return
    if f.tail[head] or not f.order[head] or k.fails("trylock") or not k.folio_locks.trylock(t, head):
        k.put(head, "collect")
        return
    new = k.alloc("alloc", f.order[head], zero=False)
    if new is None:
        if (yield from split_entries(k, t, head, (PRES, PROTNONE, DEVPRIV))):
            thp.split_folio(k, t, head, "collect")
        k.folio_locks.unlock(t, head)
        k.put(head, "collect")
        return
    k.folio_locks.take(t, new)
    f.flags[new] |= UPTODATE
    args = MigrateArgs(None, None, 0, 1, owner=device.memory.id)
    args.src[0] = sel.word(head, sel.MIGRATE | sel.COMPOUND)
    args.cpages = args.npages = 1
    k.line.charge(Kind.MIGRATE_CALL)
    yield from unmap(k, t, args)
    args.dst[0] = sel.word(new, sel.COMPOUND)
    if int(args.src[0]) & sel.MIGRATE:
        rows = np.arange(HUGE)
        if f.data is not None:
            copy_frames(f.data, rows + new, f.data, rows + head)
        k.line.charge(Kind.COPY_TO_SYSTEM, count=1, size=HUGE * PAGE)
    yield from pages(k, t, args)
    yield from finalize(k, t, args)


def live_pages(k: Kernel, chunk: Chunk, opened: int | None = None) -> Pfns:
    """The heads of a chunk's pages that are handed out; `opened`: to the open of that mm only."""
    whole = slice(chunk.first, chunk.first + chunk.pages)
    live = k.frames.v.refcount[whole] > 0
    if opened is not None:
        live &= k.frames.v.private[whole] == opened
    found = chunk.first + np.flatnonzero(live)
    return found[:-1] if "evict-leaves-last" in k.defects else found


def evict_chunk(k: Kernel, t: Task, device: Device, chunk: Chunk, opened: int | None = None) -> Steps[bool]:
    """Move everything (of one open) out of a chunk.  False: somebody keeps a page (a reference on coherent memory), or
    there is no system memory for it.  The real kernel waits for ever there."""
    idle = 0
    while idle < ROUNDS:
        pages_left = live_pages(k, chunk, opened)
        if not len(pages_left):
            break
        moved = yield from evict(k, t, device, pages_left)
        if moved:
            idle = 0
            continue
        locked = [p for p in live_pages(k, chunk, opened).tolist() if k.frames.lock[p]]
        if locked and k.workers is not None:
            yield k.folio_locks.queue(locked[0])  # a fault or another migration is at work on it
            continue
        idle += 1
        yield "evicted"
        if k.workers is None and idle > 3:
            break
    return not len(live_pages(k, chunk, opened))


def release_memory(k: Kernel, t: Task, device: Device) -> Steps[None]:
    """Hot-remove all memory of the device: stop handing it out, evict every page, and wait until all were freed.

    Raises Errno EBUSY where pages stay that somebody holds; their chunks are in use again then.
    """
    chunks = list(device.memory.chunks)
    for chunk in chunks:
        chunk.dying = True
    kept = False
    for chunk in chunks:
        if chunk not in device.memory.chunks:
            continue  # somebody else removed it
        if "release-without-eviction" in k.defects or (yield from evict_chunk(k, t, device, chunk)):
            if chunk in device.memory.chunks:
                device.memory.remove_chunk(k, chunk)
        else:
            chunk.dying = False
            kept = True
    if kept:
        raise Errno("EBUSY")


def migrate_coherent(k: Kernel, t: Task, pfn: int) -> Steps[bool]:
    """A page of coherent memory is to be pinned for long: move it to system memory.

    The caller holds one reference, which is the one that is expected; it keeps it, of the old page, whatever happens.
    False: somebody else holds the page, or there is no memory.
    """
    f = k.frames
    head = f.head(pfn)
    if "longterm-stays-on-device" in k.defects:
        return True
    yield from k.folio_locks.lock(t, head)
    moved = yield from _move_held(k, t, head)
    k.folio_locks.unlock(t, head)
    return moved


def _move_held(k: Kernel, t: Task, head: int) -> Steps[bool]:
    f = k.frames
    yield from rmap.try_to_migrate(k, t, head)
    new = None
    if not f.folio_mapcount(head) and f.refcount[head] == 1:
        new = k.alloc("alloc", f.order[head], zero=False)
    if new is None:
        yield from rmap.remove_migration_entries(k, t, head, head)
        return False
    k.folio_locks.take(t, new)
    f.flags[new] |= UPTODATE
    count = f.pages(head)
    moved = not k.fails("copy") and move_identity(k, MigrateArgs(None, None, 0, 0), head, new)
    if moved:
        if f.data is not None:
            rows = np.arange(count)
            copy_frames(f.data, rows + new, f.data, rows + head)
        k.line.charge(Kind.COPY_TO_SYSTEM, count=1, size=count * PAGE)
        lru.lru_add(k, t, new)
    yield from rmap.remove_migration_entries(k, t, head, new if moved else head)
    k.folio_locks.unlock(t, new)
    k.put(new, "alloc")
    return moved
