"""`Sets` in C (sets.c): the same nodes and the same steps between them, for one bound System.

What it has worked out is forgotten where it takes too much memory: nodes that are in use are entered again, and go on
under new numbers.
"""

from __future__ import annotations

import ctypes
import weakref
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hmmspec.checker.native.packing import Packing
from hmmspec.checker.native.values import is_plain
from hmmspec.clib.compile import Built, CannotCompile
from hmmspec.conform.follow.nodes import Config, Edge, Node, Rules, TooMany, forgotten
from hmmspec.conform.follow.sets import KEPT, Sets
from hmmspec.conform.follow.shapes import WILD, Label, Program
from hmmspec.conform.follow.unit import member_slots
from hmmspec.diagnostics import Limit
from hmmspec.system.layout import layout
from hmmspec.system.types import Range, Type, is_scalar, ordinal

MOST_BYTES = 256 << 20  # of what is known, beyond which it is forgotten

_LOOK_EVERY = 64  # steps

_TOO_MANY, _BEYOND, _NO_MEMORY = -1, -2, -3
# What a label is: an event, an observation, one that always fits, one that C does not have.
_DOES, _LOOKS, _SEES, _CANNOT = range(4)


class Library:
    """The compiled text of a bound System.  Raises CannotCompile where it cannot be loaded."""

    def __init__(self, built: Built) -> None:
        self.path: Path = built.path
        try:
            self.dll = ctypes.CDLL(str(built.path))
        except OSError as error:
            raise CannotCompile(f"the compiled spec cannot be loaded: {error}") from None
        finally:
            built.loaded()
        c, pointer = ctypes, ctypes.c_void_p
        for name, result, arguments in (
            ("sets_new", pointer, (c.c_uint64,)),
            ("sets_free", None, (pointer,)),
            ("sets_bytes", c.c_uint64, (pointer,)),
            ("sets_label", c.c_int, (pointer, c.c_int, pointer, c.c_int, pointer, c.c_int, c.c_int64)),
            ("sets_program", c.c_int, (pointer, pointer)),
            ("sets_node", c.c_int, (pointer, pointer, c.c_int, c.c_char_p, pointer, c.c_uint64, pointer)),
            ("sets_configs", None, (pointer, c.c_uint32, pointer, pointer)),
            ("sets_mentions", None, (pointer, c.c_uint32, pointer, pointer)),
            ("sets_call", c.c_int, (pointer, c.c_uint32, c.c_uint32, pointer)),
            ("sets_back", c.c_int, (pointer, c.c_uint32, c.c_uint32, pointer)),
            ("sets_run", c.c_int, (pointer, c.c_uint32, c.c_uint32, pointer)),
        ):
            function = getattr(self.dll, name)
            function.restype, function.argtypes = result, arguments


class PackedSets:
    """Nodes of one bound System, as `Sets`.  plain: does what C cannot.  Raises Limit where states cannot be packed."""

    def __init__(self, plain: Sets, limit: int, library: Library) -> None:
        self.plain = plain
        bound = self.bound = plain.bound
        self.limit = limit
        self.members = self.plain.members
        plan = layout(bound.system)
        self._packing = Packing(self.plain.interp, plan)
        self._bytes = 8 * plan.words
        self._rule_words = max(1, -(-len(bound.system.rules) // 64))
        # What the library says of a step: masks of the rules that were used, the node's number, its size.
        found = array("Q", bytes(16 * self._rule_words + 8))
        self._edge, seen = found.buffer_info()[0], memoryview(found).cast("B")
        self._masks, self._numbers = seen[: 16 * self._rule_words], seen[16 * self._rule_words :].cast("I")
        self._dll = library.dll
        self._run = library.dll.sets_run
        self._observations = {o.name: n for n, o in enumerate(bound.system.observations)}
        self._rules: dict[int, Rules] = {}
        self._used: dict[bytes, tuple[Rules, Rules]] = {}
        self._steps = self.largest = 0
        self._configs = self.configs  # one for all nodes
        self._looked_at = member_slots(bound, self.members)
        self._start = (ctypes.c_int64 * (len(self._looked_at) + 1))()
        self._open()

    def _open(self) -> None:
        self._pointer = self._dll.sets_new(self.limit)
        if not self._pointer:
            raise Limit("the system does not give the memory to follow a run")
        self._closing = weakref.finalize(self, self._dll.sets_free, self._pointer)
        self._nodes: dict[int, Node] = {}
        self._labels: dict[Label, int] = {}
        self._programs: dict[Program, int] = {}

    def close(self) -> None:
        """Give the memory back; nodes are of no use any more."""
        self._closing()

    # ------------------------------------------------------------ nodes

    def start(self) -> Node:
        """The start states.  Raises TooMany, SpecFault."""
        node = self.plain.start()
        for k, (at, value) in enumerate(zip(self._looked_at, self.plain.start_values(self._looked_at), strict=True)):
            t = self.plain.slots[at].type
            self._start[k] = -1 if value is None else int(value) - (t.low if isinstance(t, Range) else 0)  # type: ignore[call-overload]
        return self.node((), node.configs)

    def node(self, programs: tuple[Program, ...], configs: Iterable[Config]) -> Node:
        """The node with these configurations.  Raises TooMany."""
        self._enter(programs, list(configs))
        return self._found(programs)

    def _enter(self, programs: tuple[Program, ...], configs: Sequence[Config]) -> int:
        """The number of a node; `_edge` has it, too."""
        numbers = _numbers([self._program(p) for p in programs])
        states = b"".join(self._packing.pack(s) for s, _ in configs)
        places = _numbers([p for _, reached in configs for p in reached])
        given = numbers, len(programs), states, places, len(configs), self._edge
        self._check(self._dll.sets_node(self._pointer, *given))
        return self._numbers[0]

    def configs(self, node: Node) -> list[Config]:
        """The configurations of a node."""
        calls = len(node.programs)
        states = ctypes.create_string_buffer(self._bytes * node.size + 1)
        places = (ctypes.c_uint32 * (calls * node.size + 1))()
        self._dll.sets_configs(self._pointer, node.number, states, places)
        out = []
        for i in range(node.size):
            words = states.raw[i * self._bytes : (i + 1) * self._bytes]
            out.append((self._packing.unpack(words), tuple(places[i * calls : (i + 1) * calls])))
        return out

    def _found(self, programs: tuple[Program, ...]) -> Node:
        """The node that the last call of the library has put into `_edge`."""
        number = self._numbers[0]
        found = self._nodes.get(number)
        if found is None:
            size = self._numbers[1]
            found = self._nodes[number] = Node(programs, size, self._configs, number)
            if size > self.largest:
                self.largest = size
        return found

    def _found_edge(self, programs: tuple[Program, ...]) -> Edge:
        masks = self._masks.tobytes()
        used = self._used.get(masks)
        if used is None:
            half = len(masks) // 2
            used = self._used[masks] = self._taken(masks[:half]), self._taken(masks[half:])
        return Edge(self._found(programs), *used)

    def _taken(self, words: bytes) -> Rules:
        """The rules of a mask, the word with the first ones first."""
        mask = sum(word << 64 * k for k, word in enumerate(array("Q", words)))
        known = self._rules.get(mask)
        if known is None:
            known = self._rules[mask] = frozenset(n for n in range(mask.bit_length()) if mask >> n & 1)
        return known

    def _check(self, result: int) -> int:
        if result == _TOO_MANY:
            raise TooMany
        if result == _NO_MEMORY:
            raise Limit("the system does not give the memory to follow a run")
        return result

    # ------------------------------------------------------------ steps between nodes

    def call(self, node: Node, program: Program) -> Edge:
        """A call begins."""
        edge = node.called.get(program)
        if edge is None:
            self._make_room()
            done = self._dll.sets_call(self._pointer, node.number, self._program(program), self._edge)
            programs = (*node.programs, program)
            edge = self._edge_to(programs, done) or self._entered(self.plain.call(self._plain(node), program))
            node.called[program] = edge
        return edge

    def back(self, node: Node, slot: int) -> Edge:
        """The call in this slot returns.  The edge's node has no configurations where nothing explains it."""
        edge = node.returned.get(slot)
        if edge is None:
            self._make_room()
            done = self._dll.sets_back(self._pointer, node.number, slot, self._edge)
            programs = node.programs[:slot] + node.programs[slot + 1 :]
            edge = self._edge_to(programs, done) or self._entered(self.plain.back(self._plain(node), slot))
            node.returned[slot] = edge
        return edge

    def run(self, node: Node, program: Program) -> Edge:
        """A call and its return, with nothing between them."""
        edge = node.ran.get(program)
        if edge is None:
            self._make_room()
            done = self._run(self._pointer, node.number, self._program(program), self._edge)
            edge = self._edge_to(node.programs, done) or self._entered(self.plain.run(self._plain(node), program))
            node.ran[program] = edge
        return edge

    def _edge_to(self, programs: tuple[Program, ...], done: int) -> Edge | None:
        """The edge that the library has worked out; None: that is beyond it."""
        return None if self._check(done) == _BEYOND else self._found_edge(programs)

    def _plain(self, node: Node) -> Node:
        return self.plain.node(node.programs, node.configs)

    def _entered(self, edge: Edge) -> Edge:
        """An edge that the interpreter has worked out, to a node of ours."""
        return Edge(self.node(edge.node.programs, edge.node.configs), edge.sure, edge.maybe)

    def _make_room(self) -> None:
        self._steps += 1
        if self._steps % _LOOK_EVERY == 0 and (
            len(self._nodes) >= KEPT or self._dll.sets_bytes(self._pointer) > MOST_BYTES
        ):
            self.forget()

    def forget(self) -> None:
        """Nodes in use are kept; what was worked out is worked out again where it is wanted."""
        forgotten(self._nodes.values())
        # Those that nobody else holds are gone as soon as we do not hold them.
        known = [weakref.ref(self._nodes.popitem()[1]) for _ in range(len(self._nodes))]
        kept = [(node, self.configs(node)) for node in (ref() for ref in known) if node is not None]
        self._closing()
        self._open()
        for node, configs in kept:
            node.number = self._enter(node.programs, configs)
            self._nodes[node.number] = node

    # ------------------------------------------------------------ programs

    def _program(self, program: Program) -> int:
        number = self._programs.get(program)
        if number is None:
            out = [len(program.starts), *program.starts, *self._tree(program.ways, program.accept)]
            out += [int(place in program.last) for place in range(len(program.ways))]
            for moment in (program.at_call, program.at_return):
                out += [0] if moment is None else [1, *self._tree(*moment)]
            number = self._check(self._dll.sets_program(self._pointer, (ctypes.c_int * len(out))(*out)))
            self._programs[program] = number
        return number

    def _tree(self, ways: Sequence[Sequence[tuple[Label, int]]], accept: frozenset[int]) -> list[int]:
        out = [len(ways)]
        for place, onward in enumerate(ways):
            out += [int(place in accept), len(onward)]
            for label, to in onward:
                out += [self._label(label), to]
        return out

    def _label(self, label: Label) -> int:
        number = self._labels.get(label)
        if number is None:
            kind, name, args = label
            types = self.plain.types(kind, name)
            sees = kind == "sees"
            rules = [self._observations[name]] if sees else list(self.bound.events[name])
            shown = [-1 if a == WILD else ordinal(t, a) for t, a in zip(types, args, strict=True)]
            # Whatever is seen, and of whomever it is seen: nothing follows (as in `Sets`).
            always = sees and WILD in args
            value = 0
            if sees:
                shown.pop()
                value = 0 if always else args[-1]
            how = _DOES if not sees else _SEES if always else _LOOKS if _can_look(types, value) else _CANNOT
            given = how, _ints(rules), len(rules), _ints(shown), len(shown), value if how == _LOOKS else 0
            number = self._labels[label] = self._check(self._dll.sets_label(self._pointer, *given))
        return number

    # ------------------------------------------------------------ members

    def mentions(self, node: Node) -> tuple[int, ...]:
        """As `Sets.mentions`."""
        if node.mentions is None:
            masks = (ctypes.c_uint64 * (len(self.members) + 1))()
            self._dll.sets_mentions(self._pointer, node.number, self._start, masks)
            node.mentions = tuple(masks[: len(self.members)])
        return node.mentions

    def mentioned_by(self, program: Program) -> tuple[int, ...]:
        """As `Sets.mentioned_by`."""
        return self.plain.mentioned_by(program)


def _can_look(types: Sequence[Type], value: int) -> bool:
    """Whether C has an observation with these types of its parameters and value, and the value is a number there."""
    return all(is_scalar(t) for t in types[:-1]) and is_plain(types[-1]) and -(1 << 63) <= value < 1 << 63


def _numbers(values: Sequence[int]) -> Any:
    return (ctypes.c_uint32 * max(1, len(values)))(*values)


def _ints(values: Sequence[int]) -> Any:
    return (ctypes.c_int * max(1, len(values)))(*values)
