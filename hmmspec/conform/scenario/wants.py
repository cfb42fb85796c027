"""What is expected of a command, worked out: page numbers, stamps and bits as numbers."""

from __future__ import annotations

from hmmspec.conform.commands import Command
from hmmspec.conform.results import STAMPS, TORN
from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.forms import BYTES, MAPS, PLACES
from hmmspec.conform.scenario.plan import OK, Cases, Want, WantBits, WantCount, WantOutcome, WantStamps
from hmmspec.conform.scenario.values import Evaluator, mistake

_ALL_BITS = 0xFF


def wants(do: s.Do, command: Command, device: str, evaluate: Evaluator) -> Cases:
    """The cases of a command, one of which must be met; nothing written means that it succeeds.  Raises SpecError.

    `device`: the kind of the device that does it, '' if none does.
    """
    if not do.expected:
        return OK
    return tuple(_case(case, command, device, evaluate) for case in do.expected)


def _case(case: s.Case, command: Command, device: str, evaluate: Evaluator) -> tuple[Want, ...]:
    out = [_want(condition, command, device, evaluate) for condition in case.conditions]
    if not any(isinstance(want, WantOutcome) for want in out):
        out.insert(0, WantOutcome("ok"))
    return tuple(out)


def _want(condition: s.Condition, command: Command, device: str, evaluate: Evaluator) -> Want:
    match condition:
        case s.Outcome(word):
            return WantOutcome(word)
        case s.Counted(field, op, value):
            return WantCount(field, op, evaluate.number(value))
        case s.Stamps(pages, values):
            first, count, page = _part(pages, command, evaluate)
            return WantStamps(first, count, page, tuple(_stamp(v, count, evaluate) for v in values))
        case s.Bits(field, pages, values):
            first, count, page = _part(pages, command, evaluate)
            allowed = tuple(_byte(words, device) if field == "byte" else _map(words) for words in values)
            texts = tuple(" + ".join(("!" if w.off else "") + w.word for w in words) for words in values)
            return WantBits(field, first, count, page, allowed, texts)


def _part(pages: s.Range | None, command: Command, evaluate: Evaluator) -> tuple[int, int, int]:
    """The first page of the result that is meant, how many, and what number the first has."""
    start = getattr(command, "page", 0)
    whole: int | None = getattr(command, "count", None)  # a hold does not say how many pages it has
    if pages is None:
        return 0, -1 if whole is None else whole, start
    first = evaluate.number(pages.first)
    end = first + 1 if pages.end is None else evaluate.number(pages.end)
    if end <= first:
        raise mistake("HMM125", pages, f"[{first}, {end}) is no range of pages")
    if first < start or (whole is not None and end > start + whole):
        last = "" if whole is None else f", {start + whole})"
        fix = f"the command is about [{start}{last}"
        raise mistake("HMM125", pages, f"[{first}, {end}) is not within the pages of the command", fix)
    return first - start, end - first, first


def _stamp(value: s.StampValue, count: int, evaluate: Evaluator) -> tuple[int, bool]:
    if value.value is None:
        return 0, True
    first = evaluate.number(value.value)
    if first == TORN or not 0 <= first < STAMPS - max(count, 0):
        raise mistake("HMM125", value.value, f"{first} is no stamp", f"from 0 to {STAMPS - 1}")
    return first, value.each


def _byte(words: tuple[s.Word, ...], device: str) -> tuple[int, int]:
    """All bits of a snapshot's byte are looked at."""
    value = 0
    places = 0
    for word in words:
        name = PLACES.get((word.word, device), word.word)
        if name not in BYTES:
            raise mistake("HMM126", word, f"'{word.word}' has no meaning without a device")
        places += BYTES[name] >= 0x10 and name != "ERROR"
        value |= BYTES[name]
    alone = [w for w in words if w.word in ("ERROR", "NONE")]
    if (alone and len(words) > 1) or places > 1 or {"READ", "WRITE"} <= {w.word for w in words}:
        fix = "NONE, ERROR, or READ or WRITE with + PMD, + ZERO, + LOCAL and the like"
        raise mistake("HMM126", words[0], "no byte shows these together", fix)
    return _ALL_BITS, value


def _map(words: tuple[s.Word, ...]) -> tuple[int, int]:
    """Only the bits that are named are looked at; `none` is that none is set."""
    mask = value = 0
    for word in words:
        if word.word == "none":
            return (1 << len(MAPS)) - 1, 0
        bit = MAPS[word.word]
        if mask & bit:
            raise mistake("HMM126", word, f"'{word.word}' is said twice")
        mask |= bit
        value |= 0 if word.off else bit
    return mask, value
