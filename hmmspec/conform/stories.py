"""Short programs about one or two pages that lead to what commands chosen one by one seldom meet.

A *sequel* (`sequels.py`) goes on after a command; a *story* begins afresh, and makes what it needs: a page that is held
over a fork, a page on a device that its process may no longer write, memory that is written by who holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.sequels import change
from hmmspec.records import dataclass

Story = tuple[Command, ...]


@dataclass(frozen=True)
class Cast:
    """Who plays.

    who: a process; child: a name that no process has, '' if there may be no more; device, other: two devices that `who`
    has open (or the same twice); page, count: where; elsewhere: as many pages, somewhere else; hold: a name for a hold.
    """

    who: str
    child: str
    device: str
    other: str
    page: int
    count: int
    elsewhere: int
    hold: str


def story(cast: Cast, below: Callable[[int], int], stamp: Callable[[int], int]) -> Story:
    """One of the stories.  below: a choice from 0 below a number; stamp: fresh stamps for so many pages."""
    teller = _Teller(cast, below, stamp)
    if cast.count >= c.PMD_PAGES or (cast.count > 1 and below(2)):
        return teller.told_to_mirror()
    told: Sequence[Callable[[], Story]] = teller.alone if not cast.child else (*teller.alone, *teller.together)
    return told[below(len(told))]()


class _Teller:
    def __init__(self, cast: Cast, below: Callable[[int], int], stamp: Callable[[int], int]) -> None:
        self.cast, self.below, self.stamp = cast, below, stamp
        self.at = cast.who, cast.page, cast.count
        self.load = c.Load(*self.at)
        self.there = c.MigrateToDevice(cast.who, cast.device, cast.page, cast.count)
        self.back = c.MigrateToSystem(cast.who, cast.device, cast.page, cast.count)
        self.snapshot = c.Snapshot(cast.who, cast.device, cast.page, cast.count)
        self.out = self.advise("pageout")
        self.alone = (
            self.may_not_write, self.holder_writes, self.pinned_for_good, self.read_pin, self.nothing_there,
            self.thrown_away, self.fault_fails, self.allocation_fails, self.told_to_mirror,
        )  # fmt: skip
        self.together = (
            self.fork_of_pinned, self.parted_from_holder, self.not_inherited, self.moved_away, self.fork_fails,
            self.written_by_both,
        )  # fmt: skip

    # ---- words

    def store(self, who: str = "") -> Command:
        return c.Store(who or self.cast.who, self.cast.page, self.cast.count, self.stamp(self.cast.count))

    def write(self, device: str = "") -> Command:
        cast = self.cast
        return c.DevWrite(cast.who, device or cast.device, cast.page, cast.count, self.stamp(cast.count))

    def gup(self, *, write: bool = False, pin: bool = False, longterm: bool = False) -> Command:
        return c.Gup(*self.at, write, bool(self.below(2)), pin, longterm, self.cast.hold)

    def poke(self) -> Command:
        return c.Poke(self.cast.who, self.cast.hold, self.stamp(16))

    def advise(self, advice: str) -> Command:
        return c.Madvise(*self.at, advice)

    def pick(self, *told: Story) -> Story:
        return told[self.below(len(told))]

    def fresh(self) -> Story:
        """The pages anew, mostly written."""
        return (c.Mmap(*self.at), self.store()) if self.below(4) else (c.Mmap(*self.at),)

    def large(self) -> tuple[Story, tuple[int, int]]:
        """A whole area anew, which may be one page, with something written; and a part of it (or all)."""
        who, page, count = self.at
        advice = (self.advise("hugepage"),) if self.below(2) else ()
        few = 1 + self.below(8)
        part = (page + self.below(count - few + 1), few) if self.below(4) else (page, count)
        written = c.Store(who, *part, self.stamp(part[1]))
        return (c.Mmap(*self.at), *advice, written), part

    @property
    def fork(self) -> Command:
        return c.Fork(self.cast.who, self.cast.child)

    @property
    def peek(self) -> Command:
        return c.Peek(self.cast.who, self.cast.hold)

    @property
    def unpin(self) -> Command:
        return c.Unpin(self.cast.who, self.cast.hold)

    # ---- one process

    def may_not_write(self) -> Story:
        """The entry of a page on the device lost its right to write, and no fault of the CPU's gives it back."""
        less = c.Mprotect(*self.at, "r"), c.Mprotect(*self.at, "rw")
        return self.pick(
            (*self.fresh(), self.there, *less, self.write(), self.store(), self.write()),
            (*self.fresh(), c.ClearSoftDirty(self.cast.who), self.there, self.write(), self.snapshot),
            (*self.fresh(), less[0], self.there, less[1], self.write(), self.load, self.write()),
        )

    def holder_writes(self) -> Story:
        """What a holder writes is what the process reads, wherever the page would go meanwhile."""
        beginning = (*self.fresh(), self.gup(write=True, pin=bool(self.below(2))))
        return self.pick(
            (*beginning, self.poke(), self.load, self.unpin, self.there, self.load),
            (*beginning, self.there, self.poke(), self.snapshot, self.load, self.unpin),
            (*beginning, self.poke(), self.out, self.load, self.peek, self.unpin, self.out, self.load),
            (*beginning, c.Munmap(*self.at), self.poke(), self.peek, self.unpin),
            (*beginning, self.advise("dontneed"), self.load, self.poke(), self.load, self.peek),
        )

    def pinned_for_good(self) -> Story:
        """A long-term pin takes pages out of device memory and keeps them out."""
        return (
            *self.fresh(), self.there, self.gup(write=bool(self.below(2)), pin=True, longterm=True), self.snapshot,
            self.there, self.store(), self.peek, self.unpin, self.there, self.load,
        )  # fmt: skip

    def read_pin(self) -> Story:
        """A pin for reading, of a page that nobody wrote."""
        return (c.Mmap(*self.at), self.load, self.gup(pin=True), self.store(), self.peek, self.unpin)

    def nothing_there(self) -> Story:
        """Calls on a page that is not mapped."""
        who, page, _ = self.at
        gone = c.Munmap(who, page)
        return self.pick(
            (gone, c.Mprotect(who, page), c.Load(who, page)),
            (gone, c.Madvise(who, page, 1, c.ADVICE[self.below(len(c.ADVICE))])),
            (gone, c.Mremap(who, page, 1, self.cast.elsewhere), c.DevRead(who, self.cast.device, page)),
            (gone, c.MigrateToDevice(who, self.cast.device, page), c.Snapshot(who, self.cast.device, page)),
        )

    def thrown_away(self) -> Story:
        """MADV_FREE: gone at the next reclaim, unless it is written or away by then."""
        free = self.advise("free")
        return self.pick(
            (*self.fresh(), free, self.out, c.Pagemap(*self.at), self.load),
            (*self.fresh(), free, self.write(), self.out, self.load),
            (*self.fresh(), free, self.there, self.out, self.load),
            (*self.fresh(), self.there, free, self.load, self.out, self.load),
        )

    def fault_fails(self) -> Story:
        """A page on a device, and no memory (or no copy) to bring it back; the next time there is."""
        points = "alloc", "copy", "trylock"
        fails = c.Inject(points[self.below(3)], 1, self.cast.device if self.below(2) else "")
        access = self.pick((self.load,), (self.store(),), (self.write(self.cast.other),), (self.back,))
        return (*self.fresh(), self.there, fails, *access, self.load)

    def allocation_fails(self) -> Story:
        """The device has no memory, once."""
        return (*self.fresh(), c.Flags(self.cast.who, self.cast.device), self.there, self.load, self.there, self.load)

    def told_to_mirror(self) -> Story:
        """What a device has mapped it must lose with every change, and may have again."""
        cast = self.cast
        if cast.count == c.PMD_PAGES and self.below(4):
            there, part = self.large()
        else:
            there, part = (self.fresh() if self.below(2) else ()), (cast.page, cast.count)
        mapped: Command = c.DevRead(cast.who, cast.device, *part)
        if self.below(2):
            mapped = c.DevWrite(cast.who, cast.device, *part, self.stamp(part[1]))
        changed = change(cast.who, cast.device, cast.page, cast.count, self.below, self.stamp)
        # One page first, the last: NOTE(last).
        last = c.DevRead(cast.who, cast.device, cast.page + cast.count - 1)
        return (*there, mapped, *changed, last, self.write(), self.load)

    # ---- two

    def fork_of_pinned(self) -> Story:
        """A pin keeps the parent's page the parent's."""
        _, page, count = self.at
        return (
            *self.fresh(), self.gup(write=bool(self.below(2)), pin=True), self.fork, self.store(), self.peek,
            c.Load(self.cast.child, page, count), self.unpin,
        )  # fmt: skip

    def parted_from_holder(self) -> Story:
        """A reference that is no pin: after a fork who writes gets a copy, and the holder may have the other's page."""
        _, page, count = self.at
        write = bool(self.below(2))
        writer = self.cast.who if self.below(3) else self.cast.child
        more = (self.poke(), self.load, c.Load(self.cast.child, page, count)) if write else (self.peek,)
        return (*self.fresh(), self.gup(write=write), self.fork, self.store(writer), *more, self.load, self.unpin)

    def not_inherited(self) -> Story:
        """MADV_DONTFORK, and back."""
        _, page, count = self.at
        child = c.Load(self.cast.child, page, count)
        back = (self.advise("dofork"),) if self.below(2) else ()
        return (*self.fresh(), self.advise("dontfork"), *back, self.fork, child, self.store(), child)

    def moved_away(self) -> Story:
        """The parent's page goes to another address, and to a device or to swap from there; the child's stays."""
        who, page, count = self.at
        to = self.cast.elsewhere
        child = self.cast.child
        gone = self.pick(
            (c.MigrateToDevice(who, self.cast.device, to, count),), (c.Madvise(who, to, count, "pageout"),)
        )
        look = self.pick((c.Pagemap(child, page, count),), (c.Load(child, page, count),), (self.store(child),))
        return (*self.fresh(), self.fork, c.Mremap(who, page, count, to), *gone, *look, c.Load(who, to, count))

    def fork_fails(self) -> Story:
        """A fork without memory leaves the parent as it was, but what was exclusive is so no more."""
        who, page, count = self.at
        taken = c.Exclusive(who, self.cast.device, page, count)
        return (
            *self.fresh(), taken, c.Inject("alloc", 1), self.fork, c.CheckExclusive(who, self.cast.device, page, count),
            self.load, self.write(),
        )  # fmt: skip

    def written_by_both(self) -> Story:
        """After a fork with the page on a device, the device writes, then both processes."""
        _, page, count = self.at
        child = c.Load(self.cast.child, page, count)
        return (*self.fresh(), self.there, self.fork, self.write(), self.store(self.cast.child), child, self.load,
                self.write(), child)  # fmt: skip
