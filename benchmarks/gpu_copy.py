"""Measure copies between system and GPU memory by size and direction, for `hmmspec cost fit`.

    python benchmarks/gpu_copy.py -o copies.csv
    hmmspec cost fit copies.csv --plot copies.png --machine mine.json
    hmmspec simulate --link mine.json

Needs a machine with CUDA's driver (`libcuda`), and nothing else: it is called through ctypes.  Each size is copied
`--repeat` times, and the median is written, in two series: `engine` is the time between two events around the copy,
`call` the time from the call until the copy is done, as the program sees it.  Memory is `pinned` or `pageable`.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
HEADS = ("device", "link", "memory", "direction", "series", "bytes", "time_ns")
DIRECTIONS = ("to_device", "to_system", "on_device")
LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")


class NoCuda(Exception):
    """There is nothing to measure with: the message says what is missing."""


class Cuda:
    """The few calls of CUDA's driver API that copies need.  Every call that fails raises NoCuda with its name."""

    def __init__(self, library: str | None = None) -> None:
        self._lib = _load((library,) if library else LIBRARIES)
        self._call("cuInit", 0)
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if not count.value:
            raise NoCuda("CUDA's driver is here, but it knows of no GPU")
        self.devices = count.value
        self._stream = ctypes.c_void_p()

    def open(self, number: int) -> str:
        """Use one GPU from now on.  Returns its name."""
        if number >= self.devices:
            raise NoCuda(f"there is no GPU {number}: this machine has {self.devices}")
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), number)
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._call("cuStreamCreate", ctypes.byref(self._stream), 1)
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, 256, device)
        return name.value.decode(errors="replace")

    @contextmanager
    def device_memory(self, size: int) -> Iterator[int]:
        """Memory of the GPU, as an address."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        try:
            yield address.value
        finally:
            self._call("cuMemFree_v2", address)

    @contextmanager
    def pinned_memory(self, size: int) -> Iterator[int]:
        """Page-locked system memory, as an address, every page touched."""
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), 0)
        try:
            ctypes.memset(address, 1, size)
            yield address.value or 0
        finally:
            self._call("cuMemFreeHost", address)

    def copy(self, direction: str, host: int, device: int, other: int, size: int) -> None:
        """Submit one copy; it may still be under way at the return."""
        far, near = ctypes.c_uint64(device), ctypes.c_void_p(host)
        amount = ctypes.c_size_t(size)
        if direction == "to_device":
            self._call("cuMemcpyHtoDAsync_v2", far, near, amount, self._stream)
        elif direction == "to_system":
            self._call("cuMemcpyDtoHAsync_v2", near, far, amount, self._stream)
        else:
            self._call("cuMemcpyDtoDAsync_v2", ctypes.c_uint64(other), far, amount, self._stream)

    def wait(self) -> None:
        """Until everything that was submitted is done."""
        self._call("cuStreamSynchronize", self._stream)

    @contextmanager
    def stopwatch(self) -> Iterator[Callable[[Callable[[], None]], float]]:
        """What times an action between two events on the GPU: nanoseconds."""
        first, last = ctypes.c_void_p(), ctypes.c_void_p()
        for event in (first, last):
            self._call("cuEventCreate", ctypes.byref(event), 0)

        def timed(action: Callable[[], None]) -> float:
            self._call("cuEventRecord", first, self._stream)
            action()
            self._call("cuEventRecord", last, self._stream)
            self._call("cuEventSynchronize", last)
            took = ctypes.c_float()
            self._call("cuEventElapsedTime", ctypes.byref(took), first, last)
            return took.value * 1e6

        try:
            yield timed
        finally:
            for event in (first, last):
                self._call("cuEventDestroy_v2", event)

    def _call(self, name: str, *arguments: object) -> None:
        try:
            code = getattr(self._lib, name)(*arguments)
        except AttributeError:
            raise NoCuda(f"this driver has no {name}: it is too old") from None
        if code:
            raise NoCuda(f"{name} failed with CUDA error {code}{_meaning(code)}")


def _meaning(code: int) -> str:
    known = {2: "out of memory", 3: "not initialised", 100: "no device", 803: "driver and kernel module do not fit"}
    return f" ({known[code]})" if code in known else ""


def _load(names: tuple[str, ...]) -> ctypes.CDLL:
    for name in names:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise NoCuda(f"CUDA's driver is not installed here (looked for {', '.join(names)})")


def link_of(number: int) -> str:
    """`PCIe 4 x16`, as the management library tells it, or an empty text."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        device, generation, lanes = ctypes.c_void_p(), ctypes.c_uint(), ctypes.c_uint()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
            return ""
        if library.nvmlDeviceGetMaxPcieLinkGeneration(device, ctypes.byref(generation)):
            return ""
        if library.nvmlDeviceGetCurrPcieLinkWidth(device, ctypes.byref(lanes)):
            return ""
        return f"PCIe {generation.value} x{lanes.value}"
    except (OSError, AttributeError):
        return ""


def measure(cuda: Cuda, sizes: list[int], repeat: int) -> Iterator[tuple[str, str, str, int, int]]:
    """(memory, direction, series, bytes, median nanoseconds) of every combination."""
    largest = max(sizes)
    pageable = ctypes.create_string_buffer(b"\1" * largest, largest)
    ordinary = ctypes.addressof(pageable)
    with (
        cuda.device_memory(largest) as device,
        cuda.device_memory(largest) as other,
        cuda.pinned_memory(largest) as pinned,
        cuda.stopwatch() as timed,
    ):
        for memory, host in (("pinned", pinned), ("pageable", ordinary)):
            for direction in DIRECTIONS:
                if direction == "on_device" and memory == "pageable":
                    continue
                for size in sizes:

                    def one(direction: str = direction, host: int = host, size: int = size) -> None:
                        cuda.copy(direction, host, device, other, size)

                    for _ in range(3):  # the first copies wake the engine and fill its tables
                        one()
                    cuda.wait()
                    told = "device" if direction == "on_device" else memory
                    # Events see nothing of the staging of pageable memory.
                    if memory == "pinned":
                        yield told, direction, "engine", size, _median(timed(one) for _ in range(repeat))
                    yield told, direction, "call", size, _median(_until_done(cuda, one) for _ in range(repeat))


def _until_done(cuda: Cuda, action: Callable[[], None]) -> float:
    start = time.perf_counter_ns()
    action()
    cuda.wait()
    return time.perf_counter_ns() - start


def _median(times: Iterator[float]) -> int:
    return max(1, round(statistics.median(times)))


def sizes_to(largest: int) -> list[int]:
    """Powers of two from 4 KiB."""
    return [size for k in range(12, 63) if (size := 1 << k) <= largest]


def main() -> int:
    """Write the CSV.  Returns 2 where nothing can be measured."""
    p = argparse.ArgumentParser(description="copies between system and GPU memory, by size and direction, as CSV")
    p.add_argument("-o", dest="output", type=Path, help="a file (default: standard output)")
    p.add_argument("--device", type=int, default=0, help="number of the GPU (0)")
    p.add_argument("--largest", type=int, default=256, metavar="MIB", help="the largest copy, in MiB (256)")
    p.add_argument("--repeat", type=int, default=20, help="copies of each kind; the median counts (20)")
    p.add_argument("--library", dest="driver", help="CUDA's driver, if it has another name")
    args = p.parse_args()
    if args.largest < 1 or args.repeat < 1 or args.device < 0:
        p.error("--largest and --repeat are numbers from 1, --device is one from 0")
    try:
        cuda = Cuda(args.driver)
        name, link = cuda.open(args.device), link_of(args.device)
        rows = [(name, link, *row) for row in measure(cuda, sizes_to(args.largest * MIB), args.repeat)]
    except NoCuda as missing:
        print(f"gpu_copy: no CUDA machine to measure: {missing}", file=sys.stderr)
        return 2
    out = args.output.open("w", newline="", encoding="utf-8") if args.output else sys.stdout
    try:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(HEADS)
        writer.writerows(rows)
    finally:
        if args.output:
            out.close()
    if args.output:
        print(f"{args.output}: {len(rows)} medians of {args.repeat} copies on {name} {link}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
