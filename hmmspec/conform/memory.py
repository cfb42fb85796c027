"""What the mapping calls promise, all processes together: the state that the oracle keeps, and its changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hmmspec.conform import commands as c
from hmmspec.conform.commands import ARENA_PAGES, PMD_PAGES, Command
from hmmspec.conform.results import Result
from hmmspec.conform.space import CACHED, COPIED, Cell, Hold, Slot, Space

# A check that is told of a page (what it is called, its cell, what was read of it).
Read = Callable[[str, Cell, int], None]

_RANGED = (c.OfPages, c.OfMirror)


class Memory:
    """Processes with their pages, and files.

    unsure: processes of which is not known whether they exist.
    """

    def __init__(self) -> None:
        self.spaces: dict[str, Space] = {"p0": Space()}
        self.files: dict[str, list[Cell]] = {}
        self.unsure: set[str] = set()

    # ---- what is where

    def space(self, process: str) -> Space:
        """The space of a process; an empty one where it is not known whether it exists."""
        return self.spaces.get(process) or Space()

    def cell(self, slot: Slot) -> Cell | None:
        """The memory behind a slot; None: not known, or past the end of the file."""
        if slot.cell is None and slot.source is not None and slot.kind in {"file", "file_private"}:
            cells = self.files.get(slot.source, [])
            return cells[slot.index] if slot.index < len(cells) else None
        return slot.cell

    def own(self, slot: Slot, surely: bool = True) -> Cell | None:
        """The memory that a write to a slot changes: a private page of a file becomes a copy (if not surely written:
        perhaps, so that nothing is known of it any more)."""
        if slot.kind == "file_private" and slot.cell is None and (cell := self.cell(slot)) is not None:
            slot.cell = cell.copy()
            if not surely:
                slot.cell.forget()
        return self.cell(slot)

    def beyond(self, slot: Slot) -> bool:
        """Whether the slot lies past the end of its file (SIGBUS)."""
        if slot.kind not in {"file", "file_private"} or slot.source is None:
            return False
        return slot.index >= len(self.files.get(slot.source, []))

    def access(self, slot: Slot | None, write: bool) -> str | None:
        """What a program's access gives: '' or a signal; None where it is not known."""
        if slot is None:
            return "SIGSEGV"
        if slot.unknown:
            return None
        if not (slot.writable if write else slot.readable):
            return "SIGSEGV"
        # A private copy stays where it is when the file ends before it; that happens to nobody here: files only grow.
        return "SIGBUS" if self.beyond(slot) else ""

    def slots(self, command: c.OfPages | c.OfMirror) -> Iterator[tuple[int, Slot | None]]:
        """Page and slot of each page that a command names, in order."""
        space = self.space(command.process)
        return zip(
            range(command.page, command.page + command.count), space.range(command.page, command.count), strict=True
        )

    def forget_shared(self) -> None:
        """Somebody wrote to memory that may be shared with anybody."""
        for space in self.spaces.values():
            for slot in space.slots.values():
                if slot.kind == "shared" and slot.cell is not None:
                    slot.cell.forget()
            for hold in space.holds.values():
                for held in hold.cells:
                    if held is not None:
                        held.forget()
        for cells in self.files.values():
            for cell in cells:
                cell.forget()

    def forget_all(self) -> None:
        """Somebody wrote to some page, nobody knows which."""
        self.forget_shared()
        for space in self.spaces.values():
            mapped = [slot.cell for slot in space.slots.values()]
            # What is held may be mapped nowhere any more.
            for cell in (*mapped, *(c_ for hold in space.holds.values() for c_ in hold.cells)):
                if cell is not None:
                    cell.forget()

    # ---- errors that NOTE(total) fixes

    def refused(self, command: Command) -> str | None:
        """The error of a command that cannot even begin; '' if it can; None where that is not known."""
        process = getattr(command, "process", "")
        if process in self.unsure:
            return None
        if isinstance(command, c.Spawn):
            return "EEXIST" if process in self.spaces else ""
        if process and process not in self.spaces:
            return "ESRCH"
        if isinstance(command, _RANGED) and command.page + command.count > ARENA_PAGES:
            return "EINVAL"
        match command:
            case c.Fork(child=name):
                return None if name in self.unsure else "EEXIST" if name in self.spaces else ""
            case c.Open(process=name, device=device):
                return "EEXIST" if device in self.spaces[name].devices else ""
            case c.OfDevice(process=name, device=device):
                return "" if device in self.spaces[name].devices else "EBADF"
            case c.Mmap(process=name, kind="device", source=device):
                return "" if device in self.spaces[name].devices else "EBADF"
            case c.Mmap(kind="file" | "file_private", source=source) if source not in self.files:
                return "ENOENT"
            case c.Mremap(to=to, count=count) if to + count > ARENA_PAGES:
                return "EINVAL"
            case c.Gup(longterm=True, pin=False):
                return "EINVAL"
            case c.Gup(process=name, hold=str(hold)):
                return "EEXIST" if hold in self.spaces[name].holds else ""
            case c.Peek(process=name, hold=hold) | c.Poke(process=name, hold=hold) | c.Unpin(process=name, hold=hold):
                return "" if hold in self.spaces[name].holds else "EBADF"
            case c.FileRead(file=file, page=page, count=count):
                if file not in self.files:
                    return "ENOENT"
                return "EINVAL" if page + count > len(self.files[file]) else ""
            case _:
                return ""

    # ---- what changes the mappings

    def restructure(self, command: Command, result: Result) -> None:
        """Do what a mapping call or a process call did; errors change what they may have changed."""
        process = getattr(command, "process", "")
        space = self.space(process)
        done = result.ok
        match command:
            case c.Spawn() if done:
                self.spaces[process] = Space()
            case c.Fork(child=child):
                copy = space.forked() if done or result.error not in {"ENOSYS", "ESRCH", "EEXIST"} else None
                if done and copy is not None:
                    self.spaces[child] = copy
            case c.Exit() | c.Kill():
                if done:
                    self.spaces.pop(process, None)
                    self.unsure.discard(process)
            case c.Mmap(page=page, count=count):
                if done:
                    self._mmap(command, space)
                elif result.error not in {"EINVAL", "ENOENT", "EBADF", "ENOSYS", "ESRCH"}:
                    space.doubt(page, count)
            case c.Munmap(page=page, count=count) if done:
                space.unmap(page, count)
            case c.Mprotect(page=page, count=count, prot=prot):
                if result.error in {"", "ENOMEM"}:
                    self._mprotect(space, page, count, prot, done)
                elif result.error == "EINVAL" and not space.cuts_hugetlb(page):
                    self._before_hugetlb(space, page, count, prot)
            case c.Mremap(page=page, count=count, to=to, dontunmap=keep):
                count = space.whole(page, count)
                if done:
                    space.move(page, count, to, keep)
                elif result.error != "ENOSYS" and not (page < to + count and to < page + count):
                    # What was there may have been unmapped before the rest failed.
                    space.doubt(to, count)
            case c.Madvise():
                self._madvise(command, result)
            case c.ClearSoftDirty():
                self._demote(space.slots.values())
            case c.UffdWp():
                self._demote(slot for _, slot in self.slots(command))
            case c.Open(device=device) if done:
                space.devices.add(device)
            case c.Close(device=device) if done:
                space.devices.discard(device)
            case c.Unpin(hold=hold) if done:
                del space.holds[hold]
            case c.Gup(hold=str(hold), write=write, pin=pin) if done:
                space.holds[hold] = self._hold(command, result, write, pin)

    def _mmap(self, command: c.Mmap, space: Space) -> None:
        space.unmap(command.page, command.count)
        shared = command.kind in {"file", "file_private"}
        for k in range(command.count):
            cell = None if shared else Cell(0)
            index = command.offset + k
            space.slots[command.page + k] = Slot(command.prot, command.kind, command.source, index, cell)

    def _mprotect(self, space: Space, page: int, count: int, prot: str, done: bool) -> None:
        """All pages, or those before the first hole; where that may be is not known among pages that may be holes."""
        for at in range(page, page + count):
            slot = space.slots.get(at)
            if slot is None and not done:
                return
            if slot is not None and slot.unknown and not done:
                mapped = [p for p in range(at, page + count) if p in space.slots]
                for p in mapped:
                    space.doubt(p, 1)
                return
            if slot is not None:
                slot.prot, slot.demoted = prot, True

    @staticmethod
    def _before_hugetlb(space: Space, page: int, count: int, prot: str) -> None:
        """mprotect came to a hugetlb page that cannot be split: what lies before that mapping is changed."""
        last = space.slots.get(page + count - 1)
        near = True  # in the page that cannot be split, or right before it in what may be one mapping with it
        for at in range(page + count - 1, page - 1, -1):
            slot = space.slots.get(at)
            near = near and slot is not None and last is not None and slot.kind == "hugetlb" and slot.prot == last.prot
            if not near and slot is not None:
                slot.prot, slot.demoted = prot, True
            elif at < (page + count) // PMD_PAGES * PMD_PAGES:
                space.doubt(at, 1)

    @staticmethod
    def _demote(slots: Iterable[Slot | None]) -> None:
        """Their entries may be read-only from now on, until a fault makes them writable again."""
        for slot in slots:
            if slot is not None:
                slot.demoted = True

    def _madvise(self, command: c.Madvise, result: Result) -> None:
        """Data that MADV_DONTNEED and MADV_FREE drop, and what a fork inherits.  After an error: perhaps."""
        for _, slot in self.slots(command):
            if slot is None or slot.unknown:
                continue
            if command.advice in {"dontfork", "dofork"} and result.error in {"", "ENOMEM"}:
                slot.inherited = command.advice == "dofork"
            elif command.advice == "dontneed" and slot.kind in COPIED:
                self._drop(slot, result)
            elif command.advice == "free" and slot.kind == "private" and slot.cell is not None:
                slot.cell.maybe(0)
                slot.cell.lazy = True

    def _drop(self, slot: Slot, result: Result) -> None:
        sure = result.error in {"", "ENOMEM"} and slot.kind == "private"
        fresh = Cell(0) if slot.kind != "file_private" else None
        if sure or (slot.kind == "file_private" and result.ok):
            # A new page, so that who holds the old one keeps what it had.
            slot.cell = fresh
        elif slot.cell is not None:
            slot.cell = slot.cell.copy()
            slot.cell.maybe(0)
            if slot.kind == "file_private":
                slot.cell.forget()

    def _maybe_zero(self, slot: Slot) -> bool:
        """Whether the page may be the shared zero page."""
        cell = self.cell(slot)
        return slot.kind in COPIED and (cell is None or cell.values is None or 0 in cell.values)

    def _hold(self, command: c.Gup, result: Result, write: bool, pin: bool) -> Hold:
        cells: list[Cell | None] = []
        got = command.count if result.cpages is None else result.cpages
        for k, (_, slot) in enumerate(self.slots(command)):
            if k >= got:
                break
            known = slot is not None and not slot.unknown
            if known and slot is not None and write:
                cells.append(self.own(slot))
            elif known and slot is not None and pin and not command.longterm and self._maybe_zero(slot):
                # A pin of the shared zero page is none: what is written later goes elsewhere.
                cells.append(None)
            elif known and slot is not None and slot.kind not in CACHED and (pin or slot.kind not in COPIED):
                cells.append(slot.cell)
            else:
                # A plain reference of the zero page or of a page that is shared, or any of a file's or driver's page in
                # a private mapping: a write may copy the page away.
                cells.append(None)
        return Hold(cells, write, pin)
