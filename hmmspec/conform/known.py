"""Known differences: what explains that two kernels answer differently, and nothing else does.

NOTE(known): a file in TOML.  Each `[[difference]]` has a name, the range of kernels that it is about, a pattern of the
command, what each of the two targets answers, and the reason; each `[[finding]]` is about something that one target
says of itself.  An entry explains a difference only if it names every field that differs.  A program may be given that
shows it; a run that has not met an entry of its kernel tries that program, and reports the entry if nothing differs.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hmmspec.conform.commands import COMMANDS, Command
from hmmspec.conform.difference import LISTS, NUMBERS, Difference
from hmmspec.conform.program import Program, from_json
from hmmspec.conform.results import Result
from hmmspec.conform.shipped import ROOTS
from hmmspec.conform.target import Finding
from hmmspec.conform.wire import CommandError
from hmmspec.diagnostics import Diagnostic, Source, Span, SpecError, did_you_mean
from hmmspec.lang.load import read_source
from hmmspec.records import dataclass

# Field -> what it may be; "*": anything; "more": a number above that of the other target.
Pattern = Mapping[str, tuple[object, ...]]

_RANGE = re.compile(r"(>=|<=|<|>|==)\s*(\d+(?:\.\d+)*)")
_FIELDS = {
    "difference": ("name", "kernel", "command", "results", "reason", "apart", "program"),
    "finding": ("name", "kernel", "target", "check", "says", "reason", "program"),
}
_NEEDED = {
    "difference": ("name", "kernel", "command", "results", "reason"),
    "finding": ("name", "kernel", "target", "check", "says", "reason"),
}


@dataclass(frozen=True)
class Kernels:
    """A range of versions: `>=6.12, <6.13`; empty: all."""

    bounds: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def has(self, version: str) -> bool:
        """Whether a kernel of this version is meant; one that has no version is in no range but the whole."""
        if not self.bounds:
            return True
        numbers = re.match(r"\d+(?:\.\d+)*", version)
        if numbers is None:
            return False
        mine = tuple(map(int, numbers[0].split(".")))
        return all(_holds(mine, sign, bound) for sign, bound in self.bounds)


def _holds(version: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    size = max(len(version), len(bound))
    a, b = (x + (0,) * (size - len(x)) for x in (version, bound))
    return {">=": a >= b, "<=": a <= b, "<": a < b, ">": a > b, "==": version[: len(bound)] == bound}[sign]


@dataclass(frozen=True)
class Entry:
    """One known difference, or one known finding of a target.

    place: its name with file and line; apart: whether the two kernels are in different states afterwards, so that
    nothing more of that run is compared.
    """

    name: str
    place: str
    kernels: Kernels
    reason: str
    apart: bool = True
    program: Program = ()
    command: Pattern = dataclasses.field(default_factory=dict)
    results: Mapping[str, Pattern] = dataclasses.field(default_factory=dict)
    target: str = ""
    check: str = ""
    says: str = ""

    def explains(self, difference: Difference) -> bool:
        """Whether it names this command, both results, and all that differs."""
        if not self.results or not _fits(difference.command, self.command):
            return False
        for name, result in zip(difference.names, difference.results, strict=True):
            pattern = self.results.get(name)
            other = difference.results[result is difference.results[0]]
            if pattern is None or not all(_field(result, other, f, v, difference.pages) for f, v in pattern.items()):
                return False
            if any(field not in pattern for field in difference.fields):
                return False
        return True

    def accepts(self, target: str, finding: Finding) -> bool:
        """Whether it is about this finding of this target."""
        if not self.check or self.target != target or self.check != finding.check:
            return False
        return fnmatchcase(f"{finding.name}: {finding.message}", f"*{self.says}*")


def _fits(command: Command, pattern: Pattern) -> bool:
    if command.word not in pattern.get("do", (command.word,)):
        return False
    return all(_among(getattr(command, f, None), wanted) for f, wanted in pattern.items() if f != "do")


def _among(value: object, wanted: Sequence[object]) -> bool:
    return "*" in wanted or value in wanted


def _field(result: Result, other: Result, field: str, wanted: Sequence[object], pages: Sequence[int]) -> bool:
    if field.startswith("counts."):
        count = field.removeprefix("counts.")
        value: Any = dict(result.counts).get(count)
        beside: Any = dict(other.counts).get(count)
    else:
        value, beside = getattr(result, field), getattr(other, field)
    if "more" in wanted and isinstance(value, int) and isinstance(beside, int):
        return value > beside
    if field in LISTS:
        return all(_among(value[i] if i < len(value) else None, wanted) for i in pages)
    return _among(value, wanted)


@dataclass(frozen=True)
class Known:
    """All entries of a file."""

    path: str = ""
    entries: tuple[Entry, ...] = ()

    def of(self, kernel: str) -> Known:
        """Those about this kernel."""
        return Known(self.path, tuple(e for e in self.entries if e.kernels.has(kernel)))

    def explains(self, difference: Difference) -> Entry | None:
        """The entry that explains a difference, if one does."""
        return next((e for e in self.entries if e.explains(difference)), None)

    def accepts(self, target: str, finding: Finding) -> Entry | None:
        """The entry that a finding of a target is known by, if there is one."""
        return next((e for e in self.entries if e.accepts(target, finding)), None)


def shipped_known() -> str | None:
    """Where the project keeps its known differences, if it is there."""
    for root in ROOTS:
        path = root / "docs" / "findings" / "known.toml"
        if path.is_file():
            return str(path)
    return None


def read_known(path: str) -> Known:
    """The entries of a file.  Raises SpecError: HMM149 with the line where it is malformed."""
    return _Reader(read_source(path)).read()


class _Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.wrong: list[Diagnostic] = []
        self._heads = [(m.start(), m[1]) for m in re.finditer(r"^[ \t]*\[\[\s*(\w+)\s*\]\]", source.text, re.MULTILINE)]

    def read(self) -> Known:
        try:
            data = tomllib.loads(self.source.text)
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"at line (\d+)", str(error))
            self._fail(f"this is no TOML: {error}", self._line(int(place[1]) if place else self._last()))
            raise SpecError(self.wrong) from None
        entries: list[Entry] = []
        for table, value in data.items():
            if table not in _FIELDS or not isinstance(value, list):
                fix = "entries are [[difference]] and [[finding]]"
                self._fail(f"'{table}' is no entry of known differences", self._named(table, 0), fix)
                continue
            heads = [at for at, name in self._heads if name == table]
            for number, item in enumerate(value):
                if (entry := self._entry(table, item, heads[number] if number < len(heads) else 0)) is not None:
                    entries.append(entry)
        seen: set[str] = set()
        for entry in entries:
            if entry.name in seen:
                self._fail(
                    f"there are two entries '{entry.name}'", self._line(int(entry.place.rpartition(":")[2][:-1]))
                )
            seen.add(entry.name)
        if self.wrong:
            raise SpecError(self.wrong)
        return Known(self.source.path, tuple(entries))

    # ---- one entry

    def _entry(self, table: str, item: object, at: int) -> Entry | None:
        before = len(self.wrong)
        head = self._line(self.source.position(at)[0])
        if not isinstance(item, dict):
            self._fail(f"'{table}' is a table", head)
            return None
        for name in item:
            if name not in _FIELDS[table]:
                self._fail(f"a {table} has no '{name}'", self._named(name, at), did_you_mean(name, _FIELDS[table]))
        for name in _NEEDED[table]:
            if name not in item:
                self._fail(f"this {table} has no '{name}'", head)
        for name in ("name", "kernel", "target", "check", "says", "reason"):
            if name in item and not isinstance(item[name], str):
                self._fail(f"'{name}' is a text", self._named(name, at))
            elif name in item and name != "kernel" and not item[name].strip():
                self._fail(f"'{name}' is empty", self._named(name, at))
        if not isinstance(item.get("apart", True), bool):
            self._fail("'apart' is true or false", self._named("apart", at))
        kernels = self._kernels(item.get("kernel"), at)
        command = self._command(item["command"], at) if "command" in item else {}
        results = self._results(item["results"], at) if "results" in item else {}
        program = self._program(item["program"], at) if "program" in item else ()
        if len(self.wrong) > before:
            return None
        return Entry(
            name=item["name"],
            place=f"{item['name']} ({head.path}:{head.line})",
            kernels=kernels,
            reason=" ".join(item["reason"].split()),
            apart=item.get("apart", True),
            program=program,
            command=command,
            results=results,
            target=item.get("target", ""),
            check=item.get("check", ""),
            says=item.get("says", ""),
        )

    def _kernels(self, value: object, at: int) -> Kernels:
        bounds: list[tuple[str, tuple[int, ...]]] = []
        for part in value.split(",") if isinstance(value, str) and value.strip() else ():
            found = _RANGE.fullmatch(part.strip())
            if found is None:
                self._fail(f"'{part.strip()}' bounds no version", self._named("kernel", at), 'as in ">=6.12, <6.13"')
            else:
                bounds.append((found[1], tuple(map(int, found[2].split(".")))))
        return Kernels(tuple(bounds))

    def _command(self, value: object, at: int) -> Pattern:
        place = self._named("command", at)
        if not isinstance(value, dict) or "do" not in value:
            self._fail('a command is a table with "do"', place, 'as in { do = "dev_write", count = [1, 2] }')
            return {}
        pattern = {name: _options(wanted) for name, wanted in value.items()}
        fields: set[str] | None = None
        for word in pattern["do"]:
            if word not in COMMANDS:
                self._fail(f"there is no command '{word}'", place, did_you_mean(str(word), COMMANDS))
                return {}
            mine = {f.name for f in dataclasses.fields(COMMANDS[str(word)])}
            fields = mine if fields is None else fields & mine
        for name in pattern:
            if name != "do" and name not in (fields or ()):
                self._fail(f"the command has no field '{name}'", place, did_you_mean(name, sorted(fields or ())))
        return pattern

    def _results(self, value: object, at: int) -> Mapping[str, Pattern]:
        place = self._named("results", at)
        if not isinstance(value, dict) or len(value) != 2 or not all(isinstance(r, dict) for r in value.values()):
            self._fail("'results' has a table for each of the two targets", place, 'results.ref = { error = "EFAULT" }')
            return {}
        known = {"error", *NUMBERS, *LISTS}
        out: dict[str, Pattern] = {}
        for target, told in value.items():
            for name in told:
                if name not in known and not name.startswith("counts."):
                    self._fail(f"a result has no '{name}'", place, did_you_mean(name, sorted(known)))
            out[target] = {name: _options(wanted) for name, wanted in told.items()}
        if len({frozenset(p) for p in out.values()}) > 1:
            self._fail("both results name the same fields", place, 'what does not matter is "*"')
        return out

    def _program(self, value: object, at: int) -> Program:
        try:
            return from_json(value)
        except CommandError as error:
            self._fail(f"'program' is none: {error}", self._named("program", at))
            return ()

    # ---- places

    def _fail(self, message: str, span: Span, fix: str | None = None) -> None:
        self.wrong.append(Diagnostic("HMM149", message, span, fix=fix))

    def _last(self) -> int:
        return len(self.source.line_starts)

    def _line(self, number: int) -> Span:
        start = self.source.line_starts[min(number, self._last()) - 1]
        end = self.source.text.find("\n", start)
        return Span(self.source, start, len(self.source.text) if end < 0 else end)

    def _named(self, name: str, at: int) -> Span:
        """Where a key is set, after this place and before the next entry."""
        until = next((head for head, _ in self._heads if head > at), len(self.source.text))
        found = re.search(rf"^[ \t\[]*{re.escape(name)}\b", self.source.text[at:until], re.MULTILINE)
        place = at + found.start() if found else at
        return self._line(self.source.position(place)[0])


def _options(wanted: object) -> tuple[object, ...]:
    return tuple(wanted) if isinstance(wanted, list) else (wanted,)


def load_known(path: Path | None) -> Known:
    """The entries of a file, or those of the project where none is named.  Raises SpecError."""
    where = str(path) if path is not None else shipped_known()
    return read_known(where) if where is not None else Known()
