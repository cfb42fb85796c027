"""Which slot of a packed state holds what, and where identities of symmetric types occur in it.

The order is that of NOTE(packed-state): the variables in order, arrays row-major by index ordinal, records field by
field; what is neither an array nor a record is one slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from hmmspec.system.system import Variable
from hmmspec.system.types import (
    Array,
    Queue,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    offsets,
    ordinal,
)

# An identity occurs in a value under a role (where in the value), of the type with this number: (role, type, identity).
Naming = tuple[tuple[int, ...], int, int]


@dataclass(frozen=True)
class Slot:
    """One slot: its variable, the path to it (index ordinals, field names), the index types, and what it holds."""

    variable: str
    path: tuple[int | str, ...]
    index: tuple[tuple[Type, int], ...]
    type: Type

    @property
    def kind(self) -> tuple[str, ...]:
        """What slots that differ only in their indices have in common."""
        return (self.variable, *(p if isinstance(p, str) else "[]" for p in self.path))


def slots(variables: Sequence[Variable]) -> list[Slot]:
    """The slots of a packed state, in order."""
    out: list[Slot] = []

    def place(t: Type, name: str, path: tuple[int | str, ...], index: tuple[tuple[Type, int], ...]) -> None:
        match t:
            case Array(index_type, element):
                for i in range(cardinality(index_type)):
                    place(element, name, (*path, i), (*index, (index_type, i)))
            case Record(_, fields):
                for field, inner in fields:
                    place(inner, name, (*path, field), index)
            case _:
                out.append(Slot(name, path, index, t))

    for v in variables:
        place(v.type, v.name, (), ())
    return out


@cache
def mentions(t: Type, symmetric: Symmetric) -> bool:
    """Whether values of `t` can hold (or are indexed by) identities of the symmetric type."""
    match t:
        case Symmetric():
            return t == symmetric
        case ThreadId(_, index):
            return any(mentions(i, symmetric) for i in index)
        case Union(members):
            return any(mentions(m, symmetric) for m in members)
        case Record(_, fields):
            return any(mentions(f, symmetric) for _, f in fields)
        case Array(index_type, element):
            return mentions(index_type, symmetric) or mentions(element, symmetric)
        case Set(element) | Queue(_, element):
            return mentions(element, symmetric)
        case _:
            return False


class Anatomy:
    """How values of any type are renamed, erased and searched for identities of some symmetric types.

    `types` are the symmetric types in question, by number.  A renaming is one tuple for each: identity -> identity.
    """

    def __init__(self, types: Sequence[Symmetric]) -> None:
        self.types = tuple(types)
        self.number = {t: k for k, t in enumerate(self.types)}
        self._renames: dict[tuple[Type, tuple[tuple[int, ...], ...]], tuple[int, ...]] = {}
        self._concerned: dict[Type, bool] = {}

    def concerned(self, t: Type) -> bool:
        """Whether a value of the type can name an identity."""
        if t not in self._concerned:
            self._concerned[t] = any(mentions(t, s) for s in self.types)
        return self._concerned[t]

    def rename_ordinals(self, t: Type, by: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
        """For each ordinal of a scalar type, the ordinal of the renamed value."""
        key = (t, by)
        if key in self._renames:
            return self._renames[key]
        out: list[int]
        match t:
            case Symmetric():
                out = list(by[self.number[t]] if t in self.number else range(t.size))
            case ThreadId(_, index):
                out = [0]
                for i in index:
                    inner = self.rename_ordinals(i, by)
                    out = [high * len(inner) + low for high in out for low in inner]
            case Union(members):
                out = []
                for start, m in zip(offsets(t), members, strict=True):
                    out.extend(start + o for o in self.rename_ordinals(m, by))
            case _:
                out = list(range(cardinality(t)))
        result = tuple(out)
        if len(self._renames) > 20_000:
            self._renames.clear()
        self._renames[key] = result
        return result

    def rename(self, t: Type, value: object, by: tuple[tuple[int, ...], ...]) -> object:
        """The value with every identity in it renamed."""
        if not self.concerned(t):
            return value
        if is_scalar(t):
            assert isinstance(value, int)
            return from_ordinal(t, self.rename_ordinals(t, by)[ordinal(t, value)])
        match t:
            case Set(element):
                assert isinstance(value, int)
                table = self.rename_ordinals(element, by)
                return sum(1 << table[i] for i in range(len(table)) if value >> i & 1)
            case Queue(_, element):
                assert isinstance(value, tuple)
                return tuple(self.rename(element, v, by) for v in value)
            case Union(members):
                assert isinstance(value, tuple)
                return (value[0], self.rename(members[value[0]], value[1], by))
            case Record(_, fields):
                assert isinstance(value, tuple)
                return tuple(self.rename(f, v, by) for (_, f), v in zip(fields, value, strict=True))
            case Array(index_type, element):
                assert isinstance(value, tuple)
                table = self.rename_ordinals(index_type, by)
                out: list[object] = [None] * len(table)
                for i, v in enumerate(value):
                    out[table[i]] = self.rename(element, v, by)
                return tuple(out)
            case _:
                return value

    def erase_ordinal(self, t: Type, number: int) -> int:
        """The ordinal with every identity in it made the first: equal for values that some renaming makes equal, as
        far as one identity at a time can tell."""
        match t:
            case Symmetric():
                return 0 if t in self.number else number
            case ThreadId(_, index):
                parts = []
                for i in reversed(index):
                    number, r = divmod(number, cardinality(i))
                    parts.append((i, r))
                out = 0
                for i, r in reversed(parts):
                    out = out * cardinality(i) + self.erase_ordinal(i, r)
                return out
            case Union(members):
                member, inner = _member(t, number)
                return offsets(t)[member] + self.erase_ordinal(members[member], inner)
            case _:
                return number

    def erase(self, t: Type, value: object) -> object:
        """The value without its identities: the same for a value and all its renamings.  Erased values of one type
        can be ordered."""
        if not self.concerned(t):
            return value
        if is_scalar(t):
            assert isinstance(value, int)
            return from_ordinal(t, self.erase_ordinal(t, ordinal(t, value)))
        match t:
            case Set(element):
                assert isinstance(value, int)
                inside = (i for i in range(cardinality(element)) if value >> i & 1)
                return tuple(sorted(self.erase_ordinal(element, i) for i in inside))
            case Queue(_, element):
                assert isinstance(value, tuple)
                return tuple(self.erase(element, v) for v in value)
            case Union(members):
                assert isinstance(value, tuple)
                return (value[0], self.erase(members[value[0]], value[1]))
            case Record(_, fields):
                assert isinstance(value, tuple)
                return tuple(self.erase(f, v) for (_, f), v in zip(fields, value, strict=True))
            case Array(index_type, element):
                assert isinstance(value, tuple)
                seen = sorted((self.erase_ordinal(index_type, i), self.erase(element, v)) for i, v in enumerate(value))
                return tuple(seen)
            case _:
                return value

    def namings(self, t: Type, value: object, role: tuple[int, ...] = ()) -> list[Naming]:
        """Every identity in the value, with its role."""
        if not self.concerned(t):
            return []
        if is_scalar(t):
            assert isinstance(value, int)
            return self.ordinal_namings(t, ordinal(t, value), role)
        match t:
            case Set(element):
                assert isinstance(value, int)
                # Which element of a set it is tells nothing: all share one role but for what kind of member they are.
                return [
                    naming
                    for i in range(cardinality(element))
                    if value >> i & 1
                    for naming in self.ordinal_namings(element, i, (*role, self.erase_ordinal(element, i)))
                ]
            case Queue(_, element):
                assert isinstance(value, tuple)
                return [n for i, v in enumerate(value) for n in self.namings(element, v, (*role, i))]
            case Union(members):
                assert isinstance(value, tuple)
                return self.namings(members[value[0]], value[1], (*role, value[0]))
            case Record(_, fields):
                assert isinstance(value, tuple)
                pairs = zip(fields, value, strict=True)
                return [n for i, ((_, f), v) in enumerate(pairs) for n in self.namings(f, v, (*role, i))]
            case Array(index_type, element):
                assert isinstance(value, tuple)
                out: list[Naming] = []
                for i, v in enumerate(value):
                    out.extend(self.ordinal_namings(index_type, i, (*role, 0, self.erase_ordinal(index_type, i))))
                    out.extend(self.namings(element, v, (*role, 1, self.erase_ordinal(index_type, i))))
                return out
            case _:
                return []

    def ordinal_namings(self, t: Type, number: int, role: tuple[int, ...] = ()) -> list[Naming]:
        """`namings` for a value of a scalar type given by its ordinal."""
        match t:
            case Symmetric():
                return [(role, self.number[t], number)] if t in self.number else []
            case ThreadId(_, index):
                out: list[Naming] = []
                for position in range(len(index) - 1, -1, -1):
                    number, r = divmod(number, cardinality(index[position]))
                    out.extend(self.ordinal_namings(index[position], r, (*role, position)))
                return out
            case Union(members):
                member, inner = _member(t, number)
                return self.ordinal_namings(members[member], inner, (*role, member))
            case _:
                return []


def _member(t: Union, number: int) -> tuple[int, int]:
    starts = offsets(t)
    member = max(i for i, start in enumerate(starts) if start <= number and cardinality(t.members[i]) > 0)
    return member, number - starts[member]
