"""Programs that a sound kernel forgets, run again and again on Linux: what memory does each leave behind?

    python tests/linux/leaking.py --image DIR

One page less is nothing that a single run could see; a page for each of a hundred runs is.  Exit code 1 if one leaks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.linux.target import make

PAGES = 8


def programs(device: str) -> dict[str, list[Command]]:
    """What is repeated, by name; each begins with nothing and leaves nothing."""
    begin: list[Command] = [c.Open("p0", device), c.Mmap("p0", 0, PAGES), c.Store("p0", 0, PAGES, 1)]
    end: list[Command] = [c.Munmap("p0", 0, PAGES)]
    there = c.MigrateToDevice("p0", device, 0, PAGES)
    return {
        "to the device and back": [*begin, there, c.Load("p0", 0, PAGES), *end],
        "unmapped on the device": [*begin, there, *end],
        "atomic access": [*begin, c.Exclusive("p0", device, 0, PAGES), c.Load("p0", 0, PAGES), *end],
        "swapped out": [*begin, c.Madvise("p0", 0, PAGES, "pageout"), c.Load("p0", 0, PAGES), *end],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all of them on both kinds of device memory."""
    p = argparse.ArgumentParser(description="Programs that must leave nothing behind, again and again.")
    p.add_argument("--image", default="", help="the kernel image (default: the newest)")
    p.add_argument("--times", type=int, default=120, help="how often each program runs (120)")
    args = p.parse_args(arguments)
    wrong = 0
    with make({"image": args.image}) as target:
        for device in target.devices:
            if device not in ("dev0", "dev2"):
                continue
            for name, program in programs(device).items():
                found = target.leaks_of(program, args.times)
                wrong += len(found)
                told = "; ".join(finding.message for finding in found) or "nothing is left"
                print(f"{name} [{target.devices[device]}]: {told}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
