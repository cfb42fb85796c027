"""Defects to plant in an engine, one at a time, and which random specs show them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any
from unittest import mock

Planted = Callable[[], Any]  # a context manager: within it the engine is wrong


class Defects(dict[str, Planted]):
    """By name.  As a decorator it adds a function that plants one, and takes it out again after its `yield`."""

    def __call__(self, f: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        self[f.__name__] = contextmanager(f)
        return f


def changed(owner: Any, name: str, change: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """A method replaced by what `change` makes of it."""
    return mock.patch.object(owner, name, change(getattr(owner, name)))


def print_seeds(defects: Defects, shown_by: Callable[[str], Iterator[int]], enough: int) -> None:
    """A line of SHOWN_BY for each defect that the command line names (for all, if it names none)."""
    for name in sys.argv[1:] or defects:
        print(f'    "{name}": {tuple(islice(shown_by(name), enough))},', flush=True)
