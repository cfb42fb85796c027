"""Commands and results as bytes; the numbers are those of the agent's own text."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import COMMANDS
from hmmspec.conform.linux import codec
from hmmspec.conform.linux.codec import Names, Status, TooMany
from hmmspec.conform.results import Result
from hmmspec.linux import agent

HEADER = (Path(agent.__file__).parent / "guest" / "agent.h").read_text()


def record(command: c.Command, names: Names | None = None) -> dict[str, int]:
    fields = ("op", "choice", "kind", "device", "process", "other", "page", "count", "extra", "reserved", "stamp")
    return dict(zip(fields, struct.unpack("<4B2H4IQ", codec.encode(command, names or Names())), strict=True))


def test_numbers_are_those_of_the_agent() -> None:
    ops = re.search(r"enum op \{(.*?)OP_LAST", HEADER, re.DOTALL)
    assert ops is not None
    names = re.findall(r"OP_(\w+)", ops.group(1))
    assert len(names) == len(codec._ORDER)
    short = {"to_device": "migrate_to_device", "to_system": "migrate_to_system", "release": "release_memory"}
    for number, name in enumerate(names, 1):
        cls = COMMANDS[short.get(name.lower(), name.lower())]
        assert codec._OPS[cls] == number
    for name, value in (("NAMES", codec.NAMES), ("THREADS", codec.THREADS), ("HOLDS", codec.HOLDS)):
        assert re.search(rf"#define {name} {value}\b", HEADER)
    assert f"#define BATCH {codec.BATCH} " in HEADER
    assert f"#define DATA ({codec.DATA >> 20}ul << 20)" in HEADER
    assert f"#define AGENT_VERSION {codec.VERSION}\n" in HEADER


def test_all_commands_but_injections_travel() -> None:
    assert set(COMMANDS.values()) - set(codec._OPS) == {c.Inject}
    assert not codec.can_travel(c.Inject("alloc"))


def test_names_become_numbers_as_they_appear() -> None:
    names = Names()
    assert record(c.Fork("p0", "p7"), names)["other"] == 1
    assert record(c.Load("p7", 3, 2), names) | {"op": 0} == {
        "op": 0, "choice": 0, "kind": 0, "device": 0, "process": 1, "other": 0, "page": 3, "count": 2, "extra": 0,
        "reserved": 0, "stamp": 0,
    }  # fmt: skip
    assert record(c.Gup("p7", 0, hold="x"), names)["other"] == 0
    assert record(c.Gup("p7", 0, hold="y"), names)["other"] == 1
    assert record(c.Peek("p7", "y"), names)["other"] == 1
    assert record(c.Peek("p0", "y"), names)["other"] == 0
    assert record(c.FileRead("f9", 0), names)["other"] == 0
    assert record(c.Mmap("p0", 0, kind="file", source="f1", offset=5), names) | {"op": 0, "count": 0} == {
        "op": 0, "choice": 2, "kind": 2, "device": 0, "process": 0, "other": 1, "page": 0, "count": 0, "extra": 5,
        "reserved": 0, "stamp": 0,
    }  # fmt: skip


def test_fields_of_each_kind() -> None:
    assert record(c.Mprotect("p0", 0, 1, "r"))["choice"] == 1
    assert record(c.Mremap("p0", 1, 2, 30, dontunmap=True))["extra"] == 30
    assert record(c.Madvise("p0", 0, 1, "pageout"))["choice"] == 5
    assert record(c.Gup("p0", 0, 1, True, True, True, True, "h"))["choice"] == 31
    assert record(c.Gup("p0", 0, 1, False, True))["choice"] == 2
    assert record(c.DevWrite("p0", "dev3", 1, 2, 1 << 47)) | {"op": 0} == {
        "op": 0, "choice": 0, "kind": 0, "device": 3, "process": 0, "other": 0, "page": 1, "count": 2, "extra": 0,
        "reserved": 0, "stamp": 1 << 47,
    }  # fmt: skip
    assert record(c.Mmap("p0", 0, kind="device", source="dev2"))["device"] == 2


def test_too_many_names_are_told() -> None:
    names = Names()
    for n in range(codec.NAMES):
        names.process(f"p{n}")
    with pytest.raises(TooMany, match="at most 256 names"):
        names.process("p999")
    for n in range(codec.HOLDS):
        names.hold("p0", f"h{n}")
    with pytest.raises(TooMany, match="at most 64 names"):
        names.hold("p0", "x")


def answered(*results: tuple[int, int, int, int, int, int, bytes], status: int = 0, at: int = 0) -> bytes:
    out = struct.pack("<3I", status, at, len(results))
    for begin, end, error, cpages, faults, data, raw in results:
        out += struct.pack("<2Q3i3I", begin, end, error, cpages, faults, data, len(raw), 0) + raw
    return out


def test_results_come_back() -> None:
    stamps = struct.pack("<3q", 5, -1, 1 << 40)
    told = codec.answer(
        answered(
            (1, 2, 0, 3, 1, 1, stamps),
            (3, 4, 2, -1, -1, 0, b""),
            (5, 6, 0x1000 + 7, 0, -1, 1, b""),
            (7, 8, 0, 2, -1, 2, b"\x22\xff"),
            (9, 10, 0, 2, -1, 3, b"\x05\x02"),
            (11, 12, 0, -1, -1, 4, struct.pack("<5q", 4, 3, 2, 1, 0)),
            (13, 0, 0, -1, -1, 0, b""),
            status=1,
            at=6,
        )
    )
    assert told.status is Status.STUCK and told.at == 6
    assert [t.result for t in told.told[:-1]] == [
        Result(cpages=3, faults=1, stamps=(5, -1, 1 << 40)),
        Result("ENOENT"),
        Result("SIGBUS", cpages=0),
        Result(cpages=2, snapshot=(0x22, 0xFF)),
        Result(cpages=2, pagemap=(5, 2)),
        Result(counts=(("rss", 4), ("anon", 3), ("swap", 2), ("dirty", 1), ("huge", 0))),
    ]
    assert (told.told[-1].begin, told.told[-1].end) == (13, 0)


@pytest.mark.parametrize("cut", [0, 5, 20, 50, -1])
def test_an_answer_that_is_not_whole_is_told(cut: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        codec.answer(answered((1, 2, 0, 3, 1, 1, bytes(24)))[:cut])
    with pytest.raises(ValueError, match="bytes"):
        codec.answer(answered((1, 2, 0, 3, 1, 1, bytes(24))) + b"more")
