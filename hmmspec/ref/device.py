"""A device, the processes that have it open, and how its page table follows theirs.

A `Binding` is one open: the process' mm, a notifier over all of its address space, a mirror table, and the driver's
mutex, which is held whenever the table is read or written.  NOTE(driver-lock): what a walk found is stored only in the
same critical section in which the sequence was found unchanged.

The device's own MIGRATE and EXCLUSIVE events are ignored, so the migrations that it starts must take its own mappings
away themselves: `shoot_down` erases them, and makes every walk that is under way start again (`epoch`).

NOTE(own-holes): where nothing was, no migration entry keeps others out until the new page is there, and a device that
faults meanwhile maps the zero page again.  So the event of the holes that it fills itself is no event to ignore.  (The
test driver of Linux does ignore it: between migrate_vma_pages and the end of its migration it can read zeros where a
program has written.)

Source: `lib/test_hmm.c` @05ab51217205 (dmirror_fops_open, dmirror_interval_invalidate, dmirror_range_fault).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import entries as e
from hmmspec.ref import notifier
from hmmspec.ref import requests as rq
from hmmspec.ref.devmem import DeviceMemory
from hmmspec.ref.errors import Errno
from hmmspec.ref.exit import mmget, mmput
from hmmspec.ref.mirror import ATOMIC, READ, SHIFT, WRITE, MirrorTable, Words
from hmmspec.ref.range_fault import HmmRange, hmm_range_fault
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Mutex, Steps, Task

ROUNDS: Final = 200  # attempts at one piece before EBUSY, in the place of a time limit of 1000 ms


def piece(k: Kernel) -> int:
    """How many pages the test device walks at a time."""
    return 64 if "walks_64_pages" in k.profile else 32


@dataclass(eq=False)
class Device:
    """A device with its memory.  `bindings` are the opens that have not been closed, by mm id."""

    name: str
    memory: DeviceMemory
    bindings: dict[int, Binding] = field(default_factory=dict)
    fail_alloc: bool = False  # the next allocation of the driver fails (FLAGS)
    warnings: list[str] = field(default_factory=list)  # what the real driver would put into the kernel log

    @property
    def private(self) -> bool:
        return self.memory.private

    def fails_once(self, k: Kernel) -> bool:
        """Whether the FLAGS command asked for this allocation to fail."""
        failing = self.fail_alloc
        if "fail-alloc-sticks" not in k.defects:
            self.fail_alloc = False
        return failing

    def mirrors(self) -> Iterator[tuple[int, Mm, int, int, str]]:
        """All entries of all mirror tables as (owner, mm, page, frame, tag): for the invariants."""
        for b in self.bindings.values():
            if b.closing and not b.users:
                continue  # the last user of the file is gone: nobody can use what is left of the mirror
            for vpn, pfn, tag in b.table.items():
                yield self.memory.id, b.mm, vpn, pfn, tag


@dataclass(eq=False)
class Binding:
    """One open of a device by a process."""

    device: Device
    mm: Mm
    sub: notifier.Subscription
    table: MirrorTable = field(default_factory=MirrorTable)
    mutex: Mutex = field(default_factory=lambda: Mutex("driver mutex"))
    epoch: int = 0  # raised whenever the driver itself takes mappings away
    users: int = 0  # commands that run
    holes: list[Words] = field(default_factory=list)  # pages of holes that migrations under way fill
    closing: bool = False

    def unused(self) -> bool:
        """Whether it was closed and no command runs any more."""
        return self.closing and not self.users


def open_device(k: Kernel, t: Task, device: Device, mm: Mm) -> Steps[Binding]:
    """Bind the device to an address space.  Raises Errno EEXIST where it is bound already, ESRCH where that is dead."""
    if mm.id in device.bindings:
        raise Errno("EEXIST")
    if mm.dead:
        raise Errno("ESRCH")
    sub = notifier.Subscription(mm, 0, notifier.EVERYTHING, _invalidate_of(device), name=f"{device.name} of {mm.name}")
    binding = Binding(device, mm, sub)
    device.bindings[mm.id] = binding
    yield from notifier.insert(k, t, sub)
    return binding


def _invalidate_of(device: Device) -> notifier.Invalidate:
    """The callback of a device's subscriptions."""

    def invalidate(k: Kernel, t: Task, sub: notifier.Subscription, event: notifier.Event, seq: int) -> Steps[bool]:
        binding = device.bindings.get(sub.mm.id)
        if binding is None or binding.sub is not sub:
            return True
        # Where ranges are made exclusive the driver does not know its own ones.
        mine = (notifier.MIGRATE,) if "exclusive_by_range" in k.profile else (notifier.MIGRATE, notifier.EXCLUSIVE)
        own = event.kind in mine and event.owner == device.memory.id
        filled = [vpns for vpns in binding.holes if len(vpns)] if own and event.kind == notifier.MIGRATE else []
        if own and not filled:
            return True
        if event.blockable:
            yield from binding.mutex.acquire(t)
        elif not binding.mutex.try_acquire(t):
            return False
        if "invalidate-keeps-sequence" not in k.defects:
            notifier.set_seq(sub, seq)
        end = event.end - 1 if "invalidate-stops-early" in k.defects else event.end
        if own:
            for vpns in filled:
                binding.table.clear(vpns[(vpns >= event.start) & (vpns < event.end)])
        elif "invalidate-erases-nothing" not in k.defects:
            # More than has to be is erased in some kernels: their driver takes the end for a page of the range.
            binding.table.erase(event.start, end + ("mirror_erases_one_more" in k.profile))
        binding.mutex.release(t)
        return True

    return invalidate


# -- filling the mirror ----------------------------------------------------------------------------------------------


def fault_in(k: Kernel, t: Task, b: Binding, start: int, end: int, write: bool) -> Steps[None]:
    """Make the pages readable (or writable) through the mirror: the driver's fault handler.

    Does nothing for an address space that has died.  Raises Errno: EFAULT, EPERM, ENOMEM, EBUSY.
    """
    if not mmget(b.mm):
        return
    default = rq.REQ_FAULT | (rq.REQ_WRITE if write else 0)
    size = piece(k)
    try:
        low = start
        while low < end:
            bulk = None if "range_fault_faults_rest" in k.profile else k.bulk
            if bulk is not None and (done := bulk.fault_in(t, b, low, end, write)) > low:
                low = done
                continue
            yield from _fault_piece(k, t, b, low, min(end, low + size), default)
            low += size
    finally:
        yield from mmput(k, t, b.mm)


def _fault_piece(k: Kernel, t: Task, b: Binding, start: int, end: int, default: int) -> Steps[None]:
    for _ in range(ROUNDS):
        r, epoch = yield from walk(k, t, b, start, end, default)
        if r is None:
            continue
        yield from b.mutex.acquire(t)
        if (notifier.read_retry(b.sub, r.seq) or b.epoch != epoch) and "populate-ignores-retry" not in k.defects:
            b.mutex.release(t)
            continue
        good = _store(k, b, r)
        b.mutex.release(t)
        if not good:
            raise Errno("EFAULT")
        return
    raise Errno("EBUSY")


def walk(
    k: Kernel, t: Task, b: Binding, start: int, end: int, default: int, *, charged: bool = True, locked: bool = False
) -> Steps[tuple[HmmRange | None, int]]:
    """One attempt at hmm_range_fault with its sequence; None: an invalidation came, try again.

    locked: the caller holds mmap_lock."""
    epoch = b.epoch
    words = np.zeros(end - start, np.int64)
    r = HmmRange(b.mm, b.sub, start, end, b.device.memory.id, words, default, charged=charged)
    r.seq = yield from notifier.read_begin(k, t, b.sub)
    if not locked:
        yield from b.mm.mmap_lock.read(t)
    try:
        yield from hmm_range_fault(k, t, r)
    except Errno as error:
        if error.name == "EBUSY":
            return None, epoch
        raise
    finally:
        if not locked:
            b.mm.mmap_lock.release(t)
    return r, epoch


def _store(k: Kernel, b: Binding, r: HmmRange) -> bool:
    """Put what a walk found into the mirror; False where a write fault was asked and the entry is read-only: the driver
    warns, and gives up at that page."""
    words = r.words
    writable = words & rq.WRITE != 0
    count = len(words)
    good = True
    if r.default & rq.REQ_WRITE and not writable.all():
        count, good = int(np.flatnonzero(~writable)[0]), False
        b.device.warnings.append(f"a write fault on page {r.start + count} of {b.mm} gave a read-only entry")
    tags = np.where(writable | ("mirror-always-writable" in k.defects), WRITE, READ)
    if "populate-stops-early" in k.defects and count > 1:
        count -= 1
    b.table.write(r.start, ((words & rq.PFN_MASK) << SHIFT | tags)[:count])
    return good


def shoot_down(k: Kernel, t: Task, b: Binding, start: int, going: NDArray[np.bool_]) -> Steps[Words]:
    """Erase the device's own mappings of pages that are about to move (`going`); what was there, 0 for the others."""
    if "migrate-keeps-own-mirror" in k.defects:
        return np.zeros(len(going), np.int64)
    yield from b.mutex.acquire(t)
    before = b.table.read(start, start + len(going))
    b.table.write(start, np.where(going, 0, before))
    before[~going] = 0
    b.epoch += 1
    b.mutex.release(t)
    return before


def remap(k: Kernel, t: Task, b: Binding, start: int, wanted: Words) -> Steps[None]:
    """Store wanted mirror words (0: none) for those pages that the CPU's table still has where the driver put them.

    The driver moved these pages and could simply store the words, were it not for others that may have unmapped them
    since (MADV_DONTNEED needs only the same mode of mmap_lock): so it looks, as for any other page.  mmap_lock is held
    for reading.
    """
    if not wanted.any():
        return
    for _ in range(ROUNDS):
        r, epoch = yield from walk(k, t, b, start, start + len(wanted), 0, charged=False, locked=True)
        if r is None:
            continue
        yield from b.mutex.acquire(t)
        if notifier.read_retry(b.sub, r.seq) or b.epoch != epoch:
            b.mutex.release(t)
            continue
        same = (r.words & rq.VALID != 0) & ((r.words & rq.PFN_MASK) == wanted >> SHIFT) & (wanted != 0)
        tags = np.where(r.words & rq.WRITE != 0, wanted & 3, READ)
        now = b.table.read(start, start + len(wanted))
        b.table.write(start, np.where(same, wanted >> SHIFT << SHIFT | tags, now))
        b.mutex.release(t)
        return


def map_exclusive(k: Kernel, t: Task, b: Binding, pfns: list[tuple[int, int]]) -> Steps[None]:
    """Map pages that were made exclusive and are still locked, unless somebody has unmapped them since.

    The test device of those kernels looks at nothing here, and so may keep an entry for a page that is gone."""
    for _ in range(ROUNDS):
        seq = yield from notifier.read_begin(k, t, b.sub)
        yield from b.mutex.acquire(t)
        good = not notifier.read_retry(b.sub, seq)
        for vpn, pfn in pfns if good else ():
            word = k.tables.read(b.mm, vpn)
            if word & e.KIND == e.DEVEXCL and word >> e.SHIFT == pfn:
                b.table.set(vpn, pfn, ATOMIC)
        b.epoch += good
        b.mutex.release(t)
        if good:
            return
