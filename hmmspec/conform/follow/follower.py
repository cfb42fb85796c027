"""The follower: gets the events of a run one by one, and says where no run of the spec explains what was seen.

A call is looked at as soon as its result is known (and all calls before it are), so that each of its events has its
values.  In a sequential run that is at once; in a race findings come when the last of the calls in question returned.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

from hmmspec.conform.follow.bind import Meaning
from hmmspec.conform.follow.coverage import Coverage
from hmmspec.conform.follow.engines import Engine, Kind, too_many
from hmmspec.conform.follow.explain import Explainer
from hmmspec.conform.follow.groups import Call, Choice, Exhausted, Group, Item, Key, Parts, Programs, events_of
from hmmspec.conform.follow.load import Loaded, unknown_event, wrong_event
from hmmspec.conform.follow.nodes import Edge, Node, TooMany
from hmmspec.conform.follow.seen import Seen, seen
from hmmspec.conform.follow.shapes import NO_WAY, Shape
from hmmspec.conform.follow.values import UNKNOWN, Env, EventError, truth
from hmmspec.conform.target import Behaviour, Event, Finding, Target


def _key(meaning: Meaning, values: list[object]) -> Key:
    """The key of a group.  Raises EventError where a part of it is no name and no number."""
    for value in values:
        if value.__class__ is not int and not isinstance(value, (str, int)):
            raise EventError(f"what tells groups apart is a name or a number, not {value!r:.40}", meaning.span)
    return tuple(values)


def _lost(group: Group) -> bool:
    return bool(group.lost)


Meant = tuple[Choice | None, Parts]

# So many outcomes of conditions are kept; where they read data there is no end to them.
_CHOICES_KEPT = 20_000
_LOOK_EVERY = 64  # events
_NEVER = 1 << 62


class Follower:
    """Follows runs under one spec with one binding.  What it has worked out is kept from run to run.

    name: the spec's; incomplete: why something was not followed to its end, '' if nothing was lost.
    """

    def __init__(self, loaded: Loaded, limit: int = 10_000, engine: Kind = "auto") -> None:
        self.loaded = loaded
        self.limit = limit
        self._kind = engine
        self.name = loaded.name
        self.coverage = Coverage(loaded.system({}))
        self._by_settings: dict[int, tuple[Engine, Programs, Explainer]] = {}
        self.profile: Mapping[str, Behaviour] = {}
        self.devices: Mapping[str, str] = {}
        self._chosen: dict[tuple[object, ...], Choice | None] = {}
        self.start({}, {})

    # ------------------------------------------------------------ what clients call

    def begin(self, target: Target) -> None:
        """A run on a fresh target starts."""
        self.start(target.profile, target.devices)

    def start(self, profile: Mapping[str, Behaviour], devices: Mapping[str, str]) -> None:
        """The same, told the target's behaviours and which memory each device has.  Raises SpecError."""
        bound = self.loaded.bound(profile)
        key = id(bound)
        if key not in self._by_settings:
            made = Engine(bound, self.limit, self._kind)
            self._by_settings[key] = made, Programs(made.states), Explainer(made.plain, self.loaded)
        self.engine, self.programs, self.explainer = self._by_settings[key]
        self.bound, self.sets = bound, self.engine.states
        if (profile, devices) != (self.profile, self.devices):
            self._chosen.clear()  # conditions may read both
        self.profile, self.devices = dict(profile), dict(devices)
        why = self.engine.why
        self.lost: Counter[str] = Counter([why] if why else [])
        self.forgotten = 0
        self.events = 0
        self._look_at = _NEVER if self.engine.settled else 0
        self._first = self.engine.first
        self._template = Group(self._first, lost=why)
        self._groups: dict[Key, Group] = {}
        self._queue: deque[Seen] = deque()
        self._results: dict[int, Seen] = {}
        self._open: dict[int, list[tuple[Call, list[Group]]]] = {}
        self._order = 0
        self._late: list[Finding] = []

    def _look(self) -> None:
        """Take the sets in C, if they are there by now: whatever stands at a node goes on at the same one of theirs."""
        self._look_at = self.events + _LOOK_EVERY
        better = self.engine.better()
        if better is not None:
            nodes: dict[int, Node] = {}
            groups = {id(g): g for g in (self._template, *self._groups.values())}
            groups |= {id(g): g for calls in self._open.values() for _, found in calls for g in found}
            for old in (self.engine.first, *(g.node for g in groups.values())):
                if id(old) not in nodes:
                    nodes[id(old)] = better.node(old.programs, old.configs)
            self._first = self.engine.first = nodes[id(self.engine.first)]
            for group in groups.values():
                group.node = nodes[id(group.node)]
            self.sets = self.programs.sets = self.engine.states = better
        if self.engine.settled:
            self._look_at = _NEVER

    def feed(self, event: Event) -> Sequence[Finding]:
        """The next event of the run.  Raises SpecError where the binding does not know it."""
        return self.see(seen(event))

    def see(self, event: Seen) -> list[Finding]:
        """The same for an event of any log."""
        if self.events >= self._look_at:
            self._look()
        self._queue.append(event)
        if not event.is_call:
            self._results[event.call] = event
        return self._drain(False)

    def finish(self) -> Sequence[Finding]:
        """The run is over: calls that have not returned never will, and anything of them may have happened."""
        return self._drain(True)

    @property
    def incomplete(self) -> str:
        return "; ".join(f"{why} ({n} groups)" if n > 1 else why for why, n in self.lost.items())

    @property
    def groups(self) -> int:
        """How many groups are followed right now."""
        return len(self._groups)

    def covered(self) -> Mapping[str, int]:
        """How often each transition was used by some explanation, by name, over all runs: 0 means that it never
        happened, however the runs are read.  `coverage` also tells which were certainly taken."""
        return self.coverage.possible

    def all_transitions(self) -> Sequence[str]:
        """The transitions of the spec."""
        return self.coverage.names

    # ------------------------------------------------------------ events

    def _drain(self, over: bool) -> list[Finding]:
        out: list[Finding] = []
        queue = self._queue
        while queue:
            event = queue[0]
            if event.is_call and event.call not in self._results and not over:
                break
            queue.popleft()
            self.events += 1
            self._order += 1
            if event.is_call:
                result = self._results.pop(event.call, None)
                at_once = result is not None and bool(queue) and queue[0] is result
                finding = self._call(event, result, at_once)
                if at_once:
                    queue.popleft()
                    self.events += 1
            else:
                finding = self._return(event)
            if finding is not None:
                out.append(finding)
            if self._late:
                out += self._late
                self._late = []
        return out

    def _call(self, event: Seen, result: Seen | None, at_once: bool) -> Finding | None:
        bound = self.bound
        meanings = bound.meanings.get(event.name, ())
        if not meanings and event.name not in bound.ignored:
            raise unknown_event(event, self.loaded)
        # Nothing else was under way: then whatever happened was the doing of this call.
        alone = at_once and not self._open
        if not at_once and result is not None:
            self._open[event.call] = []
        finding = None
        try:
            for meaning in meanings:
                call = Call(meaning, event, result)
                told = self._meant(call, at_once, alone)
                finding = finding or told
        except EventError as error:
            raise wrong_event(error, event) from None
        return finding

    def _meant(self, call: Call, at_once: bool, alone: bool) -> Finding | None:
        """What a call means to the groups that it concerns."""
        concerned = self._concerned(call, alone)
        if not at_once:
            for group, envs in concerned:
                self._begin(group, Item(self._order, "call", call, envs))
            if call.result is not None:
                self._open[call.number].append((call, [g for g, _ in concerned]))
            return None
        finding = None
        item: Item | None = None
        meant: Meant | None = None
        for group, envs in concerned:
            # What happens to all groups is one event, and means the same to each of them.
            if item is None or item.envs is not envs:
                item = Item(self._order, "run", call, envs)
                meant = self._event(call.meaning, envs[0]) if len(envs) == 1 else None
            told = self._whole(group, item, meant)
            self._rest(group)
            finding = finding or told
        return finding

    def _return(self, event: Seen) -> Finding | None:
        if event.call not in self._open:
            raise unknown_event(event, self.loaded)
        finding = None
        for call, groups in self._open.pop(event.call):
            # A group may have become part of another since the call began.
            for group in dict.fromkeys(map(self._now, groups)):
                told = self._end(group, Item(self._order, "return", call, ()))
                self._rest(group)
                finding = finding or told
        return finding

    def _now(self, group: Group) -> Group:
        while group.became is not None:
            group = group.became
        return group

    # ------------------------------------------------------------ which groups

    def _concerned(self, call: Call, alone: bool) -> list[tuple[Group, tuple[Env, ...]]]:
        """The groups that a call concerns, each with its events."""
        envs = events_of(call, self.profile, self.devices or UNKNOWN, alone)
        meaning = call.meaning
        if meaning.key is None:
            told = tuple(envs)
            everyone = dict.fromkeys([self._template, *self._groups.values()])
            return [(g, told) for g in everyone if not g.lost]
        if len(envs) == 1 and meaning.joins is None:
            (env,) = envs
            group = self._group(_key(meaning, [e(env) for e in meaning.key]))
            return [] if group.lost else [(group, (env,))]
        out: dict[int, tuple[Group, list[Env]]] = {}
        for env in envs:
            group = self._group(_key(meaning, [e(env) for e in meaning.key]))
            if meaning.joins is not None:
                other = meaning.joins(env)
                joined = self._join(group, self._group(_key(meaning, [other])))
                if joined is not group:
                    out = {id(g): (g, e) for g, e in self._moved(out)}
                    group = joined
            if not group.lost:
                found = out.get(id(group))
                if found is None:
                    out[id(group)] = group, [env]
                else:
                    found[1].append(env)
        return [(g, tuple(e)) for g, e in out.values()]

    def _moved(self, out: dict[int, tuple[Group, list[Env]]]) -> list[tuple[Group, list[Env]]]:
        found: dict[int, tuple[Group, list[Env]]] = {}
        for group, envs in out.values():
            now = self._now(group)
            found.setdefault(id(now), (now, []))[1].extend(envs)
        return list(found.values())

    def _group(self, key: Key) -> Group:
        found = self._groups.get(key)
        if found is None:
            found = self._groups[key] = self._template.copy({key})
            for call, _ in self._template.pending:
                self._open_groups(call).append(found)
        return found

    def _open_groups(self, call: Call) -> list[Group]:
        """The groups that a call under way concerns; more may be made meanwhile."""
        return next((groups for c, groups in self._open.get(call.number, ()) if c is call), [])

    def _join(self, one: Group, other: Group) -> Group:
        """The two groups as one: what happened to both happens again to a group that has the pages of both."""
        if one is other:
            return one
        group = Group(self._first, one.keys | other.keys, lost=one.lost or other.lost)
        for old in (one, other):
            old.became = group
        for key in group.keys:
            self._groups[key] = group
        if group.lost:
            return group
        items: dict[int, Item] = {}
        for item in (*one.items(), *other.items()):
            known = items.get(item.order)
            if known is None:
                items[item.order] = item
            elif known is not item and known.envs is not item.envs:
                both = (*known.envs, *(e for e in item.envs if e not in known.envs))
                items[item.order] = Item(item.order, item.kind, item.call, both)
        for order in sorted(items):
            item = items[order]
            finding = None
            match item.kind:
                case "call":
                    self._begin(group, item)
                case "return":
                    finding = self._end(group, item)
                case "run":
                    meant = self._event(item.call.meaning, item.envs[0]) if len(item.envs) == 1 else None
                    finding = self._whole(group, item, meant)
            if finding is not None:
                self._late.append(finding)
            if _lost(group):
                break
        return group

    # ------------------------------------------------------------ steps of one group

    def _event(self, meaning: Meaning, env: Env) -> Meant:
        """What an event means to whatever group it happens to."""
        choice = self._choice(meaning, env)
        return choice, [] if choice is None else self.programs.parts(choice, env)

    def _choice(self, meaning: Meaning, env: Env) -> Choice | None:
        """What may have happened: the clause that holds, or all that may.  None: the binding follows this no more."""
        key = (id(meaning), *[env[n] for n in meaning.deciding])
        try:
            return self._chosen[key]
        except KeyError:
            pass
        except TypeError:  # a field that is a list
            return self._choose(meaning, env)
        if len(self._chosen) >= _CHOICES_KEPT:
            self._chosen.clear()
        found = self._chosen[key] = self._choose(meaning, env)
        return found

    def _choose(self, meaning: Meaning, env: Env) -> Choice | None:
        out: list[Shape] = []
        for condition, shape, span in meaning.clauses:
            holds = True if condition is None else truth(condition(env), span)
            if holds is False:
                continue
            if shape is None:
                if holds is True and not out:
                    return None
                continue
            out.append(shape)
            if holds is True:
                break
        out += meaning.also
        return self.programs.choice(tuple(out) or (NO_WAY,), meaning)

    def _begin(self, group: Group, item: Item) -> None:
        if group.lost:
            return
        group.history = item, group.history
        for env in item.envs:
            choice, parts = self._event(item.call.meaning, env)
            if choice is None:
                self._forget(group)
                return
            try:
                program = self.programs.program(group, choice, parts)
                self._move(group, self.sets.call(group.node, program))
            except Exhausted as error:
                self._lose(group, str(error))
                return
            except TooMany:
                self._lose(group, too_many(self.limit))
                return
            group.pending.append((item.call, env))

    def _end(self, group: Group, item: Item) -> Finding | None:
        """The call returned."""
        if group.lost:
            return None
        group.history = item, group.history
        while True:
            slot = next((k for k, (call, _) in enumerate(group.pending) if call is item.call), None)
            if slot is None:
                break
            before = group.node
            _, env = group.pending[slot]
            try:
                edge = self.sets.back(before, slot)
            except TooMany:
                self._lose(group, too_many(self.limit))
                return None
            if not edge.node.size:
                return self._contradiction(group, before, slot, item.call, env)
            del group.pending[slot]
            self._move(group, edge)
        return None

    def _whole(self, group: Group, item: Item, meant: Meant | None) -> Finding | None:
        """A call and its return, with nothing between.  meant: what its one event means; None: it has several."""
        if group.lost:
            return None
        if meant is None:
            self._begin(group, item)
            return None if _lost(group) else self._ended(group, item)
        group.history = item, group.history
        env = item.envs[0]
        choice, parts = meant
        if choice is None:
            self._forget(group)
            return None
        before = group.node
        try:
            program = self.programs.program(group, choice, parts)
            edge = self.sets.run(before, program)
        except Exhausted as error:
            self._lose(group, str(error))
            return None
        except TooMany:
            self._lose(group, too_many(self.limit))
            return None
        if not edge.node.size:
            begun = self.sets.call(before, program).node
            group.pending.append((item.call, env))
            return self._contradiction(group, begun, len(begun.programs) - 1, item.call, env)
        self._move(group, edge)
        return None

    def _ended(self, group: Group, item: Item) -> Finding | None:
        finding = self._end(group, item)
        if group.history is not None and finding is None and not group.lost:
            group.history = group.history[1]  # it stands there once, as a whole
        return finding

    def _move(self, group: Group, edge: Edge) -> None:
        group.node = edge.node
        self.coverage.add(edge)

    def _rest(self, group: Group) -> None:
        """A group that is as if nobody had ever mentioned its pages is given up: they can be anything again."""
        if group.node is self._template.node and not group.pending and group is not self._template and not group.lost:
            mine, other = self._known(group), self._known(self._template)
            if mine == other:
                for key in group.keys:
                    del self._groups[key]
                group.keys = set()

    def _known(self, group: Group) -> dict[str, dict[object, int]]:
        """The members that make a difference, and what they stand for."""
        masks = self.sets.mentions(group.node)
        out: dict[str, dict[object, int]] = {}
        for t, known in group.members.items():
            at = self.programs.sizes.get(t)
            mask = -1 if at is None else masks[at[0]]
            out[t] = {raw: n for raw, n in known.items() if mask >> n & 1}
        return {t: m for t, m in out.items() if m}

    # ------------------------------------------------------------ ends

    def _lose(self, group: Group, why: str) -> None:
        group.lost = why
        self.lost[why] += 1

    def _forget(self, group: Group) -> None:
        group.lost = "the binding does not follow it"
        self.forgotten += 1

    def _contradiction(self, group: Group, node: Node, slot: int, call: Call, env: Env) -> Finding:
        group.lost = "nothing explains it"
        message, details = self.explainer.explain(group, node, slot, call, env)
        return Finding("follower", message, self.name, call.number, details)
