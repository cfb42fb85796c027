"""Packed states for the engine: the interpreter's slots, each at its bits (NOTE(packed-state) in `layout`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from hmmspec.system.layout import Layout, bits, field_offsets, pack, stride, unpack
from hmmspec.system.run import Interpreter, State
from hmmspec.system.types import Array, Queue, Record, Set, Type, Union, cardinality, is_scalar


class Packing:
    """Between the interpreter's states and the engine's words."""

    def __init__(self, interp: Interpreter, plan: Layout) -> None:
        self.interp = interp
        self.size = 8 * plan.words
        whole: list[tuple[int, int, Type]] = []  # slots that hold whole values: number, bit, type
        plain: list[tuple[int, int, int, int]] = []  # slots that hold numbers: number, bit, mask, least value
        number = 0
        for v in interp.system.variables:
            for at, t in places(v.type, plan.offsets[v.name]):
                if isinstance(t, Queue) or (isinstance(t, Union) and not is_scalar(t)):
                    whole.append((number, at, t))
                else:
                    low = 0 if isinstance(t, Set) else int(getattr(t, "low", 0))
                    plain.append((number, at, (1 << bits(t)) - 1, low))
                number += 1
        self._whole, self._plain, self._slots = whole, plain, number

    def pack(self, s: State) -> bytes:
        """The words of a state."""
        out = 0
        for number, at, _, low in self._plain:
            out |= (s[number] - low) << at  # type: ignore[operator]
        for number, at, t in self._whole:
            out |= pack(t, s[number]) << at
        return out.to_bytes(self.size, "little")

    def unpack(self, words: bytes) -> State:
        """The state of these words."""
        number = int.from_bytes(words, "little")
        slots: list[object] = [0] * self._slots
        for i, at, mask, low in self._plain:
            slots[i] = (number >> at & mask) + low
        for i, at, t in self._whole:
            slots[i] = unpack(t, number >> at & (1 << bits(t)) - 1)
        return self.interp.layout.freeze(slots)


def places(t: Type, at: int) -> Iterator[tuple[int, Type]]:
    """Where each slot of a value that begins at bit `at` has its bits, in the order of the slots."""
    match t:
        case Array(index, element):
            n = cardinality(index)
            s = stride(n, bits(element))
            for i in range(n):
                yield from places(element, at + i // s.per * s.far + i % s.per * s.near)
        case Record(_, fields):
            for offset, (_, f) in zip(field_offsets(t), fields, strict=True):
                yield from places(f, at + offset)
        case _:
            yield at, t


class Stored(Sequence[State]):
    """The states of the engine's store by number, unpacked when looked at."""

    def __init__(self, packing: Packing, memory: object, count: int) -> None:
        self._packing, self._memory, self._count = packing, memoryview(memory).cast("B"), count  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> State: ...
    @overload
    def __getitem__(self, at: slice) -> list[State]: ...
    def __getitem__(self, at: int | slice) -> State | list[State]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(self._count))]
        if not 0 <= at < self._count:
            raise IndexError(at)
        return self._packing.unpack(self.words(at))

    def words(self, at: int) -> bytes:
        """The packed state."""
        size = self._packing.size
        return bytes(self._memory[at * size : at * size + size])
