"""The agent as an ordinary process of this machine: memory, forks, files, races, ends, and messages that are none."""

from __future__ import annotations

import os
import signal
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.linux import codec
from hmmspec.conform.linux.target import LinuxTarget
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.results import PAGEMAP_PRESENT, Result
from hmmspec.conform.target import TargetLost
from hmmspec.linux.agent import NoAgent, agent
from hmmspec.linux.protocol import Frame, Kind, Refused, encode
from tests.linux.hosted import Hosted, hosted_target

try:
    agent()
    WHY = ""
except NoAgent as error:
    WHY = str(error)
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY or "there is a compiler")


@pytest.fixture(scope="module")
def shared() -> Iterator[LinuxTarget]:
    with hosted_target() as target:
        assert isinstance(target, LinuxTarget)
        yield target


@pytest.fixture
def target(shared: LinuxTarget) -> LinuxTarget:
    shared.reset()
    return shared


def machine(target: LinuxTarget) -> Hosted:
    found = target._machine
    assert isinstance(found, Hosted)
    return found


def test_data_comes_back_as_stamps(target: LinuxTarget) -> None:
    got = target.run_all(
        [c.Mmap("p0", 0, 8), c.Store("p0", 2, 3, 40), c.Load("p0", 0, 8), c.Increment("p0", 3, 1), c.Load("p0", 3)]
    )
    assert got == [
        Result(),
        Result(cpages=3),
        Result(cpages=8, stamps=(0, 0, 40, 41, 42, 0, 0, 0)),
        Result(cpages=1, stamps=(41,)),
        Result(cpages=1, stamps=(42,)),
    ]


def test_a_process_that_is_there_is_not_made_again(target: LinuxTarget) -> None:
    got = target.run_all([c.Mmap("p0", 0), c.Store("p0", 0, 1, 7), c.Spawn("p0"), c.Load("p0", 0)])
    assert [result.error for result in got] == ["", "", "EEXIST", ""]
    assert got[3].stamps == (7,), "in the middle of its commands, too"


def test_the_largest_stamp(target: LinuxTarget) -> None:
    largest = (1 << 48) - 1
    got = target.run_all([c.Mmap("p0", 0), c.Store("p0", 0, 1, largest), c.Load("p0", 0), c.Increment("p0", 0)])
    assert got[2].stamps == got[3].stamps == (largest,)
    # There is no stamp after the largest.
    assert target.run(c.Load("p0", 0)).stamps == (-1,)


def test_a_signal_ends_an_access_half_way(target: LinuxTarget) -> None:
    got = target.run_all(
        [
            c.Mmap("p0", 0, 4), c.Mprotect("p0", 2, 1, "r"), c.Store("p0", 0, 4, 7), c.Load("p0", 0, 6),
            c.Increment("p0", 1, 3), c.Mprotect("p0", 0, 1, "none"), c.Load("p0", 0, 2),
        ]
    )  # fmt: skip
    assert got[2] == Result("SIGSEGV", cpages=2)
    assert got[3] == Result("SIGSEGV", cpages=4, stamps=(7, 8, 0, 0))
    assert got[4] == Result("SIGSEGV", cpages=1, stamps=(8,))
    assert got[6] == Result("SIGSEGV", cpages=0)


def test_a_file_that_is_too_short_gives_sigbus(target: LinuxTarget) -> None:
    got = target.run_all(
        [
            c.FileRead("f0", 0), c.FileWrite("f0", 0, 2, 5), c.Mmap("p0", 0, 4, kind="file", source="f0", offset=1),
            c.Load("p0", 0, 4), c.Store("p0", 0, 1, 90), c.FileRead("f0", 0, 2), c.FileRead("f0", 1, 2),
            c.Mmap("p0", 8, 1, kind="file_private", source="f0"), c.Store("p0", 8, 1, 77), c.FileRead("f0", 0, 1),
            c.Mmap("p0", 9, 1, kind="file", source="f1"),
        ]
    )  # fmt: skip
    assert got[0] == Result("ENOENT")
    assert got[3] == Result("SIGBUS", cpages=1, stamps=(6,))
    assert got[5] == Result(cpages=2, stamps=(5, 90))
    assert got[6] == Result("EINVAL")
    assert got[9] == Result(cpages=1, stamps=(5,))
    assert got[10] == Result("ENOENT")


def test_files_are_in_their_folder_however_long_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("x" * 200)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with hosted_target() as target:
        target.reset()
        assert target.run(c.FileWrite("f0", 0, 1, 7)) == Result(cpages=1)
        assert target.run(c.FileRead("f0", 0, 1)) == Result(cpages=1, stamps=(7,))
    assert list(folder.iterdir()) == []


def test_forks_have_their_own_pages_and_ends_are_ends(target: LinuxTarget) -> None:
    got = target.run_all(
        [
            c.Mmap("p0", 0, 4), c.Mmap("p0", 4, 1, kind="shared"), c.Store("p0", 0, 5, 1), c.Fork("p0", "p1"),
            c.Store("p1", 1, 1, 50), c.Store("p1", 4, 1, 60), c.Load("p0", 0, 5), c.Fork("p1", "p2"), c.Exit("p1"),
            c.Load("p2", 0, 5), c.Load("p1", 0), c.Fork("p0", "p2"), c.Kill("p2"), c.Fork("p0", "p2"), c.Load("p2", 0, 5),
            c.Spawn("p1"), c.Spawn("p1"), c.Load("p1", 0),
        ]
    )  # fmt: skip
    assert got[6].stamps == (1, 2, 3, 4, 60)
    assert got[9].stamps == (1, 50, 3, 4, 60)
    assert got[10] == Result("ESRCH")
    assert got[11] == Result("EEXIST")
    assert got[14].stamps == (1, 2, 3, 4, 60)
    assert [r.error for r in got[15:]] == ["", "EEXIST", "SIGSEGV"]


def test_moves_and_what_the_program_can_see(target: LinuxTarget) -> None:
    got = target.run_all(
        [
            c.Mmap("p0", 0, 4), c.Store("p0", 0, 2, 1), c.Mremap("p0", 0, 2, 20), c.Load("p0", 20, 2), c.Load("p0", 0),
            c.Pagemap("p0", 19, 3), c.Mremap("p0", 20, 2, 30, True), c.Load("p0", 20, 2), c.Load("p0", 30, 2),
            c.Munmap("p0", 30, 1), c.Mprotect("p0", 30, 2, "r"), c.Madvise("p0", 31, 1, "dontneed"), c.Load("p0", 31),
        ]
    )  # fmt: skip
    assert got[3].stamps == (1, 2)
    assert got[4].error == "SIGSEGV"
    assert [bool(w & PAGEMAP_PRESENT) for w in got[5].pagemap] == [False, True, True]
    assert got[7].stamps == (0, 0)
    assert got[8].stamps == (1, 2)
    assert got[10] == Result("ENOMEM")
    assert got[12].stamps == (0,)


def test_counts_of_whole_mappings(target: LinuxTarget) -> None:
    target.run_all([c.Mmap("p0", 0, 8), c.Store("p0", 0, 3)])
    counts = dict(target.run(c.Smaps("p0", 0, 8)).counts)
    assert (counts["rss"], counts["anon"], counts["swap"]) == (3, 3, 0)
    # smaps does not tell of a part of a mapping.
    assert target.run(c.Smaps("p0", 0, 4)).counts == ()


def test_what_cannot_be_is_told_by_name(target: LinuxTarget) -> None:
    got = target.run_all(
        [
            c.Load("p9", 0), c.Mmap("p0", c.ARENA_PAGES - 1, 2), c.Peek("p0", "h"), c.Open("p0", "dev0"), c.Gup("p0", 0),
            c.Inject("alloc"), c.Drain(), c.Munmap("p0", 0, c.ARENA_PAGES), c.Mremap("p0", 0, 2, c.ARENA_PAGES - 1),
        ]
    )  # fmt: skip
    assert [r.error for r in got] == ["ESRCH", "EINVAL", *5 * ["ENOSYS"], "", "EINVAL"]


def test_nothing_of_a_program_is_left_for_the_next(target: LinuxTarget) -> None:
    for _ in range(3):
        target.run_all(
            [c.Mmap("p0", 0, 4), c.Store("p0", 0, 4), c.FileWrite("f0", 0), c.Fork("p0", "p1"), c.Spawn("p2")]
        )
        target.reset()
        got = target.run_all([c.Load("p0", 0), c.Load("p1", 0), c.FileRead("f0", 0), c.Spawn("p2"), c.Load("p2", 0)])
        assert [r.error for r in got] == ["SIGSEGV", "ESRCH", "ENOENT", "", "SIGSEGV"]
        target.reset()


def test_a_process_that_its_parent_outlives_and_one_that_outlives_it(target: LinuxTarget) -> None:
    target.run_all([c.Mmap("p0", 0), c.Store("p0", 0, 1, 3), c.Fork("p0", "p1"), c.Fork("p1", "p2"), c.Kill("p1")])
    assert target.run(c.Load("p2", 0)).stamps == (3,)
    target.run(c.Kill("p0"))
    assert target.run(c.Load("p2", 0)).stamps == (3,)


def test_more_commands_than_one_message_has_room_for(target: LinuxTarget) -> None:
    count = codec.BATCH + 100
    got = target.run_all([c.Mmap("p0", 0, 2), *(count * [c.Load("p0", 0, 2)])])
    assert len(got) == count + 1 and all(r.stamps == (0, 0) for r in got[1:])


def test_a_race_is_logged_in_the_order_in_which_it_was_seen(target: LinuxTarget) -> None:
    target.run_all([c.Mmap("p0", 0, 4), c.Fork("p0", "p1"), c.Mmap("p0", 8, 1, kind="shared")])
    threads = [
        [c.Store("p0", 0, 4, 10), c.Load("p0", 0, 4)],
        [c.Store("p0", 0, 4, 20), c.Load("p0", 0, 4), c.Increment("p0", 8)],
        [c.Store("p1", 0, 4, 30), c.Load("p1", 0, 4)],
        [c.FileWrite("f0", 0, 2, 5), c.FileRead("f0", 0, 2)],
    ]
    results = target.race(threads, 3)
    assert [[r.error for r in thread if r] for thread in results] == [["", ""], ["", "", ""], ["", ""], ["", ""]]
    assert results[2][1] == Result(cpages=4, stamps=(30, 31, 32, 33))
    judge = DataJudge(atomic=False)
    judge.begin(target)
    assert [f for event in target.log for f in judge.feed(event)] == []
    for name in ("t0", "t1", "t2", "t3"):
        mine = [e for e in target.log if e.thread == name]
        assert [e.is_call for e in mine] == [True, False] * (len(mine) // 2)


def test_who_is_killed_in_a_race_is_gone_and_the_others_are_not(target: LinuxTarget) -> None:
    target.run_all([c.Mmap("p0", 0, 4), c.Fork("p0", "p1")])
    long = 200 * [c.Load("p1", 0, 4)]
    results = target.race(
        [[c.Kill("p1"), c.Load("p1", 0), c.Spawn("p1"), c.Load("p1", 0)], long, [c.Store("p0", 0)]], 1
    )
    assert [r.error for r in results[0] if r] == ["", "ESRCH", "", "SIGSEGV"]
    errors = [r.error for r in results[1] if r]
    assert len(errors) == 200
    assert errors == sorted(errors, key=["", "SIGKILL", "ESRCH", "SIGSEGV"].index)
    assert results[2] == [Result(cpages=1)]
    assert target.run(c.Load("p0", 0)).stamps == (1,)


def test_an_exit_in_a_race_ends_all_threads_of_its_process(target: LinuxTarget) -> None:
    target.run_all([c.Mmap("p0", 0, 4), c.Fork("p0", "p1")])
    results = target.race([[c.Exit("p1"), c.Load("p1", 0)], 300 * [c.Load("p1", 0, 4)]], 2)
    assert [r.error for r in results[0] if r] == ["", "ESRCH"]
    assert {r.error for r in results[1] if r} <= {"", "SIGKILL", "ESRCH"}


def test_a_worker_that_dies_by_itself_is_told_with_its_command() -> None:
    with hosted_target() as target:
        target.reset()
        target.run(c.Mmap("p0", 0, 4))
        worker = [pid for pid in _descendants(machine(target)) if _name(pid) == "worker"]
        for pid in worker:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(TargetLost, match="ended by itself during load p0"):
            target.run(c.Load("p0", 0, 4))
        assert [f.check for f in target.findings()] == ["crash"]
        target.reset()
        assert target.run(c.Mmap("p0", 0, 4)) == Result()


def test_a_worker_that_does_not_go_on_is_told_with_its_command() -> None:
    with hosted_target(patience=0.5) as target:
        target.reset()
        target.run(c.Mmap("p0", 0, 4))
        for pid in _descendants(machine(target)):
            if _name(pid) == "worker":
                os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TargetLost, match=r"load p0 page=0 count=4 has not returned within 0\.5 s"):
            target.run(c.Load("p0", 0, 4))
        assert [f.check for f in target.findings()] == ["hang"]
        with pytest.raises(TargetLost, match="reset the target"):
            target.run(c.Load("p0", 0, 4))


def test_the_agent_and_all_its_processes_end_with_the_port() -> None:
    target = hosted_target()
    target.reset()
    target.run_all([c.Fork("p0", "p1"), c.Fork("p1", "p2"), c.Kill("p1")])
    hosted = machine(target)
    pids = [*_descendants(hosted), hosted.process.pid]
    hosted.stream.close()
    hosted.process.wait(10)
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    target.close()


def test_all_processes_end_before_it_is_counted_what_is_left(target: LinuxTarget) -> None:
    """The one that serves nobody, too: it may have taken memory for threads that it had in a race."""
    target.race([[c.FileWrite(f"f{n}", 0, 1)] for n in range(3)])
    assert _descendants(machine(target))
    target._left()
    assert not _descendants(machine(target))
    target.reset()
    assert target.run(c.FileRead("f0", 0, 1)) == Result("ENOENT")


def test_a_message_that_is_none_is_refused(target: LinuxTarget) -> None:
    port = machine(target).port
    for kind, payload in ((Kind.RUN, b"short"), (Kind.RUN, codec.request([[b"x" * 31]])), (Kind.ANSWER, b"")):
        with pytest.raises(Refused, match="is no request"):
            port.ask(kind, payload)
    assert target.run(c.Munmap("p0", 0)) == Result()


def test_spoiled_frames_are_skipped_and_told(target: LinuxTarget) -> None:
    hosted = machine(target)
    whole = encode(Frame(Kind.HELLO, 0x70000001, b""))
    hosted.stream.sendall(b"rubbish" + whole[:16] + bytes([whole[16] ^ 1]) + whole[17:] + b"HMM1")
    assert target.run(c.Munmap("p0", 0)) == Result()


def test_the_same_request_again_does_nothing_twice(target: LinuxTarget) -> None:
    hosted = machine(target)
    target.run_all([c.Mmap("p0", 0), c.Store("p0", 0, 1, 5)])
    record = codec.encode(c.Increment("p0", 0), codec.Names())
    frame = encode(Frame(Kind.RUN, 0x70000002, codec.request([[record]])))
    hosted.stream.sendall(frame + frame)
    assert target.run(c.Load("p0", 0)).stamps == (6,)


def _descendants(hosted: Hosted) -> list[int]:
    """The living processes of the agent's process group."""
    out = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == hosted.process.pid and path.name != str(hosted.process.pid) and fields[0] not in "ZX":
                out.append(int(path.name))
    return out


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_sizes_are_those_of_the_agent() -> None:
    assert codec._COMMAND.size == 32
    assert struct.calcsize("<2Q3i3I") == codec._RESULT.size
