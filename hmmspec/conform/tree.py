"""What the trees of bindings and of scenarios have in common: the smallest expressions."""

from __future__ import annotations

from hmmspec.diagnostics import Node
from hmmspec.records import dataclass


@dataclass(frozen=True)
class Number(Node):
    value: int


@dataclass(frozen=True)
class Text(Node):
    """`"fast"`: a text, without its quotes."""

    value: str


@dataclass(frozen=True)
class Name(Node):
    """A bare word: a field or a parameter, a value, a loop's name, a behaviour, or a word that the language knows."""

    name: str
