"""Everything hmmspec says about a user's input: codes, spans, carets, and the three families of errors.

A diagnostic is data.  Stages collect diagnostics and raise one `SpecError` that holds them all; only a renderer turns
them into text.  Every code in `CODES` has a paragraph in docs/diagnostics.md and a file in tests/diagnostics/; a test
holds both to it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from functools import cached_property


@dataclass(frozen=True)
class Source:
    """The text of one file.  `path` is what the user typed or what an import resolved to."""

    path: str
    text: str = field(repr=False)

    @cached_property
    def line_starts(self) -> list[int]:
        starts = [0]
        starts.extend(i + 1 for i, ch in enumerate(self.text) if ch == "\n")
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """1-based line and column of a 0-based character offset."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its newline."""
        start = self.line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")


@dataclass(frozen=True)
class Span:
    """A half-open range of characters `[start, end)` of one source."""

    source: Source
    start: int
    end: int

    @property
    def path(self) -> str:
        return self.source.path

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other` (same source)."""
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    def __repr__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


NOWHERE = Span(Source("<built in>", ""), 0, 0)


@dataclass(frozen=True, kw_only=True)
class Node:
    """A piece of a tree that was read from a text: `span` says where it stands, and makes no difference to equality."""

    span: Span = field(default=NOWHERE, compare=False, repr=False)


class Severity(Enum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Note:
    """A second place or a remark that explains a diagnostic."""

    message: str
    span: Span | None = None


@dataclass(frozen=True)
class Diagnostic:
    """One finding about the input.

    code: a key of `CODES`; message: what is wrong, one line; expected: what was expected, if that helps;
    fix: the likely repair, if one exists.
    """

    code: str
    message: str
    span: Span
    severity: Severity = Severity.ERROR
    notes: tuple[Note, ...] = ()
    fix: str | None = None

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise InternalError(f"diagnostic code {self.code} is not registered")


class SpecError(Exception):
    """The user's input is wrong.  Holds every diagnostic that one run could find, in source order."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(set(diagnostics), key=_order))
        super().__init__("\n".join(f"{d.span!r}: {d.code}: {d.message}" for d in self.diagnostics))


class Limit(Exception):
    """A limit of ours was reached: the message says which and how far the work came."""


class InternalError(Exception):
    """A defect in hmmspec, never the user's fault.  The command line says what to send."""


class Diagnostics:
    """A collector: stages add to it and go on, so that one run reports all it can find."""

    def __init__(self) -> None:
        self.items: list[Diagnostic] = []

    def error(self, code: str, span: Span, message: str, *, notes: Iterable[Note] = (), fix: str | None = None) -> None:
        self.items.append(Diagnostic(code, message, span, Severity.ERROR, tuple(notes), fix))

    def warning(
        self, code: str, span: Span, message: str, *, notes: Iterable[Note] = (), fix: str | None = None
    ) -> None:
        self.items.append(Diagnostic(code, message, span, Severity.WARNING, tuple(notes), fix))

    @property
    def has_errors(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self.items)

    def raise_if_errors(self) -> None:
        """Raise `SpecError` with all errors found so far, if there are any."""
        errors = [d for d in self.items if d.severity is Severity.ERROR]
        if errors:
            raise SpecError(errors)


def _order(d: Diagnostic) -> tuple[str, int, int, str]:
    return d.span.path, d.span.start, d.span.end, d.code


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A repair for a misspelt name, or None when nothing known is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else None


def render(diagnostic: Diagnostic) -> str:
    """The diagnostic as text: `file:line:column: severity CODE: message`, the line, a caret under the span, notes."""
    d = diagnostic
    out = [f"{d.span!r}: {d.severity.value} {d.code}: {d.message}"]
    out.extend(_excerpt(d.span))
    for note in d.notes:
        if note.span is None:
            out.append(f"  note: {note.message}")
        else:
            out.append(f"  {note.span!r}: note: {note.message}")
            out.extend(_excerpt(note.span))
    if d.fix:
        out.append(f"  help: {d.fix}")
    return "\n".join(out)


def _excerpt(span: Span) -> list[str]:
    if not span.source.text:
        return []
    line_number, column = span.source.position(span.start)
    line = span.source.line(line_number)
    width = max(1, min(span.end - span.start, len(line) - column + 1))
    # A very long line is cut around the caret: the excerpt is for people.
    left = max(0, column - 1 - 60)
    shown = line[left : left + 140]
    caret_at = column - 1 - left
    pad = "".join("\t" if ch == "\t" else " " for ch in shown[:caret_at])
    shown = "".join(ch if ch == "\t" or ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in shown)
    gutter = f"{line_number:5d} | "
    return [gutter + shown, " " * (len(gutter) - 2) + "| " + pad + "^" * min(width, 140 - caret_at)]


# NOTE(diagnostic-codes): 001-019 text and syntax, 020-039 names and types, 040-059 steps, threads, locks and
# symmetry, 060-069 imports, patches and refinement, 070-079 parameters and instances, 080-089 command line and
# files, 090-099 warnings about a spec that says less than it seems to, 100-109 checkpoints and
# certificates, 140-149 costs, 150-159 kernel trees and images.
CODES: dict[str, str] = {
    "HMM001": "unexpected word or sign",
    "HMM002": "the file ends too early",
    "HMM003": "character without a meaning",
    "HMM004": "text that is not closed",
    "HMM005": "comment that is not closed",
    "HMM006": "keyword used as a name",
    "HMM007": "number too large",
    "HMM008": "malformed number",
    "HMM009": "nested too deep",
    "HMM010": "no spec header",
    "HMM011": "chained comparison",
    "HMM012": "'=', '==' or ':=' mixed up",
    "HMM013": "missing semicolon",
    "HMM014": "missing braces",
    "HMM015": "brackets do not match",
    "HMM016": "malformed set",
    "HMM018": "something stands where it cannot",
    "HMM019": "file too large",
    "HMM020": "name not defined",
    "HMM021": "name defined twice",
    "HMM022": "name hides another",
    "HMM023": "value of unclear type",
    "HMM024": "not a value",
    "HMM025": "wrong number of arguments",
    "HMM026": "define that uses itself",
    "HMM027": "no such field",
    "HMM028": "wrong index",
    "HMM029": "record with missing or doubled fields",
    "HMM030": "wrong type",
    "HMM031": "number wanted",
    "HMM032": "unbounded int in a state",
    "HMM033": "union or type that cannot be told apart",
    "HMM034": "type that contains itself",
    "HMM035": "prime outside a step",
    "HMM036": "not a constant",
    "HMM037": "type without room",
    "HMM039": "not a scalar type",
    "HMM040": "no first value",
    "HMM041": "not assignable",
    "HMM042": "trylock in a wrong place",
    "HMM043": "lock wanted",
    "HMM044": "wait after a change in one step",
    "HMM045": "statement of threads outside a thread",
    "HMM046": "no such label",
    "HMM047": "loop without a label",
    "HMM048": "unreachable statement",
    "HMM049": "label or jump in a for",
    "HMM050": "order or arithmetic of symmetric values",
    "HMM051": "for over a symmetric type whose order shows",
    "HMM052": "procedure that calls itself",
    "HMM053": "wrong return",
    "HMM054": "label defined twice",
    "HMM055": "too many paths in one step",
    "HMM056": "malformed leads_to",
    "HMM058": "mine outside a thread",
    "HMM059": "name of a built-in",
    "HMM060": "imported file not found",
    "HMM061": "files import one another",
    "HMM062": "a patch names something that does not exist",
    "HMM063": "a patch adds a name that exists",
    "HMM064": "a patch replaces one kind of thing by another",
    "HMM065": "malformed replacement",
    "HMM067": "refinement mapping that does not fit",
    "HMM068": "refinement mapping of an unknown variable",
    "HMM070": "param without a value",
    "HMM071": "no such param or instance",
    "HMM072": "param with an unfit value",
    "HMM073": "expectation or proof of something unknown",
    "HMM074": "property that cannot be proved",
    "HMM075": "proof for a type that is not symmetric",
    "HMM076": "setting or expectation given twice",
    "HMM078": "not exportable to another checker",
    "HMM080": "file not found",
    "HMM081": "not a file",
    "HMM082": "file cannot be read",
    "HMM083": "not a UTF-8 text",
    "HMM084": "unreadable parameter on the command line",
    "HMM085": "engine not available",
    "HMM086": "not a usable saved trace",
    "HMM087": "file cannot be written",
    "HMM088": "the command line names something that does not exist",
    "HMM089": "wrong use of the command line",
    "HMM090": "step that is never possible",
    "HMM091": "label that is never reached or never left",
    "HMM092": "implication whose left side never holds",
    "HMM093": "leads_to whose left side never holds",
    "HMM094": "assume that excludes every start",
    "HMM097": "define or procedure never used",
    "HMM100": "not a usable checkpoint",
    "HMM101": "checkpoint of something else",
    "HMM102": "not a usable certificate",
    "HMM103": "solver not installed",
    "HMM130": "malformed binding",
    "HMM131": "binding of something that the spec does not have",
    "HMM132": "event bound with the wrong arguments",
    "HMM133": "unknown name in a binding",
    "HMM134": "type that no value of a log can have",
    "HMM135": "command bound twice",
    "HMM136": "malformed event log",
    "HMM137": "event that the binding does not know",
    "HMM138": "event log that ends in the middle of a line",
    "HMM139": "event of the spec that no command is bound to",
    "HMM120": "unreadable text in a scenario",
    "HMM121": "unexpected word or sign in a scenario",
    "HMM122": "no such command or word",
    "HMM123": "name that the scenario does not define",
    "HMM124": "said or defined twice in a scenario",
    "HMM125": "value or page range that cannot be",
    "HMM126": "expectation that the command cannot meet",
    "HMM127": "unknown behaviour or capability",
    "HMM128": "statement in a wrong place of a scenario",
    "HMM129": "the command line names a scenario, parameter or target that does not exist",
    "HMM140": "impossible link",
    "HMM141": "impossible number",
    "HMM142": "not a usable file of measurements",
    "HMM143": "measurements that no cost explains",
    "HMM144": "not a usable description of a machine",
    "HMM149": "not a usable list of known differences",
    "HMM145": "no plot without matplotlib",
    "HMM150": "not a usable kernel image",
    "HMM151": "not a kernel source",
    "HMM152": "kernel too old for HMM's test device",
    "HMM153": "kernel tree that was built in place",
    "HMM154": "kernel tree that cannot be read, or changes meanwhile",
    "HMM155": "kernel option that cannot be set",
    "HMM156": "no room for kernel images",
    "HMM157": "what building a kernel takes is missing",
    "HMM158": "the kernel does not compile",
}
