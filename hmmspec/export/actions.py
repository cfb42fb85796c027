"""What a way does to the state: assignments one after another that mean all of them at once.

The values of a way are told in terms of the state before it.  A value, index or condition that reads what an earlier
assignment has changed is therefore kept in a temporary first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hmmspec.export.places import Memory, Path, Places, scalar
from hmmspec.export.terms import Num, Scalar, Truth
from hmmspec.system.types import Type

_KNOWN = re.compile(r"[A-Za-z_]\w*(?:\[(?:-?\d+|true|false)\]|\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Action:
    """`cell := value` where `when` holds."""

    when: Truth
    cell: str
    value: Scalar


@dataclass(frozen=True)
class Actions:
    """First the temporaries, in order, then the actions.  (A temporary's cell is its name.)"""

    temporaries: tuple[Action, ...]
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class _Cell:
    when: Truth
    variable: str
    path: Path
    type: Type
    value: Scalar


def actions_of(places: Places, memory: Memory) -> Actions:
    """The assignments that make the state after a way out of the state before it."""
    todo = _needed(places, list(_cells(places, memory)))
    temporaries: list[Action] = []
    out: list[Action] = []
    written: list[str] = []

    def kept(value: Scalar, when: Truth) -> Scalar:
        """Only where `when` holds is the value one of its type, and sound to look at."""
        if not _hit(value.text, written):
            return value
        for t in temporaries:
            if t.value.text == value.text and t.when in (when, always):
                return replace(value, text=t.cell)
        name = f"{'b' if isinstance(value, Truth) else 't'}{len(temporaries)}_"
        temporaries.append(Action(when, name, value))
        return replace(value, text=name)

    always = places.syntax.true

    for c in todo:
        path = tuple(replace(s, key=kept(s.key, c.when)) if isinstance(s.key, (Num, Truth)) else s for s in c.path)
        when, value = kept(c.when, always), kept(c.value, c.when)
        assert isinstance(when, Truth)
        cell = places.spot(c.variable, path, c.type).text
        if value.text != cell or _hit(cell, written):
            out.append(Action(when, cell, value))
        written.append(places.spot(c.variable, c.path, c.type).text)
    return Actions(tuple(temporaries), tuple(out))


def _cells(places: Places, memory: Memory) -> Iterator[_Cell]:
    for w in memory:
        if w.when.known is not False:
            for down, leaf in places.cells(w.type):
                yield _Cell(w.when, w.variable, (*w.path, *down), leaf, scalar(places.inside(w.value, down)))


def _needed(places: Places, cells: list[_Cell]) -> list[_Cell]:
    """Without the writes that a later, certain one to the same cell hides."""
    hidden: set[str] = set()
    out: list[_Cell] = []
    for c in reversed(cells):
        name = places.spot(c.variable, c.path, c.type).text
        if name in hidden:
            continue
        if c.when.known:
            hidden.add(name)
        out.append(c)
    return out[::-1]


def _hit(text: str, written: list[str]) -> bool:
    """Whether the text reads one of these cells, or may do so."""
    touched: dict[str, list[str]] = {}
    for cell in written:
        touched.setdefault(_shape(cell), []).append(cell)
    return any(
        found == cell or not (_KNOWN.fullmatch(found) and _KNOWN.fullmatch(cell))
        for found in (_cells_read(text) if written else ())
        for cell in touched.get(_shape(found), ())
    )


def _cells_read(text: str) -> Iterator[str]:
    """Every name in the text with the indices and fields behind it; what is in the indices comes again by itself."""
    for start in re.finditer(r"(?<![\w.])[A-Za-z_]\w*", text):
        end = start.end()
        while end < len(text):
            if text[end] == "[":
                depth = 0
                for n in range(end, len(text)):
                    depth += (text[n] == "[") - (text[n] == "]")
                    if depth == 0:
                        break
                end = n + 1
            elif field := re.compile(r"\.[A-Za-z_]\w*").match(text, end):
                end = field.end()
            else:
                break
        yield text[start.start() : end]


def _shape(cell: str) -> str:
    """A cell without its indices: cells of different shapes are different."""
    while "[" in cell:
        shorter = re.sub(r"\[[^\[\]]*\]", "", cell)
        if shorter == cell:
            break
        cell = shorter
    return cell
