"""Checkpoints: a search that ended early goes on to the same report, whatever ended it; what is damaged, of something
else or dishonest is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.checker.native import saving, search
from hmmspec.checker.native.checkpoint import Foreign, Header, Unusable, read
from hmmspec.checker.native.engine import check_auto, check_native, resume_native
from hmmspec.checker.native.saving import forget
from hmmspec.checker.options import CheckOptions, Checkpoints
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.cli.main import main
from hmmspec.cli.specs import load_one
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system.identity import difference, parts, text_digest
from hmmspec.system.layout import layout
from hmmspec.system.system import System
from tests.checker.helpers import system_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "benchmarks/pages.hmm"
OPTIONS = CheckOptions(threads=2, memory=1 << 30)
PREFIX = struct.Struct("<8sIIQ")

# Several words, a union and a queue of records, locks taken in both orders, an assume, errors of steps.
RICH = """
type Page = 0..2;
type Ask = record { page: Page; tries: 0..2; };
type Wide = 0..69;
var box: queue[2] of Ask = [];
var last: Ask? = null;
var seen: set of Wide = {};
var hits[Page]: 0..2 = 0;
lock a;
lock b;
thread one { begin: acquire a; more: acquire b; leave: release b; gone: release a; }
thread two { begin: acquire b; more: acquire a; leave: release a; gone: release b; }
transition ask(p: Page) when size(box) < 2 { push(box, Ask(page = p, tries = 1)); }
transition serve when box != [] { last := head(box); hits[head(box).page] += 1; pop(box); }
transition note(n: Wide) when n == 69 - hits[0] { seen += {n}; }
assume few: hits[0] + hits[1] + hits[2] <= 3;
"""
# Symmetric, in one word; findings of states and of whole runs, with several traces.
GRID = """
type Row = symmetric[4];
var at[Row]: 0..4 = 0;
var first: Row? = null;
transition up(r: Row) when at[r] < 4 { at[r] += 1; }
transition down(r: Row) when at[r] > 0 { at[r] -= 1; }
transition mark(r: Row) when first == null && at[r] == 3 { first := r; }
invariant early: forall r: Row, q: Row { r != q => at[r] + at[q] < 5 };
invariant late: exists r: Row { at[r] < 4 };
invariant implied: forall r: Row { at[r] == 4 => first != null || first == null };
step small: forall r: Row { at'[r] <= at[r] + 1 };
reachable top: forall r: Row { at[r] == 3 };
recoverable home: forall r: Row { at[r] == 0 };
"""


@pytest.fixture(autouse=True)
def _compiled(cache: Path) -> None:
    assert cache.is_dir()


def pages(pages: int, frames: int) -> System:
    return load_one(str(PAGES), [], {"PAGES": str(pages), "FRAMES": str(frames)}).systems[0]


def untimed(report: InstanceReport) -> InstanceReport:
    return replace(report, explore_seconds=0.0, wall_seconds=0.0)


def resumed(file: Path, system: System, options: CheckOptions, **more: object) -> InstanceReport:
    with closing(read(file)) as saved:
        plan = Checkpoints(file.parent, file=file)
        return resume_native(system, replace(options, checkpoints=plan, **more), saved)  # type: ignore[arg-type]


def header_in(file: Path) -> Header:
    with closing(read(file)) as saved:
        return saved.header


def stopped(tmp_path: Path, system: System, options: CheckOptions = OPTIONS, states: int = 60) -> Path:
    """The checkpoint of a search that ended at a limit of states."""
    report = check_native(system, replace(options, states=states, checkpoints=Checkpoints(tmp_path)))
    file = tmp_path / f"{system.name}-{system.instance}.ckpt"
    assert report.limit == f"limit of {states} states"
    assert report.remark.endswith(f"to go on: hmmspec resume {file}")
    assert sorted(tmp_path.iterdir()) == [file]
    return file


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


# ---------------------------------------------------------------- damaged files


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, _folder: Path) -> bytes:
    """The bytes of a checkpoint of RICH."""
    with pytest.MonkeyPatch.context() as m:
        m.setenv("XDG_CACHE_HOME", str(_folder))
        m.setenv("HMMSPEC_CFLAGS", "-O0")
        return stopped(tmp_path_factory.mktemp("written"), system_of(RICH), OPTIONS, 3000).read_bytes()


def refusal(tmp_path: Path, data: bytes) -> str:
    file = tmp_path / "test.ckpt"
    file.write_bytes(data)
    with pytest.raises(Unusable) as refused:
        resumed(file, system_of(RICH), OPTIONS)
    return str(refused.value)


def test_cut_short(tmp_path: Path, written: bytes) -> None:
    assert refusal(tmp_path, b"") == "it is not a checkpoint"
    assert refusal(tmp_path, written[:12]) == "it is cut short"
    for n in (24, 300, len(written) // 2, len(written) - 1):
        assert refusal(tmp_path, written[:n]) == f"it is cut short: {n} of {len(written)} bytes are there"
    assert refusal(tmp_path, written + b"more") == "its length is not what it says"


def test_one_byte_of_it_is_another(tmp_path: Path, written: bytes) -> None:
    places = {*range(24), 40, len(written) - 1, *random.Random(1).sample(range(24, len(written)), 40)}
    reasons = set()
    for place in places:
        reasons.add(
            refusal(tmp_path, written[:place] + bytes([written[place] ^ 4]) + written[place + 1 :]).split(":")[0]
        )
    assert reasons >= {"it is damaged", "it is not a checkpoint", "it is cut short"}


def test_another_format(tmp_path: Path, written: bytes) -> None:
    assert refusal(tmp_path, b"PK\3\4" + written) == "it is not a checkpoint"
    data = bytearray(written)
    struct.pack_into("<I", data, 8, 7)
    assert refusal(tmp_path, bytes(data)) == "its format is version 7, and this hmmspec reads version 1"


def test_no_file(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "directory"),
        (Path("/dev/null"), "not a file"),
    ):
        with pytest.raises(Unusable, match=reason):
            read(path)


# ---------------------------------------------------------------- dishonest files: their checksum is right


def parts_of(data: bytes) -> tuple[dict[str, object], list[int], bytes]:
    """Header, control block, states."""
    _, _, length, _ = PREFIX.unpack(data[: PREFIX.size])
    header = json.loads(data[PREFIX.size : PREFIX.size + length])
    at = PREFIX.size + length
    end = at + 8 * header["control"]
    return header, list(struct.unpack(f"<{header['control']}Q", data[at:end])), data[end:-32]


def signed(header: dict[str, object], control: list[int], states: bytes) -> bytes:
    text = json.dumps(header).encode()
    body = struct.pack(f"<{len(control)}Q", *control) + states
    whole = PREFIX.pack(b"hmmckpt\n", 1, len(text), PREFIX.size + len(text) + len(body) + 32) + text + body
    return whole + hashlib.blake2b(whole, digest_size=32).digest()


def test_a_rewritten_one_is_read(tmp_path: Path, written: bytes) -> None:
    (tmp_path / "test.ckpt").write_bytes(signed(*parts_of(written)))
    assert resumed(tmp_path / "test.ckpt", system_of(RICH), OPTIONS).states == 27170


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("states", 2**31, "its parts are not as long as it says"),
        ("states", -1, "'states' in its header is unfit"),
        ("states", True, "'states' in its header is unfit"),
        ("states", 10**400, "'states' in its header is unfit"),
        ("control", 0, "its parts are not as long as it says"),
        ("words", 0, "'words' in its header is unfit"),
        ("words", 1.0, "'words' in its header is unfit"),
        ("max_traces", 0, "'max_traces' in its header is unfit"),
        ("seconds", float("nan"), "'seconds' in its header is unfit"),
        ("seconds", "long", "'seconds' in its header is unfit"),
        ("every", 0, "'every' in its header is unfit"),
        ("path", "a\0b", "'path' in its header is unfit"),
        ("overrides", {"PAGES": 3}, "'overrides' in its header is unfit"),
        ("hash_bits", 3, "'hash_bits' in its header is unfit"),
        ("extra", 3, "its header has other fields than a checkpoint has"),
    ],
)
def test_headers(tmp_path: Path, written: bytes, field: str, value: object, reason: str) -> None:
    header, control, states = parts_of(written)
    assert refusal(tmp_path, signed(header | {field: value}, control, states)) == reason


def test_a_header_that_is_none(tmp_path: Path, written: bytes) -> None:
    header, control, states = parts_of(written)
    del header["instance"]
    assert refusal(tmp_path, signed(header, control, states)) == "its header has other fields than a checkpoint has"
    good = signed(*parts_of(written))
    for text in (b"[" * 100_000, b"{}", b"[]", b"\xff", b"1"):
        length = PREFIX.unpack(good[:24])[2]
        body = good[24 + length : -32]
        whole = PREFIX.pack(b"hmmckpt\n", 1, len(text), 24 + len(text) + len(body) + 32) + text + body
        told = refusal(tmp_path, whole + hashlib.blake2b(whole, digest_size=32).digest())
        assert told in {"its header is not JSON", "its header has other fields than a checkpoint has"}


def test_control_blocks(tmp_path: Path, written: bytes) -> None:
    """Each number of it may be anything: refused, or of no harm."""
    header, control, states = parts_of(written)
    luck, file = random.Random(3), tmp_path / "test.ckpt"
    reasons: list[str] = []
    system, options = system_of(RICH), replace(OPTIONS, threads=1, states=header["states"])
    for place in range(len(control)):
        value = luck.choice([0, 1, control[place] + 1, 2**32 - 1, 2**63, 2**64 - 1])
        file.write_bytes(signed(header, [*control[:place], value, *control[place + 1 :]], states))
        try:
            resumed(file, system, options)
        except Unusable as reason:
            reasons.append(str(reason))
        except InternalError as reason:  # a finding that is none: seen when its trace is made
            assert "native engine" in str(reason)  # noqa: PT017
    assert set(reasons) == {"its numbers do not fit one another"}
    assert len(reasons) > len(control) // 3
    for changed in (control[:-1], [*control, 0], control[:18], []):
        told = refusal(tmp_path, signed(header | {"control": len(changed)}, changed, states))
        assert told == "its numbers do not fit one another"


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (70, 1),  # behind a set, and behind everything
        (127, 1),
        (160, 1),
        (191, 1),
        (128, 3),  # the length of a queue; its elements, those it does not have included
        (128, 1 | 3 << 2),
        (128, 1 | 1 << 6),
        (138, 3),  # elements of an array
        (142, 3),
        (144, 1 | 3 << 1),  # a record in a union, and the same bits beside null
        (144, 1 | 3 << 3),
        (144, 1 << 1),
        (149, 5),  # labels, owners
        (152, 7),
        (155, 3),
    ],
)
def test_states_that_are_none(tmp_path: Path, written: bytes, at: int, value: int) -> None:
    """Bits that carry nothing, and values that a type does not have: in the first state, all of whose bits are 0."""
    header, control, states = parts_of(written)
    assert not any(states[:24])
    changed = (value << at).to_bytes(24, "little")
    offsets = {"seen": 0, "box": 128, "hits": 138, "last": 144, "one": 149, "two": 152, "a": 155, "b": 157}
    assert layout(system_of(RICH)).offsets == offsets
    told = refusal(tmp_path, signed(header, control, changed + states[24:]))
    assert told == "what it holds as state 0 is no new state of this spec"


def test_a_state_twice(tmp_path: Path, written: bytes) -> None:
    header, control, states = parts_of(written)
    told = refusal(tmp_path, signed(header, control, states[:48] + states[:24] + states[72:]))
    assert told == "what it holds as state 2 is no new state of this spec"


# ---------------------------------------------------------------- checkpoints of something else


SMALL = """
param TOP = 9;
param ASIDE: bool = false;
type N = 0..TOP;
var x: N = 0;
var y: N = 0;
transition up when x < TOP { x += 1; }
transition aside when x == TOP && y < TOP { x := 0; y += 1; }
invariant low: x < 20;
terminal last: x == TOP && y == TOP;
"""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("x < TOP { x", "x < TOP - 1 { x"), "step 'up' has changed"),
        (("x < 20", "x < 21"), "invariant 'low' has changed"),
        (("invariant low", "invariant lower"), "invariant 'low' is gone, invariant 'lower' is new"),
        (("TOP = 9", "TOP = 8"), "param 'TOP' has changed"),
        (("var y: N = 0", "var y: N = 1"), "variable 'y' has changed"),
        (
            ("transition up when x < TOP { x += 1; }", "transition up when x < TOP { x += 1; } transition no { }"),
            "is new",
        ),
    ],
)
def test_a_spec_that_has_changed(tmp_path: Path, changed: tuple[str, str], told: str) -> None:
    file = stopped(tmp_path, system_of(SMALL))
    other = system_of(SMALL.replace(*changed))
    with pytest.raises(Foreign, match="the spec has changed since: .*" + told):
        resumed(file, other, OPTIONS)


def test_what_people_read_may_change(tmp_path: Path) -> None:
    file = stopped(tmp_path, system_of(SMALL))
    other = "// why\n" + SMALL.replace("invariant low:", 'invariant low "never high":\n\n')
    report = resumed(file, system_of(other), OPTIONS)
    assert report.states == 100
    assert report.verdicts[-1].text == "never high" or any(v.text == "never high" for v in report.verdicts)


def test_another_spec_and_another_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = stopped(tmp_path, system_of(SMALL))
    with pytest.raises(Foreign, match="it is of the spec 'test', and this is 'pages'"):
        resumed(file, pages(3, 1), OPTIONS)
    monkeypatch.setattr(saving, "text_digest", lambda text: text_digest(text + "int other;"))
    with pytest.raises(Foreign, match="with an engine that differs from this one"):
        resumed(file, system_of(SMALL), OPTIONS)


def test_differences() -> None:
    system = system_of(RICH)
    known = parts(system)
    assert difference(known, parts(system_of("/* */" + RICH))) == ""
    assert len(set(known.values())) > 10
    assert {"step 'serve'", "variable 'box'", "lock 'a'", "thread 'one'", "assume 'few'"} <= set(known)
    assert difference(known, {}).endswith("more differences")
    assert difference(known, dict(reversed(known.items()))) == "the order of its parts has changed"
    assert text_digest("a /* x\ny */ b // z\n") == text_digest("a   b  \n".replace("   ", "   "))


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
