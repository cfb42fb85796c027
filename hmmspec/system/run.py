"""The interpreter: what a System does.  This is the meaning of a spec; every other engine is tested against it.

A System becomes a module of Python functions (one for each rule, one for each expression asked for), which is compiled
and run.  `Interpreter.source` is that module's text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.analyse import guards
from hmmspec.system.code import Scope, Unit
from hmmspec.system.compile_expr import compile_expr
from hmmspec.system.compile_rule import RuleCompiler, compile_at, compile_probe
from hmmspec.system.convert import converter
from hmmspec.system.expr import Expr, walk
from hmmspec.system.faults import Fault, SpecFault
from hmmspec.system.initial import drawn_slots, has_start_values, initial_slots, start_slots
from hmmspec.system.slots import Layout, State, show_cell, tidy
from hmmspec.system.system import LockWait, Rule, System
from hmmspec.system.types import Array, Set, Type, ordinal, values

__all__ = ["Failure", "Fault", "Interpreter", "LockAttempt", "SpecFault", "State", "Step", "at_most", "first_starts"]

Step = tuple[int, tuple[object, ...], State]
Failure = tuple[int, tuple[object, ...], Fault]

# Deep expressions and long chains of choices recurse, here and in generated code.
RECURSION = 20_000

BETWEEN_TICKS = 128  # candidates for start states


def at_most(candidates: int, error: Exception) -> Callable[[], None]:
    """For `Interpreter.initial`: a tick that raises this after so many candidates."""
    left = iter(range(0, candidates, BETWEEN_TICKS))

    def tick() -> None:
        if next(left, None) is None:
            raise error

    return tick


def first_starts(interp: Interpreter, most: int, candidates: int) -> tuple[list[State], bool]:
    """Up to so many start states, looked for among so many candidates; and whether all of these were looked at before
    there were enough.  Raises SpecFault where an assume errs in one of them."""
    found: dict[State, None] = {}
    try:
        for state in islice(interp.initial(at_most(candidates, _Enough())), most):
            found[state] = None
    except _Enough:
        return list(found), True
    return list(found), False


class _Enough(Exception):
    """So many candidates were looked at."""


@dataclass(frozen=True)
class LockAttempt:
    """One wait on one way that a thread's step can go from a state.

    args: all arguments of the rule; thread, index: who waits; me: the same as a value of the lock's owner type.
    lock, lock_index: for which lock (a name in System.locks); None: it waits for a condition (`await`).
    free: the wait is over in this state; holders: the owners that hold the lock, as values of its owner type.
    """

    args: tuple[object, ...]
    thread: str
    index: tuple[object, ...]
    me: object
    lock: str | None
    lock_index: tuple[object, ...]
    read: bool
    free: bool
    holders: tuple[object, ...]


def make_room() -> None:
    """Let Python recurse as deep as the expressions of a spec may go."""
    if sys.getrecursionlimit() < RECURSION:
        sys.setrecursionlimit(RECURSION)


class Interpreter:
    """Runs one System.  lazy: rules are compiled when they are first wanted.

    Raises Limit where the state would be too large.
    """

    def __init__(self, system: System, *, lazy: bool = False) -> None:
        make_room()
        self.system = system
        self.layout = Layout(system)
        self._unit = Unit(system, self.layout)
        self._cells = self.layout.cells()
        self._compiled: dict[tuple[int, str, tuple[str, ...]], tuple[Expr, Callable[..., object]]] = {}
        self._probes: dict[int, Callable[..., object] | None] = {}
        self._at: dict[int, Callable[..., object]] = {}
        self._locks = {lock.name: lock for lock in system.locks}
        self._rule = {r.number: r for r in system.rules}
        self._written: set[int] = set()
        self._assumes = [self._function(a.body, "s") for a in system.assumes]
        if not lazy:
            for rule in system.rules:
                self._write(rule)
            self._unit.flush()
        self._start: list[object] | None = None
        self.initial_fault: Fault | None = None
        """The fault of an initial value, if one errs: then there are no initial states."""
        try:
            self._start = start_slots(system, self.layout, self._initial_value)
        except SpecFault as f:
            self.initial_fault = f.fault

    @property
    def source(self) -> str:
        """The Python text generated so far."""
        return "\n".join(self._unit.chunks)

    # ------------------------------------------------------------ steps

    def initial(self, tick: Callable[[], None] | None = None) -> Iterator[State]:
        """Every start state that satisfies the assumes; distinct, in a fixed order, made as they are asked for.

        tick: called every so many candidates, those that an assume excludes among them; it may raise to end this.
        Raises SpecFault where an assume errs in a start state.
        """
        if self._start is None:
            return
        for number, slots in enumerate(initial_slots(self.system, self.layout, self._start)):
            if tick is not None and number % BETWEEN_TICKS == 0:
                tick()
            state = self.layout.freeze(slots)
            if self._assumed(state):
                yield state

    def is_start(self, s: State) -> bool:
        """Whether a state, with a value of its type in each variable, is one of `initial`, of which none is made.

        Raises SpecFault where an assume errs in it.
        """
        return (
            self._start is not None and has_start_values(self.system, self.layout, self._start, s) and self._assumed(s)
        )

    def start_of(self, cells: Mapping[str, str]) -> State | None:
        """The start state that `cells` shows so, if there is one.

        Raises SpecFault where an assume errs in a state that is shown so.
        """
        names = [cell.name for cell in self._cells]
        if self._start is None or set(names) != set(cells):
            return None

        def fits(at: int, slots: list[object]) -> bool:
            return all(show_cell(self._cells[at + i], x) == cells[names[at + i]] for i, x in enumerate(slots))

        if not all(first is None or fits(at, [first]) for at, first in enumerate(self._start)):
            return None
        shown = map(self.layout.freeze, initial_slots(self.system, self.layout, self._start, fits))
        return next(filter(self._assumed, shown), None)

    def drawn(self, choose: Callable[[int], int]) -> State | None:
        """One state with start values, not necessarily one of `initial`: None where an assume excludes it.

        choose: which of n values an element with `= any` has.  Raises SpecFault as `initial` does.
        """
        if self._start is None:
            return None
        state = self.layout.freeze(drawn_slots(self.system, self.layout, self._start, choose))
        return state if self._assumed(state) else None

    def _assumed(self, s: State) -> bool:
        """Whether the assumes hold.  Raises SpecFault."""
        return all(a(s) for a in self._assumes)

    @cached_property
    def _steps(self) -> list[Callable[..., object]]:
        """All rules."""
        for rule in self.system.rules:
            self._write(rule)
        return [self._step_of(r.number) for r in self.system.rules]

    def _step_of(self, number: int) -> Callable[..., object]:
        self._write(self._rule[number])
        return self._unit.get(f"rule_{number}")

    def _write(self, rule: Rule) -> None:
        """Add the rule to the module, if it is not there."""
        if rule.number not in self._written:
            self._written.add(rule.number)
            RuleCompiler(self._unit, rule).compile()

    def _raw(self, s: State) -> tuple[list[Step], list[Failure]]:
        out: list[Step] = []
        bad: list[Failure] = []
        try:
            for step in self._steps:
                step(s, out, bad)
        except RecursionError:
            raise Limit("a step makes more choices one after another than can be followed") from None
        return out, bad

    def expand(self, s: State) -> tuple[list[Step], list[Failure]]:
        """All steps out of a state, and the steps that end in a fault.

        Steps: (rule number, arguments, next state), distinct, ordered by rule, arguments and outcome; outcomes that
        break an assume are left out.  Faults: (rule number, arguments, Fault); of one rule and arguments at most one
        of each finding and name, the first.
        """
        out, bad = self._raw(s)
        return (out, bad) if not self._assumes else self._within_assumes(out, bad)

    def expand_rule(
        self, s: State, rule: int, args: tuple[object, ...] | None = None
    ) -> tuple[list[Step], list[Failure]]:
        """`expand`, of the rule with this number alone, or of one choice of its arguments."""
        out: list[Step] = []
        bad: list[Failure] = []
        if args is None:
            self._step_of(rule)(s, out, bad)
        else:
            if rule not in self._at:
                self._at[rule] = self._unit.get(compile_at(self._unit, self._rule[rule], rule in self._written))
            self._at[rule](s, *args, out, bad)
        return (out, bad) if not self._assumes else self._within_assumes(out, bad)

    def _within_assumes(self, out: list[Step], bad: list[Failure]) -> tuple[list[Step], list[Failure]]:
        kept: list[Step] = []
        known: dict[State, bool | Fault] = {}
        failed = {(r, a, f.finding, f.name) for r, a, f in bad}
        for rule, args, after in out:
            if after not in known:
                try:
                    known[after] = self._assumed(after)
                except SpecFault as f:
                    known[after] = f.fault
            verdict = known[after]
            if isinstance(verdict, Fault):
                key = rule, args, verdict.finding, verdict.name
                if key not in failed:
                    failed.add(key)
                    bad.append((rule, args, verdict))
            elif verdict:
                kept.append((rule, args, after))
        return kept, bad

    def enabled(self, s: State, rule: int) -> list[tuple[object, ...]]:
        """The arguments for which the rule has an outcome or a fault, before assumes are applied."""
        out: list[Step] = []
        bad: list[Failure] = []
        self._step_of(rule)(s, out, bad)
        return list(dict.fromkeys([a for _, a, _ in out] + [a for _, a, _ in bad]))

    def dropped_by_assume(self, s: State) -> bool:
        """Whether some step exists here but every result breaks an assume."""
        out, bad = self._raw(s)
        if not out or bad:
            return False
        return self._within_assumes(out, bad) == ([], [])

    # ------------------------------------------------------------ expressions

    def _function(self, e: Expr, states: str, names: tuple[str, ...] = ()) -> Callable[..., object]:
        """The expression as a function of `s`, or `s, n` (the state after), and of the named locals."""
        key = id(e), states, names
        if key not in self._compiled:
            scope = Scope("s", "n" if states == "sn" else None)
            params = list(states)
            for name in names:
                scope, param = scope.declare(name)
                params.append(param)
            code = compile_expr(self._unit, e, scope)
            function = self._unit.number("value")
            self._unit.function(f"{function}({', '.join(params)})", [f"return {code.text}"])
            self._compiled[key] = e, self._unit.get(function)
        return self._compiled[key][1]

    def predicate(self, e: Expr) -> Callable[[State], bool]:
        """A bool expression as a function of the state.  It raises SpecFault on a spec error."""
        function = self._function(e, "s")
        return lambda s: bool(function(s))

    def step_predicate(self, e: Expr) -> Callable[[State, State], bool]:
        """The same of a step: primes read the second state."""
        function = self._function(e, "sn")
        return lambda s, after: bool(function(s, after))

    def truth(self, e: Expr, *, step: bool = False, names: tuple[str, ...] = ()) -> Callable[..., object]:
        """`predicate`, or with `step` `step_predicate`, for inner loops: the result is only true or false to `if`.

        names: free names, whose values the function takes after the states.
        """
        return self._function(e, "sn" if step else "s", names)

    def evaluate(
        self, e: Expr, s: State, after: State | None = None, env: Mapping[str, object] | None = None
    ) -> object:
        """The value, as in NOTE(values), in a state (primes read `after`); `env` gives the values of free names.

        Raises SpecFault on a spec error.
        """
        env = env or {}
        names = tuple(env)
        states = (s,) if after is None else (s, after)
        function = self._function(e, "s" if after is None else "sn", names)
        return tidy(e.type, function(*states, *env.values()))

    def _initial_value(self, e: Expr, env: Mapping[str, object]) -> object:
        used = {x.name for x in walk(e) if hasattr(x, "name")}
        return self.evaluate(e, b"", None, {n: v for n, v in env.items() if n in used})

    # ------------------------------------------------------------ states

    def read(self, s: State, variable: str) -> object:
        """The value of a variable, as in NOTE(values)."""
        return self.layout.read(s, variable)

    def build(self, values: Mapping[str, object]) -> State:
        """The state with these values of all variables: the inverse of `read`."""
        return self.layout.build(values)

    def cells(self, s: State) -> dict[str, str]:
        """The state as people see it: `pins[page1]` -> `2`."""
        return {cell.name: show_cell(cell, value) for cell, value in zip(self._cells, s, strict=True)}

    # ------------------------------------------------------------ waits

    def lock_attempts(self, s: State, rule: int) -> list[LockAttempt]:
        """For a thread's rule: at which waits its step stands in this state, on each way that it can go.

        Only for arguments whose guard holds; a way ends at the first wait that is not over.
        """
        which = self._rule[rule]
        probe = self._probe(which)
        if probe is None or which.thread is None:
            return []
        out: list[LockAttempt] = []
        for args in self._arguments(which):
            seen: list[tuple[LockWait | None, tuple[object, ...], object, State, bool]] = []
            with suppress(SpecFault):  # what was seen before the fault counts
                probe(s, *args, seen, [])
            for wait, lock_index, me, state, free in seen:
                holders = self._holders(wait, lock_index, state) if wait is not None else ()
                out.append(
                    LockAttempt(
                        args,
                        which.thread,
                        args[: which.index_arity],
                        me,
                        wait.lock if wait is not None else None,
                        lock_index,
                        wait.read if wait is not None else False,
                        free,
                        holders,
                    )
                )
        return out

    def _probe(self, rule: Rule) -> Callable[..., object] | None:
        if rule.number not in self._probes:
            has_guards = rule.thread is not None and guards(rule.body)
            self._probes[rule.number] = self._unit.get(compile_probe(self._unit, rule)) if has_guards else None
        return self._probes[rule.number]

    def _arguments(self, rule: Rule) -> Iterator[tuple[object, ...]]:
        """Every combination of arguments, made as they are asked for."""

        def below(number: int) -> Iterator[tuple[object, ...]]:
            if number < 0:
                yield ()
                return
            for before in below(number - 1):
                for v in values(rule.params[number].type):
                    yield (*before, v)

        return below(len(rule.params) - 1)

    def _holders(self, wait: LockWait, index: tuple[object, ...], s: State) -> tuple[object, ...]:
        lock = self._locks[wait.lock]

        def at(variable: str) -> tuple[Type, object]:
            t: Type = self.layout.types[variable]
            value = self.layout.read(s, variable)
            for i in index:
                assert isinstance(t, Array) and isinstance(value, tuple) and isinstance(i, int)
                value, t = value[ordinal(t.index, i)], t.element
            return t, value

        found = []
        t, owner = at(lock.owner)
        if owner != 0:
            found.append(owner)
        if lock.readers is not None:
            t, readers = at(lock.readers)
            if not isinstance(t, Set) or not isinstance(readers, int):
                raise InternalError(f"the readers of {lock.name} are no set")
            convert = converter(t.element, lock.owner_type)
            found += [convert(i) for i in range(readers.bit_length()) if readers >> i & 1]
        return tuple(dict.fromkeys(found))
