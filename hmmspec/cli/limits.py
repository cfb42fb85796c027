"""How much memory a search may take when the user does not say."""

from __future__ import annotations

import re
from pathlib import Path

_SHARE = 0.75  # the rest is for the system and for what a search needs after its last state
_SMALLEST = 256 << 20


def default_memory() -> int | None:
    """Bytes: most of what is free on the machine or left to this container; None where the system does not tell."""
    free = [n for n in (_machine(), _container()) if n is not None]
    return max(int(min(free) * _SHARE), _SMALLEST) if free else None


def _machine() -> int | None:
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) << 10 if found else None


def _container() -> int | None:
    """What the control group still allows (version 2, then version 1)."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        top, now = _read(limit).strip(), _read(used).strip()
        if top.isdecimal() and now.isdecimal():
            return max(0, int(top) - int(now))
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
