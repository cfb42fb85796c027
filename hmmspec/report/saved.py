"""A counterexample in a file of its own: enough to find the spec again, and to tell whether it has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hmmspec.checker.verdict import Trace
from hmmspec.report.plain import BadTrace, Json, trace_from_plain, trace_to_plain

FORMAT = "hmmspec-trace-1"


@dataclass(frozen=True)
class SavedTrace:
    """A trace and where it comes from.

    params: every parameter of the instance, shown; overrides: those that the command line set (`-p`); digest: of the
    texts of the spec and of what it imports.
    """

    spec: str
    path: str
    instance: str
    params: tuple[tuple[str, str], ...]
    overrides: Mapping[str, str]
    property: str
    text: str
    seed: int
    digest: str
    trace: Trace


def digest_of(texts: Sequence[str]) -> str:
    """A SHA-256 over the texts, in order, that tells where one ends and the next begins."""
    h = hashlib.sha256()
    for text in texts:
        data = text.encode()
        h.update(f"{len(data)}\n".encode())
        h.update(data)
    return h.hexdigest()


def saved_to_json(saved: SavedTrace) -> str:
    """The file's text, ending in a newline."""
    value: dict[str, Json] = {
        "format": FORMAT,
        "spec": saved.spec,
        "path": saved.path,
        "instance": saved.instance,
        "params": dict(saved.params),
        "overrides": dict(saved.overrides),
        "property": saved.property,
        "text": saved.text,
        "seed": saved.seed,
        "sha256": saved.digest,
        "trace": trace_to_plain(saved.trace),
    }
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def saved_from_json(text: str) -> SavedTrace:
    """The saved trace in a file's text.  Raises BadTrace, with a message that says what is wrong."""
    try:
        top = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadTrace(f"not JSON: {error}") from None
    if not isinstance(top, dict) or top.get("format") != FORMAT:
        raise BadTrace(f'not a saved trace: there is no \'"format": "{FORMAT}"\' in it')
    words = {}
    for key in ("spec", "path", "instance", "property", "text", "sha256"):
        if not isinstance(top.get(key), str):
            raise BadTrace(f"'{key}' must be text")
        words[key] = str(top[key])
    seed = top.get("seed")
    if not isinstance(seed, int):
        raise BadTrace("'seed' must be a number")
    return SavedTrace(
        spec=words["spec"],
        path=words["path"],
        instance=words["instance"],
        params=tuple(_texts(top, "params").items()),
        overrides=_texts(top, "overrides"),
        property=words["property"],
        text=words["text"],
        seed=seed,
        digest=words["sha256"],
        trace=trace_from_plain(top.get("trace")),
    )


def _texts(top: dict[str, object], key: str) -> dict[str, str]:
    value = top.get(key)
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise BadTrace(f"'{key}' must map names to text")
    return value
