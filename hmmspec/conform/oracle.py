"""The oracle: what a program may see of its own data, whatever devices and migrations did in between.

NOTE(oracle): it knows what the system calls promise and nothing of pages, devices or locks.  For every page it keeps
the stamps that it may hold; what is read must be one of them, an access that the mapping allows must succeed, one that
it forbids must fail.  Where the outcome is open (an error half-way, MADV_FREE, threads that overlap) it keeps all that
is possible and never guesses: what it reports is wrong for sure.
"""

from __future__ import annotations

from collections.abc import Iterable

from hmmspec.conform import commands as c
from hmmspec.conform.commands import PMD_PAGES, Command
from hmmspec.conform.memory import Memory
from hmmspec.conform.results import DMIRROR_ERROR, DMIRROR_WRITE, TORN, Result
from hmmspec.conform.space import COPIED, Cell, Slot
from hmmspec.conform.target import Finding

# Errors that only failures, injected or of the device, explain.
FAILURES = frozenset({"ENOMEM", "EBUSY", "EINTR", "EAGAIN", "EIO", "SIGBUS", "EFAULT"})


class Oracle:
    """Judges one run, a finished call after the other.

    atomic: whether one access to a page is one moment on this target, so that a torn page is always wrong.
    """

    def __init__(self, atomic: bool = True) -> None:
        self.memory = Memory()
        self.atomic = atomic
        self.failing = False  # a failure was injected: errors that failures explain are accepted from then on
        self._found: list[Finding] = []
        self._call: int | None = None

    def judge(self, command: Command, result: Result, call: int | None = None) -> list[Finding]:
        """A command was called, and returned before anything else was.  What is wrong with its result."""
        self._found, self._call = [], call
        if result.error == "ENOSYS":
            return []
        refused = self.memory.refused(command)
        if refused is None:
            self._learn(command, result)
        elif refused:
            if result.error != refused:
                self._wrong(f"{command} returned {result}; expected {refused}")
        else:
            self._judge(command, result)
        return self._found

    # ---- words

    def _wrong(self, message: str, check: str = "model", name: str = "") -> None:
        self._found.append(Finding(check, message, name, self._call))

    def _expect(self, command: Command, result: Result, allowed: Iterable[str]) -> bool:
        """Whether the error is among the allowed ones ('' is success); tells if not."""
        wanted = set(allowed)
        if result.error in wanted or (self.failing and result.error in FAILURES):
            return True
        told = " or ".join(sorted(w or "success" for w in wanted))
        self._wrong(f"{command} returned {result}; expected {told}")
        return False

    def _learn(self, command: Command, result: Result) -> None:
        """Whether the process exists was not known: the result tells."""
        process = getattr(command, "process", "")
        if result.error == "ESRCH":
            self.memory.unsure.discard(process)
            self.memory.spaces.pop(process, None)
        if isinstance(command, c.Kill) and result.ok:
            self.memory.unsure.discard(process)
            self.memory.spaces.pop(process, None)
        if isinstance(command, c.Fork) and result.ok:
            self.memory.unsure.add(command.child)
        if isinstance(command, c.Store | c.Increment | c.DevWrite | c.Poke):
            # Which memory it shares with others is not known either.
            self.memory.forget_shared()

    # ---- one command

    def _judge(self, command: Command, result: Result) -> None:
        memory = self.memory
        match command:
            case c.Load() | c.Store() | c.Increment():
                self._program(command, result)
            case c.DevRead() | c.DevWrite():
                self._device(command, result)
            case c.MigrateToDevice() | c.Exclusive():
                self._moved(command, result)
            case c.MigrateToSystem():
                self._expect(command, result, self._holes(command, {"", "EINVAL"}, {""}))
            case c.CheckExclusive():
                self._expect(command, result, {"", "EPERM"})
            case c.Snapshot():
                self._snapshot(command, result)
            case c.Gup():
                self._gup(command, result)
            case c.Peek():
                self._peek(command, result)
            case c.Poke(process=process, hold=hold, stamp=stamp):
                if (
                    self._expect(command, result, {""} if memory.spaces[process].holds[hold].write else {"EPERM"})
                    and result.ok
                ):
                    held = memory.spaces[process].holds[hold].cells
                    if None in held:
                        memory.forget_all()
                    for k, held_cell in enumerate(held):
                        if held_cell is not None:
                            held_cell.write(stamp + k)
            case c.FileWrite(file=file, page=page, count=count, stamp=stamp):
                # The file is made as long as it has to be before anything is written.
                cells = memory.files.setdefault(file, [])
                cells.extend(Cell(0) for _ in range(page + count - len(cells)))
                self._expect(command, result, {""})
                for k in range(count):
                    if result.ok:
                        cells[page + k].write(stamp + k)
                    else:
                        cells[page + k].maybe(stamp + k)
            case c.FileRead(file=file, page=page, count=count):
                if self._expect(command, result, {""}) and result.ok:
                    cells = memory.files[file][page : page + count]
                    self._stamps(
                        command, result, [(f"page {page + k} of {file}", cell) for k, cell in enumerate(cells)]
                    )
            case c.Inject() | c.Flags():
                self.failing = self.failing or result.ok
                self._expect(command, result, {""})
            case c.Mmap() | c.Munmap() | c.Mprotect() | c.Mremap() | c.Madvise():
                self._expect(command, result, self._mapping_errors(command))
                memory.restructure(command, result)
            case c.ReleaseMemory():
                # A page that somebody holds cannot be moved off the device.
                busy = any(space.holds for space in memory.spaces.values()) or bool(memory.unsure)
                self._expect(command, result, {"", "EBUSY"} if busy else {""})
            case c.UffdWp():
                # Which areas can be armed is the kernel's business; holes never can.  ENOENT: one that is not armed.
                allowed = {"EINVAL"} if command.on else {"EINVAL", "ENOENT"}
                self._expect(command, result, {"", *allowed} if self._any_mapped(command) else allowed)
                memory.restructure(command, result)
            case c.Fork(process=process):
                # A hugetlb page that is pinned is copied at once, and the pool may be empty.
                slots, holds = memory.spaces[process].slots.values(), memory.spaces[process].holds.values()
                copied = any(s.kind == "hugetlb" or s.unknown for s in slots) and any(h.pin for h in holds)
                self._expect(command, result, {"", "ENOMEM"} if copied else {""})
                memory.restructure(command, result)
            case _:
                self._expect(command, result, {""})
                memory.restructure(command, result)

    def _any_mapped(self, command: c.OfPages) -> bool:
        return any(slot is not None for _, slot in self.memory.slots(command))

    def _mapping_errors(self, command: Command) -> set[str]:
        """The errors that the mapping calls may give ('' among them where success is possible)."""
        space = self.memory.space(getattr(command, "process", ""))
        if isinstance(command, c.OfPages) and not isinstance(command, c.Mmap | c.Munmap):
            if any(slot is not None and slot.unknown for _, slot in self.memory.slots(command)):
                return {"", "ENOMEM", "EINVAL", "EFAULT", "EAGAIN", "EBUSY"}
        match command:
            case c.Mmap(page=page, count=count, kind=kind):
                bad = space.splits_hugetlb(page, count) or (kind == "hugetlb" and (page % 512 or count % 512))
                return (
                    {"EINVAL"}
                    if bad
                    else {"", "ENOMEM"}
                    if kind == "hugetlb"
                    else {"", "EINVAL"}
                    if kind == "device"
                    else {""}
                )
            case c.Munmap(page=page, count=count):
                return {"EINVAL"} if space.splits_hugetlb(page, count) else {""}
            case c.Mprotect(page=page, count=count, prot=prot):
                first, last = space.slots.get(page), space.slots.get(page + count - 1)
                # Where nothing changes nothing is split.
                if first is not None and first.prot != prot and space.cuts_hugetlb(page):
                    return {"EINVAL"}
                if not space.mapped(page, count):
                    return {"ENOMEM"}
                return {"EINVAL"} if last and last.prot != prot and space.cuts_hugetlb(page + count) else {""}
            case c.Mremap(page=page, count=count, to=to):
                count = space.whole(page, count)
                if page < to + count and to < page + count:
                    # Which of two mistakes is told differs between kernels.
                    return {"EINVAL"} if space.mapped(page, 1) else {"EINVAL", "EFAULT"}
                # A range that is several areas of the kernel is EFAULT; where one ends only the kernel knows.
                return {"", "EFAULT", "EINVAL", "ENOMEM"} if space.mapped(page, count) else {"EFAULT", "EINVAL"}
            case c.Madvise(page=page, count=count, advice=advice):
                slots = list(space.range(page, count))
                if advice in {"dontneed", "dontfork", "dofork"} and not any(
                    s and s.kind in {"hugetlb", "device"} for s in slots
                ):
                    return {""} if all(slots) else {"ENOMEM"}
                return {"", "EINVAL", "ENOMEM", "EAGAIN", "EBUSY"}
            case _:
                return {""}

    # ---- accesses

    def _program(self, command: c.Load | c.Store | c.Increment, result: Result) -> None:
        """Page after page, until a signal."""
        write = not isinstance(command, c.Load)
        done, expected = 0, ""
        for _, slot in self.memory.slots(command):
            allowed = self.memory.access(slot, write)
            if allowed is None:
                # Nothing is known of this page: how far the access came tells what happened.
                expected = result.error
                done = max(done, result.cpages if result.cpages is not None else 0)
                break
            if allowed:
                expected = allowed
                break
            done += 1
        exotic = any(s is not None and s.kind in {"hugetlb", "device"} for _, s in self.memory.slots(command))
        if result.error != expected and not (exotic and result.error == "SIGBUS"):
            if not (self.failing and result.error in {"SIGBUS", "ENOMEM"}):
                self._wrong(f"{command} returned {result}; expected {expected or 'success'}")
                return
        got = command.count if result.ok else result.cpages if result.cpages is not None else 0
        exact = bool(result.error) and result.error == expected and not self.failing and not exotic
        if got > command.count or (exact and got != done):
            self._wrong(f"{command} did {got} pages before {result.error or 'its end'}; expected {done}")
            return
        slots = [(page, slot) for page, slot in self.memory.slots(command)][:got]
        if isinstance(command, c.Store):
            for k, (_, slot) in enumerate(slots):
                if (cell := self._changed(slot)) is not None:
                    cell.write(command.stamp + k)
        elif isinstance(command, c.Load):
            self._read(command, result, slots, got)
        elif self._as_many(command, result, got):
            # Two pages may be the same memory: so each is written before the next is read.
            for (page, slot), stamp in zip(slots, result.stamps, strict=True):
                known = None if slot is None or slot.unknown else self.memory.cell(slot)
                self._value(command, f"page {page} of {command.process}", known, stamp)
                if (cell := self._changed(slot)) is not None and stamp != TORN:
                    cell.write(stamp + 1)

    def _changed(self, slot: Slot | None) -> Cell | None:
        if slot is not None and slot.unknown:
            # It may be memory that others share.
            self.memory.forget_shared()
        return None if slot is None or slot.unknown else self.memory.own(slot)

    def _read(self, command: Command, result: Result, slots: list[tuple[int, Slot | None]], count: int) -> None:
        process = getattr(command, "process", "")
        cells = [
            (f"page {page} of {process}", None if slot is None or slot.unknown else self.memory.cell(slot))
            for page, slot in slots
        ]
        self._stamps(command, result, cells, count)

    def _stamps(
        self, command: Command, result: Result, cells: list[tuple[str, Cell | None]], count: int | None = None
    ) -> None:
        """Each stamp that was read against the cell behind it."""
        if not self._as_many(command, result, len(cells) if count is None else count):
            return
        for (told, cell), stamp in zip(cells, result.stamps, strict=False):
            self._value(command, told, cell, stamp)

    def _as_many(self, command: Command, result: Result, wanted: int) -> bool:
        """Whether so many pages were read; tells if not."""
        if len(result.stamps) != wanted:
            self._wrong(f"{command} read {len(result.stamps)} pages instead of {wanted}")
        return len(result.stamps) == wanted

    def _value(self, command: Command, told: str, cell: Cell | None, stamp: int) -> None:
        if stamp == TORN:
            if self.atomic or (cell is not None and cell.values is not None):
                self._wrong(f"{command}: {told} holds words of no stamp (torn or overwritten)", "data", "torn")
            return
        if cell is not None and cell.values is not None:
            before = cell.values
            if not cell.read(stamp):
                held = " or ".join(str(v) for v in sorted(before))
                self._wrong(f"{command}: {told} was read as {stamp}; it must hold {held}", "data", "lost")
                cell.write(stamp)

    # ---- devices

    def _first_bad(self, command: c.OfPages | c.OfMirror, write: bool) -> tuple[int, str | None]:
        """How many pages a device (or GUP) can use, and the error at the next: '' if all, None if not known."""
        for k, (_, slot) in enumerate(self.memory.slots(command)):
            if slot is not None and (slot.unknown or (slot.kind == "device" and slot.readable)):
                # Pages of the driver's own that were dropped do not come back.
                return k, None
            if slot is None or not slot.readable:
                return k, "EFAULT"
            if write and not slot.writable:
                return k, "EPERM"
            if self.memory.beyond(slot):
                return k, "EFAULT"
        return command.count, ""

    def _device(self, command: c.DevRead | c.DevWrite, result: Result) -> None:
        write = isinstance(command, c.DevWrite)
        good, error = self._first_bad(command, write)
        slots = list(self.memory.slots(command))
        allowed = {error or ""}
        demoted = any(s is not None and s.demoted and s.kind in COPIED for _, s in slots[:good])
        if write and (demoted or error == "EPERM"):
            # A read-only entry of the device's own private page is not faulted: the driver warns and gives EFAULT.
            allowed.add("EFAULT")
            good = 0 if result.error == "EFAULT" else good
            error = None if result.error == "EFAULT" else error
        if error is not None and not self._expect(command, result, allowed):
            return
        if isinstance(command, c.DevWrite):
            if any(slot is not None and slot.unknown for _, slot in slots):
                self.memory.forget_shared()
            for k, (_, slot) in enumerate(slots):
                if slot is None or slot.unknown or not (result.ok or k < good or error is None or self.failing):
                    continue
                if (cell := self.memory.own(slot, result.ok)) is None:
                    continue
                if result.ok:
                    cell.write(command.stamp + k)
                else:
                    cell.maybe(command.stamp + k)
        elif result.ok:
            self._read(command, result, slots, command.count)

    def _holes(self, command: c.OfMirror, holes: set[str], otherwise: set[str]) -> set[str]:
        """The errors where a page of the range is not mapped or not readable, and where all are."""
        slots = [slot for _, slot in self.memory.slots(command)]
        if any(s is not None and (s.unknown or s.kind in {"hugetlb", "device"}) for s in slots):
            return holes | otherwise
        return holes if any(s is None or not s.readable for s in slots) else otherwise

    def _moved(self, command: c.MigrateToDevice | c.Exclusive, result: Result) -> None:
        """Whether pages move is for others to judge; what is read back is the data."""
        if isinstance(command, c.MigrateToDevice):
            allowed = self._holes(command, {"EINVAL"}, {"", "ENOENT"})
        else:
            allowed = {"", "EFAULT", "EPERM", "EOPNOTSUPP", "EINVAL", "EBUSY", "ENOENT"}
        if self._expect(command, result, allowed) and result.ok and result.stamps:
            self._read(command, result, list(self.memory.slots(command)), command.count)
        if isinstance(command, c.Exclusive):
            self._copied(command, command.count if result.ok else 0)

    def _copied(self, command: c.OfPages | c.OfMirror, sure: int, count: int | None = None) -> None:
        """Pages were faulted for writing: each of a private file mapping is the process' own now, or perhaps, if not
        among the first so many."""
        for k, (_, slot) in enumerate(list(self.memory.slots(command))[:count]):
            if slot is not None and not slot.unknown and slot.writable:
                self.memory.own(slot, k < sure)

    def _snapshot(self, command: c.Snapshot, result: Result) -> None:
        if not self._expect(command, result, {""}) or not result.ok:
            return
        if len(result.snapshot) != command.count:
            self._wrong(f"{command} gave {len(result.snapshot)} bytes for {command.count} pages")
            return
        for (page, slot), byte in zip(self.memory.slots(command), result.snapshot, strict=True):
            if slot is not None and slot.unknown:
                continue
            hidden = slot is None or not slot.readable
            if hidden != (byte == DMIRROR_ERROR) and not (byte == DMIRROR_ERROR and self._huge(command.process, page)):
                told = "cannot be read" if hidden else "is mapped and readable"
                self._wrong(f"{command}: page {page} {told}, but its byte is {byte:02x}")
            elif not hidden and byte & DMIRROR_WRITE and slot is not None and not slot.writable:
                self._wrong(f"{command}: page {page} is mapped for reading only, but its byte is {byte:02x}")

    def _huge(self, process: str, page: int) -> bool:
        """Whether the page may be part of a 2 MiB page: a foreign device's private one is an error in a snapshot."""
        first = page // PMD_PAGES * PMD_PAGES
        slots = self.memory.space(process).range(first, PMD_PAGES)
        return all(slot is not None and (slot.unknown or slot.kind == "private") for slot in slots)

    # ---- references

    def _gup(self, command: c.Gup, result: Result) -> None:
        good, error = self._first_bad(command, command.write)
        odd = any(s is not None and s.kind not in {"private", "shared"} for _, s in self.memory.slots(command))
        if error is not None and not odd:
            # One page is a success; a first page that cannot be reached is EFAULT, also for want of permission.
            allowed = {""} if good else {"EFAULT"}
            if command.longterm and any(space.holds for space in self.memory.spaces.values()):
                # A page of coherent device memory that somebody holds cannot be moved off it.
                allowed.add("EBUSY")
            if not self._expect(command, result, allowed):
                return
            if result.ok and result.cpages is not None and result.cpages != good and not self.failing:
                self._wrong(f"{command} got {result.cpages} pages; expected {good}")
        if command.write:
            got = command.count if result.cpages is None else result.cpages
            self._copied(command, got if result.ok else 0, good)
        self.memory.restructure(command, result)

    def _peek(self, command: c.Peek, result: Result) -> None:
        if self._expect(command, result, {""}) and result.ok:
            cells = self.memory.spaces[command.process].holds[command.hold].cells
            told = [
                (f"page {k} of the hold '{command.hold}' of {command.process}", cell) for k, cell in enumerate(cells)
            ]
            self._stamps(command, result, told)
