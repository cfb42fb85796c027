"""Random programs as Hypothesis strategies, so that Hypothesis can make a failing one small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from hmmspec.conform.generate import Generator, Shape
from hmmspec.conform.program import Program, Step


class DrawChooser:
    """Decisions that Hypothesis takes, and takes back."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def number(self, least: int, most: int) -> int:
        return least + self.below(most - least + 1)

    def below(self, total: int) -> int:
        return int(self._draw(_below(total))) if total > 1 else 0


_KNOWN: dict[int, st.SearchStrategy[int]] = {}


def _below(total: int) -> st.SearchStrategy[int]:
    if total not in _KNOWN:
        _KNOWN[total] = st.integers(0, total - 1)
    return _KNOWN[total]


@st.composite
def programs(draw: st.DrawFn, shape: Shape) -> Program:
    """Programs of this shape.  Each step can be left out, and each number in it lowered."""
    generator = Generator(shape, DrawChooser(draw))
    steps: list[Step] = []
    while len(steps) < shape.steps and draw(_MORE):
        steps.append(generator.step())
    return tuple(steps)


# Nearly always one more step: the list ends where Hypothesis makes it end, or at the most.
_MORE = st.integers(0, 63).map(lambda n: n > 0)
