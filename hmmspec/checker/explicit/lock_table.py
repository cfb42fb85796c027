"""Who holds which lock: read off packed states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter

from hmmspec.checker.explicit.findings import Args
from hmmspec.checker.explicit.slots import slots
from hmmspec.system.analyse import statements
from hmmspec.system.run import State
from hmmspec.system.system import Block, Guard, LockInfo, Rule, System
from hmmspec.system.types import Set, ThreadId, Type, Union, cardinality, from_ordinal, ordinal, project, show_value

# A thread instance as (thread, ordinal of its index), a lock element as (lock, index values).
Instance = tuple[str, int]
Element = tuple[str, tuple[object, ...]]


def show_element(lock: LockInfo, index: tuple[object, ...]) -> str:
    return lock.name + "".join(f"[{show_value(t, v)}]" for t, v in zip(lock.index, index, strict=True))


def waits(block: Block) -> Iterator[Guard]:
    """The guards in a block that wait for a lock."""
    return (s for s in statements(block) if isinstance(s, Guard) and s.waits is not None)


@dataclass(frozen=True)
class _Held:
    """One slot of a lock's owner or readers variable."""

    slot: int
    element: Element
    type: Type

    def holders(self, value: object) -> list[Instance]:
        """Who holds it, given what is in the slot."""
        assert isinstance(value, int)
        t = self.type
        if isinstance(t, Set):
            elements = (from_ordinal(t.element, i) for i in range(cardinality(t.element)) if value >> i & 1)
            return [_instance(t.element, v) for v in elements]
        return [_instance(t, value)] if value else []


def _members(t: Type) -> tuple[Type, ...]:
    return t.members if isinstance(t, Union) else (t,)


def _instance(t: Type, value: int) -> Instance:
    if isinstance(t, Union):
        number, inner = project(t, value)
        assert isinstance(inner, int)
        return _instance(t.members[number], inner)
    assert isinstance(t, ThreadId)
    return (t.thread, value)


class LockTable:
    """Who holds which lock, read off packed states."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.locks = {k.name: k for k in system.locks}
        self.cells: list[_Held] = []
        owners = {k.owner: k for k in system.locks}
        readers = {k.readers: k for k in system.locks if k.readers is not None}
        for here, slot in enumerate(slots(system.variables)):
            lock = owners.get(slot.variable) or readers.get(slot.variable)
            if lock is not None:
                index = tuple(from_ordinal(t, o) for t, o in slot.index)
                self.cells.append(_Held(here, (lock.name, index), slot.type))
        places = [c.slot for c in self.cells]
        self._take = itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))
        self.has_readers = bool(readers)
        self.threads = {t.thread: t for k in system.locks for t in _members(k.owner_type) if isinstance(t, ThreadId)}

    def values(self, s: State) -> tuple[object, ...]:
        """What is in the slots of all locks: all 0 where nothing is held."""
        return tuple(self._take(s))

    def held_by(self, values: tuple[object, ...], who: Instance) -> list[Element]:
        """The lock elements that an instance holds, in any mode."""
        return list(
            dict.fromkeys(c.element for c, v in zip(self.cells, values, strict=True) if v and who in c.holders(v))
        )

    def holders(self, values: tuple[object, ...]) -> frozenset[Instance]:
        """Everyone who holds something."""
        return frozenset(who for c, v in zip(self.cells, values, strict=True) if v for who in c.holders(v))

    def show_instance(self, who: Instance) -> str:
        return show_value(self.threads[who[0]], who[1])

    def show_element(self, element: Element) -> str:
        return show_element(self.locks[element[0]], element[1])


def instance_of(rule: Rule, args: Args) -> Instance:
    """Which thread instance a step belongs to."""
    assert rule.thread is not None
    number = 0
    for p, v in zip(rule.params[: rule.index_arity], args, strict=False):
        assert isinstance(v, int)
        number = number * cardinality(p.type) + ordinal(p.type, v)
    return rule.thread, number
