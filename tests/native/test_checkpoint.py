"""Checkpoints: a search that ended early goes on to the same report, whatever ended it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.checker.native import search
from hmmspec.checker.native.engine import check_auto, check_native
from hmmspec.checker.native.saving import forget
from hmmspec.checker.options import Checkpoints
from hmmspec.checker.verdict import Progress
from hmmspec.cli.main import main
from hmmspec.cli.specs import load_one
from hmmspec.diagnostics import Limit
from tests.checker.helpers import system_of
from tests.native.checkpointed import (
    GRID,
    OPTIONS,
    PAGES,
    RICH,
    ROOT,
    SMALL,
    header_in,
    pages,
    resumed,
    stopped,
    untimed,
)


@pytest.fixture(autouse=True)
def _compiled(cache: Path) -> None:
    assert cache.is_dir()


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (RICH, {}),
        (RICH, {"hash_bits": 64, "seed": 5, "threads": 1}),
        (GRID, {}),
        (GRID, {"symmetry": False, "max_traces": 3, "threads": 8}),
        (GRID, {"symmetry": False, "spill": True}),
    ],
)
def test_the_report_is_that_of_one_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: dict[str, object]
) -> None:
    """Ended at limits of states again and again; no state is expanded twice."""
    if options.get("spill") or options.get("hash_bits"):
        options["spill"] = tmp_path / "spill"
        text = text.replace("recoverable", "reachable")  # judged without hashes only
    system, wanted = system_of(text), replace(OPTIONS, **options)  # type: ignore[arg-type]
    expanded: list[int] = []
    count = search.Search._count

    def counting(self: search.Search) -> None:
        expanded.append(self.engine.counted().expanded)
        count(self)

    monkeypatch.setattr(search.Search, "_count", counting)
    whole = check_native(system, wanted)
    assert whole.engine == "native", whole.remark
    stored = whole.orbits or whole.states or 0
    folder = tmp_path / "saved"
    folder.mkdir()
    cuts = sorted(random.Random(stored).sample(range(2, stored), 5))
    file = stopped(folder, system, wanted, cuts[0])
    for limit in cuts[1:]:
        before = header_in(file)
        report = resumed(file, system, wanted, states=limit)
        assert report.limit == f"limit of {limit} states"
        after = header_in(file)
        assert after.expanded - before.expanded == expanded[-1]
        assert after.seconds > before.seconds
    report = untimed(resumed(file, system, wanted))
    assert replace(report, hashed=whole.hashed) == untimed(whole)  # how often hashes are compared depends on the table
    assert (report.hashed is None) == (whole.hashed is None)
    assert sum(expanded[1:]) == expanded[0] == stored
    assert list(folder.iterdir()) == [file], "until the report is shown"
    forget(Checkpoints(folder), report)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("stored", "hashed"),
    [
        ([], []),
        pytest.param(["--spill", "."], [], marks=pytest.mark.slow),
        pytest.param(["--spill", "."], ["--hash", "40", "--seed", "9"], marks=pytest.mark.slow),
    ],
)
def test_killed_at_ten_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: list[str], hashed: list[str]
) -> None:
    """kill -9, while it searches or while it writes, in one chain: the counts are those of one search."""
    out, file = tmp_path / "out.json", tmp_path / "pages-default.ckpt"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    often = ["--checkpoint-every", "0.0003", "--threads", "2", "--json", "--quiet", *stored]
    first = ["check", str(PAGES), "-p", "PAGES=4", "-p", "FRAMES=2", "--no-symmetry", *hashed]
    first += ["--checkpoint", str(tmp_path)]
    luck, begin, kills, over, expanded = random.Random(4), time.monotonic(), 0, False, -1
    while kills < 10 or not over:
        arguments = ["resume", str(file)] if file.exists() else first
        seen = file.stat().st_ino if file.exists() else 0
        with out.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "hmmspec", *arguments, *often], stdout=stream, cwd=tmp_path
            )
        if kills < 10:
            while process.poll() is None and (not file.exists() or file.stat().st_ino == seen):
                time.sleep(0.002)
                assert time.monotonic() - begin < 120
            time.sleep(luck.uniform(0, 0.06))
            process.send_signal(signal.SIGKILL)
        over = process.wait(timeout=120) == 0
        if not over:
            kills += 1
            now = header_in(file)
            assert now.expanded > expanded, "each process brings it further"
            expanded = now.expanded
            continue
        found = json.loads(out.read_text())["instances"][0]
        assert (found["states"], found["transitions"], found["depth"]) == (320625, 4108500, 22)
        assert (found["exit_code"], found["remark"]) == (0, "")
        assert found["wall_seconds"] > found["explore_seconds"] > now.explore_seconds
        assert sorted(tmp_path.iterdir()) == [out]
        expanded = -1  # where it was over before ten kills it begins anew


def test_a_limit_of_memory_and_more_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States for which there was no room are in the checkpoint, too; with as little memory again nothing is lost."""
    system, wanted = pages(4, 2), replace(OPTIONS, symmetry=False, threads=8)
    memory = [700_000]
    monkeypatch.setattr(search, "_memory", lambda options: memory[0])
    report = check_native(system, replace(wanted, checkpoints=Checkpoints(tmp_path)))
    file = tmp_path / "pages-default.ckpt"
    assert report.limit.startswith("memory limit")
    assert header_in(file).lost > 0
    again = resumed(file, system, wanted)
    assert again.limit.startswith("memory limit")
    assert "to go on: hmmspec resume" in again.remark
    memory[0] = 300_000
    with pytest.raises(Limit, match=r"the \d+ states of the checkpoint do not fit the memory"):
        resumed(file, system, wanted)
    memory[0] = 2_000_000
    assert resumed(file, system, wanted).limit.startswith("memory limit")
    memory[0] = 1 << 28
    report = resumed(file, system, wanted)
    assert (report.limit, report.states, report.transitions) == ("", 320625, 4108500)


def test_a_limit_of_time(tmp_path: Path) -> None:
    system, wanted = pages(6, 2), replace(OPTIONS, symmetry=False)
    check_native(system, replace(wanted, states=9))  # compiles it
    report = check_native(system, replace(wanted, seconds=2, checkpoints=Checkpoints(tmp_path)))
    assert report.limit == "time limit of 2s"
    header = header_in(tmp_path / "pages-default.ckpt")
    assert 1 < header.seconds <= report.wall_seconds
    assert (header.states, header.expanded > 0, header.searched) == (report.states, True, False)


def test_an_interrupt_saves(tmp_path: Path) -> None:
    system = pages(5, 1)  # large enough to be told of before it ends

    def interrupt(p: Progress) -> None:
        if p.phase == "search":
            os.kill(os.getpid(), signal.SIGINT)

    wanted = replace(OPTIONS, symmetry=False, checkpoints=Checkpoints(tmp_path))
    report = check_native(system, replace(wanted, threads=1), interrupt)
    file = tmp_path / "pages-default.ckpt"
    assert (report.interrupted, report.exit_code) == (True, 130)
    assert f"hmmspec resume {file}" in report.remark
    report = resumed(file, system, wanted)
    assert (report.states, report.transitions) == (3290625, 56615625)


def test_an_interrupt_before_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While states are read: the checkpoint stays as it is."""
    file = stopped(tmp_path, system_of(GRID))
    before = file.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hmmspec.checker.explicit.limits.Meter.tick", interrupt)
    with pytest.raises(KeyboardInterrupt):
        resumed(file, system_of(GRID), OPTIONS)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_whole_runs_that_were_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is over, what follows is interrupted: nothing is expanded again."""
    system = system_of(GRID)
    whole = check_native(system, OPTIONS)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr("hmmspec.checker.native.engine.judges", lambda *_: [interrupt])
        report = check_native(system, replace(OPTIONS, checkpoints=Checkpoints(tmp_path)))
    assert report.interrupted
    file = tmp_path / "test-default.ckpt"
    assert header_in(file).searched
    assert header_in(file).expanded == whole.orbits
    assert untimed(resumed(file, system, OPTIONS)) == untimed(whole)


def test_auto_is_native_with_checkpoints(tmp_path: Path) -> None:
    assert check_auto(system_of(GRID), replace(OPTIONS, checkpoints=Checkpoints(tmp_path))).engine == "native"


def test_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = system_of(GRID)
    file = stopped(tmp_path, system)
    monkeypatch.setenv("CC", "no-such-compiler")
    report = check_auto(system, replace(OPTIONS, checkpoints=Checkpoints(tmp_path / "other")))
    assert report.engine == "python"
    assert "no C compiler 'no-such-compiler'; it writes no checkpoints" in report.remark
    with pytest.raises(Limit, match="no C compiler 'no-such-compiler', and no other goes on from a checkpoint"):
        resumed(file, system, OPTIONS)
    assert file.exists()


# ---------------------------------------------------------------- files that cannot be written


class Failing:
    """`os.fsync` that fails from its n-th call on."""

    def __init__(self, good: int, error: BaseException) -> None:
        self.good, self.error, self.fsync = good, error, os.fsync

    def __call__(self, handle: int) -> None:
        self.good -= 1
        if self.good < 0:
            raise self.error
        self.fsync(handle)


FULL = OSError(28, "No space left on device")


def test_a_full_disk_does_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = pages(4, 2)
    wanted = replace(OPTIONS, symmetry=False, threads=1, checkpoints=Checkpoints(tmp_path, 0.01))
    monkeypatch.setattr(os, "fsync", Failing(2, FULL))  # of the first file, and of its folder
    report = check_native(system, wanted)
    assert (report.states, report.transitions, report.limit) == (320625, 4108500, "")
    assert report.remark == "the last checkpoint was not written: No space left on device"
    assert list(tmp_path.iterdir()) == [tmp_path / "pages-default.ckpt"]


def test_the_older_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = pages(4, 2)
    wanted = replace(OPTIONS, symmetry=False, threads=1, states=200_000, checkpoints=Checkpoints(tmp_path, 0.01))
    file = tmp_path / "pages-default.ckpt"
    monkeypatch.setattr(os, "fsync", Failing(2, FULL))
    report = check_native(system, wanted)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [file]
    states = header_in(file).states
    assert states < 200_000
    assert report.limit
    assert report.remark == (
        "the last checkpoint was not written: No space left on device; "
        f"to go on: hmmspec resume {file} (from {states} states)"
    )


def test_an_interrupt_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first control-C ends the search, the second one its last checkpoint: the one before stays."""
    wanted = replace(OPTIONS, symmetry=False, threads=1, checkpoints=Checkpoints(tmp_path, 0.01))
    monkeypatch.setattr(os, "fsync", Failing(2, KeyboardInterrupt()))
    report = check_native(pages(4, 2), wanted)
    assert report.interrupted
    assert list(tmp_path.iterdir()) == [tmp_path / "pages-default.ckpt"]
    assert "to go on" in report.remark


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wanted = replace(OPTIONS, checkpoints=Checkpoints(tmp_path / "file", 0.001))
    report = check_native(system_of(GRID), replace(wanted, states=100))
    assert "there is no checkpoint to go on from: " in report.remark
    assert check_native(system_of(GRID), wanted).orbits == 245


def test_files_of_dead_processes_go(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    for process in (dead.pid, os.getppid()):
        (tmp_path / f".test-default.ckpt.part-{process}").write_text("half")
    check_native(system_of(GRID), replace(OPTIONS, checkpoints=Checkpoints(tmp_path)))
    assert {p.name for p in tmp_path.iterdir()} == {f".test-default.ckpt.part-{os.getppid()}", "test-default.ckpt"}


# ---------------------------------------------------------------- the commands


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a spec of two instances, which is where we are."""
    text = f"spec small{SMALL}instance nine {{ }}\ninstance seven {{ TOP = 7; }}\nexpect nine has 100 states;\n"
    (tmp_path / "small.hmm").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hmmspec(capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(arguments))
        return (code, *capsys.readouterr())

    return run  # type: ignore[return-value]


def test_check_and_resume(small: Path, hmmspec: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = hmmspec("check", "small.hmm", "--checkpoint", "saved files", "--states", "50")
    assert code == 3
    assert "to go on: hmmspec resume 'saved files/small-nine.ckpt'" in " ".join(out.split())
    assert sorted(p.name for p in Path("saved files").iterdir()) == ["small-nine.ckpt", "small-seven.ckpt"]
    code, out, err = hmmspec("check", "small.hmm", "--checkpoint", "saved files")
    assert code == 2
    assert err.count("HMM087") == 2
    assert "go on from it: hmmspec resume 'saved files/small-nine.ckpt'" in err
    code, out, err = hmmspec("resume", "saved files/small-nine.ckpt")
    assert code == 0
    assert "going on with small, instance nine: 50 states, " in err
    assert "small.hmm: instance nine" in out
    assert "100 states, 99 transitions" in out
    # From elsewhere the spec is found by its path from the root.
    other = small / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    code, out, _ = hmmspec("resume", "../saved files/small-seven.ckpt", "--json", "--junit", "out.xml")
    assert code == 0
    found = json.loads(out)
    assert found["instances"][0]["states"] == 64
    assert found["seed"] == 0
    assert Path("out.xml").exists()
    assert list((small / "saved files").iterdir()) == []


def test_what_was_found_is_written_before_it_goes(small: Path, hmmspec: Command) -> None:
    """A report that cannot be written is not lost: one can go on from the checkpoint again."""
    file = small / "small-nine.ckpt"
    assert hmmspec("check", "small.hmm", "-i", "nine", "--checkpoint", ".", "--states", "50")[0] == 3
    Path("out").mkdir()
    assert hmmspec("resume", "small-nine.ckpt", "--junit", "out")[0] == 2
    assert file.exists()
    assert hmmspec("resume", "small-nine.ckpt", "--junit", "out/junit.xml")[0] == 0
    assert not file.exists()


def test_parameters_and_another_path(small: Path, hmmspec: Command) -> None:
    assert small.is_dir()
    assert hmmspec("check", "small.hmm", "-p", "TOP=5", "--checkpoint", ".", "--states", "20", "--seed", "3")[0] == 3
    Path("small.hmm").rename("moved.hmm")
    code, _, err = hmmspec("resume", "small-default.ckpt")
    assert code == 2
    assert "HMM080" in err
    code, out, _ = hmmspec("resume", "small-default.ckpt", "moved.hmm")
    assert code == 0
    assert "TOP = 5" in out
    assert "seed 3" in out
    assert "36 states" in out


def test_refusals(small: Path, hmmspec: Command) -> None:
    assert hmmspec("check", "small.hmm", "-i", "nine", "--checkpoint", ".", "--states", "50")[0] == 3
    file = small / "small-nine.ckpt"
    data = file.read_bytes()
    spec = Path("small.hmm").read_text()
    Path("small.hmm").write_text(spec.replace("x < 20", "x < 9"))
    code, out, err = hmmspec("resume", "small-nine.ckpt", "--json", "--sarif", "out.sarif")
    assert code == 2
    assert "HMM101" in err
    assert "cannot go on from 'small-nine.ckpt': the spec has changed since: invariant 'low' has changed" in err
    assert json.loads(out)["diagnostics"][0]["code"] == "HMM101"
    assert "HMM101" in Path("out.sarif").read_text()
    assert file.read_bytes() == data
    Path("small.hmm").write_text(spec)
    file.write_bytes(data[:-9])
    code, _, err = hmmspec("resume", "small-nine.ckpt")
    assert code == 2
    assert "error HMM100: 'small-nine.ckpt' is not a usable checkpoint: it is cut short: " in err
    code, _, err = hmmspec("resume", "small.hmm")
    assert (code, "'small.hmm' is not a usable checkpoint: it is not a checkpoint" in err) == (2, True)
    file.write_bytes(data)
    code, out, _ = hmmspec("resume", "small-nine.ckpt", "--states", "40")
    assert code == 3
    assert "not searched: limit of 40 states, and the checkpoint holds 50" in out
    assert file.read_bytes() == data
    code, _, err = hmmspec("resume", "nothing.ckpt")
    assert (code, "HMM100" in err, "No such file" in err) == (2, True, True)


def test_options_that_do_not_fit(small: Path, hmmspec: Command) -> None:
    assert small.is_dir()
    Path("copy.hmm").write_text(Path("small.hmm").read_text())
    for arguments, told in (
        (["small.hmm", "--checkpoint", ".", "--engine", "python"], "the engine 'python' writes no checkpoints"),
        (["small.hmm", "--checkpoint-every", "5"], "add --checkpoint DIR"),
        (["small.hmm", "--checkpoint", ".", "--checkpoint-every", "soon"], "is not a number of minutes"),
        (["small.hmm", "--checkpoint", ".", "--checkpoint-every", "0"], "is not a number of minutes"),
        (["small.hmm", "--checkpoint", ".", "--simulate"], "--checkpoint has no meaning"),
        (["small.hmm", "copy.hmm", "--checkpoint", "."], "'small.hmm' and 'copy.hmm' would both be saved in"),
    ):
        code, _, err = hmmspec("check", *arguments)
        assert code == 2
        assert told in err
    assert sorted(p.name for p in Path().iterdir()) == ["copy.hmm", "small.hmm"]


# ---------------------------------------------------------------- all of the language


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "tests/specs").glob("*.hmm")), ids=lambda p: p.stem)
def test_every_spec_goes_on(tmp_path: Path, path: Path) -> None:
    for system in load_one(str(path), [], {}).systems:
        whole = check_native(system, OPTIONS)
        stored = whole.orbits or whole.states or 0
        plan = Checkpoints(tmp_path)
        file = plan.path(system.name, system.instance)
        if whole.engine != "native" or not 3 < stored < 10_000:
            continue
        for limit in sorted(random.Random(stored).sample(range(2, stored), 2)):
            report = check_native(system, replace(OPTIONS, states=limit, checkpoints=plan))
            if file.exists():  # else it ended among the start states, or has as many states as that
                assert untimed(resumed(file, system, OPTIONS)) == untimed(whole)
                forget(plan, whole)
            assert not file.exists()
            assert report.limit or report.states == limit
