"""The life of a machine, with programs in QEMU's place: they answer, die, hang, say nothing, say too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hmmspec.linux.agent import NoAgent, agent
from hmmspec.linux.machine import LOG_LINES, Boot, Console, Machine, MachineError, OwnTime
from hmmspec.linux.protocol import Kind

try:
    agent()
    WHY = ""
except NoAgent as error:
    WHY = str(error)
pytestmark = pytest.mark.skipif(bool(WHY), reason=WHY or "there is a compiler")

# What stands in for QEMU: it finds the port among its words, and then does what a test says.
FAKE = f"""#!{sys.executable}
import os, re, socket, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from hmmspec.linux.protocol import Decoder, Frame, encode
words = " ".join(sys.argv)
port = socket.socket(fileno=int(re.search(r"socket,id=port,fd=(\\d+)", words).group(1)))
initrd = open(re.search(r"-initrd (\\S+)", words).group(1), "rb").read()
def serve(answer, until=0):
    decoder = Decoder()
    while data := port.recv(65536):
        for frame in decoder.feed(data):
            if frame.kind == until:
                return
            port.sendall(encode(Frame(0x80, frame.sequence, answer(frame))))
def hello(frame):
    return b"agent=1\\nkernel=6.12.0\\ninitrd=%d\\n" % len(initrd)
print("Linux version 6.12.0 (fake)", flush=True)
"""


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Boot]:
    def make(text: str, seconds: float = 200.0, silence: float = 100.0) -> Boot:
        program = tmp_path / "qemu"
        program.write_text(FAKE + text)
        program.chmod(0o755)
        kernel = tmp_path / "bzImage"
        kernel.write_bytes(b"kernel")
        return Boot(kernel, "tcg", qemu=str(program), seconds=seconds, silence=silence)

    return make


def gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def test_it_starts_answers_and_is_killed(fake: Callable[..., Boot]) -> None:
    machine = Machine(fake("serve(hello)"))
    assert machine.greeting["kernel"] == "6.12.0"
    assert int(machine.greeting["initrd"]) > 10_000
    assert machine.running and machine.accel == "tcg"
    while not machine.console.count:
        time.sleep(0.01)
    assert machine.console.lines() == ["Linux version 6.12.0 (fake)"]
    pid = machine.pid
    assert pid is not None
    machine.kill()
    machine.kill()
    assert not machine.running and gone(pid)


def test_one_that_dies_is_told_with_its_last_words(fake: Callable[..., Boot]) -> None:
    machine = Machine(fake("serve(hello, 2)\nprint('Kernel panic - not syncing: fake', flush=True)"))
    with pytest.raises(MachineError, match=r"died; it said last: .*Kernel panic - not syncing: fake"):
        machine.ask(Kind.RUN, b"x")
    assert not machine.running
    with pytest.raises(MachineError):
        machine.ask(Kind.RUN, b"x")
    machine.kill()


def test_one_that_hangs_is_told(fake: Callable[..., Boot]) -> None:
    machine = Machine(fake("serve(hello, 2)\ntime.sleep(1000)"))
    with pytest.raises(MachineError, match="does not answer"):
        machine.ask(Kind.RUN, b"x", seconds=0.2)
    assert machine.running
    machine.kill()


def test_one_that_never_answers_is_not_waited_for_for_ever(fake: Callable[..., Boot]) -> None:
    with pytest.raises(MachineError, match=r"did not answer within 0\.\d s"):
        Machine(fake("time.sleep(1000)", seconds=0.3))
    with pytest.raises(MachineError, match=r"did not start: .*it said last: .*no root"):
        Machine(fake("print('no root', flush=True)"))


def test_one_that_says_nothing_any_more_is_given_up_before_its_time(fake: Callable[..., Boot]) -> None:
    begin = time.monotonic()
    with pytest.raises(MachineError, match=r"did not answer within .*it said last: Linux version 6\.12\.0"):
        Machine(fake("time.sleep(1000)", silence=1.0))
    assert time.monotonic() - begin < 100
    talking = "for n in range(20):\n    print(n, flush=True)\n    time.sleep(0.1)\n"
    machine = Machine(fake(f"{talking}serve(hello)", silence=1.5))
    assert machine.running
    machine.kill()


def test_what_a_process_waits_for_a_processor_is_not_its_own_time() -> None:
    own = OwnTime()
    sleeper = subprocess.Popen(["sleep", "100"])
    stopped = subprocess.Popen(["sleep", "100"])
    try:
        time.sleep(0.3)
        begin = time.monotonic()
        before = own.look(sleeper.pid)
        time.sleep(0.3)
        assert own.look(sleeper.pid) - before >= 0.3
        assert own.seconds - before <= time.monotonic() - begin
        stopped.send_signal(signal.SIGSTOP)  # it would like to go on, and may not
        os.waitpid(stopped.pid, os.WUNTRACED)
        other = OwnTime()
        time.sleep(0.3)
        assert other.look(stopped.pid) < 0.1
    finally:
        for process in (sleeper, stopped):
            process.kill()
            process.wait()


def test_a_flood_on_the_console_is_kept_in_bounds(fake: Callable[..., Boot]) -> None:
    count = LOG_LINES + 5000
    machine = Machine(fake(f"for i in range({count}): print('line', i)\nsys.stdout.flush()\nserve(hello)"))
    while machine.console.count < count + 1:
        time.sleep(0.01)
    lines = machine.console.lines()
    assert machine.console.count == count + 1
    assert len(lines) == LOG_LINES + 100
    assert lines[:2] == ["Linux version 6.12.0 (fake)", "line 0"] and lines[-1] == f"line {count - 1}"
    machine.kill()


def test_lines_of_a_console_since_a_number() -> None:
    console = Console()
    for n in range(150):
        console.add(str(n))
    assert console.lines(98) == [str(n) for n in range(98, 150)]
    assert console.lines(120) == [str(n) for n in range(120, 150)]
    assert console.lines(150) == [] and console.lines(400) == []


def test_what_is_missing_is_named(fake: Callable[..., Boot], tmp_path: Path) -> None:
    boot = fake("")
    with pytest.raises(MachineError, match="apt install qemu-system-x86"):
        Machine(Boot(boot.kernel, "tcg", qemu="no-such-qemu"))
    with pytest.raises(MachineError, match="cannot be read"):
        Machine(Boot(tmp_path / "none", "tcg", qemu=boot.qemu))


def test_no_compiler_is_named(fake: Callable[..., Boot], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(MachineError, match="apt install gcc"):
        Machine(fake(""))


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "exit", "thread"])
def test_nothing_is_left_whatever_ends_its_parent(fake: Callable[..., Boot], tmp_path: Path, how: str) -> None:
    boot = fake("serve(hello)\ntime.sleep(1000)")
    folder = tmp_path / "temporary"
    folder.mkdir()
    # The machine is started by a thread that ends, and lives on; it ends with the process.
    text = f"""
import os, sys, threading, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from hmmspec.linux.machine import Boot, Machine
from pathlib import Path
made = []
t = threading.Thread(target=lambda: made.append(Machine(Boot(Path({str(boot.kernel)!r}), "tcg", qemu={boot.qemu!r}))))
t.start()
t.join()
time.sleep(0.2)
assert made[0].running
print(made[0].pid, flush=True)
if {how!r} == "exit":
    os._exit(3)
time.sleep(1000 if {how!r} != "thread" else 0)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)}
    )
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    if how.startswith("SIG"):
        os.kill(child.pid, getattr(signal, how))
    child.wait(20)
    child.stdout.close()
    assert gone(pid)
    assert list(folder.iterdir()) == []
