"""Why nothing explains a call: what was seen, and what the spec would have allowed in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from hmmspec.conform.follow.groups import Call, Group, Item, label_of
from hmmspec.conform.follow.load import Loaded
from hmmspec.conform.follow.nodes import Node, TooMany
from hmmspec.conform.follow.sets import Sets
from hmmspec.conform.follow.shapes import WILD, Atom, Label, Shape
from hmmspec.conform.follow.values import UNKNOWN, Env, EventError, Member
from hmmspec.diagnostics import Span
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import State
from hmmspec.system.types import show_value

MOST_MEANT = 4  # ways to read what was seen that are shown
MOST_ALLOWED = 10  # other outcomes that are listed
MOST_STATES = 3  # states that are shown
MOST_HISTORY = 12  # events before that are shown
_MOST_LOOKED_AT = 2_000


class Explainer:
    """Words for findings of one bound System.  plain: sets of it, for the interpreter that they have."""

    def __init__(self, plain: Sets, loaded: Loaded) -> None:
        # Its own sets: so what it says does not depend on what was worked out before.
        self.sets = Sets(plain.bound, plain.limit, plain.interp)
        self.loaded = loaded

    def explain(self, group: Group, node: Node, slot: int, call: Call, env: Env) -> tuple[str, tuple[str, ...]]:
        """A message of one line, and lines that tell more.  node: with the call in `slot`, before it returned."""
        self.sets.forget()
        names = self._names(group)
        states = self._reachable(node)
        asked = self._meant(group, env, call)
        message = f"{self.sets.bound.system.name} does not explain {call}"
        pages = [f"{n}={env[n]}" for n in call.meaning.each]
        if pages and env.get("i"):
            message += f", at {', '.join(pages)}"
        details = [f"this means: {row}" for row in asked[:MOST_MEANT]] or ["this means: nothing that the spec has"]
        allowed = self._allowed(self._before(node, slot), call, env, group)
        details += [f"the spec allows: {row}" for row in allowed] or [
            "the spec allows no result of this command at all"
        ]
        details += self._why_not(states, call)
        for s in states[:MOST_STATES]:
            details.append("where: " + self._state(s, names))
        if len(states) > MOST_STATES:
            details.append(f"and {len(states) - MOST_STATES} states more")
        others = [str(c) for c, _ in group.pending if c is not call]
        details += [f"at the same time: {told}" for told in dict.fromkeys(others)]
        return message, (*details, *self._history(group, call))

    # ------------------------------------------------------------ parts

    def _history(self, group: Group, call: Call) -> list[str]:
        items: list[Item] = []
        for item in group.items():
            if item.kind != "return" and item.call is not call and (not items or items[-1].call is not item.call):
                items.append(item)
        left = len(items) - MOST_HISTORY
        out = [f"before: ({left} calls more)"] if left > 0 else []
        return out + [f"before: {item.call}" for item in items[-MOST_HISTORY:]]

    def _names(self, group: Group) -> dict[str, str]:
        """How the spec shows members -> what they stand for in the log."""
        out: dict[str, str] = {}
        for t in self.sets.members:
            for raw, number in group.members.get(t.name, {}).items():
                out[show_value(t, number)] = str(raw)
        return out

    def _translated(self, text: str, names: dict[str, str]) -> str:
        return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: names.get(m[0], m[0]), text)

    def _shown(self, label: Label, names: dict[str, str]) -> str:
        kind, name, args = label
        types = self.sets.types(kind, name)
        shown = [
            "_" if a == WILD else self._translated(show_value(t, a), names) for t, a in zip(types, args, strict=True)
        ]
        if kind == "does":
            return f"{name}({', '.join(shown)})"
        return f"{name}({', '.join(shown[:-1])}) == {shown[-1]}"

    def _state(self, s: State, names: dict[str, str]) -> str:
        """The cells that are not as at the start."""
        first = next(iter(self.sets.interp.initial()))
        start = self.sets.interp.cells(first)
        cells = self.sets.interp.cells(s)
        told = [f"{c} = {v}" for c, v in cells.items() if v != start[c]]
        return self._translated(", ".join(told), names) or "all as at the start"

    def _reachable(self, node: Node) -> list[State]:
        """The states that the calls in flight and hidden steps can have led to, least first."""
        try:
            found = self.sets.reachable(node)
        except TooMany:
            found = {s for s, _ in node.configs}
        return sorted(islice(found, _MOST_LOOKED_AT), key=repr)

    # ------------------------------------------------------------ what was said, what could have been

    def _meant(self, group: Group, env: Env, call: Call) -> list[str]:
        """What the call, with its result, means."""
        out: dict[str, None] = {}
        for condition, shape, _ in call.meaning.clauses:
            holds = True if condition is None else condition(env)
            if shape is not None and (holds is True or holds is UNKNOWN):
                for place in sorted(shape.accept):
                    labels = self._way(group, call, shape, place, env)
                    if labels is not None:
                        out[self._row(labels, group)] = None
            if holds is True:
                break
        return list(out)

    def _way(self, group: Group, call: Call, shape: Shape, place: int, env: Env) -> list[Label] | None:
        """The labels on the way to a place; None: one has a value that the spec does not have."""
        atoms: list[int] = []
        while place:
            before, atom = next((p, a) for p, ways in enumerate(shape.ways) for a, to in ways if to == place != p)
            atoms.append(atom)
            place = before
        labels = [self._label(group, call, shape.atoms[a], env) for a in reversed(atoms)]
        found = [x for x in labels if x is not None]
        return found if len(found) == len(labels) else None

    def _label(self, group: Group, call: Call, atom: Atom, env: Env) -> Label | None:
        """The atom with the values of `env`; a member that is not bound is any."""
        values: dict[int, object] = {}
        for number in atom.args:
            slot = call.meaning.slots[number]
            try:
                value = slot.convert(slot.value(env))
            except EventError:
                value = UNKNOWN
            if isinstance(value, Member):
                known = group.members.get(value.type, {}).get(value.raw)
                value = UNKNOWN if known is None else value.shift + known
            values[number] = value
        return label_of(atom, values)

    def _allowed(self, states: list[State], call: Call, env: Env, group: Group) -> list[str]:
        """What the spec allows for the command with any result: what would have to be seen, and what it would mean."""
        open_env = {**env, **dict.fromkeys(call.meaning.results, UNKNOWN)}
        out: dict[str, None] = {}
        for condition, shape, span in call.meaning.clauses:
            holds = True if condition is None else condition(open_env)
            if shape is None or not (holds is True or holds is UNKNOWN):
                continue
            told = "else" if condition is None else self._condition(span)
            for place in sorted(shape.accept):
                labels = self._way(group, call, shape, place, open_env)
                if labels is None:
                    continue
                for row in self._rows(states, labels, []):
                    out[f"{told}: {self._row(row, group)}"] = None
                    if len(out) > MOST_ALLOWED:
                        return [*islice(out, MOST_ALLOWED), ".."]
            if holds is True:
                break
        return list(out)

    def _condition(self, span: Span) -> str:
        """A condition as it stands in the binding, on one line."""
        return " ".join(span.text.split())

    def _rows(self, states: Iterable[State], labels: list[Label], done: list[Label]) -> Iterator[list[Label]]:
        """The ways that labels with open arguments can go from some of the states, with the values they have then."""
        if not labels:
            yield done
            return
        after: dict[Label, dict[State, None]] = {}
        for s in states:
            for label, to in self._possible(s, labels[0]):
                after.setdefault(label, {})[to] = None
        for label, found in after.items():
            yield from self._rows(found, labels[1:], [*done, label])

    def _possible(self, s: State, label: Label) -> Iterator[tuple[Label, State]]:
        kind, name, wanted = label
        if kind == "sees":
            if WILD not in wanted[:-1]:
                with suppress(SpecFault):
                    value = self.sets.observe(s, name, wanted[:-1])
                    if isinstance(value, int) and wanted[-1] in (WILD, value):
                        yield (kind, name, (*wanted[:-1], value)), s
            return
        for rule in self.sets.bound.events[name]:
            for args, after in self.sets.steps(s, rule, wanted):
                yield (kind, name, tuple(int(a) if isinstance(a, int) else WILD for a in args)), after

    def _row(self, labels: list[Label], group: Group) -> str:
        names = self._names(group)
        return " then ".join(self._shown(x, names) for x in labels) or "nothing"

    def _before(self, node: Node, slot: int) -> list[State]:
        """The states in which the call may have begun, or gone on, as far as the other calls can have come."""
        programs = node.programs[:slot] + node.programs[slot + 1 :]
        configs = {(s, places[:slot] + places[slot + 1 :]) for s, places in node.configs}
        return self._reachable(self.sets.node(programs, configs))

    def _why_not(self, states: list[State], call: Call) -> list[str]:
        """Steps that end in an error of the spec or in a failed assert."""
        shapes = [shape for _, shape, _ in call.meaning.clauses if shape is not None]
        events = {atom.name for shape in shapes for atom in shape.atoms}
        told = dict.fromkeys(f for s in states for f in self.sets.failures.get(s, ()) if f.split(":")[0] in events)
        return [f"the step fails there: {t}" for t in islice(told, 3)]
