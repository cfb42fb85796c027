"""Event logs as files: one JSON object on each line, the first of which tells where the log comes from.

NOTE(log-format): docs/conformance.md has the format whole.  A log of hmmspec's own commands is read as such, field by
field; other names of events are taken as they are, as long as somebody (`names`) knows them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, cast

from hmmspec.conform.commands import COMMANDS
from hmmspec.conform.follow.seen import Seen, result_fields, seen
from hmmspec.conform.target import Behaviour, Event, Target
from hmmspec.conform.wire import CommandError, command_from_json, result_from_json
from hmmspec.diagnostics import Diagnostic, Severity, Source, Span, SpecError, did_you_mean

VERSION = 1
MOST_CHARACTERS = 1 << 31

Json = dict[str, object]


@dataclass(frozen=True)
class Log:
    """What a file holds.  torn: what is wrong with its last line, if it ends in the middle."""

    target: str
    profile: Mapping[str, Behaviour]
    devices: Mapping[str, str]
    events: tuple[Seen, ...]
    torn: Diagnostic | None = None


@dataclass(frozen=True)
class Told:
    """A command or a result that is none of ours, as people read it."""

    name: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        shown = [f"{n}={json.dumps(v, separators=(',', ':'), ensure_ascii=False)[:60]}" for n, v in self.fields.items()]
        return " ".join([self.name, *shown]).strip() or "ok"


def header(target: Target) -> Json:
    """The first line of a target's log."""
    return {
        "log": "hmmspec",
        "version": VERSION,
        "target": target.name,
        "profile": dict(target.profile),
        "devices": dict(target.devices),
    }


def write_log(path: str, target: Target, events: Iterable[Event]) -> None:
    """Write a log.  Raises OSError."""
    lines = [header(target), *(e.to_json() for e in events)]
    text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
    Path(path).write_text(text, encoding="utf-8")


def read_log(path: str, names: Iterable[str] = ()) -> Log:
    """The log in a file.  names: of events beside our own commands.  Raises SpecError: HMM080 to HMM083 where the file
    cannot be read, HMM136 where a line is malformed, HMM137 where its event is unknown."""
    return _Reader(Source(path, _text(path)), frozenset(names)).log()


def _text(path: str) -> str:
    nowhere = Span(Source("<command line>", ""), 0, 0)
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        code, told = "HMM080", f"there is no file '{path}'"
    except IsADirectoryError:
        code, told = "HMM081", f"'{path}' is a folder"
    except UnicodeDecodeError as error:
        code, told = "HMM083", f"'{path}' is not a UTF-8 text (byte {error.start})"
    except OSError as error:
        code, told = "HMM082", f"cannot read '{path}': {error.strerror or error}"
    raise SpecError([Diagnostic(code, told, nowhere)])


class _Reader:
    def __init__(self, source: Source, names: frozenset[str]) -> None:
        self.source = source
        self.names = names
        self.open: dict[int, str] = {}  # calls that have not returned: their threads
        self.busy: dict[str, int] = {}  # thread -> its call
        self.ours: set[int] = set()  # calls that are commands of hmmspec
        self.last = -1

    def log(self) -> Log:
        text = self.source.text
        lines = self.source.line_starts
        start = Span(self.source, 0, min(1, len(text)))
        first: Json | None = None
        events: list[Seen] = []
        torn: Diagnostic | None = None
        for number, begin in enumerate(lines):
            whole = number + 1 < len(lines)
            end = lines[number + 1] - 1 if whole else len(text)
            line = text[begin:end]
            if not line.strip():
                continue
            span = Span(self.source, begin, end)
            data = self._object(line, span, whole)
            if isinstance(data, Diagnostic):
                torn = data
            elif first is None:
                first = self._header(data, span)
            else:
                events.append(self._event(data, span))
        if first is None:
            self._fail("HMM136", start, "the log is empty: its first line is a header", _HEADER_FIX)
        profile, devices = first.get("profile"), first.get("devices")
        return Log(
            target=str(first.get("target", "")),
            profile=cast(dict[str, Behaviour], profile) if isinstance(profile, dict) else {},
            devices={str(n): str(v) for n, v in devices.items()} if isinstance(devices, dict) else {},
            events=tuple(events),
            torn=torn,
        )

    def _object(self, line: str, span: Span, whole: bool) -> Json | Diagnostic:
        """The object on a line; a diagnostic where the last line stops in the middle."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            message = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep, or too long a number"
            at = min(span.start + getattr(error, "pos", 0), max(span.start, span.end - 1))
            where = Span(self.source, at, at + 1)
            if not whole:
                told = f"the last line of the log ends in the middle ({message})"
                fix = "the writer was stopped while it wrote; --torn follows what stands before this line"
                return Diagnostic("HMM138", told, where, Severity.ERROR, (), fix)
            self._fail("HMM136", where, f"this line is no JSON: {message}")
        if not isinstance(data, dict):
            self._fail("HMM136", span, "a line of a log is one JSON object")
        return data

    def _header(self, data: Json, span: Span) -> Json:
        if data.get("log") != "hmmspec":
            self._fail("HMM136", span, "the first line of a log is its header", _HEADER_FIX)
        if data.get("version") != VERSION:
            told = f"a log of version {data.get('version')!r:.20}: this hmmspec reads version {VERSION}"
            self._fail("HMM136", span, told)
        for name in ("profile", "devices"):
            if not isinstance(data.get(name, {}), dict):
                self._fail("HMM136", span, f"'{name}' of the header is an object: name -> value")
        return data

    def _event(self, data: Json, span: Span) -> Seen:
        kind, call, thread = data.get("event"), data.get("call"), data.get("thread", "")
        if kind not in ("call", "return"):
            told = f'\'event\' is "call" or "return", not {kind!r:.40}' if "event" in data else 'no field "event"'
            self._fail("HMM136", span, told)
        if not isinstance(call, int) or isinstance(call, bool) or call < 0:
            self._fail("HMM136", span, f"'call' is the number of the call, not {call!r:.40}")
        if not isinstance(thread, str):
            self._fail("HMM136", span, f"'thread' is a name, not {thread!r:.40}")
        if kind == "call":
            return self._call(data, span, call, thread)
        return self._return(data, span, call, thread)

    def _call(self, data: Json, span: Span, call: int, thread: str) -> Seen:
        if call <= self.last:
            self._fail("HMM136", span, f"call {call} comes after call {self.last}: calls are numbered as they begin")
        if thread in self.busy:
            told = f"thread '{thread}' begins call {call} while its call {self.busy[thread]} has not returned"
            self._fail("HMM136", span, told)
        self.last = call
        self.open[call] = thread
        self.busy[thread] = call
        command = data.get("command")
        if not isinstance(command, dict):
            self._fail("HMM136", span, "a call has an object 'command'")
        name = command.get("do")
        if not isinstance(name, str):
            self._fail("HMM136", span, "a command has a name: 'do'")
        if name in COMMANDS:
            try:
                made = command_from_json(command)
            except CommandError as error:
                self._fail("HMM136", span, str(error))
            self.ours.add(call)
            return seen(Event(call, thread, command=made), span)
        if name not in self.names:
            known = [*COMMANDS, *self.names]
            self._fail(
                "HMM137", span, f"unknown event '{name:.60}': neither a command of hmmspec nor in the binding",
                did_you_mean(name, known),
            )  # fmt: skip
        fields = {n: v for n, v in command.items() if n != "do"}
        return Seen(call, thread, True, name, fields, Told(name, fields), span)

    def _return(self, data: Json, span: Span, call: int, thread: str) -> Seen:
        if call not in self.open:
            told = "returned already" if call <= self.last else "was never made"
            self._fail("HMM136", span, f"call {call} returns, but it {told}")
        if "thread" in data and self.open[call] != thread:
            self._fail("HMM136", span, f"call {call} is of thread '{self.open[call]}', not of '{thread}'")
        del self.busy[self.open.pop(call)]
        result = data.get("result", {})
        if not isinstance(result, dict):
            self._fail("HMM136", span, "a return has an object 'result'")
        try:
            return seen(Event(call, thread, result=result_from_json(result)), span)
        except CommandError as error:
            if call in self.ours:
                self._fail("HMM136", span, str(error))
        return Seen(call, thread, False, "", result_fields(result), Told("", result), span)

    def _fail(self, code: str, span: Span, message: str, fix: str | None = None) -> NoReturn:
        raise SpecError([Diagnostic(code, message, span, fix=fix)])


_HEADER_FIX = 'it begins with {"log": "hmmspec", "version": 1, ..}'
