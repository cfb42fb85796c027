"""Numbers of the cost model: integers of bytes and picoseconds, exact rates, and how both are shown and read.

NOTE(units): sizes are integers of bytes and times integers of picoseconds; rates are exact fractions of bytes a second.
A time is rounded up once, at its end, so that no cost is ever below what the link allows.  GB/s is 10^9 bytes a
second; GiB/s, which several tools print as "GB/s", is never used.
"""

from __future__ import annotations

import re
from fractions import Fraction

PS, NS, US, MS, S = 1, 10**3, 10**6, 10**9, 10**12
"""Picoseconds of each unit of time."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PAGE = 4 * KIB
"""Bytes of a base page."""
PMD = 2 * MIB
"""Bytes that one PMD maps."""
PAGES_PER_PMD = PMD // PAGE
GB = 10**9

_TIMES = {"ps": PS, "ns": NS, "us": US, "ms": MS, "s": S}
_SIZES = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": GIB << 10}
_RATES = {"gb/s": GB, "mb/s": 10**6, "b/s": 1, "tb/s": 10**12}


class Impossible(ValueError):
    """A number or a set of numbers that no hardware has.

    code: the diagnostic's (HMM140 links, HMM141 other numbers); fix: what would be possible, if that can be said.
    """

    def __init__(self, code: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


def wanted(name: str, value: object, least: int = 0) -> int:
    """`value`, an integer from `least`.  Raises Impossible."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Impossible("HMM141", f"{name} must be a whole number, not {value!r}")
    if value < least:
        what = "must not be negative" if least == 0 else f"must be at least {least}"
        raise Impossible("HMM141", f"{name} {what}: {value}")
    return value


def up(time: Fraction) -> int:
    """A time in picoseconds, rounded up to a whole one."""
    return -(-time.numerator // time.denominator)


def ps_for(size: int, rate: Fraction | int) -> int:
    """Picoseconds that `size` bytes take at `rate` bytes a second, rounded up."""
    return up(Fraction(size * S) / rate)


def chunks(size: int, most: int) -> int:
    """How many pieces of at most `most` bytes `size` bytes take."""
    return -(-size // most)


def rate_of(size: int, ps: int) -> Fraction:
    """Bytes a second; 0 where nothing was moved in no time."""
    return Fraction(size * S, ps) if ps else Fraction(0)


def show_rate(rate: Fraction | float, digits: int = 2) -> str:
    """`12.15 GB/s`."""
    return f"{float(rate) / GB:.{digits}f} GB/s"


def show_time(ps: int) -> str:
    """Picoseconds with four digits and the unit that suits: `1.184 us`."""
    for unit in ("s", "ms", "us", "ns"):
        if abs(ps) >= _TIMES[unit]:
            return f"{ps / _TIMES[unit]:.4g} {unit}" if abs(ps) < 1000 * _TIMES[unit] else f"{ps / _TIMES[unit]:.0f} s"
    return f"{ps} ps"


def show_size(size: int) -> str:
    """Bytes with the largest unit in which they are whole, or one decimal: `4 KiB`, `1.5 GiB`."""
    for unit, one in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size >= one:
            return f"{size // one} {unit}" if size % one == 0 else f"{size / one:.1f} {unit}"
    return f"{size} B"


def read_size(text: str) -> int:
    """Bytes in `4096`, `64K`, `2MiB`, `1.5g`; all powers of 1024.  Raises Impossible."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if text.strip().startswith("-"):
        raise Impossible("HMM141", f"a size must not be negative: '{text}'")
    if not found or (amount := Fraction(found[1]) * _SIZES[found[2]]).denominator != 1:
        raise Impossible("HMM141", f"'{text}' is not a size in bytes", "write 4096, 64K, 2M or 1G")
    return int(amount)


def read_time(text: str) -> int:
    """Picoseconds in `0.91us`, `45 us`, `500ns`.  Raises Impossible."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*(ps|ns|us|ms|s)", text.strip().lower())
    if text.strip().startswith("-"):
        raise Impossible("HMM141", f"a time must not be negative: '{text}'")
    if not found:
        raise Impossible("HMM141", f"'{text}' is not a time with a unit", "write 500ns, 0.91us or 1.5ms")
    return up(Fraction(found[1]) * _TIMES[found[2]])


def read_rate(text: str) -> int:
    """Bytes a second in `11.4GB/s`, `800 MB/s`.  Raises Impossible."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([gmt]?b/s)", text.strip().lower())
    if not found or not Fraction(found[1]):
        raise Impossible("HMM141", f"'{text}' is not a rate", "write 11.4GB/s or 800MB/s")
    return int(Fraction(found[1]) * _RATES[found[2]])
