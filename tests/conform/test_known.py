"""The list of known differences: what it says, what it explains, and how mistakes in it are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.difference import Difference, compare
from hmmspec.conform.known import Known, load_known, read_known, shipped_known
from hmmspec.conform.results import Result
from hmmspec.conform.target import Finding
from hmmspec.diagnostics import SpecError

GOOD = """# known
[[difference]]
name = "one"
kernel = ">=6.12, <6.13"
command = { do = ["dev_write", "dev_read"], device = "dev0" }
results.ref = { error = "EFAULT" }
results.linux = { error = ["", "EBUSY"] }
apart = false
reason = '''
why it
is so'''
program = [{ do = "mmap", process = "p0", page = 0 }]

[[difference]]
name = "two"
kernel = ""
command = { do = "snapshot" }
results.ref = { snapshot = 0 }
results.linux = { snapshot = 0xff }
reason = "why"

[[finding]]
name = "three"
kernel = "==6.12"
target = "linux"
check = "kernel"
says = "WARN do_*: *x.c"
reason = "why"
"""


def read(tmp_path: Path, text: str) -> Known:
    path = tmp_path / "known.toml"
    path.write_text(text)
    return read_known(str(path))


def difference(command: Command, one: Result, two: Result) -> Difference:
    fields, pages = compare(one, two)
    return Difference(0, command, ("ref", "linux"), (one, two), fields, pages)


WRITE = c.DevWrite("p0", "dev0", 0)


@pytest.mark.parametrize(
    ("command", "one", "two", "name"),
    [
        (WRITE, Result("EFAULT"), Result(), "one"),
        (WRITE, Result("EFAULT"), Result("EBUSY"), "one"),
        (WRITE, Result("EFAULT"), Result("ENOMEM"), None),
        (WRITE, Result(), Result("EFAULT"), None),
        (c.DevRead("p0", "dev0", 0), Result("EFAULT"), Result(), "one"),
        (c.DevRead("p0", "dev1", 0), Result("EFAULT"), Result(), None),
        (WRITE, Result(cpages=1), Result(cpages=2), None),
        (c.Snapshot("p0", "dev0", 0, 3), Result(snapshot=(0, 1, 0)), Result(snapshot=(255, 1, 0)), "two"),
        (c.Snapshot("p0", "dev0", 0, 3), Result(snapshot=(0, 1, 0)), Result(snapshot=(255, 2, 0)), None),
        (c.Snapshot("p0", "dev0", 0), Result(cpages=1, snapshot=(0,)), Result(cpages=2, snapshot=(255,)), None),
    ],
)
def test_what_an_entry_explains(tmp_path: Path, command: Command, one: Result, two: Result, name: str | None) -> None:
    entry = read(tmp_path, GOOD).explains(difference(command, one, two))
    assert (entry.name if entry else None) == name


def test_entries(tmp_path: Path) -> None:
    known = read(tmp_path, GOOD)
    one, two, three = known.entries
    assert (one.apart, two.apart) == (False, True)
    assert one.reason == "why it is so"
    assert one.program == (c.Mmap("p0", 0),)
    assert one.place.endswith("known.toml:2)")
    assert two.place.endswith("known.toml:14)")
    assert three.accepts("linux", Finding("kernel", "at x.c:12", "WARN do_it"))
    assert not three.accepts("ref", Finding("kernel", "at x.c:12", "WARN do_it"))
    assert not three.accepts("linux", Finding("kernel", "at y.c:12", "WARN do_it"))
    assert not three.accepts("linux", Finding("hang", "at x.c:12", "WARN do_it"))
    assert [e.name for e in known.of("6.12.117").entries] == ["one", "two", "three"]
    assert [e.name for e in known.of("6.13").entries] == ["two"]
    assert [e.name for e in known.of("6.12-rc3").entries] == ["one", "two", "three"]
    assert [e.name for e in known.of("").entries] == ["two"]


ENTRY = """[[difference]]
name = "one"
kernel = ">=6.12"
command = { do = "load" }
results.ref = { error = "" }
results.linux = { error = "SIGBUS" }
reason = "why"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("[[difference]]", "[[difference", 1, "no TOML"),
        ('reason = "why"', 'reason = "why', 7, "no TOML"),
        ("[[difference]]", "[[different]]", 1, "'different' is no entry"),
        ('name = "one"', 'nam = "one"', 2, "has no 'nam'"),
        ('name = "one"', "name = 3", 2, "'name' is a text"),
        ('name = "one"', 'name = " "', 2, "'name' is empty"),
        ('reason = "why"\n', "", 1, "has no 'reason'"),
        (">=6.12", "6.12", 3, "bounds no version"),
        (">=6.12", ">=6.12 <7", 3, "bounds no version"),
        ('"load"', '"laod"', 4, "no command 'laod'"),
        ('{ do = "load" }', '"load"', 4, 'a table with "do"'),
        ('{ do = "load" }', '{ do = "load", device = "dev0" }', 4, "no field 'device'"),
        ('results.ref = { error = "" }\n', "", 5, "each of the two targets"),
        ('{ error = "" }', '{ eror = "" }', 5, "a result has no 'eror'"),
        ('{ error = "" }', '{ error = "", cpages = 1 }', 5, "both results name the same fields"),
        ('reason = "why"', 'reason = "why"\napart = 1', 8, "'apart' is true or false"),
        ('reason = "why"', 'reason = "why"\nprogram = [{ do = "jump" }]', 8, "'program' is none"),
        ('reason = "why"\n', 'reason = "why"\n' + ENTRY, 8, "two entries 'one'"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in ENTRY
    with pytest.raises(SpecError) as caught:
        read(tmp_path, ENTRY.replace(old, new, 1))
    found = caught.value.diagnostics
    assert all(d.code == "HMM149" for d in found)
    assert any(message in d.message and d.span.line == line for d in found), [
        (d.span.line, d.message) for d in found
    ]  # fmt: skip


def test_the_list_of_the_project_is_well_formed() -> None:
    path = shipped_known()
    assert path is not None
    for entry in load_known(None).entries:
        assert entry.program, f"{entry.place} does not show what it says"
        assert len(entry.reason) > 40, f"{entry.place} gives no reason"
