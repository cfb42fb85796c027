"""Linux as a target: guests that die, what they leave behind, what an image says of a kernel; and a real one."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.linux import codec
from hmmspec.conform.linux.leaks import EVERY, TREND, WARM, Leaks, amounts, drift
from hmmspec.conform.linux.target import LinuxTarget, capabilities_of, devices_of, image_of, make
from hmmspec.conform.results import Result
from hmmspec.conform.target import TargetLost, make_target
from hmmspec.conform.targets import NoTarget, open_target
from hmmspec.diagnostics import SpecError
from hmmspec.linux import store
from hmmspec.linux.agent import NoAgent, agent
from hmmspec.linux.image import Image
from hmmspec.linux.machine import QEMU
from tests.linux.hosted import IMAGE, Hosted, hosted_target

try:
    agent()
    WHY = ""
except NoAgent as error:
    WHY = str(error)
compiled = pytest.mark.skipif(bool(WHY), reason=WHY or "there is a compiler")

# ---------------------------------------------------------------- a guest that dies


@compiled
def test_a_dead_guest_is_told_and_the_next_reset_starts_another() -> None:
    with hosted_target() as target:
        assert isinstance(target, LinuxTarget)
        for boots in (1, 2, 3):
            target.reset()
            assert target.boots == boots
            assert target.run(c.Mmap("p0", 0)) == Result()
            hosted = target._machine
            assert isinstance(hosted, Hosted)
            os.kill(hosted.process.pid, signal.SIGKILL)
            hosted.process.wait()
            with pytest.raises(TargetLost):
                target.run_all([c.Load("p0", 0), c.Load("p0", 0)])
            assert [f.check for f in target.findings()] == ["crash"]
            # The call that never came back stands in the log.
            assert target.log[-1].command == c.Load("p0", 0)
            with pytest.raises(TargetLost, match="reset"):
                target.finish()


@compiled
def test_a_guest_that_dies_between_programs_is_told_and_started_again() -> None:
    with hosted_target() as target:
        assert isinstance(target, LinuxTarget)
        hosted = target._machine
        assert isinstance(hosted, Hosted)
        os.kill(hosted.process.pid, signal.SIGKILL)
        hosted.process.wait()
        target.reset()
        assert target.run(c.Mmap("p0", 0)) == Result()
        assert target.boots == 2 and [f.check for f in target.findings()] == ["crash"]
        target.reset()
        assert target.boots == 2 and target.findings() == ()


@compiled
def test_what_is_said_once_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """NOTE(once): warnings begin anew with the next program, lock checks with another boot."""
    asked: list[bool] = []
    request = codec.request

    def asking(*threads: Any, again: bool, **more: Any) -> bytes:
        asked.append(again)
        return request(*threads, again=again, **more)

    monkeypatch.setattr(codec, "request", asking)
    lines = "", "WARNING: CPU: 0 PID: 7 at mm/memory.c:1 fault+0x1/0x2", "", "WARNING: possible recursive locking"
    with hosted_target() as target:
        assert isinstance(target, LinuxTarget)
        for line in lines:
            target.reset()
            target.run(c.Mmap("p0", 0))
            assert target._machine is not None
            target._machine.console.add(f"[    1.000000] {line}")
            assert bool(target.findings()) == bool(line)
        assert asked == [False, False, True, False] and target.boots == 1
        target.reset()
        target.run(c.Mmap("p0", 0))
        assert target.boots == 2 and target.findings() == () and not asked[-1]


@compiled
def test_the_kernel_is_told_what_its_kind_needs() -> None:
    with LinuxTarget(dataclasses.replace(IMAGE, kind="debug"), start=Hosted) as target:
        hosted = target._machine
        assert isinstance(hosted, Hosted) and hosted.boot.arguments == ("kasan_multi_shot",)


@compiled
def test_results_before_the_end_of_a_process_are_kept() -> None:
    with hosted_target() as target:
        target.reset()
        with pytest.raises(TargetLost, match="at most 16 threads"):
            target.race([[c.Load("p0", 0)]] * 17)


# ---------------------------------------------------------------- what a kernel can


def test_devices_and_capabilities_are_what_was_found() -> None:
    assert devices_of({"devices": "15"}) == {
        "dev0": "private", "dev1": "private", "dev2": "coherent", "dev3": "coherent",
    }  # fmt: skip
    assert devices_of({"devices": "3"}) == {"dev0": "private", "dev1": "private"}
    assert devices_of({}) == {}
    little = capabilities_of({}, frozenset())
    assert little == {"fair", "race", "file", "mremap", "dontfork"}
    greeting = {"devices": "15", "gup": "1", "swap": "1", "thp": "1", "drain": "0", "hugetlb": "16"}
    much = capabilities_of(greeting, frozenset({"exclusive", "release", "gup_longterm"}))
    assert much - little == {
        "gup", "gup_longterm", "hold", "hold_longterm", "peek", "swap", "thp", "collapse", "hugetlb", "mixedmap",
        "exclusive", "release_memory",
    }  # fmt: skip
    assert "fail_alloc" in capabilities_of(greeting, frozenset({"fail_alloc"}))


@compiled
def test_the_profile_is_that_of_the_source() -> None:
    with hosted_target() as target:
        assert target.profile["evict_on_close"] is False and target.profile["fault_takes_reference"] is True
    newer = dataclasses.replace(IMAGE, supports=frozenset({"close_evicts", "fault_trylock", "thp_device"}))
    with LinuxTarget(newer, start=Hosted) as target:
        assert target.profile["evict_on_close"] and target.profile["fault_trylocks"] and target.profile["device_thp"]
        assert target.kernel == "6.12.0" and not target.atomic and not target.deterministic


def test_an_image_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HMMSPEC_LINUX_IMAGE", raising=False)
    with pytest.raises(NoTarget, match="there is no plain kernel image: 'hmmspec linux build' makes one"):
        open_target("linux")
    with pytest.raises(NoTarget, match="is no kernel image"):
        open_target("linux", {"image": str(tmp_path)})
    with pytest.raises(NoTarget, match="accel is auto, kvm or tcg, not 'hvf'"):
        open_target("linux@accel=hvf")
    with pytest.raises(NoTarget, match="plain or debug, not 'fast'"):
        open_target("linux@kind=fast")
    assert make_target is not make


# ---------------------------------------------------------------- leaks


def counts(**changed: int) -> str:
    values = {
        "MemTotal": 2_000_000, "MemFree": 1_900_000, "Buffers": 0, "Cached": 1000, "SwapCached": 0, "AnonPages": 200,
        "Shmem": 900, "Slab": 5000, "KernelStack": 600, "PageTables": 50, "Percpu": 500, "SwapTotal": 131_068,
        "SwapFree": 131_068, "HugePages_Total": 16, "HugePages_Free": 16,
    }  # fmt: skip
    return "".join(f"{name}={value}\n" for name, value in {**values, **changed}.items())


def test_a_look_now_and_then() -> None:
    leaks = Leaks()
    assert [leaks.due() for _ in range(2 * EVERY)].count(True) == 2


def test_amounts_that_go_up_and_down_are_no_leak() -> None:
    leaks = Leaks()
    for n in range(20):
        assert leaks.look(counts(MemFree=1_900_000 - 3000 * (n % 3), Slab=5000 + n, AnonPages=200 + n % 3)) == []


def test_devices_that_have_more_and_more_memory_are_no_leak() -> None:
    leaks = Leaks()
    for n in range(2 * (WARM + TREND)):
        assert leaks.look(counts(MemFree=1_900_000 - 4096 * n, Memmap=4096 * n)) == []


def test_memory_that_is_never_given_back_is_a_leak() -> None:
    leaks = Leaks()
    found = [leaks.look(counts(MemFree=1_900_000 - 100 * n)) for n in range(2 * (WARM + TREND))]
    told = [f for one in found for f in one]
    assert [f.check for f in told] == ["leak"] and "memory in use and in no cache" in told[0].message
    assert found.index([told[0]]) == WARM + TREND - 1


@pytest.mark.parametrize("name", ["AnonPages", "Shmem"])
def test_amounts_that_come_back_exactly(name: str) -> None:
    leaks = Leaks()
    for _ in range(WARM):
        assert leaks.look(counts()) == []
    assert [f.name for f in leaks.look(counts(**{name: 2000}))] == [name]
    assert leaks.look(counts(**{name: 2000})) == []
    leaks.restart()
    assert leaks.look(counts(**{name: 2000})) == []


def test_huge_pages_and_swap_that_stay_taken() -> None:
    leaks = Leaks()
    for _ in range(WARM):
        leaks.look(counts())
    assert {f.name for f in leaks.look(counts(HugePages_Free=15, SwapFree=129_000))} == {"HugePages_Used", "SwapUsed"}


def test_what_one_program_leaves_each_time() -> None:
    steady = [amounts(counts(MemFree=1_900_000 - 5000 * (n == 0) + 300 * (n % 2))) for n in range(6)]
    assert drift(steady, 30) == []
    rising = [amounts(counts(MemFree=1_900_000 - 4 * 30 * n)) for n in range(6)]
    assert [(f.check, f.message) for f in drift(rising, 30)] == [
        ("leak", "memory in use and in no cache rises by 4.0 KiB with each run of the program")
    ]
    huge = [amounts(counts(HugePages_Free=16 - n)) for n in range(6)]
    assert [f.name for f in drift(huge, 30)] == ["HugePages_Used"]


@compiled
def test_a_program_is_run_again_and_again_to_see_what_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    with hosted_target() as target:
        assert isinstance(target, LinuxTarget)
        looks = iter(range(100))
        monkeypatch.setattr(target, "_left", lambda: counts(MemFree=1_900_000 - 100 * next(looks)))
        assert [f.name for f in target.leaks_of((c.Mmap("p0", 0), c.Store("p0", 0)), 30)] == ["Used"]
        assert next(looks) == 6


# ---------------------------------------------------------------- a real one


def _image() -> Image | None:
    try:
        return image_of(os.environ.get("HMMSPEC_LINUX_IMAGE", ""), "plain")
    except (ValueError, SpecError):
        return None


@pytest.fixture(scope="module")
def real() -> Iterator[LinuxTarget]:
    image = _image()
    if image is None or shutil.which(QEMU) is None or WHY:
        pytest.skip("no kernel image, no QEMU or no compiler here")
    with LinuxTarget(image) as target:
        yield target


@pytest.mark.slow
def test_pages_go_to_the_devices_and_back(real: LinuxTarget) -> None:
    assert set(real.devices) == {"dev0", "dev1", "dev2", "dev3"}
    for device, there, here in (("dev0", 0x22, 0x02), ("dev2", 0x42, 0x02)):
        real.reset()
        got = real.run_all(
            [
                c.Mmap("p0", 0, 4), c.Store("p0", 0, 4, 7), c.Open("p0", device), c.MigrateToDevice("p0", device, 0, 4),
                c.Snapshot("p0", device, 0, 4), c.DevWrite("p0", device, 1, 1, 90), c.MigrateToSystem("p0", device, 0, 4),
                c.Snapshot("p0", device, 0, 4), c.Load("p0", 0, 4), c.Fork("p0", "p1"), c.Load("p1", 0, 4),
                c.Open("p0", device), c.Close("p0", device), c.DevRead("p0", device, 0),
            ]
        )  # fmt: skip
        assert got[3] == Result(cpages=4, stamps=(7, 8, 9, 10))
        assert got[4].snapshot == (there,) * 4 and got[7].snapshot == (here,) * 4
        assert got[8].stamps == got[10].stamps == (7, 90, 9, 10)
        assert [r.error for r in got[11:]] == ["EEXIST", "", "EBADF"]
        assert real.findings() == () and real.finish() == ()


@pytest.mark.slow
def test_a_close_reaches_the_device_whatever_earlier_programs_had_open(real: LinuxTarget) -> None:
    if not real.profile["evict_on_close"]:
        pytest.skip("a close of this test device moves nothing")
    for _ in range(3):
        # Processes that are new while devices are still open from the program before.
        real.reset()
        real.run_all([c.Open("p0", "dev0"), c.Spawn("p1"), c.Open("p1", "dev0"), c.Fork("p0", "p2"), c.Kill("p0")])
        real.reset()
        got = real.run_all(
            [
                c.Spawn("p1"), c.Spawn("p2"), c.Open("p0", "dev0"), c.Open("p0", "dev1"), c.Mmap("p0", 0, 2),
                c.Store("p0", 0, 2), c.MigrateToDevice("p0", "dev0", 0, 2), c.Close("p0", "dev0"),
                c.Snapshot("p0", "dev1", 0, 2),
            ]
        )  # fmt: skip
        assert got[6].ok and got[8].snapshot == (2, 2)


@pytest.mark.slow
def test_a_machine_killed_at_any_moment_is_told(real: LinuxTarget) -> None:
    boots = real.boots
    real.reset()
    real.run(c.Mmap("p0", 0))
    assert real._machine is not None and real._machine.pid is not None
    os.kill(real._machine.pid, signal.SIGKILL)
    with pytest.raises(TargetLost, match="the machine has died"):
        real.run_all(1000 * [c.Load("p0", 0)])
    real.reset()
    assert real.boots == boots + 1
    assert real.run(c.Mmap("p0", 0)) == Result()


def test_the_newest_image_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "newest", lambda kind: dataclasses.replace(IMAGE, hash=kind))
    assert image_of("", "debug").hash == "debug"
