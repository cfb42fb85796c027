"""Is a lemma true in sampled states?  Asked of all of them at once, by columns; no expression is compiled for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hmmspec.checker.symbolic.cells import Id, Plain, renamed, renamed_cell
from hmmspec.checker.symbolic.lemmas import Lemma, Literal
from hmmspec.checker.symbolic.samples import Reached, Sizes, namings
from hmmspec.system.run import Interpreter, State


def contradicted(lemma: Lemma, reached: Reached) -> bool:
    """Whether in some of the states, for some identities, all its literals hold together."""
    if not reached.states:
        return False
    for naming in namings(reached, lemma.names):
        back = {i: name for name, i in naming.items()}
        here: Any = np.ones(len(reached.states), dtype=bool)
        for x in lemma.literals:
            here &= _holds(x, reached, naming, back)
            if not here.any():
                break
        else:
            return True
    return False


def _holds(x: Literal, reached: Reached, naming: Mapping[Id, Id], back: Mapping[Id, Id]) -> Any:
    """For each state whether the literal holds there, of the identities that the names stand for."""
    place = reached.place(renamed_cell(x.cell, naming))
    assert place is not None
    values, which = reached.column(place)
    if x.equal is None:
        return np.array([(renamed(v, back) in x.values) != x.none for v in values], dtype=bool)[which]
    other = reached.place(renamed_cell(x.equal, naming))
    assert other is not None
    more, which_more = reached.column(other)
    return (_numbers(values)[which] == _numbers(more)[which_more]) != x.none


def _numbers(values: Sequence[object]) -> Any:
    return np.array([v.value if isinstance(v, Plain) else 0 for v in values], dtype=np.int64)


def alone(sizes: Sizes, interp: Interpreter, states: Sequence[State]) -> Reached:
    """Some states, to be looked at by themselves."""
    return Reached(sizes, interp, list(states), False)
