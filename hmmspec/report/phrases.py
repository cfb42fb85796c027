"""Phrases that all reports use: numbers of things, lists, times, lengths of traces."""

from __future__ import annotations

from hmmspec.checker.verdict import Level, Trace


def plural(number: int, word: str, many: str | None = None) -> str:
    """`1 step`, `14625 states`."""
    return f"{number} {word if number == 1 else many or word + 's'}"


def listed(names: list[str], most: int = 4) -> str:
    """`a, b, c and 3 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return ", ".join(names[: most - 1]) + f" and {len(names) - most + 1} more"


def seconds(value: float) -> str:
    """`0.04 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, left = divmod(round(value), 60)
    return f"{minutes} min {left:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def steps_of(trace: Trace, level: Level) -> str:
    """`shortest trace of 7 steps`; where it may not be the shortest, that is said."""
    length = plural(trace.length, "step")
    return (
        f"shortest trace of {length}"
        if level is not Level.VIOLATED
        else (f"trace of {length} (not known to be shortest)")
    )
