"""Small specs and bindings, and logs made by hand, for the tests of the follower."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hmmspec.conform.follow.engines import Kind
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.follow.log import read_log
from hmmspec.conform.target import Finding

# A register that several people write and read: what is read is what was written last.
REGISTER = """spec register
param VALUES = 2;
type Value = symmetric[VALUES];
type Data  = Value | enum { empty };
var cell: Data = empty;
var ready: bool = true;                  // a write must settle before the next
transition write(v: Data) when ready { cell := v; ready := false; }
transition read(v: Data)  when cell == v { skip; }
transition refuse when !ready { skip; }
transition settle when !ready { ready := true; }
event write, read, refuse;
"""

REGISTER_BINDING = """binding for "register.hmm" with VALUES = 4;
define data(x) = if x == 0 then empty else if x < 0 then impossible else x;
on write(value) returns (error) {
  when error == ok: write(data(value));
  when error == EBUSY: refuse();
}
on read() returns (value) { else: read(data(value)); }
ignore noise;
"""


def files(folder: Path, spec: str, binding: str, name: str = "register") -> str:
    """Write a spec and its binding; returns the spec's path."""
    path = folder / f"{name}.hmm"
    path.write_text(spec)
    path.with_suffix(".bind").write_text(binding)
    return str(path)


def follower(
    folder: Path,
    spec: str = REGISTER,
    binding: str = REGISTER_BINDING,
    limit: int = 10_000,
    engine: Kind = "auto",
) -> Follower:
    return Follower(load_for(files(folder, spec, binding)), limit, engine)


class Writer:
    """Makes the lines of a log."""

    def __init__(self, header: dict[str, Any] | None = None) -> None:
        self.lines = [json.dumps({"log": "hmmspec", "version": 1, "target": "test", **(header or {})})]
        self.calls = 0
        self.threads: dict[int, str] = {}

    def call(self, do: str, thread: str = "main", **fields: Any) -> int:
        number = self.calls
        self.calls += 1
        self.threads[number] = thread
        command = {"do": do, **fields}
        self.lines.append(json.dumps({"event": "call", "call": number, "thread": thread, "command": command}))
        return number

    def back(self, call: int, **result: Any) -> None:
        line = {"event": "return", "call": call, "thread": self.threads[call], "result": result}
        self.lines.append(json.dumps(line))

    def run(self, do: str, result: dict[str, Any] | None = None, **fields: Any) -> None:
        self.back(self.call(do, **fields), **(result or {}))

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def write(self, path: Path) -> str:
        path.write_text(self.text())
        return str(path)


def followed(f: Follower, writer: Writer, folder: Path, names: Iterable[str] = ()) -> list[Finding]:
    """The findings of a whole log."""
    log = read_log(writer.write(folder / "log.jsonl"), [*f.loaded.event_names, *names])
    f.start(log.profile, log.devices)
    found = [finding for event in log.events for finding in f.see(event)]
    return [*found, *f.finish()]


def messages(found: Sequence[Finding]) -> str:
    return "\n".join([x for f in found for x in (f.message, *f.details)])
