"""Commands, results and stamps: JSON both ways, clear messages, data that add up."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmmspec.conform import commands as c
from hmmspec.conform.generate import Generator, RandomChooser, Shape
from hmmspec.conform.program import commands_of, from_json, length, to_json
from hmmspec.conform.results import STAMPS, TORN, Result, runs
from hmmspec.conform.stamps import page_of, stamp_of
from hmmspec.conform.target import CAPABILITIES, needs
from hmmspec.conform.wire import CommandError, command_from_json, result_from_json

EVERYTHING = Shape(race=20, failures=True, huge=True, devices=("dev0", "dev1"), capabilities=frozenset(CAPABILITIES))


@given(st.integers(0, 10_000))
def test_programs_survive_json(seed: int) -> None:
    program = Generator(EVERYTHING, RandomChooser(seed)).program()
    assert from_json(to_json(program)) == program
    assert length(program) == len(list(commands_of(program)))


def test_every_command_is_made_by_the_generator() -> None:
    made = {
        command.word
        for seed in range(400)
        for command in commands_of(Generator(EVERYTHING, RandomChooser(seed)).program())
    }
    assert made == set(c.COMMANDS)


def test_every_command_can_be_told() -> None:
    for word, cls in c.COMMANDS.items():
        wanted = {
            "process": "p0",
            "device": "dev0",
            "page": 3,
            "hold": "h0",
            "file": "f0",
            "point": "alloc",
            "child": "p1",
        }
        needed = {f.name: wanted[f.name] for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING}
        command = command_from_json({"do": word, **needed})
        assert str(command).startswith(word)
        assert needs(command) <= set(CAPABILITIES)
        assert command_from_json(command.to_json()) == command


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "a command is a JSON object"),
        ({}, 'a command has a field "do"'),
        ({"do": "jump"}, "unknown command 'jump'"),
        ({"do": "laod"}, "did you mean 'load'?"),
        ({"do": ["load"]}, "unknown command"),
        ({"do": "load", "proces": "p0", "page": 1}, "has no field 'proces'; did you mean 'process'?"),
        ({"do": "load", "process": "p0"}, "needs the field 'page'"),
        ({"do": "load", "process": "p0", "page": 1, "pages": 2}, "has no field 'pages'"),
        ({"do": "load", "process": "nobody", "page": 1}, "is p0, p1, .."),
        ({"do": "load", "process": "p0", "page": "1"}, "is a whole number"),
        ({"do": "load", "process": "p0", "page": True}, "is a whole number"),
        ({"do": "load", "process": "p0", "page": -1}, "is from 0"),
        ({"do": "load", "process": "p0", "page": 0, "count": 0}, "is from 1"),
        ({"do": "mmap", "process": "p0", "page": 0, "prot": "rwx"}, "is one of none, r, rw"),
        ({"do": "open", "process": "p0", "device": "../x"}, "is a name"),
    ],
)
def test_wrong_commands_are_told(data: object, message: str) -> None:
    with pytest.raises(CommandError, match=re.escape(message)):
        command_from_json(data)


@pytest.mark.parametrize(
    "data",
    [{"error": 3}, {"error": "EWHAT"}, {"cpages": "x"}, {"stamps": [1.5]}, {"counts": {"rss": "1"}}, {"colour": 1}, 7],
)
def test_wrong_results_are_told(data: object) -> None:
    with pytest.raises(CommandError):
        result_from_json(data)


def test_results_survive_json() -> None:
    for result in (
        Result(),
        Result("ENOENT"),
        Result("E529"),
        Result("SIGBUS", cpages=2, stamps=(1, 2)),
        Result(cpages=0, faults=1, snapshot=(0x22, 0xFF), pagemap=(5,), counts=(("rss", 3),)),
    ):
        assert result_from_json(result.to_json()) == result


@given(st.integers(0, STAMPS - 2), st.integers(0, 511), st.integers(1, 2**64 - 1))
def test_stamps(stamp: int, word: int, noise: int) -> None:
    page = page_of(stamp)
    assert stamp_of(page) == stamp
    page += page_of(1)
    assert stamp_of(page) == stamp + 1
    page[word] ^= np.uint64(noise)
    assert stamp_of(page) == TORN


def test_the_zero_page_is_stamp_zero() -> None:
    assert not page_of(0).any()


def test_half_of_a_page_is_torn() -> None:
    page = page_of(7)
    page[256:] = page_of(8)[256:]
    assert stamp_of(page) == TORN


def test_runs_are_told_shortly() -> None:
    assert runs((1, 2, 3, 0, 0, TORN, 9)) == "1..3,0*2,torn,9"
    assert runs(tuple(range(0, 100, 2))).endswith(",..")
