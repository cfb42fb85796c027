"""What is looked at when a program is over: what the kernel says of each page, what the devices see, and all data.

NOTE(last): a mistake of the kernel that no command of the program happened to look at is still there at its end: an
entry of a mirror that should be gone, a bit that was lost.  What changes nothing comes first: pagemap and snapshot.
Then each device reads pages that it has worked on, one by one from the last: where a notifier's call has not reached
it, it reads without the fault that it needs otherwise, or reads what is not there any more.  (All at once would be no
look: a device that must fault one page faults the whole range.)  Loads are last, since they bring pages back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.target import Event

WHOLE = 16  # pages of a run up to which the device reads all of it once more


def last_looks(log: Sequence[Event], data: DataJudge) -> list[Command]:
    """The commands to end a program with, from what was seen of it and the judge who has been told of all that."""
    readable = data.readable()
    looks: list[Command] = [c.Pagemap(*run) for run in readable]
    mapped = {process: set[int]() for process, _, _ in readable}
    for process, page, count in readable:
        mapped[process].update(range(page, page + count))
    snapshots: list[Command] = []
    reads: list[Command] = []
    for (process, device), pages in _mirrored(log).items():
        there = mapped.get(process, set())
        for page, count in runs_of(pages & there):
            snapshots.append(c.Snapshot(process, device, page, count))
            reads += (c.DevRead(process, device, at) for at in _from_the_last(page, count))
            if 1 < count <= WHOLE:
                reads.append(c.DevRead(process, device, page, count))
        for page, count in runs_of(pages - there):
            reads += (c.DevRead(process, device, at) for at in _from_the_last(page, count))
    return [*looks, *snapshots, *reads, *(c.Load(*run) for run in readable)]


def _mirrored(log: Sequence[Event]) -> dict[tuple[str, str], set[int]]:
    """Process and device that it has open -> pages that the device was asked to work on since."""
    out: dict[tuple[str, str], set[int]] = {}
    called: dict[int, Command] = {}
    for event in log:
        if event.command is not None:
            called[event.call] = event.command
            continue
        match called.get(event.call):
            case c.Open(process=process, device=device) if event.result is not None and event.result.ok:
                out[process, device] = set()
            case c.Close(process=process, device=device):
                out.pop((process, device), None)
            case c.Exit(process=process) | c.Kill(process=process):
                out = {key: pages for key, pages in out.items() if key[0] != process}
            case c.OfMirror(process=process, device=device, page=page, count=count) if (process, device) in out:
                out[process, device].update(range(page, page + count))
    return out


def runs_of(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First page and number of pages of each run of neighbours, in order."""
    first = end = None
    for page in sorted(pages):
        if page != end:
            if first is not None and end is not None:
                yield first, end - first
            first = page
        end = page + 1
    if first is not None and end is not None:
        yield first, end - first


def _from_the_last(page: int, count: int) -> list[int]:
    """The last page, the one in the middle, and the first."""
    return sorted({page + count - 1, page + count // 2, page}, reverse=True)
