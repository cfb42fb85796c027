"""Going through the values of a type one by one, each written out: for languages, or places, without quantifiers."""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.export.context import Choice, Spread
from hmmspec.export.names import identifier, refuse
from hmmspec.export.places import MOST_CELLS, Places
from hmmspec.export.terms import Bounds, Value
from hmmspec.export.ways import Chooser
from hmmspec.system.types import Type, cardinality, show_type, values

MOST_VALUES = 1024  # of one parameter


class OneByOne(Spread, Chooser):
    def __init__(self, places: Places) -> None:
        self.places = places

    def over(self, t: Type, name: str) -> Sequence[Choice]:
        return [(i, ()) for i in self.places.indices(t)]

    def numbers(self, low: int, high: int, name: str) -> Sequence[Choice]:
        if high - low >= MOST_CELLS:
            raise refuse(f"a range of more than {MOST_CELLS} numbers")
        return [(self.places.syntax.num(n), ()) for n in range(low, high + 1)]

    def options(self, t: Type, name: str) -> Sequence[tuple[Value, Bounds]]:
        if cardinality(t) > MOST_VALUES:
            raise refuse(f"a parameter of type {identifier(show_type(t))}, which has more than {MOST_VALUES} values")
        return [(self.places.constant(t, v), ()) for v in values(t)]
