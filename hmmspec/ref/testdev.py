"""The test device: every command that a program can give it, as generators.

A command raises `Errno` and then nothing is reported; what it did until then stays done.  Pages are virtual page
numbers of the process that opened the device; data are rows of 4096 bytes.

Source: `lib/test_hmm.c` @05ab51217205, `lib/test_hmm_uapi.h`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import device_fault, evict, exclusive, notifier
from hmmspec.ref import requests as rq
from hmmspec.ref import selection as sel
from hmmspec.ref.commit import finalize, pages
from hmmspec.ref.device import ROUNDS, Binding, Device, fault_in, map_exclusive, open_device, piece, remap, walk
from hmmspec.ref.devmem import CHUNK, install_memory
from hmmspec.ref.driver import TestDriver, bring_back, moved_words, send, spread
from hmmspec.ref.errors import Errno
from hmmspec.ref.exit import mmget, mmput
from hmmspec.ref.frames import (
    COHERENT_DEVICE,
    DIRTY,
    HUGE,
    PAGE,
    PRIVATE_DEVICE,
    WRITTEN_BEHIND,
    ZERO_PFN,
)
from hmmspec.ref.migrate import setup
from hmmspec.ref.migrate_args import MigrateArgs
from hmmspec.ref.mirror import ATOMIC, SHIFT, TAG, WRITE, Words
from hmmspec.ref.spaces import READ, Mm, Vma
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Outcome:
    """What a command gives back: `cpages`, `faults`, the pages' bytes, a snapshot's bytes."""

    cpages: int = 0
    faults: int = 0
    data: Bytes = field(default_factory=lambda: np.zeros((0, PAGE), np.uint8))
    snapshot: tuple[int, ...] = ()


def add_device(k: Kernel, name: str, private: bool, pages: int, chunk: int = CHUNK) -> Device:
    """A test device with room for so many pages.  Raises ValueError when the machine has no room."""
    memory = install_memory(k, name, private, pages, chunk)
    device = Device(name, memory)
    memory.driver = TestDriver(device)
    k.hooks.private_fault = device_fault.private_fault
    k.hooks.exclusive_fault = exclusive.exclusive_fault
    k.hooks.exclusive_restore = exclusive.exclusive_restore
    k.hooks.migrate_coherent = evict.migrate_coherent
    k.hooks.mirrors.append(device.mirrors)
    k.devices[name] = device
    return device


# -- open and close --------------------------------------------------------------------------------------------------


def open_(k: Kernel, t: Task, device: Device, mm: Mm) -> Steps[Binding]:
    """open(): bind the device to the process.  Raises EEXIST, ESRCH."""
    return (yield from open_device(k, t, device, mm))


def close(k: Kernel, t: Task, b: Binding) -> Steps[None]:
    """close(): the binding ends as soon as no command uses it."""
    if b.closing:
        raise Errno("EBADF")
    b.closing = True
    if not b.users:
        yield from _release(k, t, b)


def _release(k: Kernel, t: Task, b: Binding) -> Steps[None]:
    """The last user of the file is gone: no more notifiers, the device's pages go home, and so does the mirror."""
    yield from notifier.remove(k, t, b.sub)
    b.table.rows.clear()
    if "evict_on_close" in k.profile and "close-without-eviction" not in k.defects:
        opened = None if "close_evicts_everybody" in k.profile else b.mm.id
        for chunk in list(b.device.memory.chunks):
            yield from evict.evict_chunk(k, t, b.device, chunk, opened)
    b.device.bindings.pop(b.mm.id, None)


def _used(k: Kernel, t: Task, b: Binding, work: Steps[Outcome]) -> Steps[Outcome]:
    """Run a command; a close that came meanwhile is done after it."""
    if b.closing:
        raise Errno("EBADF")
    b.users += 1
    try:
        return (yield from work)
    finally:
        b.users -= 1
        if b.unused():
            yield from _release(k, t, b)


# -- through the mirror ----------------------------------------------------------------------------------------------


def read(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """READ: the bytes of the pages, faulting all that are left whenever one is missing."""
    return (yield from _used(k, t, b, _read(k, t, b, page, count)))


def read_unlockable(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """READ_UNLOCKABLE: the same through the helper that takes mmap_lock itself.  Raises ENOTTY where there is none."""
    if "range_fault_unlocked" not in k.profile:
        raise Errno("ENOTTY")
    return (yield from _used(k, t, b, _read(k, t, b, page, count)))


def write(k: Kernel, t: Task, b: Binding, page: int, data: Bytes) -> Steps[Outcome]:
    """WRITE: store rows of bytes, through writable mirror entries only."""
    return (yield from _used(k, t, b, _write(k, t, b, page, data)))


def _read(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    _check_range(page, count)
    out = np.zeros((count, PAGE), np.uint8)
    done = yield from _locked(k, t, b, lambda at: _read_some(k, b, page + at, page + count, out[at:]), 0)
    faults = 0
    while done < count:
        yield from _fault_round(k, t, b, page + done, page + count, False, faults)
        faults += 1
        done = yield from _locked(k, t, b, lambda at: _read_some(k, b, page + at, page + count, out[at:]), done)
    return Outcome(count, faults, out)


def _write(k: Kernel, t: Task, b: Binding, page: int, data: Bytes) -> Steps[Outcome]:
    count = len(data)
    _check_range(page, count)
    done = yield from _locked(k, t, b, lambda at: _write_some(k, b, page + at, data[at:]), 0)
    faults = 0
    while done < count:
        yield from _fault_round(k, t, b, page + done, page + count, True, faults)
        faults += 1
        done = yield from _locked(k, t, b, lambda at: _write_some(k, b, page + at, data[at:]), done)
    return Outcome(count, faults)


def _check_range(page: int, count: int) -> None:
    if page < 0 or count < 0 or page + count >= notifier.EVERYTHING:
        raise Errno("EINVAL")


def _fault_round(k: Kernel, t: Task, b: Binding, start: int, end: int, writes: bool, before: int) -> Steps[None]:
    if b.mm.dead or t.signal:
        raise Errno("EFAULT")
    if before > ROUNDS:
        raise Errno("EBUSY")
    yield from fault_in(k, t, b, start, end, writes)


def _locked(k: Kernel, t: Task, b: Binding, some: Callable[[int], int], at: int) -> Steps[int]:
    """Move data page after page under the driver's mutex until a mirror entry is missing.  Returns how far it came.

    `some(at)` moves pages from `at` on and says how many: all at once where nobody else runs, else one.
    """
    yield from b.mutex.acquire(t)
    moved = some(at)
    while moved and k.workers is not None:
        at += moved
        yield "device access"
        moved = some(at)
    b.mutex.release(t)
    return at + moved


def _entries(k: Kernel, b: Binding, start: int, end: int, tag: int) -> Words:
    """The frames of the mirror from `start` on, as far as there are entries (of that tag, if not 0)."""
    if k.workers is not None:
        end = min(end, start + 1)
    words = b.table.read(start, end)
    good = words != 0 if not tag else (words & TAG) == tag
    missing = np.flatnonzero(~good)
    return (words[: int(missing[0])] if len(missing) else words) >> SHIFT


def _read_some(k: Kernel, b: Binding, start: int, end: int, out: Bytes) -> int:
    pfns = _entries(k, b, start, end, 0)
    if k.frames.data is not None and len(pfns):
        out[: len(pfns)] = k.frames.data[pfns]
    return len(pfns)


def _write_some(k: Kernel, b: Binding, start: int, data: Bytes) -> int:
    pfns = _entries(k, b, start, start + len(data), WRITE)
    f = k.frames
    if f.data is not None and len(pfns):
        f.data[pfns] = data[: len(pfns)]
    if "device-write-stays-clean" not in k.defects:
        heads = pfns - f.v.tail[pfns]
        f.v.flags[heads] |= np.where(f.v.flags[heads] & PRIVATE_DEVICE, WRITTEN_BEHIND, DIRTY)
    return len(pfns)


def _read_back(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """What EXCLUSIVE and MIGRATE_TO_DEV give: the pages as the mirror has them.  Raises ENOENT if one is missing."""
    out = np.zeros((count, PAGE), np.uint8)
    done = yield from _locked(k, t, b, lambda at: _read_some(k, b, page + at, page + count, out[at:]), 0)
    if done < count:
        raise Errno("ENOENT")
    return Outcome(count, 0, out)


# -- migration -------------------------------------------------------------------------------------------------------


def migrate_to_device(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """MIGRATE_TO_DEV: move pages to the device, and read them back through the mirror.

    Raises EINVAL (a gap, or a mapping that cannot be read or migrated), ENOENT (a page is not in the mirror: it did not
    move).
    """
    return (yield from _used(k, t, b, _to_device(k, t, b, page, count)))


def _to_device(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    yield from send_range(k, t, b, page, count)
    return (yield from _read_back(k, t, b, page, count))


def send_range(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[None]:
    """The migration of MIGRATE_TO_DEV alone, which is what a driver does: nothing is read back.  Raises EINVAL."""
    _check_range(page, count)
    if not mmget(b.mm):
        raise Errno("EINVAL")
    yield from b.mm.mmap_lock.read(t)
    try:
        at = page
        while at < page + count:
            if k.bulk is not None and (done := k.bulk.send(t, b, at, page + count)) > at:
                at = done
                continue
            vma, stop = _piece(b.mm, at, page + count)
            words = yield from send_piece(k, t, b, vma, at, stop)
            yield from remap(k, t, b, at, words)
            at = stop
    finally:
        b.mm.mmap_lock.release(t)
        yield from mmput(k, t, b.mm)


def send_piece(k: Kernel, t: Task, b: Binding, vma: Vma, start: int, end: int) -> Steps[Words]:
    """Move at most 512 pages of one VMA; the mirror words that their pages want now.  Raises EINVAL."""
    args = _args(k, b, vma, start, end, sel.SELECT_SYSTEM)
    yield from setup(k, t, args)
    before = yield from send(k, t, b, args)
    holes = args.start + np.flatnonzero(spread(args, (args.src & sel.MIGRATE != 0) & (args.src & sel.VALID == 0)))
    b.holes.append(holes)
    try:
        yield from pages(k, t, args)
    finally:
        b.holes = [other for other in b.holes if other is not holes]
    words = moved_words(args, vma.flags)
    yield from finalize(k, t, args)
    return np.where(words != 0, words, before)


def migrate_to_system(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """MIGRATE_TO_SYS: move the device's pages of the range back; `cpages`: how many moved.

    Raises EINVAL as above, ENOMEM (no system page; what was collected is as before), EIO (a copy failed; the other
    pages moved).
    """
    return (yield from _used(k, t, b, _to_system(k, t, b, page, count)))


def _to_system(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    _check_range(page, count)
    if not mmget(b.mm):
        raise Errno("EINVAL")
    moved, answer = 0, "ok"
    yield from b.mm.mmap_lock.read(t)
    try:
        at = page
        while at < page + count and answer == "ok":
            if k.bulk is not None:
                done, went = k.bulk.fetch(t, b, at, page + count)
                if done > at:
                    at, moved = done, moved + went
                    continue
            vma, stop = _piece(b.mm, at, page + count)
            went, answer = yield from fetch_piece(k, t, b, vma, at, stop)
            moved += went
            at = stop
    finally:
        b.mm.mmap_lock.release(t)
        yield from mmput(k, t, b.mm)
    if answer != "ok":
        raise Errno("ENOMEM" if answer == "oom" else "EIO")
    return Outcome(moved)


def fetch_piece(k: Kernel, t: Task, b: Binding, vma: Vma, start: int, end: int) -> Steps[tuple[int, str]]:
    """Move the device's pages among at most 512 of one VMA back: how many moved; 'ok', 'oom' or 'copy'."""
    args = _args(k, b, vma, start, end, sel.SELECT_PRIVATE if b.device.private else sel.SELECT_COHERENT)
    yield from setup(k, t, args)
    answer = yield from bring_back(k, t, b.device, args)
    moved = 0
    if answer != "oom":
        yield from pages(k, t, args)
        moved = args.moved() + ("moved-count-off-by-one" in k.defects)
    yield from finalize(k, t, args)
    return moved, answer


def _piece(mm: Mm, at: int, end: int) -> tuple[Vma, int]:
    """The VMA at a page, and where the next piece of at most 512 pages in it ends."""
    vma = mm.find(at)
    if vma is None or not vma.flags & READ:
        raise Errno("EINVAL")
    return vma, min(end, at + HUGE, vma.end)


def _args(k: Kernel, b: Binding, vma: Vma, start: int, end: int, select: int) -> MigrateArgs:
    compound = sel.SELECT_COMPOUND if "device_thp" in k.profile else 0
    return MigrateArgs(b.mm, vma, start, end, select | compound, b.device.memory.id)


# -- snapshot --------------------------------------------------------------------------------------------------------


def snapshot(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """SNAPSHOT: one byte for each page (requests.py), without any fault.  Raises EBUSY."""
    return (yield from _used(k, t, b, _snapshot(k, t, b, page, count)))


def _snapshot(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    _check_range(page, count)
    if not mmget(b.mm):
        raise Errno("EINVAL")
    out: list[int] = []
    try:
        size = piece(k)
        for low in range(page, page + count, size):
            out += yield from _snapshot_piece(k, t, b, low, min(page + count, low + size))
    finally:
        yield from mmput(k, t, b.mm)
    return Outcome(count, 0, snapshot=tuple(out))


def _snapshot_piece(k: Kernel, t: Task, b: Binding, start: int, end: int) -> Steps[list[int]]:
    for _ in range(ROUNDS):
        r, epoch = yield from walk(k, t, b, start, end, 0)
        if r is None:
            continue
        yield from b.mutex.acquire(t)
        if notifier.read_retry(b.sub, r.seq) or b.epoch != epoch:
            b.mutex.release(t)
            continue
        found: list[int] = snapshot_bytes(k, b, r.words).tolist()
        b.mutex.release(t)
        return found
    raise Errno("EBUSY")


def snapshot_bytes(k: Kernel, b: Binding, words: Words) -> Words:
    """The bytes for what a walk found."""
    pfns = np.where(words & rq.VALID != 0, words & rq.PFN_MASK, 0)
    flags, owner = k.frames.v.flags[pfns].astype(np.int64), k.frames.v.owner[pfns].astype(np.int64)
    private = (flags & PRIVATE_DEVICE != 0).astype(np.int64)
    coherent = (flags & COHERENT_DEVICE != 0).astype(np.int64)
    local = (owner == b.device.memory.id).astype(np.int64)
    zero = (pfns == ZERO_PFN).astype(np.int64)  # the huge zero page is one like others here
    return rq.snapshot_byte(words, private, coherent, local, zero)


# -- exclusive access, memory, flags ---------------------------------------------------------------------------------


EXCLUSIVE_PIECE = 64  # pages at a time, in kernels that make ranges exclusive


def make_exclusive(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """EXCLUSIVE: make pages device-exclusive and read them back.  Raises what `make_exclusive` does, and ENOENT."""
    return (yield from _used(k, t, b, _exclusive(k, t, b, page, count)))


def _exclusive(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    _check_range(page, count)
    if not mmget(b.mm):
        raise Errno("EINVAL")
    try:
        if "exclusive_by_range" in k.profile:
            yield from _exclusive_range(k, t, b, page, count)
        else:
            for vpn in range(page, page + count):
                yield from _exclusive_page(k, t, b, vpn)
    finally:
        yield from mmput(k, t, b.mm)
    return (yield from _read_back(k, t, b, page, count))


def _exclusive_range(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[None]:
    """As kernels before 6.15: a piece is mapped by the device if all its pages could be got; whatever is wrong with any
    of them, and however many were made exclusive, is EBUSY."""
    yield from b.mm.mmap_lock.read(t)
    try:
        for first in range(page, page + count, EXCLUSIVE_PIECE):
            size = min(EXCLUSIVE_PIECE, page + count - first)
            got = yield from exclusive.make_range_exclusive(k, t, b.mm, first, size, b.device.memory.id)
            pfns = [(vpn, pfn) for vpn, pfn in enumerate(got, first) if pfn is not None]
            if len(got) == size:
                yield from map_exclusive(k, t, b, pfns)
            for _, pfn in pfns:
                k.folio_locks.unlock(t, k.frames.head(pfn))
                k.put(pfn, "exclusive")
            if len(pfns) < size:
                raise Errno("EBUSY")
    finally:
        b.mm.mmap_lock.release(t)


def _exclusive_page(k: Kernel, t: Task, b: Binding, vpn: int) -> Steps[None]:
    for _ in range(ROUNDS):
        yield from b.mm.mmap_lock.read(t)
        try:
            pfn, seq = yield from exclusive.make_exclusive(k, t, b.sub, vpn, b.device.memory.id)
            yield from b.mutex.acquire(t)
            good = not notifier.read_retry(b.sub, seq)
            if good:
                b.table.set(vpn, pfn, ATOMIC)
                b.epoch += 1
            b.mutex.release(t)
            k.folio_locks.unlock(t, k.frames.head(pfn))
            k.put(pfn, "exclusive")
        finally:
            b.mm.mmap_lock.release(t)
        if good:
            return
    raise Errno("EBUSY")


def check_exclusive(k: Kernel, t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    """CHECK_EXCLUSIVE.  Raises EPERM if a page of the range is still exclusive."""
    return (yield from _used(k, t, b, _check_exclusive(t, b, page, count)))


def _check_exclusive(t: Task, b: Binding, page: int, count: int) -> Steps[Outcome]:
    _check_range(page, count)
    yield from b.mutex.acquire(t)
    held = bool(((b.table.read(page, page + count) & TAG) == ATOMIC).any())
    b.mutex.release(t)
    if held:
        raise Errno("EPERM")
    return Outcome()


def release_memory(k: Kernel, t: Task, b: Binding) -> Steps[Outcome]:
    """RELEASE: hot-remove all memory of the device.  Raises EBUSY (`evict.release_memory`)."""
    return (yield from _used(k, t, b, _release_memory(k, t, b)))


def _release_memory(k: Kernel, t: Task, b: Binding) -> Steps[Outcome]:
    yield from evict.release_memory(k, t, b.device)
    return Outcome()


def flags(k: Kernel, t: Task, b: Binding, fail_alloc: bool) -> Steps[Outcome]:
    """FLAGS: FAIL_ALLOC: the driver's next allocation fails.  Raises ENOTTY where the device has no such command."""
    return (yield from _used(k, t, b, _flags(k, b, fail_alloc)))


def _flags(k: Kernel, b: Binding, fail_alloc: bool) -> Steps[Outcome]:
    yield "flags"
    if "fail_alloc" not in k.profile:
        raise Errno("ENOTTY")
    b.device.fail_alloc = fail_alloc
    return Outcome()
