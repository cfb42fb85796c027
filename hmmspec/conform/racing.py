"""The oracle for calls that overlap: which values may be read, and what is known afterwards.

NOTE(episodes): a log is cut into *episodes*, from the first call until none is open.  An episode of one call is judged
exactly.  In a longer one a page whose mapping no call of the episode changes is still judged as a register is: a value
may be read if it was written before or during the read, and nothing else was surely written in between.  Of pages whose
mapping changes meanwhile only garbage is reported, and afterwards what is not sure is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.memory import Memory
from hmmspec.conform.oracle import FAILURES, Oracle
from hmmspec.conform.results import TORN, Result
from hmmspec.conform.space import Cell, Slot
from hmmspec.conform.target import Event, Finding, Target

# Calls that change what is mapped, or who exists.
LIFE = (c.Spawn, c.Fork, c.Exit, c.Kill)
MAPPING = (c.Mmap, c.Munmap, c.Mremap, c.Mprotect, c.Madvise)
OTHER = (c.Gup, c.Unpin, c.Open, c.Close, c.FileWrite, c.ClearSoftDirty, c.UffdWp)
DESTRUCTIVE = frozenset({"dontneed", "free"})


@dataclass
class Call:
    """One call of a log with the positions of its two events."""

    number: int
    command: Command
    start: int
    end: int = -1
    result: Result = field(default_factory=Result)

    def before(self, other: Call) -> bool:
        """Whether it had returned when the other began."""
        return self.end < other.start


@dataclass
class _Register:
    """All that an episode does to one cell."""

    cell: Cell
    told: str
    writes: list[tuple[Call, int, bool]] = field(default_factory=list)  # call, value, surely written
    reads: list[tuple[Call, int]] = field(default_factory=list)

    def wrong(self, atomic: bool) -> Iterable[tuple[Call, int]]:
        """The reads that no order of the writes explains."""
        for call, value in self.reads:
            if value == TORN:
                others = [w for w, _, _ in self.writes if not w.before(call) and not call.before(w) and w is not call]
                if atomic or not (others or self.cell.values is None):
                    yield call, value
            elif not self._possible(call, value):
                yield call, value

    def _possible(self, call: Call, value: int) -> bool:
        if self.cell.values is None or (self.cell.lazy and value == 0):
            return True
        sure = [w for w, _, surely in self.writes if surely]
        if value in self.cell.values and not any(w.before(call) for w in sure):
            return True
        return any(
            v in (value, TORN) and not call.before(w) and not any(w.before(o) and o.before(call) for o in sure)
            for w, v, _ in self.writes
        )

    def settle(self, atomic: bool) -> None:
        """What the cell may hold after the episode."""
        if not self.writes:
            return
        sure = [w for w, _, surely in self.writes if surely]
        last = {v for w, v, _ in self.writes if not any(w.before(o) for o in sure)}
        if self.cell.values is None:
            if sure:
                self.cell.write(*last)
        elif sure:
            self.cell.write(*last)
        else:
            self.cell.maybe(*last)
        at_once = any(
            not a.before(b) and not b.before(a) for a, _, _ in self.writes for b, _, _ in self.writes if a is not b
        )
        if TORN in last or (at_once and not atomic):
            self.cell.forget()


class DataJudge:
    """The oracle over a whole log: give it the events one by one.

    atomic: whether one access to a page is one moment on the target (`Target.atomic`).
    """

    name = "data"

    def __init__(self, atomic: bool = True) -> None:
        self.begin_again(atomic)

    def begin_again(self, atomic: bool) -> None:
        """Forget everything: a new run begins."""
        self.oracle = Oracle(atomic)
        self._open: dict[int, Call] = {}
        self._done: list[Call] = []
        self._clock = 0

    def begin(self, target: Target) -> None:
        """A run on this target begins."""
        self.begin_again(target.atomic)

    def finish(self) -> list[Finding]:
        """The run has ended."""
        return []

    def readable(self) -> list[tuple[str, int, int]]:
        """What can be read back now: process, first page and number of pages of each mapped and readable run."""
        out: list[tuple[str, int, int]] = []
        memory = self.oracle.memory
        for process, space in memory.spaces.items():
            for page in sorted(space.slots):
                slot = space.slots[page]
                if process in memory.unsure or slot.unknown or not slot.readable or memory.beyond(slot):
                    continue
                if out and out[-1][0] == process and out[-1][1] + out[-1][2] == page:
                    out[-1] = (process, out[-1][1], out[-1][2] + 1)
                else:
                    out.append((process, page, 1))
        return out

    def feed(self, event: Event) -> list[Finding]:
        """What is wrong, at the end of an episode."""
        self._clock += 1
        if event.command is not None:
            self._open[event.call] = Call(event.call, event.command, self._clock)
            return []
        call = self._open.pop(event.call, None)
        if call is None or event.result is None:
            return []
        call.end, call.result = self._clock, event.result
        self._done.append(call)
        if self._open:
            return []
        episode, self._done = self._done, []
        if len(episode) == 1:
            return self.oracle.judge(call.command, call.result, call.number)
        return _episode(self.oracle, sorted(episode, key=lambda x: x.start))


def _episode(oracle: Oracle, calls: Sequence[Call]) -> list[Finding]:
    memory = oracle.memory
    if any(isinstance(x.command, c.Inject | c.Flags) for x in calls):
        oracle.failing = True
    unstable = _Unstable(memory, calls)
    unstable.lengthen()
    unclear = any(unstable.unclear(x.command) for x in calls)
    if unclear:
        memory.forget_shared()
    if any(isinstance(x.command, c.Poke) and None in _hold(memory, x.command) for x in calls):
        memory.forget_all()
    found: list[Finding] = []
    registers: dict[int, _Register] = {}
    for call in calls:
        _take_copies(memory, call.command)
    for call in calls:
        found += _access(oracle, call, unstable, registers)
    for register in registers.values():
        for call, value in register.wrong(oracle.atomic):
            held = "anything" if register.cell.values is None else " or ".join(map(str, sorted(register.cell.values)))
            written = ", ".join("?" if v == TORN else str(v) for _, v, _ in register.writes) or "nothing"
            shown = "words of no stamp" if value == TORN else value
            message = f"{call.command}: {register.told} was read as {shown}; it held {held}, and {written} was written"
            found.append(Finding("data", message, "torn" if value == TORN else "lost", call.number))
    for register in registers.values():
        register.settle(oracle.atomic)
    unstable.apply()
    if unclear:
        # Also what came into being meanwhile.
        memory.forget_shared()
    return found


class _Unstable:
    """What an episode does to mappings and processes."""

    def __init__(self, memory: Memory, calls: Sequence[Call]) -> None:
        self.memory = memory
        self.calls = [x for x in calls if isinstance(x.command, LIFE + MAPPING + OTHER)]
        self.processes: set[str] = set()
        self.writes = [x.command for x in calls if isinstance(x.command, c.FileWrite)]
        self.before = {w.file: len(memory.files.get(w.file, [])) for w in self.writes}  # how long each file was
        self.pages: set[tuple[str, int]] = set()
        for call in self.calls:
            self._mark(call.command)

    def _mark(self, command: Command) -> None:
        match command:
            case c.Fork(process=process, child=child):
                # The parent's pages stay; what the child sees of them depends on the moment.
                self.processes.add(child)
            case c.Spawn(process=process) | c.Exit(process=process) | c.Kill(process=process):
                self.processes.add(process)
            case c.Mremap(process=process, page=page, count=count, to=to):
                self.pages |= {(process, p) for at in (page, to) for p in range(at, at + count)}
            case c.Mmap(process=process, page=page, count=count) | c.Munmap(process=process, page=page, count=count):
                self.pages |= {(process, p) for p in range(page, page + count)}
            case c.Mprotect(process=process, page=page, count=count):
                self.pages |= {(process, p) for p in range(page, page + count)}
            case c.Madvise(process=process, page=page, count=count, advice=advice) if advice in DESTRUCTIVE:
                self.pages |= {(process, p) for p in range(page, page + count)}
            case _:
                pass

    def touched(self, process: str, page: int) -> bool:
        """Whether the mapping of a page may change during the episode."""
        return process in self.processes or (process, page) in self.pages

    def lengthen(self) -> None:
        """Make the files as long as this episode makes them: whoever comes late enough finds their new pages."""
        for write in self.writes:
            cells = self.memory.files.setdefault(write.file, [])
            cells.extend(Cell(0) for _ in range(write.page + write.count - len(cells)))

    def grows(self, slot: Slot) -> bool:
        """Whether the file may have ended before this page."""
        return slot.kind in {"file", "file_private"} and slot.index >= self.before.get(slot.source or "", 1 << 62)

    def unclear(self, command: Command) -> bool:
        """Whether a command writes to memory, nobody knows which, that others may share."""
        process = getattr(command, "process", "")
        if not isinstance(command, c.Store | c.Increment | c.DevWrite | c.Poke) or process not in self.memory.spaces:
            return isinstance(command, c.Store | c.Increment | c.DevWrite | c.Poke)
        if isinstance(command, c.OfPages | c.OfMirror) and any(s and s.unknown for _, s in self.memory.slots(command)):
            return True
        moved = {o.command.process for o in self.calls if _brings_shared(o.command)}  # type: ignore[attr-defined]
        return process in moved or process in self.processes or process in self.memory.unsure

    def apply(self) -> None:
        """Do the changes in the order of their ends; where two that overlap meet, nothing is known afterwards."""
        memory = self.memory
        for call in sorted(self.calls, key=lambda x: x.end):
            others = [o for o in self.calls if o is not call and not o.before(call) and not call.before(o)]
            self._apply(call, others)
        for process in list(memory.spaces):
            if process in self.processes and process in memory.unsure:
                memory.spaces.pop(process, None)

    def _apply(self, call: Call, others: Sequence[Call]) -> None:
        memory, command, result = self.memory, call.command, call.result
        process = getattr(command, "process", "")
        if process in memory.unsure and not isinstance(command, c.Kill | c.Spawn):
            if isinstance(command, c.Fork) and result.ok:
                memory.unsure.add(command.child)
            return
        name = command.child if isinstance(command, c.Fork) else process
        if isinstance(command, LIFE) and any(
            isinstance(o.command, LIFE) and _names(o.command) & {name, process} for o in others
        ):
            memory.unsure |= {name} if isinstance(command, c.Fork) else {process}
            return
        if result.error == "SIGKILL" and not isinstance(command, c.Kill):
            # Its process is gone; what it did to others may have happened.
            if isinstance(command, c.Fork):
                memory.unsure.add(command.child)
            return
        if process and process not in memory.spaces and not isinstance(command, c.Spawn):
            return
        if result.ok or not isinstance(command, LIFE):
            memory.restructure(command, result)
        if isinstance(command, c.Fork) and result.ok:
            self._child(command, call)
        if isinstance(command, c.Gup) and command.hold is not None and others and result.ok:
            hold = memory.spaces[process].holds[command.hold]
            hold.cells = [None] * len(hold.cells)
        if isinstance(command, MAPPING):
            self._doubt(command, others)
            if (
                isinstance(command, c.Mprotect)
                and not result.ok
                and any(isinstance(o.command, MAPPING) for o in others)
            ):
                # How far it came depends on where the hole was at that moment.
                memory.space(process).doubt(command.page, command.count)

    def _child(self, command: c.Fork, call: Call) -> None:
        """The child of a fork that overlaps other calls: of what they change nothing is known."""
        child = self.memory.spaces[command.child]
        others = [o for o in self.calls if o is not call and getattr(o.command, "process", "") == command.process]
        for o in others:
            if isinstance(o.command, MAPPING):
                child.doubt(o.command.page, o.command.count)
                if isinstance(o.command, c.Mremap):
                    child.doubt(o.command.to, o.command.count)
        for slot in child.slots.values():
            if slot.cell is not None and slot.kind in {"private", "hugetlb", "device", "file_private"}:
                slot.cell.forget()

    def _doubt(self, command: Command, others: Sequence[Call]) -> None:
        assert isinstance(command, c.OfPages)
        if isinstance(command, c.Madvise) and command.advice not in DESTRUCTIVE:
            return
        space = self.memory.space(command.process)
        mine = _ranges(command)
        for o in others:
            if not isinstance(o.command, c.OfPages) or o.command.process != command.process:
                continue
            if isinstance(o.command, MAPPING) and _order_matters(command, o.command):
                for page, count in mine:
                    for page2, count2 in _ranges(o.command):
                        first, last = max(page, page2), min(page + count, page2 + count2)
                        if first < last:
                            space.doubt(first, last - first)
                            for moved in (command, o.command):
                                if isinstance(moved, c.Mremap):
                                    # What moved may have been changed before or not at all.
                                    space.doubt(moved.page, moved.count)
                                    space.doubt(moved.to, moved.count)
        # An access that overlaps may have come before or after.
        for page, count in mine:
            for slot in space.range(page, count):
                if slot is None or isinstance(command, c.Mprotect):
                    continue
                if slot.cell is None and slot.kind == "file_private":
                    slot.cell = Cell()
                if slot.cell is not None:
                    slot.cell.forget()


def _nothing_done(call: Call) -> bool:
    """Whether a call surely changed nothing."""
    match call.command:
        case c.Mremap(page=page, count=count, to=to):
            return call.result.error == "EINVAL" and page < to + count and to < page + count
        case _:
            return call.result.error in {"ESRCH", "EEXIST", "ENOSYS", "EBADF"}


def _brings_shared(command: Command) -> bool:
    """Whether shared memory is at another place afterwards."""
    return isinstance(command, c.Mremap) or (isinstance(command, c.Mmap) and command.kind == "file")


def _order_matters(a: Command, b: Command) -> bool:
    """Whether what is mapped in the end depends on which of two mapping calls came first."""
    if isinstance(a, c.Madvise) or isinstance(b, c.Madvise):
        return False
    return not (isinstance(a, c.Munmap | c.Mprotect) and isinstance(b, c.Munmap | c.Mprotect)) or type(
        a
    ) is c.Mprotect is type(b)


def _names(command: Command) -> set[str]:
    return {getattr(command, "process", ""), getattr(command, "child", "")} - {""}


def _ranges(command: c.OfPages) -> list[tuple[int, int]]:
    if isinstance(command, c.Mremap):
        return [(command.page, command.count), (command.to, command.count)]
    return [(command.page, command.count)]


def _copies(command: Command) -> bool:
    """Whether a command faults pages for writing: of a private file mapping they become the process' own."""
    writes = isinstance(command, c.Store | c.Increment | c.DevWrite | c.Exclusive)
    return writes or (isinstance(command, c.Gup) and command.write)


def _take_copies(memory: Memory, command: Command) -> None:
    """Pages that become copies of a file's at some moment of the episode: what they hold until then is not known."""
    process = getattr(command, "process", "")
    if isinstance(command, c.OfPages | c.OfMirror) and _copies(command) and process in memory.spaces:
        for _, slot in memory.slots(command):
            if slot is not None and not slot.unknown and slot.writable:
                memory.own(slot, False)


def _access(oracle: Oracle, call: Call, unstable: _Unstable, registers: dict[int, _Register]) -> list[Finding]:
    """Note the reads and writes of one call; report errors that nothing explains."""
    memory, command, result = oracle.memory, call.command, call.result

    def register(told: str, cell: Cell) -> _Register:
        return registers.setdefault(id(cell), _Register(cell, told))

    if isinstance(command, c.FileWrite):
        for k, written in enumerate(memory.files[command.file][command.page : command.page + command.count]):
            at = register(f"page {command.page + k} of {command.file}", written)
            at.writes.append((call, command.stamp + k, result.ok))
        return []
    if not isinstance(command, c.OfPages | c.OfMirror):
        return _held(memory, call, register)
    process = command.process
    if process in memory.unsure or process not in memory.spaces or process in unstable.processes:
        return []
    writes = isinstance(command, c.Store | c.Increment | c.DevWrite)
    found: list[Finding] = []
    done = result.cpages or 0
    for k, (page, slot) in enumerate(memory.slots(command)):
        shaky = unstable.touched(process, page) or slot is None or slot.unknown
        if shaky or slot is None:
            if k < len(result.stamps) and result.stamps[k] == TORN and oracle.atomic:
                message = f"{command}: page {page} of {process} holds words of no stamp (torn or overwritten)"
                found.append(Finding("data", message, "torn", call.number))
            if writes and slot is not None and not slot.unknown and (mine := memory.own(slot, False)) is not None:
                # Others who share the page may see it.
                told = f"page {page} of {process}"
                register(told, mine).writes += [(call, value, False) for value in _written(command, result, k)]
            continue
        surely = writes and (result.ok or (k < done and not isinstance(command, c.DevWrite)))
        cell = memory.cell(slot)
        if cell is None:
            continue
        at = register(f"page {page} of {process}", cell)
        if k < len(result.stamps):
            at.reads.append((call, result.stamps[k]))
        if slot.writable:
            at.writes += [(call, value, surely) for value in _written(command, result, k)]
            if isinstance(command, c.Increment) and k >= len(result.stamps):
                # The page at which it was stopped may have been written, with what nobody was told.
                cell.forget()
    return found + _error(oracle, call, unstable)


def _written(command: Command, result: Result, k: int) -> list[int]:
    """What a command writes to the page number k of its range, if anything; TORN: nobody knows what."""
    match command:
        case c.Store(stamp=stamp) | c.DevWrite(stamp=stamp):
            return [stamp + k]
        case c.Increment() if k < len(result.stamps):
            return [TORN if result.stamps[k] == TORN else result.stamps[k] + 1]
        case _:
            return []


def _hold(memory: Memory, command: c.Poke) -> Sequence[Cell | None]:
    """The cells of the hold that is written to; one that is taken in this very episode is unknown."""
    hold = memory.space(command.process).holds.get(command.hold)
    return (None,) if hold is None else hold.cells


def _held(memory: Memory, call: Call, register: Callable[[str, Cell], _Register]) -> list[Finding]:
    """Peek and Poke: the cells of a hold."""
    command, result = call.command, call.result
    if isinstance(command, c.Peek | c.Poke) and (space := memory.spaces.get(command.process)) is not None:
        hold = space.holds.get(command.hold)
        for k, cell in enumerate(hold.cells if hold is not None else []):
            if cell is None:
                continue
            at = register(f"page {k} of the hold '{command.hold}'", cell)
            if isinstance(command, c.Peek) and k < len(result.stamps):
                at.reads.append((call, result.stamps[k]))
            elif isinstance(command, c.Poke):
                at.writes.append((call, command.stamp + k, result.ok))
    return []


def _error(oracle: Oracle, call: Call, unstable: _Unstable) -> list[Finding]:
    """An access to pages whose mapping nobody changes, that fails although it must not (or the other way round)."""
    command, result, memory = call.command, call.result, oracle.memory
    if not isinstance(command, c.Load | c.Store | c.Increment) or result.error == "SIGKILL":
        return []
    if oracle.failing and result.error in FAILURES:
        return []
    process = command.process
    allowed = []
    for page, slot in memory.slots(command):
        if unstable.touched(process, page) or (
            slot is not None and (slot.unknown or slot.kind in {"hugetlb", "device"} or unstable.grows(slot))
        ):
            return []
        allowed.append(memory.access(slot, not isinstance(command, c.Load)))
    expected = next((a for a in allowed if a), "")
    if result.error == expected:
        return []
    return [Finding("model", f"{command} returned {result}; expected {expected or 'success'}", "", call.number)]
