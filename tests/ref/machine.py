"""A small machine for the tests of the reference kernel: operations by name, driven to their end one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hmmspec.ref import access, checks
from hmmspec.ref.exit import exit_mm
from hmmspec.ref.fork import fork
from hmmspec.ref.gup import gup
from hmmspec.ref.madvise import madvise
from hmmspec.ref.mmap import mmap, munmap
from hmmspec.ref.mremap import mremap
from hmmspec.ref.pagemap import drop_caches, pagemap
from hmmspec.ref.protect import mprotect
from hmmspec.ref.schedule import run_through
from hmmspec.ref.spaces import READ, WRITE, Mm
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Steps

BASE = 512  # first page of every test's memory, PMD-aligned
RW = READ | WRITE
SMALL = Config(cpus=2, system_pages=4096, device_pages=2048, swap_pages=256, page_tables=64)
LARGE = Config(cpus=2, system_pages=16384, device_pages=4096, swap_pages=8192, page_tables=64)


class Machine:
    """One kernel with checks on; each call runs one operation through and looks at every invariant, after every `every`th
    step and at the end."""

    def __init__(self, config: Config = SMALL, every: int = 1, **options: Any) -> None:
        self.every, self.steps = every, 0
        self.k = Kernel(config, checks=True, **options)
        self.mm = self.k.new_mm("p0")
        self.tasks = [self.k.task(f"cpu{n}", n) for n in range(config.cpus)]

    def run(self, operation: Callable[..., Steps[Any]], *args: Any, cpu: int = 0, **named: Any) -> Any:
        try:
            return run_through(operation(self.k, self.tasks[cpu], *args, **named), self._look)
        finally:
            checks.check_quiet(self.k)

    @classmethod
    def of(cls, k: Kernel) -> Machine:
        """A machine around a kernel that something else drove until now."""
        made = cls(k.config)
        made.k, made.tasks = k, [k.task(f"end {n}", n) for n in range(k.config.cpus)]
        return made

    def _look(self) -> None:
        self.steps += 1
        if self.steps % self.every == 0:
            checks.check(self.k)

    def map(self, count: int = 16, start: int = BASE, mm: Mm | None = None, **named: Any) -> Any:
        return self.run(mmap, mm or self.mm, start, count, **named)

    def unmap(self, count: int = 16, start: int = BASE, mm: Mm | None = None) -> None:
        self.run(munmap, mm or self.mm, start, count)

    def protect(self, prot: int, count: int = 16, start: int = BASE, mm: Mm | None = None) -> None:
        self.run(mprotect, mm or self.mm, start, count, prot)

    def move(self, to: int, count: int = 16, start: int = BASE, **named: Any) -> None:
        self.run(mremap, self.mm, start, count, to, **named)

    def advise(self, advice: str, count: int = 16, start: int = BASE, mm: Mm | None = None) -> None:
        self.run(madvise, mm or self.mm, start, count, advice)

    def store(self, vpn: int, text: bytes, offset: int = 0, mm: Mm | None = None, cpu: int = 0) -> str:
        answer: str = self.run(access.store, mm or self.mm, vpn, text, offset, cpu=cpu)
        return answer

    def load(self, vpn: int, size: int = 4, mm: Mm | None = None, cpu: int = 0) -> bytes | str:
        got: bytes | str = self.run(access.load, mm or self.mm, vpn, 0, size, cpu=cpu)
        return got

    def fork(self, mm: Mm | None = None) -> Mm:
        child: Mm = self.run(fork, mm or self.mm, "child")
        return child

    def exit(self, mm: Mm | None = None) -> None:
        self.run(exit_mm, mm or self.mm)

    def gup(self, vpn: int, count: int = 1, **named: Any) -> list[int]:
        got: list[int] = self.run(gup, self.mm, vpn, count, **named)
        return got

    def pagemap(self, vpn: int, count: int = 1, mm: Mm | None = None) -> list[int]:
        words: list[int] = self.run(pagemap, mm or self.mm, vpn, count)
        return words

    def entry(self, vpn: int, mm: Mm | None = None) -> int:
        return self.k.tables.read(mm or self.mm, vpn)

    def done(self) -> None:
        """End every process: nothing may be left over, and nothing was found."""
        for mm in list(self.k.mms.values()):
            self.exit(mm)
        self.run(drop_caches)
        checks.check_empty(self.k)
        assert not self.k.findings, self.k.findings[:3]
