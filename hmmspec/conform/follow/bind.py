"""A binding held against its spec: every event, observation, param and literal in it exists, in the right shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hmmspec.conform.commands import COMMANDS
from hmmspec.conform.follow import syntax as s
from hmmspec.conform.follow.shapes import MOST_PLACES, NO_WAY, Atom, Shape, Slot, atoms_in, shape_of
from hmmspec.conform.follow.values import (
    BUILT_IN,
    GIVEN,
    Eval,
    Expressions,
    bindable,
    converter,
    literal_fits,
    literals_of,
    member_type,
    type_in_words,
)
from hmmspec.conform.results import Result
from hmmspec.diagnostics import Diagnostics, Span, did_you_mean
from hmmspec.records import dataclass
from hmmspec.system.system import System
from hmmspec.system.types import Range, Symmetric, Type, show_type

RESERVED = frozenset({*BUILT_IN, *GIVEN, "i", "profile"})


@dataclass(frozen=True)
class Meaning:
    """What commands of one name mean.

    key: what tells the groups apart that it concerns, None: it concerns all groups; each: fields that count on;
    of: how many there are; joins: the key of the group that becomes one with the first; slots: the
    arguments of all events; deciding: the fields that the conditions read; clauses: (condition, shape),
    the condition None for `else`, the shape None for `forget`; also: what explains every result.
    """

    name: str
    fields: tuple[str, ...]
    results: tuple[str, ...]
    key: tuple[Eval, ...] | None
    each: tuple[str, ...]
    of: Eval | None
    joins: Eval | None
    slots: tuple[Slot, ...]
    clauses: tuple[tuple[Eval | None, Shape | None, Span], ...]
    deciding: tuple[str, ...]
    also: tuple[Shape, ...]
    at_call: Shape | None
    at_return: Shape | None
    span: Span


@dataclass(frozen=True)
class Bound:
    """A binding of one System.

    meanings: by the command's name; events: rule numbers of each event; hidden: the rules that nobody sees;
    named: names of the types whose members are bound at first mention, ranges: those of them
    that are ranges; unseen: symmetric types that no event names.
    """

    system: System
    meanings: Mapping[str, tuple[Meaning, ...]]
    ignored: frozenset[str]
    events: Mapping[str, tuple[int, ...]]
    hidden: tuple[int, ...]
    named: frozenset[str]
    ranges: tuple[Range, ...]
    unseen: tuple[Symmetric, ...]
    grouped: bool


def bind(binding: s.Binding, system: System, diagnostics: Diagnostics) -> Bound:
    """The binding of this system.  What is wrong goes to `diagnostics`: HMM131 to HMM135, HMM139 as a warning."""
    return _Binder(binding, system, diagnostics).bound()


class _Binder:
    def __init__(self, binding: s.Binding, system: System, diagnostics: Diagnostics) -> None:
        self.binding = binding
        self.system = system
        self.diagnostics = diagnostics
        self.expressions = Expressions(binding.defines, diagnostics)
        self.rules: dict[str, list[int]] = {}
        for r in system.rules:
            self.rules.setdefault(r.name, []).append(r.number)
        visible = {n for e in system.events for n in e.rules}
        # A spec without event lists leaves it to the binding what can be seen.
        self.visible = {r.name for r in system.rules if r.number in visible} if visible else set(self.rules)
        self.listed = bool(visible)
        self.observations = {o.name: o for o in system.observations}
        self.used: dict[str, None] = {}
        self.unknown: set[str] = set()  # names that the spec does not have: each is told once
        self.named = frozenset(m.name for m in binding.members)
        self.slots: dict[tuple[s.Expr, Type], int] = {}
        self.slot_list: list[Slot] = []
        self.named_types: set[str] = set()
        # In an `also` a bare name is a field that some command has, or else a literal.
        self.all_fields = {f.name for cls in (*COMMANDS.values(), Result) for f in dataclasses.fields(cls)}
        self.all_fields |= {f.name for on in binding.ons for f in (*on.fields, *on.results)}

    def bound(self) -> Bound:
        self._members()
        meanings: dict[str, tuple[Meaning, ...]] = {}
        places: dict[str, list[object]] = {}
        ignored: dict[str, Span] = {}
        for n in self.binding.ignored:
            if n.name in ignored:
                self.diagnostics.error("HMM135", n.span, f"'{n.name}' is ignored already")
            ignored[n.name] = n.span
        for on in self.binding.ons:
            for name in on.names:
                known = places.setdefault(name.name, [])
                if on.at in known or name.name in ignored:
                    what = "has a meaning" if on.at in known else "is ignored"
                    fix = "'at' tells what else it concerns" if on.at in known else None
                    self.diagnostics.error("HMM135", name.span, f"'{name.name}' {what} already", fix=fix)
                    continue
                known.append(on.at)
                meanings[name.name] = (*meanings.get(name.name, ()), self._meaning(on, name))
        used = set(self.used)
        hidden = [r.number for r in self.system.rules if r.name not in (self.visible if self.listed else used)]
        if self.listed:
            self._unused(used)
        unseen = tuple(t for t in self.system.symmetric if t.name not in self.named_types)
        events = {name: tuple(self.rules[name]) for name in used if name in self.rules}
        return Bound(
            self.system, meanings, frozenset(ignored), events, tuple(hidden), self.named, self._ranges(), unseen,
            bool(self.binding.group),
        )  # fmt: skip

    def _ranges(self) -> tuple[Range, ...]:
        found = {
            t.name: t
            for types in (*([p.type for p in r.params] for r in self.system.rules), *self._observed_types())
            for whole in types
            for t in _parts(whole)
            if isinstance(t, Range) and t.name in self.named
        }
        return tuple(found.values())

    def _observed_types(self) -> list[list[Type]]:
        return [[*(p.type for p in o.params), o.type] for o in self.system.observations]

    def _members(self) -> None:
        known = {t.name for t in self.system.symmetric}
        for r in self.system.rules:
            known |= {t.name for p in r.params for t in _parts(p.type) if isinstance(t, Range) and t.name}
        for m in self.binding.members:
            if m.name not in known:
                self.diagnostics.error(
                    "HMM134",
                    m.span,
                    f"no event of the spec has a parameter of a symmetric type or a named range '{m.name}'",
                    fix=did_you_mean(m.name, known),
                )

    def _unused(self, used: set[str]) -> None:
        for name in sorted(self.visible - used):
            self.diagnostics.warning(
                "HMM139", self.binding.span, f"no command is bound to the event '{name}': it can never happen"
            )

    # ------------------------------------------------------------ commands

    def _meaning(self, on: s.On, name: s.Name) -> Meaning:
        self.slots, self.slot_list = {}, []
        self._fields(on, name)
        fields, results = [f.name for f in on.fields], [f.name for f in on.results]
        names = frozenset([*fields, *results, "i"] if on.each else [*fields, *results])
        for f in (*on.fields, *on.results):
            if f.name in RESERVED or f.name in self.expressions.defines:
                self.diagnostics.error("HMM133", f.span, f"'{f.name}' has a meaning of its own and is no field")
        seen = [f.name for f in (*on.fields, *on.results)]
        for f in (*on.fields, *on.results):
            if seen.count(f.name) > 1:
                self.diagnostics.error("HMM133", f.span, f"the field '{f.name}' stands here twice")
                break
        for n in on.each:
            if n.name not in fields:
                self.diagnostics.error("HMM133", n.span, f"'{n.name}' is not among the fields of '{name.name}'")
        compile_ = self.expressions.compile
        key_names = frozenset(x for e in self.binding.group for x in _names(e) if x not in BUILT_IN)
        key = None
        if on.at:
            if len(on.at) != len(self.binding.group):
                told = f"a group has {len(self.binding.group)} keys, not {len(on.at)}"
                self.diagnostics.error("HMM133", on.at[0].span, told)
            key = tuple(compile_(e, frozenset(fields)) for e in on.at)
        elif self.binding.group and key_names <= set(fields):
            key = tuple(compile_(e, frozenset(fields)) for e in self.binding.group)
        if on.joins is not None and key is None:
            self.diagnostics.error("HMM133", on.joins.span, "only a command that concerns one group can join another")
        if on.joins is not None and len(self.binding.group) > 1:
            self.diagnostics.error(
                "HMM133", on.joins.span, "groups can be joined only where one value tells them apart"
            )
        clauses: list[tuple[Eval | None, Shape | None, Span]] = []
        for number, clause in enumerate(on.clauses):
            if clause.condition is None and number != len(on.clauses) - 1:
                self.diagnostics.error("HMM133", clause.span, "'else' is the last of the clauses")
            condition = None if clause.condition is None else self._checked(clause.condition, names)
            clauses.append((condition, self._clause_shape(clause.body, names), clause.span))
        also = tuple(self._also(names))
        at_call = None if on.at_call is None else self._shape(on.at_call, names)
        at_return = None if on.at_return is None else self._shape(on.at_return, names)
        read = [n for c in on.clauses if c.condition is not None for n in _names(c.condition)]
        return Meaning(
            name=name.name,
            fields=tuple(fields),
            results=tuple(results),
            key=key,
            each=tuple(n.name for n in on.each),
            of=None if on.of is None else compile_(on.of, frozenset(fields)),
            joins=None if on.joins is None else self._checked(on.joins, frozenset(fields)),
            slots=tuple(self.slot_list),
            clauses=tuple(clauses),
            deciding=tuple(dict.fromkeys(n for n in read if n in names or n == "alone")),
            also=also,
            at_call=at_call,
            at_return=at_return,
            span=name.span,
        )

    def _fields(self, on: s.On, name: s.Name) -> None:
        """Fields of commands that we know exist."""
        command = COMMANDS.get(name.name)
        if command is None:
            return
        for told, cls, what in ((on.fields, command, f"'{name.name}'"), (on.results, Result, "a result")):
            known = [f.name for f in dataclasses.fields(cls)]
            for f in told:
                if f.name not in known:
                    self.diagnostics.error(
                        "HMM133", f.span, f"{what} has no field '{f.name}'", fix=did_you_mean(f.name, known)
                    )

    def _also(self, names: frozenset[str]) -> list[Shape]:
        """What every command may be that has the fields for it."""
        out = []
        for body in self.binding.also:
            wanted = {n for a in atoms_in(body) for e in _expressions(a) for n in _names(e)} & self.all_fields
            if wanted <= names:
                shape = self._shape(body, names)
                if shape is not None:
                    out.append(shape)
        return out

    def _checked(self, e: s.Expr, names: frozenset[str]) -> Eval:
        return self.expressions.compile(e, names)

    # ------------------------------------------------------------ bodies

    def _clause_shape(self, body: s.Body, names: frozenset[str]) -> Shape | None:
        return None if isinstance(body, s.Forget) else self._shape(body, names)

    def _shape(self, body: s.Body, names: frozenset[str]) -> Shape | None:
        atoms: dict[s.Body, Atom] = {}
        for a in atoms_in(body):
            atom = self._does(a, names) if isinstance(a, s.Happens) else self._sees(a, names)
            if atom is None:
                return NO_WAY
            atoms[a] = atom
        if any(isinstance(b, s.Forget) for b in _bodies(body)):
            self.diagnostics.error("HMM130", body.span, "'forget' stands alone in a clause")
            return NO_WAY
        shape = shape_of(body, atoms)
        if shape is None:
            self.diagnostics.error("HMM132", body.span, f"this has more than {MOST_PLACES} ways to go")
            return NO_WAY
        return shape

    def _does(self, a: s.Happens, names: frozenset[str]) -> Atom | None:
        self.used[a.event] = None
        if a.event not in self.rules:
            if a.event in self.unknown:
                return None
            self.unknown.add(a.event)
            self.diagnostics.error(
                "HMM131",
                a.span,
                f"the spec {self.system.name} has no step '{a.event}'",
                fix=did_you_mean(a.event, self.visible),
            )
            return None
        if a.event not in self.visible:
            self.diagnostics.error(
                "HMM131",
                a.span,
                f"'{a.event}' is a hidden step of {self.system.name}: it may happen at any time",
                fix=f"add 'event {a.event};' to the spec if it happens only where a command says so",
            )
            return None
        types = tuple(p.type for p in self.system.rules[self.rules[a.event][0]].params)
        for n in self.rules[a.event][1:]:
            if tuple(p.type for p in self.system.rules[n].params) != types:
                self.diagnostics.error("HMM132", a.span, f"the steps '{a.event}' differ in their parameters")
                return None
        return self._atom("does", a.event, a.args, types, a.span, names)

    def _sees(self, a: s.Sees, names: frozenset[str]) -> Atom | None:
        found = self.observations.get(a.observation)
        if found is None:
            if a.observation in self.unknown:
                return None
            self.unknown.add(a.observation)
            self.diagnostics.error(
                "HMM131",
                a.span,
                f"the spec {self.system.name} has no observation '{a.observation}'",
                fix=did_you_mean(a.observation, self.observations),
            )
            return None
        types = tuple(p.type for p in found.params)
        if len(types) != len(a.args):
            self._count(a.span, a.observation, len(types), len(a.args))
            return None
        return self._atom("sees", a.observation, (*a.args, a.value), (*types, found.type), a.span, names)

    def _count(self, span: Span, name: str, wanted: int, given: int) -> None:
        self.diagnostics.error("HMM132", span, f"'{name}' takes {wanted} arguments, not {given}")

    def _atom(
        self, kind: str, name: str, args: tuple[s.Expr, ...], types: tuple[Type, ...], span: Span, names: frozenset[str]
    ) -> Atom | None:
        if len(types) != len(args):
            self._count(span, name, len(types), len(args))
            return None
        for e, t in zip(args, types, strict=True):
            wild = isinstance(e, s.Any)
            if not wild:
                self.named_types |= {p.name for p in _parts(t) if isinstance(p, Symmetric)}
            if not wild and not bindable(t):
                self.diagnostics.error(
                    "HMM134", e.span, f"nothing in a log can be a value of type {show_type(t)}", fix="write '_' here"
                )
                return None
            self._literals(e, t, names)
        numbers = tuple(self._slot(e, t, names) for e, t in zip(args, types, strict=True))
        return Atom("does" if kind == "does" else "sees", name, numbers)

    def _slot(self, e: s.Expr, t: Type, names: frozenset[str]) -> int:
        """The number of the slot of an argument."""
        number = self.slots.get((e, t))
        if number is None:
            number = self.slots[e, t] = len(self.slot_list)
            name = member_type(t, self.named)
            named = None if name is None else (name, t.low if isinstance(t, Range) else 0)
            self.slot_list.append(Slot(self._checked(e, names), converter(t, self.named), named))
        return number

    def _literals(self, e: s.Expr, t: Type, names: frozenset[str]) -> None:
        for leaf in self.expressions.leaves(e):
            if not isinstance(leaf, s.Name) or leaf.name in names or leaf.name in RESERVED:
                continue
            if not literal_fits(t, leaf.name):
                known = [*names, *literals_of(t)]
                self.diagnostics.error(
                    "HMM133",
                    leaf.span,
                    f"'{leaf.name}' is neither a field named in brackets nor a value of {type_in_words(t)}",
                    fix=did_you_mean(leaf.name, known),
                )


def _parts(t: Type) -> list[Type]:
    members = getattr(t, "members", None)
    return [t] if members is None else [p for m in members for p in _parts(m)]


def _bodies(body: s.Body) -> list[s.Body]:
    match body:
        case s.Or(parts) | s.Then(parts):
            return [body, *(b for p in parts for b in _bodies(p))]
        case _:
            return [body]


def _expressions(a: s.Happens | s.Sees) -> tuple[s.Expr, ...]:
    return a.args if isinstance(a, s.Happens) else (*a.args, a.value)


def _names(e: s.Expr) -> list[str]:
    """Every bare name in an expression."""
    match e:
        case s.Name(name):
            return [name]
        case s.Get(base, index):
            return [*_names(base), *_names(index)]
        case s.Apply(_, args):
            return [n for a in args for n in _names(a)]
        case s.Unary(_, operand):
            return _names(operand)
        case s.Binary(_, left, right):
            return [*_names(left), *_names(right)]
        case s.In(value, options):
            return [n for x in (value, *options) for n in _names(x)]
        case s.If(condition, then, otherwise):
            return [n for x in (condition, then, otherwise) for n in _names(x)]
        case _:
            return []
