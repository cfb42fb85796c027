"""Every spec of the repository's own is run as its file expects: tests/specs, one construct of the language each, and
specs/bugs, the kernel's history.

The judgement is made here from the plain verdicts, not taken from the checker: exactly the properties that the file
names are violated, every other one is shown exhaustively, and the counts are the file's.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Level, Status
from hmmspec.diagnostics import SpecError
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load
from hmmspec.system.build import Built, build_with_warnings, instance_names

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = sorted((ROOT / "tests" / "specs").glob("*.hmm"))
BUGS = sorted((ROOT / "specs" / "bugs").glob("*.hmm"))
PEERS = sorted((ROOT / "tests" / "specs" / "peers").glob("*.pml"))


@functools.cache
def spec_of(path: Path) -> S.Spec:
    return load(str(path))


@functools.cache
def checked(path: Path, instance: str | None) -> InstanceReport:
    return check(built(path, instance).system)


@functools.cache
def built(path: Path, instance: str | None) -> Built:
    return build_with_warnings(spec_of(path), [instance] if instance else None)[0]


def cases(files: list[Path]) -> list[object]:
    """One case per file and instance; a file that does not load is one case, which then fails and says why."""
    out: list[object] = []
    for path in files:
        try:
            names: tuple[str | None, ...] = instance_names(spec_of(path))
        except SpecError:
            names = (None,)
        out.extend(pytest.param(path, name, id=f"{path.stem}-{name}") for name in names)
    return out


def judge(report: InstanceReport, b: Built) -> None:
    wanted = b.system.expectation
    violated = {v.property for v in report.verdicts if v.status is Status.VIOLATED}
    assert violated == (wanted.violates or frozenset())
    assert not report.limit
    for v in report.verdicts:
        if v.status is Status.HOLDS:
            assert v.level is Level.EXHAUSTIVE, v.property
        elif v.status is Status.VIOLATED:
            assert v.trace is not None or v.kind in ("reachable", "recoverable"), v.property
        else:
            assert v.status is Status.WARNING, v.property
    if wanted.states is not None:
        assert report.states == wanted.states
    assert report.problems == ()
    assert report.exit_code == 0


@pytest.mark.parametrize(("path", "instance"), cases(LANGUAGE + BUGS))
def test_as_expected(path: Path, instance: str | None) -> None:
    b = built(path, instance)
    report = checked(path, instance)
    judge(report, b)
    if b.system.expectation.orbits is not None:
        assert report.reduction == "orbits"
        assert report.orbits == b.system.expectation.orbits


@pytest.mark.parametrize(("path", "instance"), cases(LANGUAGE + BUGS))
def test_symmetry_changes_no_verdict(path: Path, instance: str | None) -> None:
    """Without symmetry: the same verdicts, the same number of full states, traces of the same length."""
    b = built(path, instance)
    plain, reduced = check(b.system, CheckOptions(symmetry=False)), checked(path, instance)
    judge(plain, b)
    assert plain.orbits is None
    if reduced.states is not None:
        assert reduced.states == plain.states

    def seen(report: InstanceReport) -> dict[str, tuple[Status, int | None]]:
        shortest = {v.property: v.level is Level.VIOLATED_SHORTEST for v in report.verdicts}
        return {
            v.property: (v.status, v.trace.length if v.trace and shortest[v.property] else None)
            for v in report.verdicts
        }

    assert seen(plain) == seen(reduced)


@pytest.mark.parametrize(("path", "instance"), cases(BUGS))
def test_bugs_have_no_warnings(path: Path, instance: str | None) -> None:
    """With the patch and without it every step is possible and every property says something."""
    assert built(path, instance).warnings == ()
    assert checked(path, instance).warnings == ()


@pytest.mark.parametrize("path", BUGS, ids=lambda p: p.stem)
def test_bugs_come_in_pairs(path: Path) -> None:
    """`unpatched` violates something and `patched` nothing; the two differ in PATCHED alone."""
    spec = spec_of(path)
    settings = {
        d.name.name: {s.name.name: s.value for s in d.settings} for d in spec.declarations if isinstance(d, S.Instance)
    }
    before, after = settings["unpatched"], settings["patched"]
    assert before.pop("PATCHED") == S.BoolLit(False)
    assert after.pop("PATCHED") == S.BoolLit(True)
    assert before == after
    expected = {name: built(path, name).system.expectation.violates for name in settings}
    assert expected["unpatched"]
    assert not expected["patched"]


def test_the_table_of_bugs_is_true() -> None:
    """specs/bugs/README.md lists every file, with the properties it violates and the lengths of their traces."""
    table = (ROOT / "specs" / "bugs" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.hmm\) \|.*\| ([^|]*) \|$", table, re.MULTILINE)
    told = {name: {p: int(n) for p, n in re.findall(r"`(\w+)` \((\d+)\)", cell)} for name, cell in rows}
    found = {
        path.stem: {
            v.property: v.trace.length
            for v in checked(path, "unpatched").verdicts
            if v.status is Status.VIOLATED and v.trace is not None
        }
        for path in BUGS
    }
    assert told == found


def peer_runs() -> list[object]:
    """From the first comment of each Promela file: `INSTANCE: -DOPTIONS` lines."""
    out: list[object] = []
    for path in PEERS:
        head = path.read_text(encoding="utf-8").split("*/")[0]
        for name, options in re.findall(r"^ \*   (\w+):((?: -D\w+=\d+)*) ?$", head, re.MULTILINE):
            out.append(pytest.param(path, name, options.split(), id=f"{path.stem}-{name}"))
    return out


@pytest.mark.skipif(not (shutil.which("spin") and shutil.which("cc")), reason="needs SPIN and a C compiler")
@pytest.mark.parametrize(("path", "instance", "options"), peer_runs())
def test_spin_stores_as_many_states(path: Path, instance: str, options: list[str], tmp_path: Path) -> None:
    # -o2: SPIN otherwise resets variables that are not read again, and so merges states.
    subprocess.run(["spin", "-o2", *options, "-a", str(path)], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(
        ["cc", "-O1", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    said = subprocess.run(["./pan", "-E", "-c0"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    stored = re.search(r"(\d+) states, stored", said)
    assert stored, said
    report = checked(path.parent.parent / f"{path.stem}.hmm", instance)
    assert report.states == int(stored[1])


def test_peers_are_found() -> None:
    assert len(peer_runs()) >= 10
    assert len(LANGUAGE) >= 25
    assert len(BUGS) >= 12
