"""Whether a result is what was expected, and if not, in which way."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from hmmspec.conform.results import PAGEMAP_EXCLUSIVE, TORN, Result
from hmmspec.conform.scenario.forms import BYTES, MAPS
from hmmspec.conform.scenario.plan import Want, WantBits, WantCount, WantOutcome, WantStamps
from hmmspec.conform.scenario.values import count_of
from hmmspec.records import dataclass

_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Judged:
    """problems: what is not as expected, for people, of the case that comes nearest; unseen: what the target hides."""

    problems: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()


def judge(result: Result | None, cases: Sequence[Sequence[Want]], atomic: bool = True) -> Judged:
    """A result against the cases of which one must be met.  None: the command never returned.

    atomic: whether nobody sees half of a write.  Otherwise a page that may hold one of several values, since somebody
    writes it at that moment, may also be torn.
    """
    if result is None:
        if any(want == WantOutcome("any") for case in cases for want in case):
            return Judged()
        return Judged(("the command never returned",))
    nearest: Judged | None = None
    for case in cases:
        found = _case(result, case, atomic)
        if not found.problems:
            return found
        if nearest is None or _distance(result, case, found) < 0 or len(found.problems) < len(nearest.problems):
            nearest = found
    assert nearest is not None
    if len(cases) > 1 and not result.ok:
        wanted = " or ".join(dict.fromkeys(_outcome(case) for case in cases))
        return Judged((f"{wanted} expected, {result.error} seen",))
    return nearest


def _distance(result: Result, case: Sequence[Want], found: Judged) -> int:
    """Below zero for a case whose outcome is met: that is the one to talk about."""
    met = _fits(result, _outcome(case))
    return -1 if met and found.problems else 0


def _outcome(case: Sequence[Want]) -> str:
    return next((want.word for want in case if isinstance(want, WantOutcome)), "ok")


def _fits(result: Result, word: str) -> bool:
    match word:
        case "any":
            return True
        case "ok":
            return result.ok
        case "error":
            return not result.ok
        case _:
            return result.error == word


def _case(result: Result, case: Sequence[Want], atomic: bool) -> Judged:
    word = _outcome(case)
    if not _fits(result, word):
        return Judged((f"{'an error' if word == 'error' else word} expected, {result.error or 'ok'} seen",))
    problems: list[str] = []
    unseen: list[str] = []
    for want in case:
        match want:
            case WantCount(field, op, value):
                have = count_of(result, field)
                if have is None:
                    unseen.append(field)
                elif not _COMPARE[op](have, value):
                    sign = "" if op == "==" else op + " "
                    problems.append(f"{field} {sign}{value} expected, {have} seen")
            case WantStamps():
                _pages(want, "data", result.stamps, result, problems, unseen, atomic)
            case WantBits():
                seen = result.snapshot if want.field == "byte" else result.pagemap
                _pages(want, want.field, seen, result, problems, unseen)
            case WantOutcome():
                pass
    return Judged(tuple(problems), tuple(unseen))


def _pages(
    want: WantStamps | WantBits,
    field: str,
    seen: Sequence[int],
    result: Result,
    problems: list[str],
    unseen: list[str],
    atomic: bool = True,
) -> None:
    if not seen and result.ok:
        unseen.append(field)
        return
    count = len(seen) - want.first if want.count < 0 else want.count
    wrong: list[int] = []
    for k in range(count):
        at = want.first + k
        torn = not atomic and len(set(want.allowed)) > 1 and at < len(seen) and seen[at] == TORN
        if not torn and (at >= len(seen) or not _allowed(want, k, seen[at])):
            wrong.append(k)
    if not wrong:
        return
    k = wrong[0]
    at = want.first + k
    have = _told(want, seen[at]) if at < len(seen) else "nothing"
    more = f" ({len(wrong)} of {count} pages differ)" if len(wrong) > 1 else ""
    problems.append(f"{field} of page {want.page + k}: {_wanted(want, k)} expected, {have} seen{more}")


def _allowed(want: WantStamps | WantBits, k: int, value: int) -> bool:
    if isinstance(want, WantStamps):
        return any(value == first + (0 if each else k) for first, each in want.allowed)
    return any(value & mask == bits for mask, bits in want.allowed)


def _wanted(want: WantStamps | WantBits, k: int) -> str:
    if isinstance(want, WantBits):
        return " or ".join(want.texts)
    return " or ".join(_stamp(first + (0 if each else k)) for first, each in want.allowed)


def _told(want: WantStamps | WantBits, value: int) -> str:
    if isinstance(want, WantStamps):
        return _stamp(value)
    return byte_text(value) if want.field == "byte" else map_text(value)


def _stamp(value: int) -> str:
    return "torn data" if value == TORN else "zero" if value == 0 else str(value)


def byte_text(value: int) -> str:
    """A snapshot's byte in words: `WRITE + PRIV_LOCAL`."""
    names = {number: name for name, number in BYTES.items()}
    if value in names:
        return names[value]
    parts = [names[value & 3]] if value & 3 in (1, 2) else []
    parts += [name for name in ("PMD", "PUD") if value & BYTES[name]]
    place = value & 0xF0
    if place and place in names:
        parts.append(names[place])
    told = " + ".join(parts)
    whole = sum(BYTES[p] for p in parts)
    return told if whole == value else f"0x{value:02x}"


def map_text(value: int) -> str:
    """Pagemap bits in words."""
    parts = [name for name, bit in MAPS.items() if value & bit and bit != PAGEMAP_EXCLUSIVE]
    parts += ["exclusive"] if value & PAGEMAP_EXCLUSIVE else []
    return " + ".join(parts) or "none"
