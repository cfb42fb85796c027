"""What the kernel keeps after everything has ended, as far as user space can tell.

Amounts that the kernel counts page by page come back to what they were.  Free memory does not: caches grow, pages lie
in lists of each CPU, and devices that need more memory have it described.  There a leak is not an amount but a trend:
what is in use, and in no cache, while no process of a program lives, rises from look to look without end.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from hmmspec.conform.target import Finding

EVERY = 40  # programs between two looks
WARM = 3  # looks until caches have their size
TREND = 4  # looks in a row that must each show more in use
RISE = 64  # KiB by which each of them must
# By how much an amount may be higher; each CPU keeps some places of swap for itself.
EXACT = {"AnonPages": 64, "Shmem": 64, "SwapUsed": 1024, "HugePages_Used": 0}
# Memory that is free, or in a cache, or counted by itself.
CACHES = (
    "MemFree", "CpuFree", "Slab", "PageTables", "KernelStack", "Cached", "Buffers", "AnonPages", "Percpu", "SwapCached",
    "Memmap",
)  # fmt: skip


class Leaks:
    """The looks at one boot; `looks` has what each of them saw, in KiB."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new boot."""
        self._programs = 0
        self._told: set[str] = set()
        self.looks: list[dict[str, int]] = []

    def due(self) -> bool:
        """Whether it is time for a look; called once for each program that has ended."""
        self._programs += 1
        return self._programs % EVERY == 0

    def look(self, text: str) -> list[Finding]:
        """Take what is there now (`name=number` on each line); what is wrong, each kind once for a boot."""
        self.looks.append(amounts(text))
        wrong = self._risen() if len(self.looks) > WARM else {}
        out = [_leak(name, was, now) for name, (was, now) in wrong.items() if name not in self._told]
        self._told |= set(wrong)
        return out

    def _risen(self) -> dict[str, tuple[int, int]]:
        base, last = self.looks[WARM - 1], self.looks[-1]
        out = {name: (base[name], last[name]) for name, most in EXACT.items() if last[name] > base[name] + most}
        recent = [look["Used"] for look in self.looks[WARM - 1 :]][-TREND - 1 :]
        if len(recent) > TREND and all(b - a >= RISE for a, b in pairwise(recent)):
            out["Used"] = recent[0], recent[-1]
        return out


def drift(looks: list[dict[str, int]], runs: int) -> list[Finding]:
    """What a program leaves behind each time: looks before and after several rounds of so many runs each.

    The first two rounds fill caches.  What rises in each of the others, by a page in every second run at least, leaks.
    """
    out: list[Finding] = []
    rest = looks[2:]
    for name in (*EXACT, "Used"):
        least = 1 if name == "HugePages_Used" else 2 * runs
        if len(rest) > 2 and all(b[name] - a[name] >= least for a, b in pairwise(rest)):
            each = (rest[-1][name] - rest[0][name]) / (runs * (len(rest) - 1))
            unit = "huge pages" if name == "HugePages_Used" else "KiB"
            what = "memory in use and in no cache" if name == "Used" else name
            out.append(Finding("leak", f"{what} rises by {each:.1f} {unit} with each run of the program", name))
    return out


def amounts(text: str) -> dict[str, int]:
    """What the agent tells (`name=number` on each line), in KiB."""
    return _amounts({name: int(value) for name, _, value in (line.partition("=") for line in text.splitlines())})


def _amounts(told: Mapping[str, int]) -> dict[str, int]:
    return {
        "AnonPages": told["AnonPages"],
        "Shmem": told["Shmem"],
        "SwapUsed": told["SwapTotal"] - told["SwapFree"],
        "HugePages_Used": told["HugePages_Total"] - told["HugePages_Free"],
        "Used": told["MemTotal"] - sum(told.get(name, 0) for name in CACHES),
    }


def _leak(name: str, was: int, now: int) -> Finding:
    unit = "pages" if name.startswith("Huge") else "KiB"
    what = "memory in use and in no cache" if name == "Used" else name
    return Finding("leak", f"{what}: {was} {unit}, then {now} {unit}, each time with no process left", name)
