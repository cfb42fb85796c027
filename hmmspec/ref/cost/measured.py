"""Measurements as a CSV file: one row, one time.

    device,memory,direction,bytes,time_us
    GTX 1080 Ti,pageable,to_device,4096,1.184

Columns: `bytes` (or `size`) and a time in a column that names its unit (`time_ps`, `time_ns`, `time_us`, `time_ms`,
`time_s`; or `us` alone), or a rate (`gb_per_s`: 10^9 bytes a second).  Counts, where they are known: `calls`, `pages`
(base pages or folios), `huge` (PMD-mapped pages), `runs` (contiguous pieces).  Words that tell rows apart: `device`,
`link`, `memory`, `direction`, `series`.  Other columns are not used.  A line that begins with `#` is a comment.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median_low

from hmmspec.diagnostics import Diagnostics, Source, Span, did_you_mean
from hmmspec.ref.cost.units import MS, NS, PMD, US, Impossible, S, read_size, up

WORDS = ("device", "link", "memory", "direction", "series")
COUNTS = ("calls", "pages", "huge", "runs")
SIZES = ("bytes", "size", "size_bytes")
TIMES = {"time_ps": 1, "time_ns": NS, "time_us": US, "time_ms": MS, "time_s": S}
RATE = "gb_per_s"
ALIASES = {
    "folios": "pages",
    "gb/s": RATE,
    "ps": "time_ps",
    "ns": "time_ns",
    "us": "time_us",
    "ms": "time_ms",
    "s": "time_s",
}
DIRECTIONS = {
    "h2d": "to_device",
    "htod": "to_device",
    "to_device": "to_device",
    "d2h": "to_system",
    "dtoh": "to_system",
    "to_system": "to_system",
    "d2d": "on_device",
    "dtod": "on_device",
    "on_device": "on_device",
}
_LARGEST = 1 << 62
_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Point:
    """One measurement.  size: bytes; ps: picoseconds; counts: None where the file does not say; line: of the file."""

    size: int
    ps: int
    calls: int | None = None
    pages: int | None = None
    huge: int | None = None
    runs: int | None = None
    line: int = 0

    @property
    def what(self) -> tuple[int, int | None, int | None, int | None, int | None]:
        """All but the time: points that agree in it measured the same."""
        return self.size, self.calls, self.pages, self.huge, self.runs


@dataclass
class Series:
    """Points that one set of constants is to explain; `words` tells them from the other rows of the file."""

    words: dict[str, str]
    points: list[Point] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`GTX 1080 Ti, pageable, to_device`."""
        return ", ".join(self.words.values()) or "all rows"

    def distinct(self) -> list[Point]:
        """One point, that of the median time, for all that measured the same; by size."""
        alike: dict[object, list[Point]] = {}
        for point in self.points:
            alike.setdefault(point.what, []).append(point)
        chosen = [next(p for p in ps if p.ps == median_low(q.ps for q in ps)) for ps in alike.values()]
        return sorted(chosen, key=lambda p: (p.size, p.line))


@dataclass(frozen=True)
class Measured:
    """What a file holds.  unused: columns that nobody reads."""

    source: Source
    series: tuple[Series, ...]
    unused: tuple[str, ...]


def read_csv(source: Source) -> Measured:
    """Raises SpecError (HMM142) with the rows that cannot be read, twenty at most."""
    problems = Diagnostics()
    rows = list(_rows(source, problems))
    problems.raise_if_errors()
    if not rows:
        problems.error("HMM142", Span(source, 0, 0), "the file holds no measurements", fix=_EXAMPLE)
        problems.raise_if_errors()
    (first, header), *body = rows
    names = [ALIASES.get(name, name) for name in (head.strip().lower() for head in header)]
    _check_header(source, first, names, problems)
    problems.raise_if_errors()
    series: dict[tuple[str, ...], Series] = {}
    for number, fields in body:
        if len(problems.items) >= _MOST_PROBLEMS:
            break
        if len(fields) != len(names):
            told = f"{len(fields)} fields in a file of {len(names)} columns"
            problems.error("HMM142", _line(source, number), told)
            continue
        row = _Row(source, number, dict(zip(names, (f.strip() for f in fields), strict=True)), problems)
        words = row.words()
        point = row.point()
        if point is not None:
            series.setdefault(tuple(words.values()), Series(words)).points.append(point)
    problems.raise_if_errors()
    if not series:
        problems.error("HMM142", _line(source, first), "the file has a header and no measurements")
        problems.raise_if_errors()
    known = {*WORDS, *COUNTS, *SIZES, *TIMES, RATE}
    return Measured(source, tuple(series.values()), tuple(n for n in names if n not in known))


_EXAMPLE = "the first line names the columns: direction,bytes,time_us"


def _rows(source: Source, problems: Diagnostics) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of each row that is no comment."""
    text = source.text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield number, next(csv.reader([line], strict=True, skipinitialspace=True))
        except (csv.Error, StopIteration) as error:
            problems.error("HMM142", _line(source, number), f"not a row of a CSV file: {error}")


def _check_header(source: Source, number: int, names: list[str], problems: Diagnostics) -> None:
    for name in {n for n in names if names.count(n) > 1}:
        problems.error("HMM142", _field(source, number, name), f"two columns are called '{name}'")
    sizes = [n for n in names if n in SIZES]
    times = [n for n in names if n in TIMES or n == RATE]
    for what, found, possible in (("size", sizes, SIZES), ("time", times, (*TIMES, RATE))):
        if len(found) == 1:
            continue
        told = f"no column gives the {what}" if not found else f"{' and '.join(found)} both give the {what}"
        near = next((fix for n in names if n not in WORDS and (fix := did_you_mean(n, possible))), None)
        fix = near or f"a header such as direction,bytes,time_us; the {what} may be {', '.join(possible)}"
        problems.error("HMM142", _line(source, number), told, fix=fix if not found else None)


@dataclass
class _Row:
    source: Source
    number: int
    fields: dict[str, str]
    problems: Diagnostics

    def words(self) -> dict[str, str]:
        found = {name: self.fields[name] for name in WORDS if name in self.fields}
        if "direction" in found:
            text = found["direction"]
            known = DIRECTIONS.get(text.lower())
            if known is None:
                fix = (
                    did_you_mean(text.lower(), DIRECTIONS)
                    or "write to_device (h2d), to_system (d2h) or on_device (d2d)"
                )
                self._wrong("direction", f"'{text}' is not a direction", fix)
            found["direction"] = known or text
        return found

    def point(self) -> Point | None:
        size = self._size()
        ps = self._time(size)
        counts = {name: self._count(name) for name in COUNTS if self.fields.get(name)}
        if size is None or ps is None or None in counts.values():
            return None
        if (counts.get("huge") or 0) * PMD > size:
            self._wrong("huge", f"{counts['huge']} PMD-mapped pages are more than {size} bytes")
            return None
        return Point(size, ps, **counts, line=self.number)

    def _size(self) -> int | None:
        name = next(n for n in SIZES if n in self.fields)
        text = self.fields[name]
        try:
            size = read_size(text)
        except Impossible as error:
            self._wrong(name, error.message, error.fix)
            return None
        if not 0 < size < _LARGEST:
            self._wrong(name, f"a copy of {text} bytes cannot be measured")
            return None
        return size

    def _time(self, size: int | None) -> int | None:
        name = next(n for n in self.fields if n in TIMES or n == RATE)
        text = self.fields[name]
        value = _number(text)
        if value is None or value <= 0:
            what = "rate" if name == RATE else "time"
            self._wrong(name, f"a {what} must be a number above 0, not '{text}'")
            return None
        ps = up(value * TIMES[name]) if name != RATE else up(Fraction((size or 1) * 1000) / value)
        if not 0 < ps < _LARGEST:
            self._wrong(name, f"'{text}' is out of any range")
            return None
        return ps

    def _count(self, name: str) -> int | None:
        text = self.fields[name]
        if not re.fullmatch(r"[0-9]{1,18}", text):
            self._wrong(name, f"{name} must be a whole number from 0, not '{text}'")
            return None
        return int(text)

    def _wrong(self, name: str, message: str, fix: str | None = None) -> None:
        self.problems.error("HMM142", _field(self.source, self.number, self.fields[name]), message, fix=fix)


def _number(text: str) -> Fraction | None:
    """An exact number; None for what is none, and for what nobody has ever measured (`nan`, `inf`, `1e-99`)."""
    try:
        return Fraction(text) if "/" not in text and len(text) < 60 and 1e-15 < abs(float(text)) < 1e15 else None
    except ValueError:
        return None


def _line(source: Source, number: int) -> Span:
    start = source.line_starts[number - 1]
    return Span(source, start, start + len(source.line(number)))


def _field(source: Source, number: int, text: str) -> Span:
    line = _line(source, number)
    at = line.text.find(text) if text else -1
    return Span(source, line.start + at, line.start + at + len(text)) if at >= 0 else line
