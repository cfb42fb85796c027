"""One group of pages under its spec: the node it stands at, which value of the log is which member, its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hmmspec.conform.follow.bind import Meaning
from hmmspec.conform.follow.nodes import Node, States
from hmmspec.conform.follow.seen import Seen
from hmmspec.conform.follow.shapes import WILD, Atom, Label, Program, Shape
from hmmspec.conform.follow.values import NO_VALUE, UNKNOWN, Env, EventError

# Pages of one command: as many as an arena of 4 GiB has.
_MOST_AT_ONCE = 1 << 20
_PROGRAMS_KEPT = 50_000  # where numbers of the log are arguments there is no end to them

History = tuple["Item", "History"] | None  # newest first, shared between groups
Key = tuple[object, ...]


class Exhausted(Exception):
    """The log has more members of a type than the spec: nothing is known from here on."""

    def __init__(self, type_: str, size: int) -> None:
        super().__init__(f"more than {size} members of {type_} at once")


# Two for each event of a log: frozen ones would take four times as long to make.
@dataclass(eq=False, slots=True)
class Call:
    """A call as groups see it.  result: None where it never came."""

    meaning: Meaning
    command: Seen
    result: Seen | None

    @property
    def number(self) -> int:
        return self.command.call

    def __str__(self) -> str:
        told = "never returned" if self.result is None else self.result.origin
        where = f"line {self.command.span.line}, " if self.command.span is not None else ""
        return f"{where}call {self.number} of {self.command.thread}: {self.command.origin} -> {told}"


@dataclass(eq=False, slots=True)
class Item:
    """Something that happened to a group.  order: its place in the log; kind: the call began, it returned, or both with
    nothing between; envs: the events in it, one for each page."""

    order: int
    kind: Literal["call", "return", "run"]
    call: Call
    envs: tuple[Env, ...]


@dataclass(eq=False)
class Group:
    """keys: of the pages in it; members: type -> value of the log -> number; pending: calls in the order of
    `node.programs`, each with the event that it is in; lost: why it is not followed any more; became: the group that it
    is a part of now."""

    node: Node
    keys: set[Key] = field(default_factory=set)
    members: dict[str, dict[object, int]] = field(default_factory=dict)
    pending: list[tuple[Call, Env]] = field(default_factory=list)
    history: History = None
    lost: str = ""
    became: Group | None = None

    def copy(self, keys: set[Key]) -> Group:
        """The same state of affairs for other pages."""
        members = {t: dict(m) for t, m in self.members.items()}
        return Group(self.node, keys, members, list(self.pending), self.history, self.lost)

    def items(self) -> list[Item]:
        """What happened to it, oldest first."""
        out: list[Item] = []
        at = self.history
        while at is not None:
            out.append(at[0])
            at = at[1]
        return out[::-1]


Parts = list[object]
"""What the slots of a choice hold in one event: numbers of the spec, marks, and `Member`s, which each group knows by
numbers of its own."""


class Choice:
    """The shapes that may explain a call.  slots: those that they read; made: their values -> what the call may do."""

    __slots__ = ("made", "meaning", "numbers", "shapes", "slots")

    def __init__(self, shapes: tuple[Shape, ...], meaning: Meaning) -> None:
        self.shapes, self.meaning = shapes, meaning
        moments = [x for x in (meaning.at_call, meaning.at_return) if x is not None]
        self.numbers = tuple(dict.fromkeys(n for shape in (*shapes, *moments) for a in shape.atoms for n in a.args))
        self.slots = tuple(
            (slot.value, slot.convert, slot.named) for slot in (meaning.slots[number] for number in self.numbers)
        )
        self.made: dict[tuple[object, ...], Program] = {}


def events_of(call: Call, profile: object, devices: object, alone: bool) -> list[Env]:
    """The events of a call: one, or one for each page.  Raises EventError."""
    meaning = call.meaning
    env: Env = {"profile": profile, "devices": devices, "alone": alone}
    fields = call.command.fields
    for name in meaning.fields:
        if name not in fields:
            raise EventError(f"'{meaning.name}' has no field '{name}' here", meaning.span)
        env[name] = fields[name]
    told = call.result.fields if call.result is not None else {}
    for name in meaning.results:
        env[name] = told.get(name, UNKNOWN)
    if meaning.of is None:
        return [env]
    count = meaning.of(env)
    if not isinstance(count, int):
        raise EventError(f"how many there are of each is a number, not {count!r:.40}", meaning.span)
    if count > _MOST_AT_ONCE:
        raise EventError(f"{count} at once: more than {_MOST_AT_ONCE} are not followed", meaning.span)
    counting: list[tuple[str, int]] = []
    for name in meaning.each if count > 0 else ():
        first = env[name]
        if not isinstance(first, int):
            raise EventError(f"'{name}' counts on, so it is a number, not {first!r:.40}", meaning.span)
        counting.append((name, first))
    env["i"] = 0
    out = [env]
    for i in range(1, count):
        one = env.copy()
        one["i"] = i
        for name, first in counting:
            one[name] = first + i
        out.append(one)
    return out if count > 0 else []


class Programs:
    """Makes programs from calls; equal ones are one object."""

    def __init__(self, sets: States) -> None:
        self.sets = sets
        self.sizes = {t.name: (k, t.size) for k, t in enumerate(sets.members)}
        self.ranges = {t.name: t.high - t.low + 1 for t in sets.bound.ranges}
        self._choices: dict[tuple[int, ...], Choice] = {}
        self._made: dict[object, Program] = {}

    def choice(self, shapes: tuple[Shape, ...], meaning: Meaning) -> Choice:
        """The one for these shapes."""
        key = (id(meaning), *map(id, shapes))  # all of them belong to the binding, and last as long
        found = self._choices.get(key)
        if found is None:
            found = self._choices[key] = Choice(shapes, meaning)
        return found

    def parts(self, choice: Choice, env: Env) -> Parts:
        """What the event means, whichever group it happens to.  Raises EventError."""
        out: Parts = []
        for value, convert, named in choice.slots:
            raw = value(env)
            if named is not None and (raw.__class__ is str or raw.__class__ is int):
                out.append((named[0], raw, named[1]))  # a Member, in the plain: they are many
            else:
                out.append(convert(raw))
        return out

    def program(self, group: Group, choice: Choice, parts: Parts) -> Program:
        """What the call may do to the group, members bound as they are mentioned.  Raises Exhausted."""
        values: list[object] = []
        members = group.members
        for part in parts:
            if isinstance(part, tuple):
                type_, raw, shift = part
                known = members.get(type_)
                number = None if known is None else known.get(raw)
                if number is None:
                    number = self._bind(group, type_, raw, parts[: len(values)])
                values.append(shift + number)
            else:
                values.append(part)
        key = tuple(values)
        made = choice.made.get(key)
        if made is None:
            if len(choice.made) >= _PROGRAMS_KEPT:
                choice.made.clear()
            made = choice.made[key] = self._make(choice, dict(zip(choice.numbers, values, strict=True)))
        return made

    def _make(self, choice: Choice, values: dict[int, object]) -> Program:
        def labels(shape: Shape) -> tuple[Label | None, ...]:
            return tuple(label_of(atom, values) for atom in shape.atoms)

        first, last = choice.meaning.at_call, choice.meaning.at_return
        made = Program(
            tuple((shape, labels(shape)) for shape in choice.shapes),
            () if first is None else ((first, labels(first)),),
            () if last is None else ((last, labels(last)),),
        )
        if len(self._made) >= _PROGRAMS_KEPT:
            self._made.clear()
        return self._made.setdefault(made.content, made)

    def _bind(self, group: Group, type_: str, raw: object, before: Parts) -> int:
        """A member for a value that has none; the slots before it have theirs."""
        # Members that this call speaks of: nobody else may have them.
        mine = [(part[0], group.members[part[0]][part[1]]) for part in before if isinstance(part, tuple)]
        known = group.members.setdefault(type_, {})
        number = self._free(group, type_, known, mine)
        for other in [r for r, n in known.items() if n == number]:
            del known[other]
        known[raw] = number
        return number

    def _free(self, group: Group, type_: str, known: dict[object, int], mine: list[tuple[str, int]]) -> int:
        """A member for a new value: one that the spec cannot tell from any other that stands for nothing."""
        if type_ not in self.sizes:
            # Members of a range differ from the start: they are given out once, in order.
            size = self.ranges[type_]
            number = len(known)
            if number >= size:
                raise Exhausted(type_, size)
            return number
        k, size = self.sizes[type_]
        taken = self.sets.mentions(group.node)[k]
        for p in group.node.programs:
            taken |= self._mentioned(p, k)
        for number in range(size):
            if not taken >> number & 1 and (type_, number) not in mine:
                return number
        # What stood for nothing yet but may be meant somewhere: all such are alike, so any of them will do.
        unbound = set(range(size)) - set(known.values())
        if unbound:
            return min(unbound)
        raise Exhausted(type_, size)

    def _mentioned(self, program: Program, k: int) -> int:
        """The members of one type among a program's arguments."""
        if program.mentions is None:
            program.mentions = self.sets.mentioned_by(program)
        return program.mentions[k]


def label_of(atom: Atom, values: Mapping[int, object]) -> Label | None:
    """The atom with the values of its slots; None: a value that the spec does not have."""
    args: list[int] = []
    for number in atom.args:
        value = values[number]
        if value is NO_VALUE:
            return None
        args.append(value if isinstance(value, int) else WILD)
    return atom.kind, atom.name, tuple(args)
