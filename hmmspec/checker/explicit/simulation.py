"""Random runs in Python, and what random runs of either engine come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from hmmspec.checker.explicit.chance import Chance, choice, start_pool
from hmmspec.checker.explicit.engine import COLLECTED_PER_TRACE, Explored
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import LimitReached, Meter
from hmmspec.checker.explicit.locks import LockOrder
from hmmspec.checker.explicit.looker import Looker, length
from hmmspec.checker.explicit.monitors import Faults, Steps
from hmmspec.checker.explicit.refinement import Refinement
from hmmspec.checker.explicit.search import Graph
from hmmspec.checker.explicit.shorten import Shortener, kind_of
from hmmspec.checker.options import CheckOptions, RandomRuns
from hmmspec.checker.verdict import Simulation
from hmmspec.diagnostics import InternalError
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import LeadsTo, Reachable, Recoverable, System

PHASE = "random runs"
_BETWEEN_TICKS = 32  # states


@dataclass(frozen=True, order=True)
class Shown:
    """Where something was found: state number `at` of a run; length: of the run that shows it, which may be a step
    longer.  The least are the ones to keep."""

    length: int
    run: int
    at: int


@dataclass
class Walked:
    """What was done and found.  shown: by finding, the least first, one for each run; pairs: where locks were taken one
    while another was held, in the order of runs; limit, interrupted: what ended it early."""

    runs: int = 0
    steps: int = 0
    judged: int = 0
    longest: int = 0
    fired: list[int] = field(default_factory=list)
    erred: list[int] = field(default_factory=list)
    shown: dict[str, list[Shown]] = field(default_factory=dict)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    limit: str = ""
    interrupted: bool = False


def kept(options: CheckOptions) -> int:
    """How many places are kept of each finding."""
    return 1 if options.max_traces <= 1 else options.max_traces * COLLECTED_PER_TRACE


def states_of(
    interp: Interpreter, pool: list[State], chance: Chance, run: int
) -> Iterator[tuple[State, Steps, Faults]]:
    """The states of a run without end, each with the steps out of it; one without steps is the last."""
    stream = chance.stream(run)
    s = pool[choice(stream, 0, len(pool))]
    at = 0
    while True:
        steps, faults = interp.expand(s)
        yield s, steps, faults
        if not steps:
            return
        at += 1
        s = steps[choice(stream, at, len(steps))][2]


class Beginning:
    """Where random runs begin: `pool`, empty if nothing can begin; `found`: what the starts themselves show."""

    def __init__(self, interp: Interpreter, chance: Chance, meter: Meter) -> None:
        self.pool: list[State] = []
        self.found = Findings()
        self.limit, self.interrupted = "", False
        try:
            meter.tick("start", 0)
            if interp.initial_fault is None:
                self.pool = start_pool(interp, chance, lambda: meter.tick("start", 0))
            else:
                self.found.add("spec_error", Finding(-1, error=interp.initial_fault, message="in the start"))
            self._refines(interp, meter)
        except SpecFault as e:
            self.found.add("spec_error", Finding(-1, error=e.fault, message="in an assume, at the start"))
        except LimitReached as e:
            self.limit = str(e)
        except KeyboardInterrupt:
            self.interrupted = True

    def _refines(self, interp: Interpreter, meter: Meter) -> None:
        plan = interp.system.refinement
        if plan is None:
            return
        refinement = Refinement(interp, plan, self.found)
        for number, s in enumerate(self.pool):
            meter.tick("start", number)
            refinement.begin(number, s)


def walk_randomly(interp: Interpreter, pool: list[State], options: CheckOptions, meter: Meter) -> Walked:
    """Random runs in the interpreter.  Never raises for limits and interrupts."""
    return _Walker(interp, pool, options, meter).walk()


class _Walker:
    def __init__(self, interp: Interpreter, pool: list[State], options: CheckOptions, meter: Meter) -> None:
        self.interp, self.pool, self.meter = interp, pool, meter
        self.wanted = wanted(options)
        self.chance, self.keep = Chance(options.seed), kept(options)
        rules = len(interp.system.rules)
        self.done = Walked(fired=[0] * rules, erred=[0] * rules)
        self.looker = Looker(interp)
        self.order = LockOrder(interp, Findings()) if interp.system.locks else None
        self.turns = 0

    def walk(self) -> Walked:
        done = self.done
        try:
            while self.wanted.runs is None or done.runs < self.wanted.runs:
                done.runs += 1
                self._run(done.runs - 1)
        except LimitReached as e:
            done.limit = str(e)
        except KeyboardInterrupt:
            done.interrupted = True
        return done

    def _run(self, run: int) -> None:
        done, depth = self.done, self.wanted.depth
        found: set[str] = set()
        stream = self.chance.stream(run)
        for at, (s, steps, faults) in enumerate(states_of(self.interp, self.pool, self.chance, run)):
            if self.turns % _BETWEEN_TICKS == 0:
                left = 0 if self.wanted.runs is None else self.wanted.runs - done.runs
                self.meter.tick(PHASE, done.runs, left, done.steps, done.longest)
            self.turns += 1
            self._judge(run, at, s, steps, faults, found)
            if at == depth or not steps:
                return
            # The generator makes the same choice when it goes on.
            done.fired[steps[choice(stream, at + 1, len(steps))][0]] += 1
            done.steps += 1
            done.longest = max(done.longest, at + 1)

    def _judge(self, run: int, at: int, s: State, steps: Steps, faults: Faults, found: set[str]) -> None:
        done = self.done
        done.judged += len(steps) + len(faults)
        for rule, _, _ in faults:
            done.erred[rule] += 1
        if self.order is not None:
            before = len(self.order.edges)
            self.order.see(at, s, steps, faults)
            if len(self.order.edges) > before:
                done.pairs.append((run, at))
        for name, some in self.looker.seen(at, s, steps, faults).items():
            if name not in found:
                found.add(name)
                known = done.shown.setdefault(name, [])
                known.append(Shown(min(length(at, f) for f in some), run, at))
                known.sort()
                del known[self.keep :]


def wanted(options: CheckOptions) -> RandomRuns:
    """What runs the options ask for.  Raises InternalError where they ask for a search."""
    if options.simulate is None:
        raise InternalError("no random runs are asked for")
    return options.simulate


# ---------------------------------------------------------------- what it comes to


@dataclass
class _Paths(Graph):
    """The runs to what was found, one after another."""

    ways: dict[int, list[int]] = field(default_factory=dict)

    def path(self, number: int) -> list[int]:
        return self.ways[number]


@dataclass
class Outcome:
    """What random runs of either engine found.  path: gives the states 0..at of a run, as the engine went it."""

    interp: Interpreter
    options: CheckOptions
    meter: Meter
    beginning: Beginning
    walked: Walked
    path: Callable[[int, int], list[State]]

    def explored(self) -> Explored:
        """The same as what a search explored: runs confirmed by the interpreter, and shortened.

        Raises InternalError where the engine saw something that the interpreter does not.
        """
        system = self.interp.system
        rules = len(system.rules)
        done, begun = self.walked, self.beginning
        self.graph = _Paths(
            fired=done.fired or [0] * rules,
            erred=done.erred or [0] * rules,
            transitions=done.judged,
            depth=done.longest,
            limit=done.limit or begun.limit,
            interrupted=done.interrupted or begun.interrupted,
        )
        # Without any start there is nothing to run: that much is known.
        self.graph.complete = not (begun.pool or begun.found.by_name or begun.limit or begun.interrupted)
        self.findings = Findings(kept(self.options))
        self.states: list[State] = []
        self.looker = Looker(self.interp)
        self.shortener = Shortener(self.interp, self.looker)
        order = self._lock_order() if system.locks else None
        self._confirm()
        whole = {p.name for p in system.properties if isinstance(p, LeadsTo | Recoverable)}
        return Explored(
            self.interp,
            self.graph,
            self.states,
            None,
            (),
            None,
            self.findings,
            {},
            whole,
            set(),
            order,
            None,
            self.meter.seconds,
            self.meter,
        )

    def _confirm(self) -> None:
        for name, found in self.beginning.found.by_name.items():
            for f in found:
                number = f.number if f.number < 0 else self._add([self.beginning.pool[f.number]])
                self.findings.add(name, replace(f, number=number))
        looker, shortener = self.looker, self.shortener
        known: set[object] = set()
        reachables = {p.name for p in self.interp.system.properties if isinstance(p, Reachable)}
        for name, places in self.walked.shown.items():
            for place in places[:1] if name in reachables else places:
                states = self.path(place.run, place.at)
                found = [f for f in looker.findings(0, states[-1]).get(name, ()) if length(place.at, f) == place.length]
                if not found:
                    raise InternalError(f"a random run shows {name}, and the interpreter does not see it")
                kind = kind_of(found[0])
                states = shortener.shorter(states, name, kind)
                if (name, kind, *states) in known:
                    continue
                known.add((name, kind, *states))
                found = [f for f in looker.findings(self._add(states), states[-1])[name] if kind_of(f) == kind]
                self.findings.add(name, min(found, key=lambda f: length(0, f)))
        for some in self.findings.by_name.values():
            some.sort(key=lambda f: length(len(self.graph.path(f.number)), f) if f.number >= 0 else 0)
        self.graph.interrupted |= shortener.interrupted

    def _lock_order(self) -> LockOrder:
        """The pairs of locks that were seen, in words, with runs to those taken in both orders."""
        order = LockOrder(self.interp, self.findings)
        places = list(dict.fromkeys(self.walked.pairs))
        for number, (run, at) in enumerate(places):
            s = self.path(run, at)[-1]
            order.see(number, s, *self.interp.expand(s))
        shown = {f.number for f in order.both_orders()}
        for key, (held, acquired, f) in order.edges.items():
            if f.number in shown:
                number = self._add(self.shortener.across(self.path(*places[f.number])))
                order.edges[key] = (held, acquired, replace(f, number=number))
        return order

    def _add(self, states: Iterable[State]) -> int:
        """Store a run; the number of its last state."""
        first = len(self.states)
        self.states.extend(states)
        last = len(self.states) - 1
        self.graph.ways[last] = list(range(first, last + 1))
        return last

    def simulation(self) -> Simulation:
        """What was done, for the report."""
        runs = wanted(self.options)
        return Simulation(self.walked.runs, runs.depth, self.walked.steps)


def simulate_here(system: System, options: CheckOptions, meter: Meter) -> Outcome:
    """Random runs in Python."""
    interp, chance = Interpreter(system), Chance(options.seed)
    beginning = Beginning(interp, chance, meter)
    walked = Walked()
    if beginning.pool and not beginning.limit and not beginning.interrupted:
        walked = walk_randomly(interp, beginning.pool, options, meter)

    def path(run: int, at: int) -> list[State]:
        out: list[State] = []
        for s, _, _ in states_of(interp, beginning.pool, chance, run):
            out.append(s)
            if len(out) > at:
                break
        return out

    return Outcome(interp, options, meter, beginning, walked, path)
