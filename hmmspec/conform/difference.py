"""What two targets answered to the same command, held against each other.

NOTE(visible): every thing that both can see must be equal: the error, and where both succeeded (or both stopped
half-way) `cpages`, `faults`, the stamps, the bytes of a snapshot, the bits of a pagemap, each count by its name.  What
one of them cannot see (None, or an empty list) is no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.results import Result, runs
from hmmspec.conform.target import Event, Finding

NUMBERS = ("cpages", "faults")
LISTS = ("stamps", "snapshot", "pagemap")
# Errors that mean: not this page, not now.
SKIPPED = frozenset({"ENOENT", "EBUSY", "EAGAIN"})
REPEATS = 3  # how often a skipped page is tried again before it is a difference


@dataclass
class Comparison:
    """What holding two targets against each other came to.

    names: of the two; compared: results that were held against each other; repeated: how often a page that one of them
    skipped was tried again; explained: entries of known differences -> how often they were needed; logs: of each
    target, by its name, for a finding.
    """

    names: tuple[str, str]
    compared: int = 0
    repeated: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    logs: dict[str, list[Event]] = field(default_factory=dict)

    def add(self, other: Comparison) -> None:
        """Count another one in."""
        self.compared += other.compared
        self.repeated += other.repeated
        self.explained += other.explained


@dataclass(frozen=True)
class Difference:
    """One command that was answered differently.

    fields: what differs: `error`, `cpages`, .., a count as `counts.rss`; pages: for lists, the positions that differ.
    """

    call: int
    command: Command
    names: tuple[str, str]
    results: tuple[Result, Result]
    fields: tuple[str, ...]
    pages: tuple[int, ...] = ()

    @property
    def skipped(self) -> bool:
        """Whether one of the two may merely have skipped a page, which another try can bring."""
        one, two = self.results
        if self.fields == ("error",):
            return bool({one.error, two.error} & SKIPPED)
        return isinstance(self.command, c.MigrateToSystem) and set(self.fields) <= {"cpages"}

    def finding(self, specs: Sequence[Finding] = ()) -> Finding:
        """The difference as a finding; `specs`: what the judges said of the two runs."""
        (one, two), (a, b) = self.names, self.results
        seen = [f"{one}: {self.command} -> {a}", f"{two}: {self.command} -> {b}"]
        seen += [self._list(field) for field in self.fields if field in LISTS]
        message = f"{self.command}: {one} and {two} differ in {', '.join(self.fields)}"
        told = [f"{f.name or f.check}: {f.message}" for f in specs]
        return Finding("difference", message, self.command.word, self.call, (*seen, *told))

    def _list(self, field: str) -> str:
        a, b = (getattr(r, field) for r in self.results)
        first = getattr(self.command, "page", 0)
        if len(a) != len(b):
            return f"{field}: {len(a)} and {len(b)} of them"
        at = [i for i in range(len(a)) if a[i] != b[i]]
        shown = ", ".join(f"page {first + i}: {_number(field, a[i])} and {_number(field, b[i])}" for i in at[:8])
        return f"{field}: {shown}{f', and {len(at) - 8} more' if len(at) > 8 else ''}"


def _number(field: str, value: int) -> str:
    return f"0x{value:02x}" if field != "stamps" else runs((value,))


def compare(a: Result, b: Result) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The fields that differ (see NOTE(visible)), and the positions in lists where they do."""
    if a.error != b.error:
        return ("error",), ()
    fields = [n for n in NUMBERS if None not in (x := (getattr(a, n), getattr(b, n))) and x[0] != x[1]]
    pages: set[int] = set()
    for name in LISTS:
        one, two = getattr(a, name), getattr(b, name)
        if one and two and one != two:
            fields.append(name)
            pages |= {i for i in range(max(len(one), len(two))) if one[i : i + 1] != two[i : i + 1]}
    if a.counts and b.counts:
        one, two = dict(a.counts), dict(b.counts)
        fields += [f"counts.{n}" for n in one if n in two and one[n] != two[n]]
    return tuple(fields), tuple(sorted(pages))


def differences(names: tuple[str, str], one: Sequence[Event], two: Sequence[Event]) -> Iterator[Difference]:
    """What differs between two logs of the same commands, one after the other; where one log ends, so do they."""
    results = {e.call: e.result for e in two if e.result is not None}
    called = {e.call: e.command for e in one if e.command is not None}
    for event in one:
        if event.result is None or event.call not in results:
            continue
        other = results[event.call]
        if event.result == other:
            continue
        fields, pages = compare(event.result, other)
        if fields:
            yield Difference(event.call, called[event.call], names, (event.result, other), fields, pages)
