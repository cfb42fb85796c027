"""Random runs by compiled code (simulate.c); where that cannot be, the interpreter does the same runs, and says why."""

from __future__ import annotations

import ctypes as c
import time
from collections.abc import Callable
from dataclasses import replace

from hmmspec.checker.explicit.chance import Chance
from hmmspec.checker.explicit.limits import LimitReached, Limits, Meter
from hmmspec.checker.explicit.simulation import PHASE, Beginning, Outcome, Shown, Walked, kept, simulate_here, wanted
from hmmspec.checker.native.bindings import Ended, Library
from hmmspec.checker.native.engine import Unable, instead, load_library, write_c
from hmmspec.checker.native.packing import Packing
from hmmspec.checker.native.search import SLICE, cores
from hmmspec.checker.native.unit import Compiled, generate
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.simulate import simulate, simulated
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.clib.compile import CannotCompile, compiler
from hmmspec.diagnostics import Limit
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import System

FEW = 50_000  # steps up to which `auto` stays with the interpreter: a compiler takes longer
_NO_END = (1 << 64) - 1
_WHY_NOT = {
    Ended.OVERFLOW: "a number does not fit 64 bits",
    Ended.CHOICES: "a step makes too many choices one after another",
    Ended.NO_MEMORY: "the system does not give the memory",
}


class _Shown(c.Structure):
    _fields_ = (("run", c.c_uint64), ("at", c.c_int), ("length", c.c_int))


class _Walked(c.Structure):
    _fields_ = (("runs", c.c_uint64), ("steps", c.c_uint64), ("judged", c.c_uint64), ("longest", c.c_int))


class Runs:
    """The random runs of one spec.  starts: packed, where they begin.  To be closed.  Raises Unable."""

    def __init__(self, library: Library, compiled: Compiled, rules: int, starts: bytes, options: CheckOptions) -> None:
        self.dll, self.compiled, self.rules = library.dll, compiled, rules
        self.size = 8 * compiled.words
        self.runs, self.keep = wanted(options), kept(options)
        self._starts = starts  # the runs read them
        many = _NO_END if self.runs.runs is None else min(self.runs.runs, _NO_END)
        pointer, number, u64 = c.c_void_p, c.c_int, c.c_uint64
        places = c.POINTER(_Shown)
        self._declare("random_new", pointer, c.c_char_p, u64, u64, u64, number, number, number)
        self._declare("random_free", None, pointer)
        self._declare("random_go", number, pointer, c.c_double)
        self._declare("random_walked", None, pointer, c.POINTER(_Walked), c.POINTER(u64))
        self._declare("random_shown", number, pointer, number, places)
        self._declare("random_pair", number, pointer, number, number, places)
        self._declare("random_path", None, pointer, u64, number, c.c_char_p)
        seed, threads = Chance(options.seed).seed, options.threads or cores()
        self.pointer = self.dll.random_new(
            starts, len(starts) // self.size, seed, many, self.runs.depth, threads, self.keep
        )
        if not self.pointer:
            raise Unable(_WHY_NOT[Ended.NO_MEMORY])

    def _declare(self, name: str, result: object, *arguments: object) -> None:
        function = getattr(self.dll, name)
        function.restype, function.argtypes = result, arguments

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *_: object) -> None:
        self.dll.random_free(self.pointer)

    def go(self, meter: Meter) -> Walked:
        """All runs, or those until a limit; what they came to.  Raises Unable where the interpreter has to do it."""
        limit, interrupted = "", False
        try:
            while True:
                ended = Ended(self.dll.random_go(self.pointer, _slice(meter)))
                if ended is Ended.DONE:
                    break
                if ended is not Ended.TIME:
                    raise Unable(_WHY_NOT.get(ended, ended.name))
                now = self._counted()
                left = self.runs.runs - now.runs if self.runs.runs is not None else 0
                meter.tick(PHASE, now.runs, left, now.steps, now.longest)
        except LimitReached as e:
            limit = str(e)
        except KeyboardInterrupt:
            interrupted = True
        done = self._counted()
        done.limit, done.interrupted = limit, interrupted
        for number, name in enumerate(self.compiled.findings):
            if found := self._shown(number):
                done.shown[name] = found
        done.pairs = self._pairs()
        return done

    def _counted(self) -> Walked:
        now, fired = _Walked(), (c.c_uint64 * (2 * self.rules + 1))()
        self.dll.random_walked(self.pointer, c.byref(now), fired)
        counts = list(fired)
        return Walked(
            now.runs, now.steps, now.judged, now.longest, counts[: self.rules], counts[self.rules : 2 * self.rules]
        )

    def _shown(self, finding: int) -> list[Shown]:
        found = (_Shown * self.keep)()
        n = self.dll.random_shown(self.pointer, finding, found)
        return [Shown(p.length, p.run, p.at) for p in found[:n]]

    def _pairs(self) -> list[tuple[int, int]]:
        n, place = self.compiled.elements, _Shown()
        seen: set[tuple[int, int]] = set()
        for held in range(n):
            for acquired in range(n):
                if self.dll.random_pair(self.pointer, held, acquired, c.byref(place)):
                    seen.add((place.run, place.at))
        return sorted(seen)

    def path(self, run: int, at: int) -> list[bytes]:
        """The packed states 0..at of a run."""
        out = c.create_string_buffer(self.size * (at + 1))
        self.dll.random_path(self.pointer, run, at, out)
        packed = out.raw
        return [packed[i * self.size : (i + 1) * self.size] for i in range(at + 1)]


def _slice(meter: Meter) -> float:
    seconds = meter.limits.seconds
    return SLICE if seconds is None else min(SLICE, max(0.01, seconds - meter.seconds))


def simulate_native(
    system: System, options: CheckOptions, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """As `simulate`, by compiled code; by the interpreter where there is no compiler or the spec is beyond it."""
    begin = time.monotonic()
    meter = Meter(system.name, system.instance, Limits(None, options.seconds, None), progress)
    try:
        report = _native(system, options, meter)
    except Unable as unable:
        report = replace(simulated(simulate_here(system, options, meter), options), remark=instead(unable.why))
    return replace(report, wall_seconds=time.monotonic() - begin)


def simulate_auto(
    system: System, options: CheckOptions, progress: Callable[[Progress], None] | None = None
) -> InstanceReport:
    """As `simulate`: by the interpreter where the runs are few and short, else by compiled code, if that can be."""
    runs = wanted(options)
    few = runs.runs is not None and runs.runs * runs.depth <= FEW
    try:
        compiler()
    except CannotCompile as none:
        report = simulate(system, options, progress)
        return report if few else replace(report, remark=instead(str(none)))
    return simulate(system, options, progress) if few else simulate_native(system, options, progress)


def _native(system: System, options: CheckOptions, meter: Meter) -> InstanceReport:
    try:
        compiled = generate(system, simulated=True)
    except Limit as limit:
        raise Unable(str(limit)) from None
    if options.keep_c is not None:
        write_c(options.keep_c, system, compiled.text)
    seconds = None if options.seconds is None else max(0.001, options.seconds - meter.seconds)
    library, told = load_library(compiled.text, seconds)
    interp = Interpreter(system)
    packing = Packing(interp, compiled.layout)
    beginning = Beginning(interp, Chance(options.seed), meter)
    starts = b"".join(map(packing.pack, beginning.pool))
    idle = not beginning.pool or bool(beginning.limit) or beginning.interrupted
    with Runs(library, compiled, len(system.rules), starts, options) as runs:
        walked = Walked() if idle else runs.go(meter)

        def path(run: int, at: int) -> list[State]:
            return [packing.unpack(words) for words in runs.path(run, at)]

        report = simulated(Outcome(interp, options, meter, beginning, walked, path), options)
    return replace(report, engine="native", remark=told)
