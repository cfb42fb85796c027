"""Text, tree, plans, layout, and programs printed as scenarios."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.generate import programs_from, shape_for
from hmmspec.conform.program import Race, commands_of
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.layout import format_text
from hmmspec.conform.scenario.lexer import raw
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.plan import OK, Plan, RaceStep, Step, WantBits, WantCount, WantOutcome, WantStamps
from hmmspec.conform.scenario.printer import command_text, scenario_text
from hmmspec.conform.scenario.runner import facts_of
from hmmspec.conform.targets import open_target
from hmmspec.diagnostics import Diagnostics, Source
from tests.scenario.fake import Fake

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "scenarios").glob("*.scn"))
ALL = Choice()


def made(text: str, choice: Choice = ALL) -> list[Plan]:
    file = parse(Source("x.scn", text))
    return [plan for scenario in file.scenarios for plan in plans(file, scenario, facts_of(Fake()), choice)]


def steps(body: str) -> list[Step]:
    """The steps of a body with one private device."""
    plan = made(f"scenario s {{\n  device gpu private\n{body}\n}}\n")[0]
    return [step for step in plan.steps if isinstance(step, Step)]


def commands(body: str) -> list[c.Command]:
    return [step.command for step in steps(body)]


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("mmap [0, 4) rw", c.Mmap("p0", 0, 4)),
        ("mmap [3] none", c.Mmap("p0", 3, 1, "none")),
        ("mmap [0, 4) r file f offset 2", c.Mmap("p0", 0, 4, "r", "file", "f", 2)),
        ("mmap [0] rw device gpu", c.Mmap("p0", 0, 1, "rw", "device", "dev0")),
        ("munmap [1, 2)", c.Munmap("p0", 1, 1)),
        ("mremap [0, 4) dontunmap to 8", c.Mremap("p0", 0, 4, 8, True)),
        ("madvise [0, 4) collapse", c.Madvise("p0", 0, 4, "collapse")),
        ("store [0, 2) = 0x10", c.Store("p0", 0, 2, 16)),
        ("gup [0] write pin hold h", c.Gup("p0", 0, 1, True, False, True, False, "h")),
        ("peek h", c.Peek("p0", "h")),
        ("poke h = 7", c.Poke("p0", "h", 7)),
        ("uffd_wp [0] off", c.UffdWp("p0", 0, 1, False)),
        ("file_write f [2, 4) = 1", c.FileWrite("f", 2, 2, 1)),
        ("file_read f [0]", c.FileRead("f", 0, 1)),
        ("drain", c.Drain()),
        ("inject copy times 3 on gpu", c.Inject("copy", 3, "dev0")),
        ("gpu.read [0, 9)", c.DevRead("p0", "dev0", 0, 9)),
        ("gpu.write [0] = 5", c.DevWrite("p0", "dev0", 0, 1, 5)),
        ("gpu.flags fail_alloc", c.Flags("p0", "dev0", True)),
        ("gpu.flags none", c.Flags("p0", "dev0", False)),
        ("gpu.release_memory", c.ReleaseMemory("p0", "dev0")),
    ],
)
def test_commands(text: str, command: c.Command) -> None:
    assert commands(text) == [command]
    assert steps(text)[0].expected == OK
    # And back: what is printed is read as the same command.
    assert commands(command_text(command).replace("p0", "main").replace("dev0", "gpu")) == [command]


def test_every_command_can_be_written() -> None:
    from hmmspec.conform.scenario.forms import FORMS

    assert {form.command for form in FORMS.values()} == set(c.COMMANDS.values())


def test_loops_choices_and_procedures() -> None:
    text = (
        "let N = 2\nprocedure put(at, first) {\n  let next = at + 1\n  store [at, next) = first * N\n}\n"
        "scenario s {\n  param k in {1, 5}\n"
        "  for i in [0, 2) {\n    put(i, k + i)\n  }\n"
        "  for x in {7, 9} {\n    if x > 8 && !(k == 5) {\n      load [x]\n    } else if k != 1 {\n      load [0]\n    }\n  }\n"
        "  repeat 2 { drain }\n}\n"
    )
    one, five = made(text)
    assert [p.title for p in (one, five)] == ["s [k=1]", "s [k=5]"]
    assert [str(s.command) for s in one.steps if isinstance(s, Step)] == [
        "store p0 page=0 count=1 stamp=2",
        "store p0 page=1 count=1 stamp=4",
        "load p0 page=9 count=1",
        "drain",
        "drain",
    ]
    assert [str(s.command) for s in five.steps if isinstance(s, Step)][2:4] == ["load p0 page=0 count=1"] * 2
    assert [p.params for p in made(text, Choice(params={"k": 3}))] == [{"k": 3}]


def test_expectations() -> None:
    (step,) = steps("gpu.read [4, 8) -> pages 4, faults <= 2, data [4] zero, data [5, 8) 9 or each 3 | EFAULT | any")
    assert step.expected == (
        (
            WantOutcome("ok"),
            WantCount("pages", "==", 4),
            WantCount("faults", "<=", 2),
            WantStamps(0, 1, 4, ((0, True),)),
            WantStamps(1, 3, 5, ((9, False), (3, True))),
        ),
        (WantOutcome("EFAULT"),),
        (WantOutcome("any"),),
    )
    (step,) = steps("gpu.snapshot [0, 2) -> byte WRITE + LOCAL + PMD or NONE")
    assert step.expected[0][1] == WantBits("byte", 0, 2, 0, ((255, 0x26), (255, 0)), ("WRITE + LOCAL + PMD", "NONE"))


def test_lines_that_go_on() -> None:
    assert commands("gpu.snapshot [0, 3) ->\n  byte [0] NONE,\n  byte [1] READ\n  | ENOENT\nload [0,\n  2)") == [
        c.Snapshot("p0", "dev0", 0, 3),
        c.Load("p0", 0, 2),
    ]
    assert len(commands("load [0]; load [1]\nif true { load [2] }")) == 3


def test_variants_and_devices() -> None:
    text = "scenario s {\n  device a, b\n  device m coherent\n  a.open\n  b.open\n  m.open\n}\n"
    private, coherent = made(text)
    opened = [s.command for s in private.steps if isinstance(s, Step)]
    assert [getattr(command, "device", "") for command in opened] == ["dev0", "dev1", "dev2"]
    assert "2 devices with coherent memory" in coherent.skipped or "3 devices" in coherent.skipped
    assert [p.variant for p in made("scenario s {\n  mmap [0] rw\n}\n")] == [""]
    assert [p.variant for p in made("scenario s {\n  variant private\n  device a\n  a.open\n}\n")] == ["private"]
    assert [p.variant for p in made(text, Choice("coherent"))] == ["coherent"]


def test_needs() -> None:
    assert made("scenario s {\n  needs device_thp\n  mmap [0] rw\n}\n")[0].skipped == "it needs device_thp"
    assert not made("scenario s {\n  needs fail_alloc && !device_thp\n  mmap [0] rw\n}\n")[0].skipped
    # The fake target does not say anything about this behaviour.
    assert "does not tell" in made("scenario s {\n  needs fault_sleeps\n  mmap [0] rw\n}\n")[0].skipped
    # What a command needs is asked without saying so.
    assert "swap" in made("scenario s {\n  madvise [0] pageout\n}\n")[0].skipped


def test_races_and_processes() -> None:
    (plan,) = made(
        "scenario s {\n  process a, b\n  seeds 7\n  fork kid\n"
        "  race {\n    thread { load [0] }\n    thread b { repeat 2 { load [1] } }\n    thread { kid: kill }\n  }\n}\n"
    )
    assert plan.seeds == 7
    race = next(s for s in plan.steps if isinstance(s, RaceStep))
    assert [[str(s.command) for s in t] for t in race.threads] == [
        ["load p0 page=0 count=1"],
        ["load p1 page=1 count=1"] * 2,
        ["kill p2"],
    ]
    assert [str(s.command) for s in plan.steps if isinstance(s, Step)] == ["spawn p1", "fork p0 child=p2"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_shipped_scenarios_are_laid_out(path: Path) -> None:
    source = Source(str(path), path.read_text())
    assert format_text(source) == source.text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_layout_changes_no_meaning(path: Path) -> None:
    text = path.read_text()
    torn = "\n".join(" ".join(t.text for t in raw(Source("x", line), Diagnostics())) for line in text.split("\n"))
    assert torn != text
    neat = format_text(Source(str(path), torn))
    assert parse(Source(str(path), neat)) == parse(Source(str(path), text))
    assert format_text(Source(str(path), neat)) == neat


def test_layout() -> None:
    ugly = (
        'let N=8\n\n\n\nscenario s   "t"{\n device gpu\n      // why\ngpu.open ;load [ 0,N/2 )as r->data 2-1 ,pages N\n'
        "| EFAULT\nfor i in{1,2}{ load[i] }\nif!private{\nload [0]\n}else{ drain }\nexpect r.data [0]==1&&has( fail_alloc )\n}"
    )
    neat = format_text(Source("x.scn", ugly))
    assert neat == (
        'let N = 8\n\nscenario s "t" {\n  device gpu\n  // why\n'
        "  gpu.open; load [0, N / 2) as r -> data 2 - 1, pages N\n    | EFAULT\n"
        "  for i in {1, 2} { load [i] }\n  if !private {\n    load [0]\n  } else { drain }\n"
        "  expect r.data[0] == 1 && has(fail_alloc)\n}\n"
    )
    assert format_text(Source("x.scn", neat)) == neat


def test_a_program_as_a_scenario() -> None:
    program = (
        c.Open("p0", "dev2"),
        c.Mmap("p0", 0, 4, "rw", "device", "dev2"),
        c.Fork("p0", "p1"),
        c.Load("p7", 0),  # nobody began it: left out
        c.Gup("p1", 0, 2, write=True, longterm=True, hold="h"),
        Race(((c.Load("p0", 0, 4),), (c.Kill("p1"),)), 3),
        c.FileWrite("f", 0, 1, 5),
    )
    text = scenario_text(program, "found 12!", 'a "title"', Fake.devices, ["why", "it is here"])
    (plan,) = made(text)
    assert text.startswith("// why\n// it is here\nscenario found_12 \"a 'title'\" {\n")
    flat = [s.command for s in plan.steps if isinstance(s, Step)]
    assert flat == [program[0], program[1], program[2], program[4], program[6]]
    race = next(s for s in plan.steps if isinstance(s, RaceStep))
    assert [[s.command for s in t] for t in race.threads] == [list(t) for t in program[5].threads]
    assert format_text(Source("x.scn", text)) == text


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_can_be_printed_and_read(seed: int) -> None:
    target = open_target("ref")
    shape = shape_for(target, race=seed % 2 == 1, failures=seed % 3 == 0, huge=seed % 5 == 0, steps=30)
    program = programs_from(shape, seed)()
    text = scenario_text(program, "found", "", target.devices)
    assert format_text(Source("x.scn", text)) == text
    file = parse(Source("x.scn", text))
    (plan,) = plans(file, file.scenarios[0], facts_of(target), ALL)
    read: list[c.Command] = []
    for step in plan.steps:
        if isinstance(step, Step):
            read.append(step.command)
        elif isinstance(step, RaceStep):
            read += [one.command for thread in step.threads for one in thread]
    # What nobody could do (processes that never began) is left out; the rest is there, in its order.
    left = iter(type(command) for command in commands_of(program))
    assert all(type(command) in left for command in read)
    assert len(read) >= len(list(commands_of(program))) // 2
