"""Random operations of several processes: every invariant after every step, and every byte where it belongs.

The model is a dictionary per process (page -> text) with permissions; shared memory has one dictionary for all.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from random import Random

import pytest

from hmmspec.ref import access, checks
from hmmspec.ref.errors import Errno
from hmmspec.ref.exit import exit_mm
from hmmspec.ref.fork import fork
from hmmspec.ref.gup import gup, release
from hmmspec.ref.madvise import madvise
from hmmspec.ref.mmap import mmap, munmap
from hmmspec.ref.mremap import mremap
from hmmspec.ref.pagemap import PM_SOFT_DIRTY, PM_UFFD_WP, drop_caches
from hmmspec.ref.protect import clear_soft_dirty, mprotect, userfault_protect, userfault_register
from hmmspec.ref.schedule import Scheduler
from hmmspec.ref.spaces import READ, SHARED, UFFD_WP, Mm
from hmmspec.ref.state import Kernel
from hmmspec.ref.tasks import Steps, Task
from tests.ref.machine import BASE, LARGE, RW, SMALL, Machine

PAGES = 12
ZERO = bytes(4)
ACTS = {"map": 2, "unmap": 1, "load": 3, "store": 3, "protect": 2, "advise": 2, "fork": 1, "exit": 1, "move": 1, "gup": 1,
        "drop": 1, "clean": 1, "armed": 1}  # fmt: skip


@dataclass
class Page:
    """What a process should find in one page: `text`, and after MADV_FREE perhaps zeros instead; shared: under `key`."""

    text: bytes = ZERO
    permissions: int = RW
    key: tuple[int, int] | None = None
    freed: bool = False


class Model:
    """What each process should read; `shared` has the text of shared pages."""

    def __init__(self) -> None:
        self.shared: dict[tuple[int, int], bytes] = {}
        self.spaces: dict[int, dict[int, Page]] = {}

    def allowed(self, mm: int, page: int) -> set[bytes | str]:
        """What a load may give."""
        found = self.spaces[mm].get(page)
        if found is None or not found.permissions & READ:
            return {"SIGSEGV"}
        text = found.text if found.key is None else self.shared.get(found.key, ZERO)
        return {text, ZERO} if found.freed else {text}


class Player:
    """One process that does random things to its own pages and checks what it reads."""

    def __init__(self, machine: Machine, seed: int, pages: int = PAGES, huge: bool = False) -> None:
        self.m, self.k, self.model, self.random = machine, machine.k, Model(), Random(seed)
        self.stamp, self.pages, self.huge = seed % 60 * 1000, pages, huge
        machine.map(pages)
        self.model.spaces[machine.mm.id] = {p: Page() for p in range(pages)}

    def span(self) -> tuple[int, int]:
        random = self.random
        if self.huge:
            edges = (0, 1, 100, 256, 511, 512, 513, 700, 1023, 1024)
            low, high = sorted(random.sample(edges, 2))
            return low, high - low
        page = random.randrange(self.pages)
        return page, min(random.choice((1, 1, 1, 2, 4)), self.pages - page)

    def play(self, turns: int) -> None:
        names, weights = list(ACTS), list(ACTS.values())
        for _ in range(turns):
            mm = self.k.mms[self.random.choice(list(self.model.spaces))]
            page, count = self.span()
            act = self.random.choices(names, weights)[0]
            getattr(self, f"_{act}")(
                mm, self.model.spaces[mm.id], page, range(page, page + count), self.random.randrange(2)
            )
            assert self.k.findings == [], act

    def _map(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        shared = self.random.random() < 0.3
        vma = self.m.run(mmap, mm, BASE + page, len(whole), flags=SHARED if shared else 0, cpu=cpu)
        for p in whole:
            pages[p] = Page(key=(vma.file.id, vma.index(BASE + p)) if shared else None)

    def _unmap(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        self.m.run(munmap, mm, BASE + page, len(whole), cpu=cpu)
        for p in whole:
            pages.pop(p, None)

    def _load(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        for p in (whole[0], whole[-1]):
            assert self.m.load(BASE + p, mm=mm, cpu=cpu) in self.model.allowed(mm.id, p)

    def _store(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        self.stamp += 1
        found = pages.get(page)
        good = found is not None and found.permissions == RW
        # Half of the text is written, so that the other half has to be kept.
        offset, half = self.random.choice((0, 2)), self.stamp.to_bytes(2, "big")
        before = self.m.load(BASE + page, mm=mm, cpu=cpu) if good else b""
        assert isinstance(before, bytes)
        text = before[:offset] + half + before[offset + 2 :]
        assert self.m.store(BASE + page, half, offset, mm=mm, cpu=cpu) == ("ok" if good else "SIGSEGV")
        if good and found is not None and found.key is not None:
            self.model.shared[found.key] = text
        elif good and found is not None:
            found.text, found.freed = text, False

    def _protect(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        prot = self.random.choice((0, READ, RW))
        if all(p in pages for p in whole):
            self.m.run(mprotect, mm, BASE + page, len(whole), prot, cpu=cpu)
            for p in whole:
                pages[p].permissions = prot
        else:
            with pytest.raises(Errno, match="ENOMEM"):
                self.m.run(mprotect, mm, BASE + page, len(whole), prot, cpu=cpu)
            for p in takewhile(pages.__contains__, whole):
                pages[p].permissions = prot

    def _advise(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        more = ("hugepage", "hugepage", "nohugepage", "collapse") if self.huge else ()
        advice = self.random.choice(("dontneed", "pageout", "pageout", "free", *more))
        if not all(p in pages for p in whole):
            return
        with suppress(Errno):  # EINVAL: not for this memory; EAGAIN: not now
            self.m.run(madvise, mm, BASE + page, len(whole), advice, cpu=cpu)
        for p in whole:
            if pages[p].key is None and advice == "dontneed":
                pages[p].text, pages[p].freed = ZERO, False
            elif pages[p].key is None and advice == "free":
                pages[p].freed = True

    def _fork(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        if len(self.model.spaces) < 4:
            child = self.m.run(fork, mm, "child", cpu=cpu)
            self.model.spaces[child.id] = {p: replace(x) for p, x in pages.items()}

    def _exit(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        if len(self.model.spaces) > 1:
            self.m.exit(mm)
            del self.model.spaces[mm.id]

    def _move(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        count = len(whole)
        to = self.random.randrange(self.pages - count + 1)
        to = to // 512 * 512 if self.huge and self.random.random() < 0.5 else to
        vma = mm.find(BASE + page)
        if all(p in pages for p in whole) and abs(to - page) >= count and vma and vma.end >= BASE + page + count:
            self.m.run(mremap, mm, BASE + page, count, BASE + to, cpu=cpu)
            for i, found in enumerate([pages.pop(p) for p in whole]):
                pages[to + i] = found

    def _gup(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        allowed = self.model.allowed(mm.id, page)
        if "SIGSEGV" in allowed:
            return
        write = self.random.random() < 0.5 and pages[page].permissions == RW
        pin, fast = self.random.random() < 0.5, self.random.random() < 0.5
        got = self.m.run(gup, mm, BASE + page, 1, write=write, pin=pin, longterm=pin, fast=fast, cpu=cpu)
        data = self.k.frames.data
        assert data is not None
        if self.random.random() < 0.3 and len(self.model.spaces) < 4 and pages[page].key is None:
            child = self.m.run(fork, mm, "child", cpu=cpu)
            self.model.spaces[child.id] = {p: replace(x) for p, x in pages.items()}
        if pin and pages[page].permissions == RW and pages[page].key is None:
            # What the program writes is what the holder of the pin sees, whatever happened meanwhile.
            assert self.m.store(BASE + page, b"PIN!", mm=mm, cpu=cpu) == "ok"
            pages[page].text, pages[page].freed, allowed = b"PIN!", False, {b"PIN!"}
        assert data[got[0], :4].tobytes() in allowed
        release(self.k, got, "gup", pin)

    def _drop(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        self.m.run(drop_caches, cpu=cpu)

    def _clean(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        self.m.run(clear_soft_dirty, mm, cpu=cpu)
        p = self.random.choice(list(pages) or [0])
        old = self.m.pagemap(BASE + p, mm=mm)[0]
        assert not old & PM_SOFT_DIRTY
        if p in pages and pages[p].permissions == RW:
            self._store(mm, pages, p, range(p, p + 1), cpu)
            assert self.m.pagemap(BASE + p, mm=mm)[0] & PM_SOFT_DIRTY

    def _armed(self, mm: Mm, pages: dict[int, Page], page: int, whole: range, cpu: int) -> None:
        """Write protection by userfaultfd: it stays until a write, and then it is gone."""
        if not all(p in pages and pages[p].key is None and not pages[p].freed for p in whole):
            return
        self.m.run(userfault_register, mm, BASE + page, len(whole), UFFD_WP, cpu=cpu)
        self.m.run(userfault_protect, mm, BASE + page, len(whole), True, cpu=cpu)
        if pages[page].permissions & READ:
            self._load(mm, pages, page, range(page, page + 1), cpu)
        self.m.run(madvise, mm, BASE + page, len(whole), "pageout", cpu=cpu)
        assert all(w & PM_UFFD_WP for w in self.m.pagemap(BASE + page, len(whole), mm=mm))
        if pages[page].permissions == RW:
            self._store(mm, pages, page, range(page, page + 1), cpu)
            assert not self.m.pagemap(BASE + page, mm=mm)[0] & PM_UFFD_WP
        self.m.run(userfault_register, mm, BASE + page, len(whole), UFFD_WP, False, cpu=cpu)


@pytest.mark.parametrize("seed", range(4))
def test_random_operations_keep_every_byte(seed: int) -> None:
    machine = Machine(every=5)
    Player(machine, seed).play(300)
    machine.done()


@pytest.mark.parametrize("seed", range(3))
def test_random_operations_on_huge_pages(seed: int) -> None:
    machine = Machine(LARGE, every=5000)
    player = Player(machine, seed, pages=1024, huge=True)
    machine.advise("hugepage", 1024)
    player.play(80)
    machine.done()


def _racer(k: Kernel, t: Task, mm: Mm, seed: int, page: int, log: list[str]) -> Steps[None]:
    """One thread: it alone stores to its own page (and so knows what is there), and disturbs the neighbours."""
    random, known = Random(seed), ZERO
    for i in range(12):
        if random.random() < 0.5:
            text = (seed * 100 + i + 1).to_bytes(4, "big")
            if (yield from access.store(k, t, mm, BASE + page, text)) == "ok":
                known = text
        got = yield from access.load(k, t, mm, BASE + page, 0, 4)
        if got not in (known, "SIGKILL"):
            log.append(f"{t} reads {got!r} in page {page}, wrote {known!r}")
        try:
            match random.randrange(6):
                case 0:
                    yield from madvise(k, t, mm, BASE, 8, "pageout")
                case 1:
                    pins = yield from gup(k, t, mm, BASE + random.randrange(8), 1, pin=True, name=t.name)
                    release(k, pins, t.name, True)
                case 2:
                    yield from mprotect(k, t, mm, BASE, 8, RW)
                case 3:
                    yield from clear_soft_dirty(k, t, mm)
                case 4:
                    child = yield from fork(k, t, mm, "child")
                    seen = yield from access.load(k, t, child, BASE + page, 0, 4)
                    if seen not in (known, "SIGKILL"):
                        log.append(f"the child of {t} reads {seen!r} in page {page}, not {known!r}")
                    yield from exit_mm(k, t, child)
                case _:
                    yield from madvise(k, t, mm, BASE + 16 + page, 1, "dontneed")
        except Errno:
            pass


@pytest.mark.parametrize("rates", [{}, {"alloc": 0.02, "trylock": 0.2, "swap": 0.1, "memcg": 0.02, "table": 0.02}])
@pytest.mark.parametrize("seed", range(5))
def test_races_keep_every_byte(seed: int, rates: dict[str, float]) -> None:
    k = Kernel(SMALL, checks=True, seed=seed, rates=rates)
    mm = k.new_mm("p0")
    log: list[str] = []
    first = Scheduler()
    first.spawn(k.task("init"), mmap(k, k.task("init"), mm, BASE, 24))
    first.run()
    scheduler = k.workers = Scheduler(
        seed, stay=0.3, after=lambda: checks.check(k) if scheduler.yields % 7 == 0 else None
    )
    for n in range(3):
        task = k.task(f"thread {n}", n % 2)
        scheduler.spawn(task, _racer(k, task, mm, seed * 10 + n, n, log))
    assert scheduler.run(200_000)
    scheduler.outcomes()
    k.workers = None
    k.inject.rates.clear()
    assert log == []
    checks.check_quiet(k)
    machine = Machine.of(k)
    machine.run(drop_caches)
    machine.done()
