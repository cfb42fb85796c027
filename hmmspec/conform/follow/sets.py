"""The states of a spec that explain what was seen, as sets; every step from set to set is worked out once.

A *configuration* is a state and, for each call that has not returned, the place it has reached in its program.  A
`Node` is a set of configurations.  Hidden steps and steps of pending calls are taken as late as possible: only when a
call returns do they matter, and then those that are not needed for its return can still come later.  So of what a
return leaves only that is kept from which the rest can still come; a node holds no more than it must, and what a return
rules out was never counted as seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from itertools import product

from hmmspec.checker.explicit.slots import Anatomy, Slot, slots
from hmmspec.conform.follow.bind import Bound
from hmmspec.conform.follow.nodes import NONE, Config, Edge, Node, Rules, TooMany, forgotten
from hmmspec.conform.follow.normal import Normal
from hmmspec.conform.follow.shapes import WILD, Label, Program
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Failure, Interpreter, State, at_most
from hmmspec.system.types import Symmetric, Type, values

# Beyond so many configurations looked at, what was certainly exercised is not worked out: only what may have been.
_CERTAIN_WITHIN = 3_000
# Candidates for start states that are looked at, for each configuration that a node may have.
_CANDIDATES = 20
_MANY_STARTS = "the spec has too many start states (or an assume excludes nearly all of them)"
# So many nodes are kept, and so many configurations and steps in all; who meets more has little to gain from them.
KEPT = 60_000
_HEAVIEST = 1_000_000


class Sets:
    """Nodes of one bound System.  `limit`: how many configurations a node may have, and ten times that are looked at
    for one step."""

    def __init__(self, bound: Bound, limit: int, interp: Interpreter | None = None) -> None:
        self.bound = bound
        self.limit = limit
        self.interp = interp or Interpreter(bound.system, lazy=True)
        self.normal = Normal(bound.system, bound.unseen) if bound.unseen else None
        self.members = tuple(t for t in bound.system.symmetric if t not in bound.unseen)
        self._nodes: dict[tuple[tuple[Program, ...], frozenset[Config]], Node] = {}
        self._hidden: dict[State, tuple[tuple[int, State], ...]] = {}
        self._labelled: dict[tuple[State, Label], tuple[tuple[int, State], ...]] = {}
        self._expanded: dict[tuple[State, int], list[tuple[tuple[object, ...], State]]] = {}
        self._mentioned: dict[State, tuple[int, ...]] = {}
        self.slots = slots(bound.system.variables)
        self._slots = _slots_of(self.slots, self.members)
        self._start_values: list[object] = []
        self._weight = 0
        self.largest = 0
        self.worked = 0
        """How many steps of the spec were asked for that were not known."""
        self.failures: dict[State, list[str]] = {}
        """What a step of the spec that ends in an error says, by the state it starts from."""

    # ------------------------------------------------------------ nodes

    def start(self) -> Node:
        """The start states.  Raises TooMany, SpecFault."""
        found: set[State] = set()
        values: list[set[object]] = []
        for s in self.interp.initial(at_most(_CANDIDATES * self.limit, TooMany(_MANY_STARTS))):
            found.add(self.canonical(s))
            if len(found) > self.limit:
                raise TooMany
            values = values or [set() for _ in s]
            for known, value in zip(values, s, strict=True):
                known.add(value)
        # A slot with several start values tells its identity from the others from the beginning.
        self._start_values = [next(iter(v)) if len(v) == 1 else None for v in values]
        return self.node((), ((s, ()) for s in found))

    def start_values(self, numbers: Sequence[int]) -> list[object]:
        """What these slots hold in every start state, None where that is not one value; after `start`."""
        return [self._start_values[n] if self._start_values else None for n in numbers]

    def node(self, programs: tuple[Program, ...], configs: Iterable[Config]) -> Node:
        key = programs, frozenset(configs)
        if len(key[1]) > self.limit:
            raise TooMany
        found = self._nodes.get(key)
        if found is None:
            if len(self._nodes) >= KEPT or self._weight > _HEAVIEST:
                self.forget()
            self._weight += 4 + len(key[1])
            found = self._nodes[key] = Node(programs, len(key[1]), key[1])
            self.largest = max(self.largest, found.size)
        return found

    def forget(self) -> None:
        """Nodes in use are kept; what was worked out is worked out again where it is wanted."""
        for memo in (self._hidden, self._labelled, self._expanded, self._mentioned, self.failures):
            memo.clear()
        forgotten(list(self._nodes.values()))
        # Those that nobody else holds are gone as soon as we do not hold them.
        known = [weakref.ref(self._nodes.popitem()[1]) for _ in range(len(self._nodes))]
        kept = [node for node in (ref() for ref in known) if node is not None]
        self._nodes = {(node.programs, node.configs): node for node in kept}
        self._weight = sum(4 + node.size for node in kept)

    def canonical(self, s: State) -> State:
        """The same for states that differ only in identities that no event names."""
        return s if self.normal is None else self.normal.of(s)

    # ------------------------------------------------------------ steps of the spec

    def hidden(self, s: State) -> tuple[tuple[int, State], ...]:
        """The hidden steps out of a state: (rule, next state)."""
        found = self._hidden.get(s)
        if found is None:
            steps: dict[tuple[int, State], None] = {}
            for rule in self.bound.hidden:
                for _, after in self.expanded(s, rule):
                    if after != s:
                        steps[rule, after] = None
            found = self._hidden[s] = tuple(steps)
            self._weight += 2 + len(self.bound.hidden)
            self.worked += 1
        return found

    def expanded(self, s: State, rule: int) -> list[tuple[tuple[object, ...], State]]:
        """The steps of one rule: (arguments, next state)."""
        found = self._expanded.get((s, rule))
        if found is None:
            out, bad = self.interp.expand_rule(s, rule)
            found = self._expanded[s, rule] = [(args, self.canonical(after)) for _, args, after in out]
            self._note(s, rule, bad)
        return found

    def steps(self, s: State, rule: int, wanted: tuple[int, ...]) -> list[tuple[tuple[object, ...], State]]:
        """The steps of one rule whose arguments are these, where they are not WILD: (arguments, next state)."""
        out: list[tuple[tuple[object, ...], State]] = []
        params = self.bound.system.rules[rule].params
        choices = [values(p.type) if w == WILD else (w,) for p, w in zip(params, wanted, strict=True)]
        for args in product(*choices):
            good, bad = self.interp.expand_rule(s, rule, args)
            out += [(a, self.canonical(after)) for _, a, after in good]
            self._note(s, rule, bad)
        return out

    def _note(self, s: State, rule: int, bad: list[Failure]) -> None:
        for _, _, fault in bad:
            self.failures.setdefault(s, []).append(f"{self.bound.system.rules[rule].name}: {fault.message}")

    def labelled(self, s: State, label: Label) -> tuple[tuple[int, State], ...]:
        """The steps that a label allows: (rule, next state); an observation is rule -1 and changes nothing."""
        found = self._labelled.get((s, label))
        if found is None:
            kind, name, wanted = label
            if kind == "sees":
                found = ((-1, s),) if self._sees(s, name, wanted) else ()
            else:
                steps: dict[tuple[int, State], None] = {}
                for rule in self.bound.events[name]:
                    for _, after in self.steps(s, rule, wanted):
                        steps[rule, after] = None
                found = tuple(steps)
            self._labelled[s, label] = found
            self._weight += 2
            self.worked += 1
        return found

    def observe(self, s: State, name: str, args: tuple[int, ...]) -> object:
        """The value of an observation.  Raises SpecFault."""
        o = next(o for o in self.bound.system.observations if o.name == name)
        env = {p.name: a for p, a in zip(o.params, args, strict=True)}
        return self.interp.evaluate(o.body, s, None, env)

    def _sees(self, s: State, name: str, wanted: tuple[int, ...]) -> bool:
        *args, value = wanted
        if value == WILD:
            return True
        if WILD in args:
            return True  # of whom it is seen is not known: nothing follows
        try:
            return self.observe(s, name, tuple(args)) == value
        except SpecFault as f:
            self.failures.setdefault(s, []).append(f"{name}: {f.fault.message}")
            return False

    # ------------------------------------------------------------ steps between nodes

    def call(self, node: Node, program: Program) -> Edge:
        """A call begins."""
        edge = node.called.get(program)
        if edge is None:
            if program.at_call is None:
                configs = {(s, (*places, start)) for s, places in node.configs for start in program.starts}
                edge = Edge(self.node((*node.programs, program), configs))
            else:
                ways, accept = program.at_call
                search = _Search(self, node, None)
                search.run()
                search.at_once(ways, accept)
                begun = self._needed(node.programs, {(s, places[:-1]) for s, places in search.goals})
                after = {(s, (*places, start)) for s, places in begun for start in program.starts}
                edge = self._edge((*node.programs, program), after, search)
            node.called[program] = edge
        return edge

    def back(self, node: Node, slot: int) -> Edge:
        """The call in this slot returns.  The edge's node has no configurations where nothing explains it."""
        edge = node.returned.get(slot)
        if edge is None:
            program = node.programs[slot]
            search = _Search(self, node, slot)
            search.run()
            end = None
            if program.at_return is not None:
                search.at_once(*program.at_return)
                end = -1
            left = {(s, places[:slot] + places[slot + 1 : end]) for s, places in search.goals}
            others = node.programs[:slot] + node.programs[slot + 1 :]
            edge = self._edge(others, self._needed(others, left), search)
            node.returned[slot] = edge
        return edge

    def run(self, node: Node, program: Program) -> Edge:
        """A call and its return, with nothing between them."""
        edge = node.ran.get(program)
        if edge is None:
            begun = self.call(node, program)
            ended = self.back(begun.node, len(node.programs))
            edge = Edge(ended.node, begun.sure | ended.sure, begun.maybe | ended.maybe)
            node.ran[program] = edge
        return edge

    def reachable(self, node: Node) -> set[State]:
        """The states that hidden steps and pending calls can lead to.  Raises TooMany."""
        search = _Search(self, node, None)
        search.run()
        return {s for s, _ in search.goals}

    def onward(self, programs: tuple[Program, ...], config: Config) -> list[tuple[Config, int]]:
        """Where hidden steps and steps of pending calls lead, and by which rules (-1: an observation)."""
        s, places = config
        out = [((after, places), rule) for rule, after in self.hidden(s)]
        for k, (program, place) in enumerate(zip(programs, places, strict=True)):
            for label, to in program.ways[place]:
                moved = (*places[:k], to, *places[k + 1 :])
                out += [((after, moved), rule) for rule, after in self.labelled(s, label)]
        return out

    def _needed(self, programs: tuple[Program, ...], configs: set[Config]) -> set[Config]:
        """Without those that others of them lead to: what they can do, the others can do later.

        Where some lead to each other in a circle, and no other leads there, all of them are kept.
        """
        if len(configs) < 2:
            return configs
        onward = {c: [a for a, _ in self.onward(programs, c) if a != c and a in configs] for c in configs}
        reached = {after for found in onward.values() for after in found}
        first = configs - reached
        todo, seen = list(first), set(first)
        while todo:
            for after in onward[todo.pop()]:
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        return first | (configs - seen)

    def _edge(self, programs: tuple[Program, ...], configs: set[Config], search: _Search) -> Edge:
        node = self.node(programs, configs)
        sure, maybe = search.rules()
        return Edge(node, sure, maybe)

    # ------------------------------------------------------------ members that are free

    def mentions(self, node: Node) -> tuple[int, ...]:
        """For each type of `members` the members that the spec can tell from one never mentioned, as a bit mask.

        The others stand in every state as they do at the start, and no value names them: so the spec treats them all
        alike, and one may stand for something new.
        """
        if node.mentions is None:
            masks = [0] * len(self.members)
            for s, _ in node.configs:
                for k, mask in enumerate(self._of_state(s)):
                    masks[k] |= mask
            node.mentions = tuple(masks)
        return node.mentions

    def _of_state(self, s: State) -> tuple[int, ...]:
        found = self._mentioned.get(s)
        if found is None:
            masks = [0] * len(self.members)
            for here, indices, look in self._slots:
                value = s[here]
                if value != self._start_values[here]:
                    for k, mask in indices:
                        masks[k] |= mask
                if look is not None:
                    for k, mask in look[value]:
                        masks[k] |= mask
            found = self._mentioned[s] = tuple(masks)
        return found

    def mentioned_by(self, program: Program) -> tuple[int, ...]:
        """The same for the arguments of a program."""
        masks = [0] * len(self.members)
        anatomy = Anatomy(self.members)
        trees = [program.ways, *(x[0] for x in (program.at_call, program.at_return) if x is not None)]
        for kind, name, args in dict.fromkeys(label for tree in trees for ways in tree for label, _ in ways):
            for t, value in zip(self.types(kind, name), args, strict=True):
                for _, k, identity in anatomy.namings(t, value) if value != WILD else ():
                    masks[k] |= 1 << identity
        return tuple(masks)

    def types(self, kind: str, name: str) -> list[Type]:
        """Of the arguments of a label."""
        if kind == "does":
            return [p.type for p in self.bound.system.rules[self.bound.events[name][0]].params]
        o = next(o for o in self.bound.system.observations if o.name == name)
        return [*(p.type for p in o.params), o.type]


class _Namer(dict[object, list[tuple[int, int]]]):
    """For a value of a slot, which members it names: (number of the type, bit mask)."""

    def __init__(self, anatomy: Anatomy, t: Type) -> None:
        self.anatomy, self.type = anatomy, t

    def __missing__(self, value: object) -> list[tuple[int, int]]:
        named = self.anatomy.namings(self.type, value)
        out = self[value] = [(k, 1 << identity) for _, k, identity in named]
        return out


_Slot = tuple[int, list[tuple[int, int]], _Namer | None]


def _slots_of(every: Sequence[Slot], members: tuple[Symmetric, ...]) -> list[_Slot]:
    """(slot, members among its indices, how to find members in its value or None) for slots that concern members."""
    anatomy = Anatomy(members)
    out: list[_Slot] = []
    for here, slot in enumerate(every):
        indices = [(k, 1 << i) for t, o in slot.index for _, k, i in anatomy.ordinal_namings(t, o)]
        look = _Namer(anatomy, slot.type) if anatomy.concerned(slot.type) else None
        if indices or look is not None:
            out.append((here, indices, look))
    return out


class _Search:
    """All configurations that hidden steps and steps of pending calls lead to, up to where one call is over.

    slot: whose return is looked for; None: everything reachable is a goal.
    """

    def __init__(self, sets: Sets, node: Node, slot: int | None) -> None:
        self.sets, self.node, self.slot = sets, node, slot
        self.goals: set[Config] = set()
        self.links: dict[Config, list[tuple[Config, int]]] = {}

    def run(self) -> None:
        slot = self.slot
        programs = self.node.programs
        mine = None if slot is None else programs[slot]
        # What comes at the return itself comes after everything else: then nothing may be cut short.
        last = frozenset[int]() if mine is None or mine.at_return is not None else mine.last
        todo = list(self.node.configs)
        seen = set(todo)
        most = self.sets.limit * 10
        while todo:
            config = todo.pop()
            _, places = config
            if mine is None or slot is None:
                self.goals.add(config)
            elif places[slot] in mine.accept:
                self.goals.add(config)
                if places[slot] in last:
                    continue
            for after, rule in self.sets.onward(programs, config):
                self.links.setdefault(after, []).append((config, rule))
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
            if len(seen) > most:
                raise TooMany

    def at_once(self, ways: tuple[tuple[tuple[Label, int], ...], ...], accept: frozenset[int]) -> None:
        """Every goal goes on through these ways, with nothing in between: where it stands there is the last of the
        places of the goals that it leads to."""
        todo: list[Config] = []
        seen: set[Config] = set()

        def link(config: Config, rule: int, after: Config) -> None:
            self.links.setdefault(after, []).append((config, rule))
            if after not in seen:
                seen.add(after)
                todo.append(after)

        for goal in self.goals:
            link(goal, -1, (goal[0], (*goal[1], 0)))
        self.goals = set()
        while todo:
            config = todo.pop()
            s, places = config
            if places[-1] in accept:
                self.goals.add(config)
            for label, to in ways[places[-1]]:
                for rule, after in self.sets.labelled(s, label):
                    link(config, rule, (after, (*places[:-1], to)))

    def rules(self) -> tuple[Rules, Rules]:
        """Rules that lie on every way from the node to a goal, and on some way."""
        maybe = frozenset(r for r in _used(self.links, self.goals) if r >= 0)
        if not maybe:
            return NONE, NONE
        if sum(map(len, self.links.values())) > _CERTAIN_WITHIN:
            return NONE, maybe
        starts = self.node.configs
        return frozenset(r for r in maybe if not _reaches(self.links, self.goals, starts, r)), maybe


def _used(links: dict[Config, list[tuple[Config, int]]], goals: set[Config]) -> set[int]:
    """The rules of all links from which a goal can be reached."""
    out: set[int] = set()
    todo, seen = list(goals), set(goals)
    while todo:
        for before, rule in links.get(todo.pop(), ()):
            out.add(rule)
            if before not in seen:
                seen.add(before)
                todo.append(before)
    return out


def _reaches(
    links: dict[Config, list[tuple[Config, int]]], goals: set[Config], starts: frozenset[Config], without: int
) -> bool:
    """Whether some start leads to a goal without this rule."""
    todo, seen = list(goals), set(goals)
    while todo:
        config = todo.pop()
        if config in starts:
            return True
        for before, rule in links.get(config, ()):
            if rule != without and before not in seen:
                seen.add(before)
                todo.append(before)
    return False
