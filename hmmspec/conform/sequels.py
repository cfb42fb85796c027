"""What often goes wrong together: after one command, a few more on the same pages.

Faults of memory management show where two things meet: a page that was written, shared and written again; one that went
out clean and was written since; a device that still maps what has just changed.  Commands chosen one by one meet
seldom.  So after some commands the generator goes on with a *sequel*: a short story about the same pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hmmspec.conform import commands as c
from hmmspec.conform.commands import PMD_PAGES, Command

Below = Callable[[int], int]


def sequel(command: Command, below: Below, stamp: Callable[[int], int], others: Sequence[str]) -> tuple[Command, ...]:
    """Commands to go on with; () where there is nothing to tell.

    below: a choice from 0 below a number; stamp: fresh stamps for so many pages; others: the other processes that live.
    """

    def store(process: str, page: int, count: int) -> Command:
        return c.Store(process, page, count, stamp(count))

    match command:
        case c.Store(process=who, page=page, count=count):
            out = c.Madvise(who, page, count, "pageout")
            look, again = c.Load(who, page, count), store(who, page, count)
            stories: list[tuple[Command, ...]] = [
                (out, look, again, out, look),
                (out, again, out, look),
                (c.ClearSoftDirty(who), again, out, c.Pagemap(who, page, count)),
                (c.Madvise(who, page, count, "free"), again, out, look),
            ]
            return stories[below(len(stories))]
        case c.Fork(process=parent, child=child):
            return _after_fork(parent, child, below, stamp)
        case c.Mprotect(process=who, page=page, count=count, prot=prot):
            if prot == "rw":
                return (store(who, page, count), *_looks(page, count, others))
            return (replace(command, prot="rw"), store(who, page, count), *_looks(page, count, others))
        case c.Gup(process=who, page=page, count=count, hold=str(hold), write=write):
            if below(2) and not write:
                return (store(who, page, count), c.Peek(who, hold))
            return (store(who, page, count), c.Peek(who, hold), c.Unpin(who, hold), *_looks(page, count, others))
        case (
            c.DevRead(process=who, device=device, page=page, count=count)
            | c.DevWrite(process=who, device=device, page=page, count=count)
        ):
            written = c.DevWrite(who, device, page, count, stamp(count))
            if not below(4):
                # The slot has what was before the device wrote: a page that is taken for clean loses it.
                out, look = c.Madvise(who, page, count, "pageout"), c.Load(who, page, count)
                return (out, look, written, out, look)
            last: Command = written if below(2) else c.DevRead(who, device, page, count)
            # One page first, the last: what a notifier did not tell of is seen by itself there (see NOTE(last)).
            one = c.DevRead(who, device, page + count - 1)
            return (*change(who, device, page, count, below, stamp), one, last, c.Load(who, page, count))
        case c.MigrateToDevice(process=who, device=device, page=page, count=count):
            seen = c.Snapshot(who, device, page, count)
            back = c.MigrateToSystem(who, device, page, count)
            look = c.Load(who, page, count)
            other = "dev1" if device == "dev0" else "dev0"
            chapters: list[tuple[Command, ...]] = [
                # Memory of the device that has been used is used again, for pages that must read as zeros.
                (look, c.Munmap(who, page, count), c.Mmap(who, page, count), command, look),
                (back, c.Munmap(who, page, count), c.Mmap(who, page, count), command, look),
                (c.Inject("copy", 1, device), (look, back)[below(2)], look),
                (c.Inject("alloc", 1), look, look),
                (c.Inject("trylock", 1), (look, back)[below(2)], command, look),
                # Who holds the page keeps it, wherever it is.
                (
                    c.Gup(who, page, count, True, bool(below(2)), bool(below(2)), hold="kept"),
                    (back, command)[below(2)],
                    c.Poke(who, "kept", stamp(count)),
                    look,
                    c.Unpin(who, "kept"),
                ),
                (
                    c.Gup(who, page, count, True, False, True, True, "long"),
                    seen,
                    c.ReleaseMemory(who, device),
                    c.Unpin(who, "long"),
                ),
                (c.Close(who, device), c.Open(who, device), seen, look),
                (c.Flags(who, device), (look, back)[below(2)], command, look),
                (replace(back, device=other), seen, look),
                (back, command, back, seen),
                (c.ReleaseMemory(who, device), look, command),
                (c.Mremap(who, page, count, page + count), c.Snapshot(who, device, page + count, count)),
                (c.Mprotect(who, page, count, "r"), seen, c.Mprotect(who, page, count, "rw"), store(who, page, count)),
                (c.Madvise(who, page, count, "dontneed"), c.Smaps(who, page, count), c.Load(who, page, count)),
                (c.Madvise(who, page, count, "pageout"), seen),
                (store(who, page, count), c.Madvise(who, page, count, "pageout"), c.Load(who, page, count)),
            ]
            return chapters[below(len(chapters))]
        case c.Exclusive(process=who, device=device, page=page, count=count):
            out, look = c.Madvise(who, page, count, "pageout"), c.Load(who, page, count)
            endings: list[tuple[Command, ...]] = [
                (look, out, look, store(who, page, count), command, look, out, look),
                (store(who, page, count), c.CheckExclusive(who, device, page, count), look),
                (c.Mprotect(who, page, count, "r"), look, store(who, page, count)),
                (look, c.CheckExclusive(who, device, page, count)),
                (c.ClearSoftDirty(who), store(who, page, count), c.Pagemap(who, page, count)),
            ]
            return endings[below(len(endings))]
        case c.Mmap(process=who, page=page, count=count, kind="file"):
            seen_file = c.Load(who, page, count)
            fresh = (c.Munmap(who, page, count), replace(command, prot="rw"), seen_file)
            return (seen_file, store(who, page, count), *fresh, c.Madvise(who, page, count, "pageout"), seen_file)
        case c.Munmap(process=who, page=page, count=count):
            return (c.Mmap(who, page, count), c.Load(who, page, count))
        case c.Mremap(process=who, count=count, to=to):
            return (c.Load(who, to, count), store(who, to, count), c.Load(who, to, count))
        case _:
            return ()


def change(
    who: str, device: str, page: int, count: int, below: Below, stamp: Callable[[int], int]
) -> tuple[Command, ...]:
    """What takes pages away from a device that has mapped them, or changes what it may do with them."""
    other = "dev1" if device == "dev0" else "dev0"
    at = who, page, count
    if count == PMD_PAGES and not below(3):
        return (c.Madvise(*at, "collapse"),)
    advices = [a for a in c.ADVICE if a not in {"dontfork", "dofork"}]
    changes: list[tuple[Command, ...]] = [
        (c.Munmap(*at),),
        (c.Mremap(*at, page + count),),
        (c.Mremap(*at, page + count, dontunmap=True),),
        (c.Mprotect(*at, ("r", "none")[below(2)]),),
        (c.Madvise(*at, advices[below(len(advices))]),),
        (c.Madvise(*at, ("dontneed", "free", "pageout")[below(3)]),),
        (c.Mmap(*at),),
        (c.Store(*at, stamp(count)),),
        (c.Gup(*at, write=True),),
        (c.ClearSoftDirty(who),),
        (c.UffdWp(*at),),
        (c.Open(who, other), c.MigrateToDevice(who, other, page, count), c.Store(*at, stamp(count))),
        (c.Open(who, other), c.Exclusive(who, other, page, count), c.Store(*at, stamp(count))),
        (c.MigrateToDevice(who, device, page, count), c.Load(*at)),
    ]
    return changes[below(len(changes))]


def _after_fork(parent: str, child: str, below: Below, stamp: Callable[[int], int]) -> tuple[Command, ...]:
    """The two write in turn, and look: nobody sees what the other wrote, and a pin stays with who has it."""
    one, two = (parent, child) if below(2) else (child, parent)
    count = 1 + below(4)
    store = c.Store(one, 0, count, stamp(count))
    stories: list[tuple[Command, ...]] = [
        (c.Increment(one, 0, count),),
        (c.Mprotect(one, 0, count, "r"), c.Mprotect(one, 0, count, "rw"), store),
        (c.Gup(one, 0, count, pin=True, hold="kept"), store, c.Peek(one, "kept"), c.Unpin(one, "kept")),
        (c.Madvise(one, 0, count, "pageout"), c.Increment(two, 0, count), c.Increment(one, 0, count)),
    ]
    return (*stories[below(len(stories))], c.Load(two, 0, 4), c.Load(one, 0, 4))


def _looks(page: int, count: int, others: Sequence[str]) -> tuple[Command, ...]:
    return tuple(c.Load(who, page, count) for who in others[:2])


def rivals(
    who: str, device: str, pages: tuple[int, int], below: Below, stamp: Callable[[int], int], child: str
) -> tuple[tuple[Command, ...], ...]:
    """Threads of one process that get into each other's way: each takes what another one works on.

    pages: the first and how many; child: a name that no process has.
    """
    page, count = pages
    load, out = c.Load(who, page, count), c.Madvise(who, page, count, "pageout")
    send, fetch = c.MigrateToDevice(who, device, page, count), c.MigrateToSystem(who, device, page, count)
    read, close = c.DevRead(who, device, page, count), c.Close(who, device)
    fork = c.Fork(who, child)  # what the child has is looked at when all is over: threads are of one process
    stories: list[tuple[tuple[Command, ...], ...]] = [
        ((fork, load), (c.ReleaseMemory(who, device), c.Increment(who, page, count))),
        ((fork, c.Increment(who, page, count)), (close, c.Increment(who, page, count))),
        ((fork, load), (c.Store(who, page, count, stamp(count)), load)),
        ((send, load), (c.Increment(who, page, count), load)),
        ((send,), (c.Madvise(who, page, count, "dontneed"), c.Increment(who, page, count))),
        ((send,), (c.Gup(who, page, count, write=True, hold="kept"), c.Poke(who, "kept", stamp(count)))),
        ((read, read), (c.Munmap(who, page, count), c.Mmap(who, page, count))),
        ((c.DevWrite(who, device, page, count, stamp(count)),), (c.Mprotect(who, page, count, "r"), load)),
        ((close,), (c.Mprotect(who, page, count, "r"), c.Mprotect(who, page, count))),
        ((close, c.Open(who, device), read), (c.Madvise(who, page, count, "dontneed"), c.Increment(who, page, count))),
        ((load,), (load,), (fetch,)),
        ((send, load, send, load), (load, load, load), (load, load, load)),
        ((c.Store(who, page, count, stamp(count)), c.Madvise(who, page, count, "dontneed"), load), (send, fetch)),
        ((c.Store(who, page, count, stamp(count)), c.Madvise(who, page, count, "dontneed"), load), (send,), (fetch,)),
        (
            (close, c.Open(who, device), read, close),
            (c.Mprotect(who, page, count, "r"), c.Mprotect(who, page, count), c.Madvise(who, page, count, "dontneed")),
        ),
        ((send, read, read), (c.Kill(who, reap=True),)),
        ((c.DevWrite(who, device, page, count, stamp(count)), read), (c.Kill(who, reap=True),)),
        ((out, load), (c.Increment(who, page, count), load), (read,)),
        ((send, send), (fetch, fetch), (load,)),
    ]
    return stories[below(len(stories))]
