"""Whether two Systems mean the same, told by short digests: of each part, so that what differs can be named."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from hmmspec.diagnostics import InternalError
from hmmspec.system.system import System

# Fields of the core that say nothing about what a search finds.
_SAYS_NOTHING = {"doc", "path", "text", "expectation", "anchors", "proofs", "events", "observations"}
_KINDS = {
    "Invariant": "invariant",
    "StepProperty": "step property",
    "Reachable": "reachable",
    "Recoverable": "recoverable",
    "LeadsTo": "leads_to",
    "AssertProperty": "assert",
}


def parts(system: System) -> dict[str, str]:
    """Name of each part (`step 'pin'`, `variable 'place'`) -> a digest of its meaning.

    Comments, texts for people, where something stands in the file and what the file expects do not count.
    """
    out: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for name, value in _parts(system):
        seen[name] += 1
        out[name if seen[name] == 1 else f"{name} ({seen[name]})"] = _digest(_plain(value))
    return out


def difference(then: Mapping[str, str], now: Mapping[str, str], most: int = 4) -> str:
    """What differs, in words; '' if nothing does."""
    told = [f"{name} is gone" for name in then if name not in now]
    told += [f"{name} is new" for name in now if name not in then]
    told += [f"{name} has changed" for name in then if name in now and then[name] != now[name]]
    if not told and list(then) != list(now):
        told = ["the order of its parts has changed"]
    if len(told) > most:
        told = [*told[: most - 1], f"{len(told) - most + 1} more differences"]
    return ", ".join(told)


def text_digest(text: str) -> str:
    """A digest of C text without its comments, which quote the spec."""
    return _digest(re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL))


def _parts(system: System) -> Iterator[tuple[str, object]]:
    yield from ((f"param '{name}'", (value, t)) for name, value, t in system.params)
    yield "the symmetric types", system.symmetric
    yield from ((f"variable '{v.name}'", v) for v in system.variables)
    yield from ((f"define '{d.name}'", d) for d in system.defines)
    yield from ((f"step '{r.name}'", r) for r in system.rules)
    yield from ((f"thread '{t.name}'", t) for t in system.threads)
    yield from ((f"lock '{lock.name}'", lock) for lock in system.locks)
    yield from ((f"{_KINDS[type(p).__name__]} '{p.name}'", p) for p in system.properties)
    yield "what is terminal", system.terminal
    yield from ((f"assume '{a.name}'", a) for a in system.assumes)
    yield "fairness", system.fairness
    yield "the refinement", system.refinement


def _plain(x: object) -> str:
    """A text for a value of the core: equal texts for equal values, whatever order a set is kept in.  Not recursive:
    expressions can be deep."""
    out: list[str] = []
    todo: list[object] = [x]
    while todo:
        match todo.pop():
            case _Sign(text):
                out.append(text)
            case None | bool() | int() | str() as plain:
                out.append(repr(plain))
            case tuple() | list() as items:
                todo += [_Sign("]"), *reversed(items), _Sign("[")]
            case frozenset() | set() as members:
                todo += [_Sign("}"), *sorted(members, key=_plain, reverse=True), _Sign("{")]
            case Mapping() as known:
                todo.append(sorted(known.items(), key=_plain))
            case node if is_dataclass(node):
                told = [getattr(node, f.name) for f in fields(node) if f.compare and f.name not in _SAYS_NOTHING]
                todo += [_Sign(")"), *reversed(told), _Sign(f"{type(node).__name__}(")]
            case other:
                raise InternalError(f"a {type(other).__name__} in a System")
    return " ".join(out)


@dataclass(frozen=True)
class _Sign:
    text: str


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
