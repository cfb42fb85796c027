"""Plans: how a spec gets to one of its transitions, told as commands.

A spec says from which states a transition can be taken, and its binding which commands are which transitions.  So a
short run of a small instance of the spec that ends with the transition, each step of it told as a command that means
it, is a program that may exercise it.  May: where the spec leaves a choice the target takes its own, so plans are made
anew until one comes out as it was meant.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.follow import syntax as s
from hmmspec.conform.follow.coverage import names_of
from hmmspec.conform.follow.load import Loaded
from hmmspec.diagnostics import SpecError
from hmmspec.records import dataclass
from hmmspec.system.build import build_with_warnings, instance_names
from hmmspec.system.run import Interpreter, State, first_starts
from hmmspec.system.types import Bool, Enum, Range, Symmetric, Type

WALKS = 250  # runs of an instance that are tried
LENGTH = 30  # steps of each
MOST = 200  # states at once of a run of which only the steps are known
CANDIDATES = 100_000  # for start states that are looked at

Walk = tuple[tuple[int, tuple[object, ...]], ...]  # (rule, arguments)


@dataclass(frozen=True)
class Route:
    """A command that may be an event of the spec.

    fixed: values that its fields must have; args: for each argument of the event the field that it comes from, '' if it
    does not come from one alone; sure: where the command succeeds it is this event, whatever else it is.
    """

    word: str
    fixed: Mapping[str, object]
    args: tuple[str, ...]
    needed: tuple[str, ...]
    sure: bool


class Planner:
    """Makes plans for one spec with its binding."""

    def __init__(self, loaded: Loaded, rng: random.Random) -> None:
        self._loaded = loaded
        self._random = rng
        self._routes = routes_of(loaded.binding)
        self._worlds: list[_World] | None = None

    def plan(self, transition: str, page: int, devices: Sequence[str], stamp: int) -> list[Command]:
        """Commands that may lead to a transition, [] if no way to it was found.

        page: the page that it is about; devices: of the target; stamp: the first of fresh ones.
        """
        if self._worlds is None:
            self._worlds = [_World(built, self._random) for built in self._instances()]
        found = [(w, walk) for w in self._worlds if (walk := w.to(transition)) is not None]
        if not found:
            return []
        world, walk = self._random.choice(found)
        teller = _Teller(self._routes, self._random, page, devices, stamp)
        for rule, args in world.shortened(walk) if self._random.random() < 0.7 else walk[-12:]:
            teller.tell(world.system.rules[rule].name, [p.type for p in world.system.rules[rule].params], args)
        return teller.out

    def _instances(self) -> Iterator[Any]:
        """The spec's own small instances, and the default one."""
        spec = self._loaded.spec
        for name in dict.fromkeys(("default", *instance_names(spec))):
            try:
                yield build_with_warnings(spec, [name])[0].system
            except SpecError:
                continue


class _World:
    """One instance, and how each of its transitions was reached."""

    def __init__(self, system: Any, rng: random.Random) -> None:
        self.system = system
        self._random = rng
        self._interp = Interpreter(system)
        self._starts = first_starts(self._interp, MOST + 1, CANDIDATES)[0]
        self._taken = [0] * len(system.rules)
        self._found: dict[str, list[Walk]] = {}
        names = names_of(system)
        for _ in range(WALKS):
            walk: list[tuple[int, tuple[object, ...]]] = []
            state = self._starts[0] if self._starts else None
            while state is not None and len(walk) < LENGTH:
                rule, args, state = self._step(state)
                if rule < 0:
                    break
                walk.append((rule, args))
                known = self._found.setdefault(names[rule], [])
                if len(known) < 8:
                    known.append(tuple(walk))

    def to(self, transition: str) -> Walk | None:
        """A walk that ends with this transition."""
        known = self._found.get(transition)
        return self._random.choice(known) if known else None

    def _step(self, state: State) -> tuple[int, tuple[object, ...], State | None]:
        """A step that changes something, if there is one: of a rule that was taken seldom."""
        steps, _ = self._interp.expand(state)
        if not steps:
            return -1, (), None
        rules = list({rule for rule, _, _ in steps})
        some = self._random.sample(rules, min(3, len(rules)))
        rule = min(some, key=lambda r: self._taken[r])
        self._taken[rule] += 1
        mine = [x for x in steps if x[0] == rule]
        return self._random.choice([x for x in mine if x[2] != state] or mine)

    def shortened(self, walk: Walk) -> Walk:
        """The walk without steps that its last one does not need."""
        best, at = list(walk), len(walk) - 2
        while at >= 0:
            tried = best[:at] + best[at + 1 :]
            if self._possible(tried):
                best = tried
            at -= 1
        return tuple(best)

    def _possible(self, walk: Sequence[tuple[int, tuple[object, ...]]]) -> bool:
        states = set(self._starts)
        for rule, args in walk:
            states = {after for s in states for _, _, after in self._interp.expand_rule(s, rule, args)[0]}
            if not states or len(states) > MOST:
                return False
        return True


class _Teller:
    """Tells the steps of a walk as commands."""

    def __init__(
        self, routes: Mapping[str, Sequence[Route]], rng: random.Random, page: int, devices: Sequence[str], stamp: int
    ) -> None:
        self.out: list[Command] = []
        self._routes, self._random, self._page, self._stamp = routes, rng, page, stamp
        # Which of the target's devices the first of the spec's is, is all the same to the spec.
        at = rng.randrange(len(devices)) if devices else 0
        self._devices = [*devices[at:], *devices[:at]]
        self._alive = {"p0"}
        self._open: set[tuple[str, str]] = set()

    def tell(self, event: str, types: Sequence[Type], args: tuple[object, ...]) -> None:
        """The next step; hidden ones have no command."""
        routes = self._routes.get(event)
        if not routes:
            return
        best = [r for r in routes if r.sure]
        route = self._random.choice(best if best and self._random.random() < 0.9 else list(routes))
        given = {f: self._value(f, t, v) for f, t, v in zip(route.args, types, args, strict=True) if f}
        command = self._command(route, {k: v for k, v in given.items() if v is not None} | dict(route.fixed))
        if command is not None:
            self._prepare(command)
            self.out.append(command)

    def _value(self, field: str, t: Type, value: object) -> object:
        """What a field is where an argument of the event has this value; None: whatever it is."""
        match t:
            case Symmetric() if isinstance(value, int):
                if field in {"process", "child"}:
                    return f"p{value}"
                return self._devices[value % len(self._devices)] if field == "device" and self._devices else None
            case Enum(literals=literals) if isinstance(value, int):
                return literals[value]
            case Bool():
                return bool(value)
            case Range():
                return value
            case _:
                return None

    def _command(self, route: Route, given: Mapping[str, object]) -> Command | None:
        cls = c.COMMANDS[route.word]
        values: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            value = given.get(f.name)
            if f.name in given:
                values[f.name] = value
            elif f.name == "process":
                values[f.name] = self._random.choice(sorted(self._alive)) if self._alive else "p0"
            elif f.name == "child":
                values[f.name] = f"p{len(self._alive)}"
            elif f.name == "device":
                values[f.name] = self._devices[0] if self._devices else "dev0"
            elif f.name == "page":
                values[f.name] = self._page
            elif f.name == "to":
                values[f.name] = self._page + 2
            elif f.name == "stamp":
                values[f.name], self._stamp = self._stamp, self._stamp + 20
            elif f.name == "hold":
                values[f.name] = "h" if f.name in route.needed or f.default is dataclasses.MISSING else None
            elif f.name == "file":
                values[f.name] = "f0"
            elif isinstance(f.default, bool):
                values[f.name] = self._random.random() < 0.5
            elif f.name == "point":
                values[f.name] = self._random.choice(c.POINTS)
        try:
            return cls(**values)
        except TypeError:
            return None

    def _prepare(self, command: Command) -> None:
        """What a command needs and the spec leaves out: that its process lives and has the device open, that a child's
        name is free."""
        if isinstance(command, c.Fork) and command.child in self._alive:
            self._prepare(c.Exit(command.child))
            self.out.append(c.Exit(command.child))
        who, device = getattr(command, "process", ""), getattr(command, "device", "")
        if who and who not in self._alive and not isinstance(command, c.Spawn):
            self.out.append(c.Spawn(who))
            self._alive.add(who)
        if device and not isinstance(command, c.Open | c.Inject) and (who, device) not in self._open:
            self.out.append(c.Open(who, device))
            self._open.add((who, device))
        match command:
            case c.Open():
                self._open.add((who, device))
            case c.Close():
                self._open.discard((who, device))
            case c.Fork(child=child):
                self._alive.add(child)
            case c.Exit() | c.Kill():
                self._alive.discard(who)
                self._open = {x for x in self._open if x[0] != who}
            case _:
                pass


# ---------------------------------------------------------------- what a binding says of commands


def routes_of(binding: s.Binding) -> dict[str, list[Route]]:
    """Event -> the commands that may be it."""
    out: dict[str, list[Route]] = {}
    for on in binding.ons:
        fields = {f.name for f in on.fields}
        for name in on.names:
            if name.name not in c.COMMANDS:
                continue
            for clause in on.clauses:
                fixed = _fixed(clause.condition, fields)
                good = clause.condition is not None and "ok" in _words(clause.condition)
                for step, sure in s.happens(clause.body):
                    args = tuple(a.name if isinstance(a, s.Name) and a.name in fields else "" for a in step.args)
                    needed = tuple({w for a in step.args for w in _words(a)} & fields)
                    route = Route(name.name, fixed, args, needed, good and sure)
                    out.setdefault(step.event, []).append(route)
    return out


def _fixed(condition: s.Expr | None, fields: set[str]) -> dict[str, object]:
    """What a condition asks of the command's fields, as far as it is plain: `field == value`, `field`, `!field`."""
    match condition:
        case s.Binary("&&", left, right):
            return _fixed(left, fields) | _fixed(right, fields)
        case s.Binary("||", left, _):
            return _fixed(left, fields)
        case s.Binary("==", s.Name(name), value) if name in fields and (told := _literal(value)) is not None:
            return {name: None if told == "null" else told}
        case s.In(s.Name(name), options) if name in fields and options and (told := _literal(options[0])) is not None:
            return {name: told}
        case s.Name(name) if name in fields:
            return {name: True}
        case s.Unary("!", s.Name(name)) if name in fields:
            return {name: False}
        case _:
            return {}


def _literal(e: s.Expr) -> object:
    match e:
        case s.Number(value) | s.Text(value):
            return value
        case s.Name("true" | "false" as word):
            return word == "true"
        case s.Name(word):
            return word
        case _:
            return None


def _words(e: s.Expr) -> Iterator[str]:
    """The names in an expression."""
    match e:
        case s.Name(name):
            yield name
        case s.Binary(_, left, right):
            yield from _words(left)
            yield from _words(right)
        case s.Unary(_, operand):
            yield from _words(operand)
        case s.Get(base, index):
            yield from _words(base)
            yield from _words(index)
        case s.Apply(_, args):
            for a in args:
                yield from _words(a)
        case s.In(value, options):
            for a in (value, *options):
                yield from _words(a)
        case s.If(a, b, d):
            for x in (a, b, d):
                yield from _words(x)
        case _:
            return
