"""A placement on the reference kernel: one process, its array, and a test device.

Whatever moves is moved by the kernel's own rules, with its data: each page holds its number, written by the CPU at the
start, and `lost` reads all of them back through the CPU.  What is done to set the array up is free of charge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmspec.diagnostics import InternalError
from hmmspec.ref import access, gup, madvise, mmap, testdev
from hmmspec.ref.bulk.driver import install
from hmmspec.ref.cost.timeline import FREE, TimeLine
from hmmspec.ref.cost.units import PAGE, PAGES_PER_PMD
from hmmspec.ref.device import fault_in
from hmmspec.ref.entries import DEVPRIV, KIND, PRES, SHIFT, TABLE
from hmmspec.ref.schedule import run_through
from hmmspec.ref.simulate.placement import Mask
from hmmspec.ref.simulate.workloads import Pages
from hmmspec.ref.spaces import READ, WRITE
from hmmspec.ref.state import Config, Kernel

_SPARE = 2048  # system pages beyond the array: batches, and what a migration holds twice


class OnKernel:
    """The array of a process of the reference kernel, with the bulk driver.

    capacity: pages of device memory; coherent: of the kind that CPUs can use; huge: the array is of PMD-size pages.
    """

    def __init__(
        self, line: TimeLine, pages: int, capacity: int, *, coherent: bool = False, huge: bool = False
    ) -> None:
        self.line = line
        self.capacity = capacity
        self._pages = pages
        # Memory comes in PMD-size blocks that begin at a multiple; what is beyond the capacity is never asked for.
        room = -(-capacity // PAGES_PER_PMD) * PAGES_PER_PMD
        tables = 2 * (pages // PAGES_PER_PMD) + 16
        config = Config(
            cpus=1,
            system_pages=pages + _SPARE,
            device_pages=room + PAGES_PER_PMD,
            swap_pages=1,
            page_tables=tables,
        )
        self.kernel = k = Kernel(config)
        # Pages of a PMD-mapped block are no matter for the bulk driver's accesses: those go one by one.
        self._bulk = None if huge else install(k)
        self._task = t = k.task("program", 0)
        self._mm = mm = k.new_mm("program")
        self._first = PAGES_PER_PMD
        run_through(mmap.mmap(k, t, mm, self._first, pages, READ | WRITE))
        if huge:
            run_through(madvise.madvise(k, t, mm, self._first, pages, "hugepage"))
        for start in range(0, pages, PAGES_PER_PMD):
            self._store(*self._stamped(start))
        device = testdev.add_device(k, "device", not coherent, room, room)
        self._binding = run_through(testdev.open_(k, t, device, mm))
        k.line = line

    def resident(self) -> Mask:
        """See `Placement`: as the process' page tables say."""
        k = self.kernel
        words = np.zeros(self._pages, dtype=np.int64)
        for start in range(0, self._pages, PAGES_PER_PMD):
            part = words[start : start + PAGES_PER_PMD]
            top = self._mm.pmd.get((self._first + start) // PAGES_PER_PMD, 0)
            part[:] = k.tables.v[top >> SHIFT][: len(part)] if top & KIND == TABLE else top
        kinds = words & KIND
        on_device: Mask = (kinds == DEVPRIV) | ((kinds == PRES) & (words >> SHIFT >= k.config.system_pages))
        return on_device

    def to_device(self, start: int, count: int) -> None:
        """See `Placement`."""
        run_through(testdev.send_range(self.kernel, self._task, self._binding, self._first + start, count))

    def to_system(self, start: int, count: int) -> None:
        """See `Placement`."""
        run_through(testdev.migrate_to_system(self.kernel, self._task, self._binding, self._first + start, count))

    def cpu_faults(self, pages: Pages) -> None:
        """See `Placement`."""
        vpns = self._first + np.unique(pages)
        if self._bulk is not None:
            _, signal = self._bulk.touch(self._task, self._mm, vpns, False)
        else:
            got = [run_through(access.load(self.kernel, self._task, self._mm, vpn, 0, 8)) for vpn in vpns.tolist()]
            signal = next((one for one in got if isinstance(one, str)), "")
        if signal:
            raise InternalError(f"a program that reads its own array is ended by {signal}")

    def map_remote(self, start: int, count: int) -> None:
        """See `Placement`."""
        first = self._first + start
        run_through(fault_in(self.kernel, self._task, self._binding, first, first + count, False))

    def pin(self, start: int, count: int) -> None:
        """See `Placement`."""
        how = {"write": True, "pin": True, "longterm": True}
        run_through(gup.gup(self.kernel, self._task, self._mm, self._first + start, count, **how, name="device"))

    def lost(self) -> list[int]:
        """The pages that do not hold what the CPU wrote at the start; all are read back, free of charge."""
        k = self.kernel
        k.line = FREE
        try:
            wrong: list[int] = []
            for start in range(0, self._pages, PAGES_PER_PMD):
                vpns, rows = self._stamped(start)
                same = (self._load(vpns) == rows).all(axis=1)
                wrong += (start + np.flatnonzero(~same)).tolist()
            return wrong
        finally:
            k.line = self.line

    def _stamped(self, start: int) -> tuple[Pages, NDArray[np.uint8]]:
        """The pages of the block at `start`, and their bytes: the number of the page in every word."""
        numbers = np.arange(start, min(start + PAGES_PER_PMD, self._pages), dtype=np.int64)
        words = np.repeat((numbers + 1)[:, None], PAGE // 8, axis=1)
        return self._first + numbers, words.view(np.uint8)

    def _store(self, vpns: Pages, rows: NDArray[np.uint8]) -> None:
        if self._bulk is not None:
            self._bulk.store(self._task, self._mm, vpns, rows)
            return
        for vpn, row in zip(vpns.tolist(), rows, strict=True):
            run_through(access.store(self.kernel, self._task, self._mm, vpn, row.tobytes()))

    def _load(self, vpns: Pages) -> NDArray[np.uint8]:
        """A row for each page; ones where the program is ended by a signal, which no page holds."""
        rows = np.full((len(vpns), PAGE), 255, dtype=np.uint8)
        if self._bulk is not None:
            got, _ = self._bulk.load(self._task, self._mm, vpns)
            rows[: len(got)] = got
            return rows
        for k, vpn in enumerate(vpns.tolist()):
            one = run_through(access.load(self.kernel, self._task, self._mm, vpn))
            if not isinstance(one, str):
                rows[k] = np.frombuffer(one, dtype=np.uint8)
        return rows
