"""How fast the reference kernel is: whole migrations, bookkeeping, single faults, steps.

- `migrate`: an array of pages moves to a private device and back with the bulk driver.  System and device frames are
  given out in a shuffled order and were written before, and every byte is copied.  Its rate is that of all bytes moved,
  bookkeeping included; `of memcpy` compares it with plain copies of as many bytes between the same two halves of that
  memory, taken in turns with the migrations.  All pages are looked at after each direction; that is not in the time.
- `bookkeeping`: the same on a kernel without bytes.
- `faults`: a CPU reads every page of an array that is on the device, in random order, each with a fault of its own that
  migrates one page.
- `steps`: the stepped driver interleaves programs and devices; a yield is a point where another task could run.

Medians of several runs.  Rates are by the clock on the wall, and `alone` is the same by the processor time that was
used: what would have come out had nobody else wanted the processors.  `others` is the part of all processors that was
busy with something else meanwhile: with more than a few per cent there, measure again.  Writes a table in Markdown to
standard output and the numbers to benchmarks/results/reference.json.  Exits with 1 if a page had the wrong bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from hmmspec.ref import access, copying, testdev
from hmmspec.ref.bulk.driver import Bulk, install
from hmmspec.ref.device import Binding
from hmmspec.ref.frames import HUGE, PAGE
from hmmspec.ref.mirror import SHIFT
from hmmspec.ref.mmap import mmap
from hmmspec.ref.schedule import Scheduler, run_through
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Steps, Task

HERE = Path(__file__).resolve().parent
BASE = HUGE  # first page of the array
SEED = 20


class Wrong(Exception):
    """A page does not hold what was written to it."""


@dataclass(frozen=True)
class Row:
    """One measurement: what, the rate, its unit, what it should be at least, and the seconds it took (median).

    alone: the rate by processor time, for what runs on one processor.
    """

    what: str
    rate: float
    unit: str
    wanted: float | None
    seconds: float
    others: float
    alone: float | None = None

    @property
    def met(self) -> bool:
        return self.wanted is None or self.rate >= self.wanted


class Machine:
    """A kernel with one process that has an array of `pages` pages, all written, and one device open."""

    def __init__(self, pages: int, data: bool) -> None:
        self.pages = pages
        spare = 2 * HUGE
        config = Config(
            cpus=1,
            system_pages=pages + HUGE * 4,
            device_pages=pages + spare,
            page_tables=pages // HUGE + 64,
            swap_pages=64,
            data=data,
        )
        self.k = Kernel(config)
        self.k.pool.shuffle(SEED)
        self.bulk: Bulk = install(self.k)
        self.task = self.k.task("program")
        self.mm = self.k.new_mm("program")
        self.device = testdev.add_device(self.k, "dev0", True, pages, pages)
        self.device.memory.add_chunk(self.k)
        self.device.memory.chunks[0].pool.shuffle(SEED + 1)
        run_through(mmap(self.k, self.task, self.mm, BASE, pages))
        self.binding: Binding = run_through(testdev.open_(self.k, self.task, self.device, self.mm))
        self.vpns = np.arange(BASE, BASE + pages)
        if self.k.frames.data is not None:
            self.k.frames.data[:] = 0xA5  # every frame was written before
        for low in range(0, pages, 1 << 14):
            part = self.vpns[low : low + (1 << 14)]
            done, signal = self.bulk.store(self.task, self.mm, part, written(part))
            assert (done, signal) == (len(part), "")

    def there(self) -> None:
        run_through(testdev.send_range(self.k, self.task, self.binding, BASE, self.pages))

    def back(self) -> None:
        run_through(testdev.migrate_to_system(self.k, self.task, self.binding, BASE, self.pages))

    def verify(self, on_device: bool) -> None:
        """Every page is where it should be, with every byte of it.  Raises Wrong."""
        live = self.pages if on_device else 0
        if self.device.memory.live != live:
            raise Wrong(f"{self.device.memory.live} pages are on the device, not {live}")
        data, words = self.k.frames.data, self.k.tables
        if data is None:
            return
        for low in range(0, self.pages, 1 << 14):
            part = self.vpns[low : low + (1 << 14)]
            if on_device:
                pfns = self.binding.table.read(int(part[0]), int(part[-1]) + 1) >> SHIFT
            else:
                pfns = np.array([words.read(self.mm, v) for v in part.tolist()]) >> 16
            if not np.array_equal(data[pfns], written(part)):
                raise Wrong(f"bytes of pages {part[0]} to {part[-1]} changed")


def written(vpns: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The bytes of these pages: all words of all pages differ."""
    words = (vpns.astype(np.uint64)[:, None] << np.uint64(9)) + np.arange(PAGE // 8, dtype=np.uint64)
    return (words * np.uint64(0x9E3779B97F4A7C15)).view(np.uint8)


class Clock:
    """Seconds of calls, and what else the processors did meanwhile."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.used: list[float] = []  # processor time of each
        self._wall = self._busy = self._own = 0.0

    def time(self, call: Callable[[], object]) -> None:
        busy, own, start = _busy(), time.process_time(), time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        self.seconds.append(seconds)
        self._wall += seconds
        self.used.append(time.process_time() - own)
        self._own += self.used[-1]
        self._busy += _busy() - busy

    @property
    def median(self) -> float:
        return median(self.seconds)

    def row(self, what: str, amount: float, unit: str, wanted: float) -> Row:
        """So much was done in each run."""
        return Row(what, amount / self.median, unit, wanted, self.median, self.others, amount / median(self.used))

    @property
    def others(self) -> float:
        """The part of all processors that others took; 0 where the system does not tell."""
        whole = self._wall * (os.cpu_count() or 1)
        return max(0.0, min(1.0, (self._busy - self._own) / whole)) if whole else 0.0


def _busy() -> float:
    """Seconds for which the processors were busy since the start of the machine."""
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    idle = int(words[3]) + int(words[4])
    return (sum(map(int, words[:8])) - idle) / os.sysconf("SC_CLK_TCK")


def migrations(pages: int, times: int) -> list[Row]:
    """Whole migrations, in turns with memcpy of the same bytes."""
    machine, size = Machine(pages, data=True), pages * PAGE
    # Two arrays that are like the frames, and not in use by the kernel.
    one, other = copying.pages(pages), copying.pages(pages)
    one[:], other[:] = 1, 2
    machine.there()
    machine.verify(on_device=True)
    machine.back()
    machine.verify(on_device=False)
    plain, there, back = Clock(), Clock(), Clock()
    for _ in range(times):
        plain.time(lambda: np.copyto(other, one))
        there.time(machine.there)
        machine.verify(on_device=True)
        plain.time(lambda: np.copyto(one, other))
        back.time(machine.back)
        machine.verify(on_device=False)
    both = there.median + back.median
    rate, memcpy = 2 * size / both, size / plain.median
    compiled = copying.how_copied() == "compiled loop"
    others = max(there.others, back.others)
    return [
        Row("memcpy", memcpy / 1e9, "GB/s", None, 2 * plain.median, plain.others),
        Row(f"migrate there and back, {size >> 20} MiB", rate / 1e9, "GB/s", None, both, others),
        Row("migrate, of memcpy", rate / memcpy, "", 0.5 if compiled else 0.25, both, others),
    ]


def bookkeeping(pages: int, times: int) -> Row:
    machine, clock = Machine(pages, data=False), Clock()

    def both() -> None:
        machine.there()
        machine.back()

    for _ in range(times + 1):
        clock.time(both)
    machine.verify(on_device=False)
    del clock.seconds[0], clock.used[0]
    return clock.row("bookkeeping alone", 2 * pages / 1e6, "million pages/s", 5.0)


def faults(pages: int, times: int) -> Row:
    """Every page comes back by a fault of its own."""
    machine, clock, rng = Machine(pages, data=True), Clock(), np.random.default_rng(SEED)
    for _ in range(times):
        machine.there()
        order = rng.permutation(machine.vpns)
        clock.time(partial(machine.bulk.touch, machine.task, machine.mm, order, False))
        machine.verify(on_device=False)
    return clock.row("CPU faults on device pages", pages / 1e3, "thousand/s", 100.0)


def steps(yields: int, times: int) -> Row:
    """Two programs on one array and a device that takes it and gives it back, at the mercy of the scheduler."""
    clock, done = Clock(), [0]

    def once() -> None:
        machine = Machine(64, data=True)
        machine.k.bulk = None
        scheduler = Scheduler(SEED, stay=0.5)
        machine.k.workers = scheduler
        for number in range(2):
            scheduler.spawn(machine.k.task(f"t{number}"), _program(machine, number))
        scheduler.spawn(machine.k.task("driver"), _driver(machine))
        scheduler.run(yields)
        done[0] = scheduler.yields

    for _ in range(times):
        clock.time(once)
    return clock.row("stepped driver", done[0] / 1e3, "thousand yields/s", 50.0)


def _program(machine: Machine, number: int) -> Steps[None]:
    task: Task = machine.k.tasks[max(machine.k.tasks) - 2 + number]
    page = bytes([number]) * PAGE
    while True:
        for vpn in machine.vpns.tolist():
            yield from access.store(machine.k, task, machine.mm, vpn, page)
            yield from access.load(machine.k, task, machine.mm, vpn)


def _driver(machine: Machine) -> Steps[None]:
    task: Task = machine.k.tasks[max(machine.k.tasks)]
    while True:
        yield from testdev.send_range(machine.k, task, machine.binding, BASE, machine.pages)
        yield from testdev.migrate_to_system(machine.k, task, machine.binding, BASE, machine.pages)


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | rate | alone | unit | wanted | seconds | others |"]
    lines.append("| --- | ---: | ---: | --- | ---: | ---: | ---: |")
    for r in rows:
        wanted = "" if r.wanted is None else f"{r.wanted:g}{'' if r.met else ' (missed)'}"
        alone = "" if r.alone is None else f"{r.alone:.2f}"
        lines.append(f"| {r.what} | {r.rate:.2f} | {alone} | {r.unit} | {wanted} | {r.seconds:.3f} | {r.others:.0%} |")
    return "\n".join(lines)


def main() -> int:
    """Run, print, write.  0, or 1 where data went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the array that migrates (default: 1024)")
    parser.add_argument("--times", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "reference.json")
    args = parser.parse_args()
    if args.mib < 2 or args.times < 1:
        parser.error("--mib wants at least 2, --times at least 1")
    pages = args.mib << 20 >> 12
    try:
        rows = [
            *migrations(pages, args.times),
            bookkeeping(pages, args.times),
            faults(min(pages, 1 << 16), args.times),
            steps(100_000, args.times),
        ]
    except Wrong as wrong:
        print(f"WRONG DATA: {wrong}")
        return 1
    print(f"Copies: {copying.how_copied()}, {copying.processors()} processors\n\n{table(rows)}")
    document = {
        "copies": copying.how_copied(),
        "processors": copying.processors(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [{**asdict(r), "met": r.met} for r in rows],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(document, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
