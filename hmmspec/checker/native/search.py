"""One search by the compiled engine, as the explicit engine's `Explored`: verdicts and traces are made from that."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import ENOSPC
from itertools import islice

from hmmspec.checker.explicit.engine import COLLECTED_PER_TRACE, Explored, told_apart
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import LimitReached, Limits, Meter, resident_bytes, show_bytes
from hmmspec.checker.explicit.search import STARTS_LOOKED_AT, Graph, assume_error, first_value_error
from hmmspec.checker.explicit.vacuity import antecedents
from hmmspec.checker.native.bindings import NONE, Counted, Ended, Engine, Library
from hmmspec.checker.native.checkpoint import Saved
from hmmspec.checker.native.orbits import NativeSymmetry, reduced_types
from hmmspec.checker.native.packing import Packing, Stored
from hmmspec.checker.native.replay import Replay, judge_starts, length
from hmmspec.checker.native.saving import Saver, restore
from hmmspec.checker.native.spill import spill_file, spill_folder
from hmmspec.checker.native.unit import Compiled
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import Hashed, Progress
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system import expr as E
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter
from hmmspec.system.system import LeadsTo, Reachable, Recoverable, System
from hmmspec.system.types import Array

SLICE = 0.3  # seconds between two looks at the clock and at the keyboard
_AT_ONCE = 4096  # start states
_RESERVE = 16 << 20  # bytes for everything but states: threads' stacks, traces
_LEAST = 1 << 20
MOST_MISSED = 0.01  # chance of a missed state beyond which a search of hashes shows too little
_PART = 1 << 20  # states of a level looked through for predecessors without a look at the keyboard


class Beyond(Exception):
    """Something that only the Python engine can do; the message says what."""


@dataclass
class NativeGraph(Graph):
    """The engine's store seen as the explicit engine's graph; `paths` holds the parents of the states that were asked
    for in advance."""

    count: int = 0
    paths: dict[int, int] = field(default_factory=dict)

    @property
    def stored(self) -> int:
        return self.count

    def path(self, number: int) -> list[int]:
        out = [number]
        while (parent := self.paths[out[-1]]) >= 0:
            out.append(parent)
        out.reverse()
        return out


def questions(system: System) -> dict[str, E.Expr]:
    """What the engine is asked besides the properties: left sides of implications, and which labels threads reach."""
    out = {key: e for key, (_, _, e) in antecedents(system).items()}
    for t in system.threads:
        for number in range(len(t.labels)):
            out[_label(t.name, number)] = _stands(system, t.place, number)
    return out


def _label(thread: str, number: int) -> str:
    return f"{thread} at label {number}"


def _stands(system: System, place: str, label: int) -> E.Expr:
    """Some thread of this kind stands at the label."""
    v = system.variable(place)
    e: E.Expr = E.Var(v.name, v.type)
    binders: list[E.Binder] = []
    while isinstance(t := e.type, Array):
        name = f"i{len(binders)}"
        binders.append(E.Binder(name, t.index, E.OverType(t.index)))
        e = E.Index(e, E.Local(name, t.index), t.element)
    here: E.Expr = E.Compare("==", e, E.Const(label, e.type))
    return E.Quant("exists", tuple(binders), None, here, here.type) if binders else here


class Search:
    """`run` once, then read `explored`; `close` when its traces are made.

    saver: writes checkpoints, None for none; saved: a checkpoint to go on from.
    """

    def __init__(
        self,
        system: System,
        options: CheckOptions,
        compiled: Compiled,
        library: Library,
        progress: Callable[[Progress], None] | None = None,
        saver: Saver | None = None,
        saved: Saved | None = None,
    ) -> None:
        self.system, self.options, self.compiled = system, options, compiled
        self.saver, self.saved = saver, saved
        self.interp = Interpreter(system)
        self.packing = Packing(self.interp, compiled.layout)
        reduced = reduced_types(system, options)
        self.symmetry = NativeSymmetry(system, reduced, library, self.packing) if reduced else None
        # The engine itself keeps the bounds of memory and states.
        self.meter = Meter(system.name, system.instance, Limits(None, options.seconds, None), progress)
        self.keep = 1 if options.max_traces <= 1 else options.max_traces * COLLECTED_PER_TRACE
        self.findings = Findings(self.keep)
        self.graph = NativeGraph()
        self._begun = False  # whether all start states, or all states of a checkpoint, are entered
        self.memory = _memory(options)
        self.folder = spill_folder(options, compiled)
        self.loaded = library
        self.engine = self._made()

    def __enter__(self) -> Search:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def run(self, judges: Sequence[Callable[[Search, Explored], None]] = ()) -> Explored:
        """Search, and what the search shows.  Raises Beyond; never for limits and interrupts, unless it does not come
        to go on from a checkpoint: Limit, KeyboardInterrupt, Unusable, Foreign."""
        g, before = self.graph, self.meter.seconds
        if self.saved is not None:
            self._restore(self.saved)
        try:
            if self.saved is None:
                self._start()
            if self.saver is not None:
                self.engine.keep_lost()
            self._explore()
        except LimitReached as e:
            g.limit = str(e)
        except KeyboardInterrupt:
            g.interrupted = True
        self._save_last()
        self._judge_the_rest()
        self._count()
        explored = self._explored()
        try:
            self._show(explored)
            for judge in judges:
                judge(self, explored)
        except LimitReached as e:
            g.limit = g.limit or str(e)
        except KeyboardInterrupt:
            g.interrupted = True
        explored.explore_seconds = self.meter.seconds - before
        return explored

    # ------------------------------------------------------------ the search

    def _start(self) -> None:
        error, count, looked, most = first_value_error(self.interp), 0, 0, self.options.states
        pack, starts = self.packing.pack, self.interp.initial(lambda: self.meter.tick("start", count))
        try:
            while error is None and (chunk := list(islice(starts, _AT_ONCE))):
                count = self.engine.start(b"".join(map(pack, chunk)), len(chunk))
                looked += len(chunk)
                if self.engine.counted().stopped:
                    return
                if most is not None and looked > STARTS_LOOKED_AT * most:
                    raise LimitReached(f"limit of {most} states")
        except SpecFault as e:  # start states are made one by one, as they are asked for
            error = assume_error(e.fault)
            self.engine.close()
            self.engine = self._made()  # what the other start states showed does not count
        if error is not None:
            self.findings.add("spec_error", error)
            self.graph.start_erred = True

    def _made(self) -> Engine:
        """An engine without states."""
        threads = self.options.threads or cores()
        with spill_file(self.folder) as file:
            return Engine(self.loaded, self.memory, self.options.states, threads, self.keep, self.options.seed, file)

    def _restore(self, saved: Saved) -> None:
        most, there = self.options.states, saved.header.states
        if most is not None and most < there:
            raise Limit(f"limit of {most} states, and the checkpoint holds {there}")
        try:
            restore(saved, self.system, self.compiled, self.engine, self.meter)
        except LimitReached as e:
            raise Limit(str(e)) from None
        saved.close()  # the next checkpoint takes its place: its space on disk is free then
        if self.saver is not None:
            self.saver.resumed(saved.header.states)

    def _save_last(self) -> None:
        """Where the search ended early, or is over and whole runs are still to be judged, so that only that is lost."""
        whole = bool(self.compiled.runs.recoverables or self.compiled.runs.leads)
        if self.saver is None or not self._begun or (self.graph.complete and not whole):
            return
        hashed = self._hashed(self.engine.counted())
        if hashed is not None and hashed.missed > MOST_MISSED:
            self.saver.drop()  # it does not get better by going on
            return
        try:
            self.saver.save(self.engine, self.meter.seconds, searched=self.graph.complete)
        except KeyboardInterrupt:  # the one before stays
            self.graph.interrupted = True

    def _explore(self) -> None:
        every = self.saver.every if self.saver is not None else SLICE
        stopped = self.graph.start_erred or self.engine.counted().stopped
        self._begun = self.saved is not None or not stopped
        while True:
            if self.saver is not None and self.saver.due():
                self.saver.save(self.engine, self.meter.seconds)
            ended = self.engine.run(min(SLICE, every))
            now = self.engine.counted()
            match ended:
                case Ended.DONE:
                    self._look_at_hashes(now)
                    self.graph.complete = True
                    return
                case Ended.OVERFLOW:
                    raise Beyond("a number does not fit 64 bits")
                case Ended.CHOICES:
                    raise Beyond("a step makes too many choices one after another")
                case Ended.NO_ROOM | Ended.NO_MEMORY:
                    raise LimitReached(self._full(now.states))
                case Ended.NO_DISK:
                    raise LimitReached(self._disk_full(now.disk_full))
                case Ended.TIME | Ended.STOPPED:
                    self._look_at_hashes(now)
                    self.meter.tick("search", now.states, now.frontier, now.transitions, now.depth)

    def _full(self, states: int) -> str:
        if self.options.states is not None and states >= self.options.states:
            return f"limit of {self.options.states} states"
        if states >= NONE - 64:
            return f"limit of {states} states"
        return f"memory limit of {show_bytes(self.options.memory or self.memory)}"

    def _disk_full(self, error: int) -> str:
        return f"no room left on {self.folder}" + ("" if error == ENOSPC else f" ({os.strerror(error)})")

    def _hashed(self, now: Counted) -> Hashed | None:
        bits = self.compiled.hash_bits
        return Hashed(bits, now.compared) if bits else None

    def _look_at_hashes(self, now: Counted) -> None:
        hashed = self._hashed(now)
        if hashed is not None and hashed.missed > MOST_MISSED:
            raise LimitReached(f"limit of {MOST_MISSED:.0%} for the chance of a missed state")

    def _judge_the_rest(self) -> None:
        """Where the search ended early, what was found and not expanded is judged all the same."""
        if self.graph.complete:
            return
        at = 0
        try:
            while at < self.engine.counted().states:
                at = self.engine.judge(at, SLICE)
        except KeyboardInterrupt:
            self.graph.interrupted = True

    def _count(self) -> None:
        g, now = self.graph, self.engine.counted()
        g.count = now.states
        g.full = now.full_states
        if self.symmetry is not None:
            self.symmetry.exact = now.orbits
        g.transitions, g.depth, g.expanded = now.transitions, now.depth, now.states - now.frontier
        g.fired, g.erred = self.engine.fired(len(self.system.rules))

    # ------------------------------------------------------------ what it shows

    def _explored(self) -> Explored:
        asked, judged = self.compiled.questions, self.compiled.judged
        flags = self.engine.flags(len(asked) + len(judged))
        answered = {key for key, yes in zip(asked, flags, strict=False) if yes}
        self.findings.unjudged |= {name for name, yes in zip(judged, flags[len(asked) :], strict=True) if yes}
        vacuous = antecedents(self.system).keys()
        whole = {p.name for p in self.system.properties if isinstance(p, LeadsTo | Recoverable)}
        return Explored(
            self.interp,
            self.graph,
            self.states(),
            self.symmetry,
            (),
            None,
            self.findings,
            {},
            whole if not self.graph.start_erred else set(),
            set(vacuous) - answered,
            None,
            None,
            0.0,
            self.meter,
            engine="native",
            hashed=self._hashed(self.engine.counted()),
            unreduced=told_apart(self.system) if self.options.symmetry and not self.options.hash_bits else (),
            visited={
                t.place: {n for n in range(len(t.labels)) if _label(t.name, n) in answered} for t in self.system.threads
            },
        )

    def states(self) -> Stored:
        """The stored states."""
        return Stored(self.packing, self.engine.memory(self.packing.size, self.graph.count), self.graph.count)

    def _show(self, explored: Explored) -> None:
        """The findings of the kept states, each confirmed by the interpreter, and the paths to them."""
        judge_starts(self.interp, explored.states[: next(iter(self.engine.level_ends()), 0)], self.findings, self.meter)
        replay = Replay(self.interp)
        reachables = {p.name for p in self.system.properties if isinstance(p, Reachable)}
        wanted = {f.number for found in self.findings.by_name.values() for f in found if f.number >= 0}
        for name, kept in self._kept():
            if name in reachables:
                kept = kept[:1]
            for number, run_length in kept:
                for f in self._confirmed(replay, explored, name, number, run_length):
                    self.findings.add(name, f)
                    wanted.add(number)
        self.trace(wanted)

    def _kept(self) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        for i, name in enumerate(self.compiled.findings):
            yield name, self.engine.kept(i)

    def _confirmed(self, replay: Replay, explored: Explored, name: str, number: int, run_length: int) -> list[Finding]:
        depth = self.level(number)
        found = replay.findings(number, explored.states[number]).get(name, [])
        found = [f for f in found if length(depth, f) == run_length]
        if not found:
            raise InternalError(f"the native engine reports {name}, and the interpreter does not see it")
        return found

    # ------------------------------------------------------------ paths

    def level(self, number: int) -> int:
        """Length of a shortest run to a state."""
        return bisect_right(self.engine.level_ends(), number)

    def trace(self, numbers: set[int]) -> None:
        """Make the paths to these states known, level by level from the last one back, all of a level together."""
        ends = self.engine.level_ends()
        begins = [0, *ends]
        levels: dict[int, set[int]] = {}
        for n in numbers - self.graph.paths.keys():
            levels.setdefault(bisect_right(ends, n), set()).add(n)
        words = self.states().words
        for level in range(max(levels, default=0), 0, -1):
            targets = sorted(levels.get(level, ()))
            if not targets:
                continue
            packed = b"".join(words(n) for n in targets)
            found = [NONE] * len(targets)
            for begin in range(begins[level - 1], ends[level - 1], _PART):
                found = self.engine.predecessors(begin, min(begin + _PART, ends[level - 1]), packed, found)
            for n, parent in zip(targets, found, strict=True):
                if parent == NONE:
                    raise InternalError("a state of the native engine has no predecessor")
                self.graph.paths[n] = parent
                if parent not in self.graph.paths:
                    levels.setdefault(level - 1, set()).add(parent)
        for n in levels.get(0, ()):
            self.graph.paths[n] = -1


def cores() -> int:
    """How many threads can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory(options: CheckOptions) -> int:
    """Bytes for the engine: what is allowed, without what the process has already."""
    allowed = options.memory
    if allowed is None:
        allowed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4 * 3
    return max(_LEAST, allowed - resident_bytes() - _RESERVE)
