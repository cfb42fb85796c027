"""What a kernel says on its console, as findings: warnings, bugs, reports of its debug checks, panics.

Everything else that a kernel prints is no finding: what it says of the machine while it boots, the messages of
drivers.  A report is kept whole, from its first line to where it ends by itself (`---[ end trace`, the end of a stack,
a closing rule) or the next one begins; the same report again is counted and not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hmmspec.conform.target import Finding
from hmmspec.records import dataclass

LONGEST = 250  # lines of a report that are kept
BEFORE = 14  # lines of a page's description before the warning that it belongs to

# What the console puts before a line: level, time, and who said it.
_PREFIX = re.compile(r"^(?:<\d+>)?(?:\[\s*\d+\.\d+\](?:\[\s*(?P<who>[TC]\d+)\])? ?)?")
_RULE = re.compile(r"^[=]{20,}$")
_CUT = "------------[ cut here ]------------"
_DESCRIBED = re.compile(r"^page: ?(?:\S+ )?refcount:")
_END = re.compile(r"^---\[ end (?:trace|Kernel panic)")
_STACK_END = re.compile(r"^ ?</TASK>")
_ENTRY = re.compile(r"^ (?:\? )?(?P<function>[A-Za-z_][\w.]*)\+0x[0-9a-f]+/0x[0-9a-f]+")
_RIP = re.compile(r"^RIP: 0010:(?P<function>[A-Za-z_][\w.]*)\+0x")


@dataclass(frozen=True)
class Kind:
    """A kind of report: how its first line reads, whose check it is, and where it ends."""

    name: str
    first: re.Pattern[str]
    check: str = "kernel"
    ends: str = "trace"  # `trace`: "end trace"; `stack`: the end of the first stack; `rule`: a closing rule; `line`


def _kind(name: str, first: str, check: str = "kernel", ends: str = "trace") -> Kind:
    return Kind(name, re.compile(first), check, ends)


_AT = r"[A-Za-z_][\w.]*"  # a function
_BAD_CONTEXT = r"sleeping function called from invalid|scheduling while atomic"
_BAD_LOCK = r"MAX_LOCK|lock held|Invalid wait context|using \w+\(\) in preempt"
_EXCEPTION = r"Oops|general protection fault|stack segment|divide error|invalid opcode"


# The first that fits counts.
KINDS = (
    _kind("panic", r"Kernel panic - not syncing: (?P<what>.*)", "crash"),
    _kind("KASAN", rf"BUG: (?:KASAN|KFENCE|KMSAN): (?P<what>.*?)(?: in (?P<where>{_AT})[+/].*)?$", ends="rule"),
    _kind("lockup", r"(?:watchdog: )?BUG: (?P<what>(?:soft|workqueue) lockup.*)", "hang", "stack"),
    _kind("lockup", r"(?:NMI )?watchdog: (?P<what>Watchdog detected hard LOCKUP.*)", "hang", "stack"),
    _kind("rss-counter", r"BUG: (?P<what>Bad rss-counter state.*)", ends="line"),
    _kind("rss-counter", r"BUG: (?P<what>non-zero pgtables_bytes.*)", ends="line"),
    _kind("page-state", r"BUG: (?P<what>Bad page (?:state|map|cache).*)", ends="stack"),
    _kind("lockdep", rf"BUG: (?P<what>(?:{_BAD_CONTEXT}).*)", ends="stack"),
    _kind("lockdep", rf"BUG: (?P<what>(?:{_BAD_LOCK}).*)", ends="stack"),
    _kind(
        "lockdep",
        r"WARNING: (?P<what>(?:possible |inconsistent lock|bad unlock|held lock freed|suspicious RCU|Nested lock|"
        r"lock held|.*lock order|.*HARDIRQ|.*SOFTIRQ).*)",
        ends="stack",
    ),
    _kind("lockdep", r"\[ BUG: (?P<what>Invalid wait context.*)\]", ends="stack"),
    _kind("lockdep", r"INFO: (?P<what>trying to register non-static key.*)", ends="stack"),
    _kind("lockdep", r"(?P<what>DEBUG_LOCKS_WARN_ON.*)", ends="line"),
    _kind("WARN", r"WARNING: CPU: \d+ PID: \d+ at (?P<what>(?P<place>\S+)(?: (?P<where>[A-Za-z_][\w.]*)\+0x.*)?)$"),
    _kind("BUG", r"kernel BUG at (?P<what>.*?)!?$"),
    _kind("oops", r"BUG: (?P<what>(?:unable to handle|kernel NULL pointer).*)"),
    _kind("oops", rf"(?P<what>(?:{_EXCEPTION})[:,].*\[#\d+\].*)"),
    _kind("UBSAN", r"UBSAN: (?P<what>.*)", ends="trace"),
    _kind("hung-task", r"INFO: (?P<what>task .* blocked for more than \d+ seconds.*)", "hang", "stack"),
    _kind("rcu-stall", r"(?:rcu: )?INFO: (?P<what>rcu\w* .*stall.*)", "hang", "stack"),
    _kind("oom", r"(?P<what>Out of memory: Killed process.*)", ends="line"),
    _kind("segfault", r"(?P<what>\S+\[\d+\]: (?:segfault at|bad frame|trap ).*)", ends="line"),
    _kind("BUG", r"BUG: (?P<what>.*)", ends="stack"),
)  # fmt: skip

# What a stack begins with before it comes to the point.
_PLUMBING = re.compile(
    r"^(dump_stack\w*|show_stack|print_\w+|kasan_\w+|__kasan_\w+|check_\w+|__?lock_\w+|lock_\w+|validate_chain|"
    r"__might_\w+|__schedule\w*|schedule\w*|__warn|report_bug|handle_bug|exc_\w+|asm_exc_\w+|bad_page|panic|"
    r"lockdep_\w+|mark_lock\w*|save_trace|vpanic|__bad_page|io_schedule\w*|preempt_schedule\w*)(?:\.\w+)*$"
)


class _Report:
    def __init__(self, kind: Kind, found: re.Match[str], who: str, before: list[str]) -> None:
        self.kind, self.who = kind, who
        self.title = found["what"].strip()
        self.lines = [*before, found.string]
        self.begun = len(before)
        named = found.groupdict()
        self.where = named.get("where") or ""

    def add(self, line: str) -> bool:
        """Take a line; whether the report is over with it."""
        if len(self.lines) < LONGEST:
            self.lines.append(line)
        if not self.where and (rip := _RIP.match(line)):
            self.where = rip["function"]
        match self.kind.ends:
            case "trace":
                return bool(_END.match(line))
            case "rule":
                return bool(_RULE.match(line))
            case _:
                return bool(_STACK_END.match(line)) or bool(_END.match(line))

    def finding(self) -> Finding:
        """The report as a finding; where it does not say whose it is, the first function of its stack does."""
        where = self.where
        for line in self.lines[self.begun :] if not where else ():
            if (entry := _ENTRY.match(line)) and not line.startswith(" ? ") and not _PLUMBING.match(entry["function"]):
                where = entry["function"]
                break
        told = f"{self.kind.name}: {self.title}"
        if where and where not in self.title:
            told += f" (in {where})"
        return Finding(
            self.kind.check, told, f"{self.kind.name}{f' {where}' if where else ''}", None, tuple(self.lines)
        )


def console_findings(lines: Iterable[str]) -> tuple[Finding, ...]:
    """What is wrong according to the lines of a console, in the order in which it was said.

    Each finding has the check `kernel`, `hang` or `crash`; its name is the kind of report and the function that it
    names (`WARN dmirror_fault`); its details are the whole report, without time stamps.
    """
    reader = _Reader()
    for line in lines:
        reader.read(line)
    return reader.findings()


class _Reader:
    def __init__(self) -> None:
        self._reports: list[_Report] = []
        self._open: _Report | None = None
        self._before: list[str] = []

    def read(self, raw: str) -> None:
        """The next line."""
        found = _PREFIX.match(raw)
        who = (found["who"] if found else None) or ""
        line = raw[found.end() if found else 0 :].rstrip("\r\n")
        opened = self._open
        if opened is not None and opened.who and who and opened.who != who:
            # Another processor or task speaks in between: no line of this report.
            opened = None
        if (kind := self._starts(line, opened)) is not None:
            self._begin(kind, line, who)
        elif opened is not None:
            if opened.add(line):
                self._open = None
        else:
            self._remember(line)

    def _remember(self, line: str) -> None:
        """Lines that belong to a report if one follows: a rule or a cut just before it, a page's description."""
        described = bool(self._before) and bool(_DESCRIBED.match(self._before[0])) and len(self._before) < BEFORE
        if described or (line == _CUT or _RULE.match(line) or _DESCRIBED.match(line)):
            self._before = [*self._before, line] if described else [line]
        else:
            self._before = []

    def _starts(self, line: str, opened: _Report | None) -> Kind | None:
        kind = next((k for k in KINDS if k.first.match(line)), None)
        if kind is not None and opened is not None and kind.name == "oops" and opened.kind.name in {"BUG", "oops"}:
            # The same trouble, told by the exception that it raised.
            return None
        return kind

    def _begin(self, kind: Kind, line: str, who: str) -> None:
        found = kind.first.match(line)
        assert found is not None
        report = _Report(kind, found, who, self._before)
        self._before = []
        self._reports.append(report)
        self._open = None if kind.ends == "line" else report

    def findings(self) -> tuple[Finding, ...]:
        """Each different report once, with how often it came."""
        times: dict[tuple[str, str], int] = {}
        first: dict[tuple[str, str], Finding] = {}
        for report in self._reports:
            finding = report.finding()
            key = finding.name, re.sub(r"\d+|0x[0-9a-f]+|[0-9a-f]{6,}", "#", finding.message)
            times[key] = times.get(key, 0) + 1
            first.setdefault(key, finding)
        return tuple(
            f if times[key] == 1 else Finding(f.check, f"{f.message} ({times[key]} times)", f.name, f.call, f.details)
            for key, f in first.items()
        )
