"""A machine with test devices, for the tests of the device side: commands by name, data as one number for each page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hmmspec.ref import access, checks, testdev
from hmmspec.ref.device import Binding, Device
from hmmspec.ref.errors import Errno
from hmmspec.ref.schedule import run_through
from hmmspec.ref.spaces import Mm
from hmmspec.ref.state import Config, Kernel
from hmmspec.ref.tasks import Steps, Task
from hmmspec.ref.testdev import Outcome
from tests.ref.machine import BASE, Machine

N = 16
COUNTING = list(range(1, N + 1))
both = pytest.mark.parametrize("private", [True, False], ids=["private", "coherent"])
ROOM = Config(cpus=2, system_pages=6144, device_pages=4096, swap_pages=256, page_tables=64)


def filled(number: int) -> bytes:
    """The bytes of a page that holds a number: it is in every word, so that a torn page shows."""
    return np.full(512, number, np.int64).tobytes()


def number_of(data: bytes | NDArray[np.uint8]) -> int:
    words = np.frombuffer(bytes(data), np.int64)
    assert (words == words[0]).all(), "a page is torn"
    return int(words[0])


class Devices(Machine):
    """Process p0 has dev0 and dev1 open, both private or both coherent."""

    def __init__(self, private: bool = True, config: Config = ROOM, each: bool = False, **options: Any) -> None:
        super().__init__(config, **options)
        self.each = each
        half = config.device_pages // 2
        self.dev = [testdev.add_device(self.k, f"dev{n}", private, half, half // 2) for n in range(2)]
        self.b = [self.open(d, self.mm) for d in self.dev]

    def run(self, operation: Any, *args: Any, cpu: int = 0, **named: Any) -> Any:
        try:
            after = (lambda: checks.check(self.k)) if self.each else None
            return run_through(operation(self.k, self.tasks[cpu], *args, **named), after)
        finally:
            checks.check_quiet(self.k)

    def open(self, device: Device, mm: Mm) -> Binding:
        found: Binding = self.run(testdev.open_, device, mm)
        return found

    def put(self, count: int = 16, start: int = BASE, first: int = 1, mm: Mm | None = None) -> None:
        """The program stores first, first + 1, .. in pages."""

        def steps(k: Kernel, t: Task) -> Steps[None]:
            for i in range(count):
                assert (yield from access.store(k, t, mm or self.mm, start + i, filled(first + i))) == "ok"

        self.run(steps)

    def get(self, count: int = 16, start: int = BASE, mm: Mm | None = None, cpu: int = 0) -> list[int]:
        """What the program reads."""
        out: list[int] = []

        def steps(k: Kernel, t: Task) -> Steps[None]:
            for i in range(count):
                got = yield from access.load(k, t, mm or self.mm, start + i)
                assert isinstance(got, bytes), got
                out.append(number_of(got))

        self.run(steps, cpu=cpu)
        return out

    def act(self, command: str, count: int = 16, start: int = BASE, device: int = 0, **named: Any) -> Outcome:
        """A command of the device."""
        found: Outcome = self.run(getattr(testdev, command), self.b[device], start, count, **named)
        return found

    def fails(self, command: str, count: int = 16, start: int = BASE, device: int = 0) -> str:
        """The errno of a command that fails."""
        try:
            found = self.act(command, count, start, device)
        except Errno as error:
            return error.name
        raise AssertionError(f"{command} succeeded: {found}")

    def write(self, numbers: list[int], start: int = BASE, device: int = 0) -> Outcome:
        rows = np.stack([np.frombuffer(filled(n), np.uint8) for n in numbers])
        found: Outcome = self.run(testdev.write, self.b[device], start, rows)
        return found

    def to_device(self, count: int = 16, start: int = BASE, device: int = 0) -> list[int]:
        """Move pages to a device: what is read back."""
        found = self.act("migrate_to_device", count, start, device)
        assert found.cpages == count
        return numbers(found)

    def bytes_of(self, count: int = 16, start: int = BASE, device: int = 0) -> list[int]:
        return list(self.act("snapshot", count, start, device).snapshot)

    def finish(self) -> None:
        """Close all, end every process; no device page, reference or lock is left, and nothing was found."""
        for device in self.dev:
            for b in list(device.bindings.values()):
                self.run(testdev.close, b)
        self.done()
        assert [d.memory.live for d in self.dev] == [0, 0]
        assert all(not t.held for t in self.tasks)


def numbers(found: Outcome) -> list[int]:
    return [number_of(row) for row in found.data]
