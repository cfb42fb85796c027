"""The driver's half of a migration: destinations, copies, and its own mappings, in both directions.

`send` fills the destinations of a migration to the device, `bring_back` those of one to system memory; both leave the
destination of what cannot be allocated or copied empty, so that the page stays where it is with its data.

Source: `lib/test_hmm.c` (dmirror_migrate_alloc_and_copy, dmirror_devmem_fault_alloc_and_copy, dmirror_devmem_fault).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.ref import selection as sel
from hmmspec.ref.commit import finalize, pages
from hmmspec.ref.copying import copy_frames, zero_frames
from hmmspec.ref.cost.timeline import Kind
from hmmspec.ref.device import Binding, Device, shoot_down
from hmmspec.ref.device_fault import holds_page, locks_page
from hmmspec.ref.devmem import Driver
from hmmspec.ref.entries import SHIFT as ENTRY_SHIFT
from hmmspec.ref.errors import Errno
from hmmspec.ref.frames import HUGE, HUGE_ORDER, PAGE, UPTODATE
from hmmspec.ref.migrate import setup
from hmmspec.ref.migrate_args import MigrateArgs
from hmmspec.ref.mirror import READ, SHIFT, WRITE
from hmmspec.ref.spaces import WRITE as VMA_WRITE
from hmmspec.ref.spaces import Fault
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.zap import zap_range

Words = NDArray[np.int64]


class TestDriver(Driver):
    """Serves CPU faults on the private memory of one test device."""

    __test__ = False  # not a test case for pytest

    def __init__(self, device: Device) -> None:
        self.device = device

    def migrate_to_ram(self, k: Kernel, t: Task, fault: Fault) -> Steps[str]:
        """Bring the page (PMD-size entry: all 512) back.  Returns 'ok', 'oom' or 'sigbus'."""
        huge = fault.slot is None
        start = fault.vpn // HUGE * HUGE if huge else fault.vpn
        args = MigrateArgs(
            fault.mm,
            fault.vma,
            start,
            start + (HUGE if huge else 1),
            sel.SELECT_PRIVATE | (sel.SELECT_COMPOUND if huge else 0),
            self.device.memory.id,
            fault_pfn=fault.word >> ENTRY_SHIFT if holds_page(k) else 0,
            fault_locked=locks_page(k),
        )
        try:
            yield from setup(k, t, args)
        except Errno:
            return "sigbus"
        answer = yield from bring_back(k, t, self.device, args)
        if answer != "oom":
            yield from pages(k, t, args)
        yield from finalize(k, t, args)
        if answer == "oom" and "fault-oom-drops-page" in k.defects:
            yield from zap_range(k, t, fault.vma, args.start, args.end)
        return {"copy": "sigbus"}.get(answer, answer)


def send(k: Kernel, t: Task, b: Binding, args: MigrateArgs) -> Steps[Words]:
    """Device pages for what was collected, with the data in them.

    Returns the mirror words that these pages had, to be stored again for those that will not have moved.
    """
    for i in _going(args):
        _allocate_device(k, t, b, args, i)
        yield "device page"
    # A hole may be the zero page, which the device may have mapped.
    going = spread(args, args.src & sel.MIGRATE != 0)
    before = yield from shoot_down(k, t, b, args.start, going)
    failed = _copy(k, args, Kind.COPY_TO_DEVICE)
    for i in failed:
        _give_back(k, t, args, i)
    for pfn in (args.dst[args.dst & sel.VALID != 0] >> sel.PFN_SHIFT).tolist():
        k.frames.private[pfn] = b.mm.id
    yield "copied to device"
    return before


def moved_words(args: MigrateArgs, vma_flags: int) -> Words:
    """The mirror words of the pages that moved: writable where the CPU's entry was, and where a hole's will be."""
    moved = (args.src & sel.MIGRATE != 0) & (args.dst & sel.VALID != 0)
    hole = args.src & sel.VALID == 0
    writable = (args.src & sel.WRITE != 0) | (hole & bool(vma_flags & VMA_WRITE))
    pfns = args.dst >> sel.PFN_SHIFT
    words = np.where(moved, pfns << SHIFT | np.where(writable, WRITE, READ), 0)
    for i in np.flatnonzero(moved & (args.dst & sel.COMPOUND != 0)).tolist():
        words[i : i + HUGE] = (words[i] & 3) | np.arange(pfns[i], pfns[i] + HUGE) << SHIFT
    return words


def bring_back(k: Kernel, t: Task, device: Device, args: MigrateArgs) -> Steps[str]:
    """System pages for what was collected, with the data in them.

    Returns 'ok'; 'oom' if a page could not be allocated, and then no destination is left; 'copy' if a copy failed, and
    those pages have none.
    """
    for i in _going(args):
        if not int(args.src[i]) & sel.VALID:
            continue  # a hole: there is nothing to bring back
        if not _allocate_system(k, t, device, args, i):
            for j in np.flatnonzero(args.dst & sel.VALID).tolist():
                _give_back(k, t, args, j)
            return "oom"
        yield "system page"
    going = spread(args, (args.src & sel.MIGRATE != 0) & (args.src & sel.VALID != 0))
    if "fault-keeps-mirror" not in k.defects and args.mm is not None:
        for b in _bindings(device, args):
            yield from shoot_down(k, t, b, args.start, going)
    failed = _copy(k, args, Kind.COPY_TO_SYSTEM)
    for i in failed:
        _give_back(k, t, args, i)
    yield "copied to system"
    return "copy" if failed else "ok"


def _bindings(device: Device, args: MigrateArgs) -> list[Binding]:
    """Whose mirrors may map the pages at these addresses without having been told: the faulting process' own."""
    assert args.mm is not None
    found = device.bindings.get(args.mm.id)
    return [found] if found is not None else []


def _going(args: MigrateArgs) -> list[int]:
    found: list[int] = np.flatnonzero(args.src & sel.MIGRATE).tolist()
    return found


def spread(args: MigrateArgs, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same mask with PMD-size entries spread over their 512 pages."""
    out = mask.copy()
    for i in np.flatnonzero(mask & (args.src & sel.COMPOUND != 0)).tolist():
        out[i : i + HUGE] = True
    return out


# -- destinations ----------------------------------------------------------------------------------------------------


def _allocate_device(k: Kernel, t: Task, b: Binding, args: MigrateArgs, i: int) -> None:
    """A device page for entry i; for a PMD-size one, 512 single pages if no large one is to be had."""
    device = b.device
    if not int(args.src[i]) & sel.COMPOUND:
        pfn = None if device.fails_once(k) else device.memory.alloc(k, t)
        args.dst[i] = sel.word(pfn, 0) if pfn is not None else 0
        return
    head = None if device.fails_once(k) else device.memory.alloc(k, t, HUGE_ORDER)
    if head is not None:
        args.dst[i] = sel.word(head, sel.COMPOUND)
        return
    for j in range(i, i + HUGE):
        pfn = device.memory.alloc(k, t)
        args.dst[j] = sel.word(pfn, 0) if pfn is not None else 0


def _allocate_system(k: Kernel, t: Task, device: Device, args: MigrateArgs, i: int) -> bool:
    """A system page for entry i, or 512 of them; False: there is no memory."""
    if not int(args.src[i]) & sel.COMPOUND:
        return not device.fails_once(k) and _system_page(k, t, args, i, 0)
    if not device.fails_once(k) and _system_page(k, t, args, i, HUGE_ORDER):
        return True
    return all(_system_page(k, t, args, j, 0) for j in range(i, i + HUGE))


def _system_page(k: Kernel, t: Task, args: MigrateArgs, i: int, order: int) -> bool:
    pfn = k.alloc("alloc", order, zero=False)
    if pfn is None:
        return False
    k.folio_locks.take(t, pfn)
    k.frames.flags[pfn] |= UPTODATE
    args.dst[i] = sel.word(pfn, sel.COMPOUND if order else 0)
    return True


def _give_back(k: Kernel, t: Task, args: MigrateArgs, i: int) -> None:
    """Entry i gets no destination after all."""
    pfn = sel.pfn_of(int(args.dst[i]))
    args.dst[i] = 0
    k.folio_locks.unlock(t, pfn)
    k.put(pfn, "alloc")


# -- data ------------------------------------------------------------------------------------------------------------


def _copy(k: Kernel, args: MigrateArgs, kind: Kind) -> list[int]:
    """Copy every page that has a destination, and clear the destinations of holes.  Returns the entries that failed."""
    to, source, holes = pairs(args)
    failed: list[int] = []
    if len(to) and k.fails("copy"):
        if "copy-error-unnoticed" in k.defects:
            to, source = to[:0], source[:0]
        else:
            bad = int(to[-1])
            failed = [i for i in np.flatnonzero(args.dst & sel.VALID).tolist() if _covers(int(args.dst[i]), bad)]
    if "copy-skips-last" in k.defects:
        to, source = to[:-1], source[:-1]
    if "huge-copy-half" in k.defects and (args.dst & sel.COMPOUND != 0).any():
        to, source = to[: len(to) // 2], source[: len(source) // 2]
    if "copy-swaps-neighbours" in k.defects and len(to) > 1:
        to = to.copy()
        to[[0, 1]] = to[[1, 0]]
    data = k.frames.data
    if data is not None:
        copy_frames(data, to, data, source)
        if len(holes) and "hole-not-cleared" not in k.defects:
            zero_frames(data, holes)
    if len(to):
        k.line.charge(kind, count=runs(to, source), size=len(to) * PAGE)
    return failed


def _covers(dst: int, pfn: int) -> bool:
    head = sel.pfn_of(dst)
    return head <= pfn < head + (HUGE if dst & sel.COMPOUND else 1)


def pairs(args: MigrateArgs) -> tuple[Words, Words, Words]:
    """(destinations, their sources, destinations of holes) of every base page, in the order of the range."""
    with_dst = args.dst & sel.VALID != 0
    src, dst = args.src.copy(), args.dst.copy()
    for i in np.flatnonzero(src & sel.COMPOUND).tolist():
        whole = slice(i, i + HUGE)
        if src[i] & sel.VALID:
            src[whole] = sel.word(np.arange(src[i] >> sel.PFN_SHIFT, (src[i] >> sel.PFN_SHIFT) + HUGE), sel.MIGRATE)
        else:
            src[whole] = sel.MIGRATE
        if dst[i] & sel.COMPOUND:
            dst[whole] = sel.word(np.arange(dst[i] >> sel.PFN_SHIFT, (dst[i] >> sel.PFN_SHIFT) + HUGE), 0)
            with_dst[whole] = True
    real = with_dst & (src & sel.VALID != 0)
    hole = with_dst & (src & sel.VALID == 0)
    return dst[real] >> sel.PFN_SHIFT, src[real] >> sel.PFN_SHIFT, dst[hole] >> sel.PFN_SHIFT


def runs(to: Words, source: Words) -> int:
    """Into how many pieces a copy falls that are contiguous on both sides."""
    if not len(to):
        return 0
    return 1 + int(((np.diff(to) != 1) | (np.diff(source) != 1)).sum())
