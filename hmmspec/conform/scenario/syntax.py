"""The tree of a scenario file: what was written, with its places, nothing resolved.

A file holds scenarios, and values and procedures that all of them may use.  Every node carries the span it came from.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from hmmspec.conform.tree import Name as Name
from hmmspec.conform.tree import Number as Number
from hmmspec.conform.tree import Text as Text
from hmmspec.diagnostics import Node as Node
from hmmspec.records import dataclass

# ---------------------------------------------------------------- expressions


@dataclass(frozen=True)
class Unary(Node):
    op: Literal["-", "!"]
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Member(Node):
    """`x in [a, b)` or `x in {a, b}`."""

    item: Expr
    values: Values


@dataclass(frozen=True)
class FieldOf(Node):
    """`r.pages`, `r.data[3]`: a field of a named result."""

    base: Name
    field: str
    index: Expr | None = None


@dataclass(frozen=True)
class Function(Node):
    """`min(a, b)`, `max(a, b)`, `has(b)`."""

    name: str
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class Range(Node):
    """`[first, end)`: from `first` up to, but without, `end`.  `end` None: the one page `[first]`."""

    first: Expr
    end: Expr | None


@dataclass(frozen=True)
class Listed(Node):
    """`{a, b, c}`."""

    items: tuple[Expr, ...]


Expr: TypeAlias = Number | Text | Name | Unary | Binary | Member | FieldOf | Function
Values: TypeAlias = Range | Listed

# ---------------------------------------------------------------- expectations


@dataclass(frozen=True)
class Outcome(Node):
    """`ok`, `error`, `any`, or the name of an errno or a signal."""

    word: str


@dataclass(frozen=True)
class Counted(Node):
    """`pages N`, `faults <= 2`, `rss 4`."""

    field: str
    op: str
    value: Expr


@dataclass(frozen=True)
class Stamps(Node):
    """`data 5`, `data [0, 2) zero`, `data each 7`: what pages hold.  `value` None: zero."""

    pages: Range | None
    values: tuple[StampValue, ...]


@dataclass(frozen=True)
class StampValue(Node):
    """One allowed content: `value`, counting on page by page unless `each`."""

    value: Expr | None
    each: bool = False


@dataclass(frozen=True)
class Bits(Node):
    """`byte WRITE + LOCAL`, `map [0] swapped`: what a snapshot or the pagemap shows; each of `values` is allowed."""

    field: Literal["byte", "map"]
    pages: Range | None
    values: tuple[tuple[Word, ...], ...]


@dataclass(frozen=True)
class Word(Node):
    """A word of a fixed list; `off`: written with `!`."""

    word: str
    off: bool = False


Condition: TypeAlias = Outcome | Counted | Stamps | Bits


@dataclass(frozen=True)
class Case(Node):
    """Conditions that hold together."""

    conditions: tuple[Condition, ...]


# ---------------------------------------------------------------- statements

Arg: TypeAlias = "Range | Expr | Word"


@dataclass(frozen=True)
class Do(Node):
    """A command: `child: gpu.read [0, 4) as r -> pages 4`.  `expected`: one of these cases must be met; none: ok."""

    process: Word | None
    device: Word | None
    command: Word
    args: tuple[tuple[str, Arg], ...]
    result: Word | None = None
    expected: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Call(Node):
    """A procedure: `fill(0, N)`."""

    name: Word
    args: tuple[Expr, ...]


@dataclass(frozen=True)
class For(Node):
    """`for x in ..`; with the name '' it is `repeat n`."""

    name: str
    values: Values
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class If(Node):
    condition: Expr
    then: tuple[Statement, ...]
    other: tuple[Statement, ...]


@dataclass(frozen=True)
class Thread(Node):
    process: Word | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Race(Node):
    threads: tuple[Thread, ...]


@dataclass(frozen=True)
class Expect(Node):
    """`expect r.ok || s.ok "one of them gets through"`."""

    condition: Expr
    text: str


@dataclass(frozen=True)
class Possible(Node):
    """`outcome NAME: condition`: of the outcomes that stand together one must be met, and they are counted."""

    name: str
    text: str
    condition: Expr


@dataclass(frozen=True)
class Let(Node):
    name: str
    value: Expr


Statement: TypeAlias = Do | Call | For | If | Race | Expect | Possible | Let

# ---------------------------------------------------------------- declarations


@dataclass(frozen=True)
class Param(Node):
    """`param N = 8`, or `param N in {1, 2}`: the scenario runs once for each."""

    name: str
    values: Values


@dataclass(frozen=True)
class DeviceDecl(Node):
    """`kind` '': the kind of the variant."""

    name: str
    kind: Literal["", "private", "coherent"]


@dataclass(frozen=True)
class ProcessDecl(Node):
    name: str


@dataclass(frozen=True)
class Need(Node):
    """`needs device_thp`: where it does not hold the scenario is skipped."""

    condition: Expr


@dataclass(frozen=True)
class Variant(Node):
    kind: Literal["private", "coherent"]


@dataclass(frozen=True)
class Seeds(Node):
    """`seeds 50`: how often the races of this scenario are run."""

    count: Expr


Declaration: TypeAlias = Param | DeviceDecl | ProcessDecl | Need | Variant | Seeds


@dataclass(frozen=True)
class Procedure(Node):
    name: str
    params: tuple[str, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Scenario(Node):
    name: str
    title: str
    declarations: tuple[Declaration, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class ScenarioFile(Node):
    path: str
    lets: tuple[Let, ...]
    params: tuple[Param, ...]
    procedures: tuple[Procedure, ...]
    scenarios: tuple[Scenario, ...]
