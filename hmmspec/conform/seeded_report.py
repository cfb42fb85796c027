"""What the hunts for seeded defects came to: as a page, as JSON, and read again to go on from there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields

from hmmspec.conform.seeded import SOUND, Caught, Hunt, Results
from hmmspec.ref.defects import DEFECTS

FORMAT = "hmmspec seeded defects"
VERSION = 2


def page(found: Mapping[tuple[str, bool], Caught], hunt: Hunt) -> Iterator[str]:
    """The report as a Markdown page."""
    names = [n for n in DEFECTS if (n, True) in found and (n, False) in found]
    yield "# Seeded defects"
    yield ""
    yield (
        f"Each defect of `hmmspec/ref/defects.py`, switched on alone in the reference kernel ({hunt.profile}), and "
        f"commands until something was found, {hunt.steps:,} at most: random programs (seed {hunt.seed}), a twentieth "
        "of them; "
        + ("the scenarios of `scenarios/`, with small buffers; " if hunt.scenarios else "")
        + "then more random programs, held against the specs, too.  *Commands* counts all of these from the first on.  "
        "*Checks off* is all that a real kernel offers: data, specs, scenarios, warnings, hangs, amounts of memory.  "
        f"Made by `hmmspec conform --seeded --steps {hunt.steps} --seed {hunt.seed} --page docs/defects.md`."
    )
    yield ""
    for checks, told in ((True, "on"), (False, "off")):
        caught = [found[n, checks] for n in names if found[n, checks].by]
        by = ", ".join(f"{k} {n}" for k, n in Counter(c.by for c in caught).most_common())
        share = 100 * len(caught) / max(1, len(names))
        yield f"- Checks {told}: {len(caught)} of {len(names)} caught ({share:.1f} %): {by}."
    for checks, told in ((True, "on"), (False, "off")):
        if (sound := found.get((SOUND, checks))) is not None:
            what = f"**{_by(sound)}: {sound.message}**" if sound.by else "nothing found"
            yield f"- The sound kernel, checks {told}: {what} in {sound.commands:,} commands."
    yield ""
    yield "| defect | what goes wrong | checks on | commands | checks off | commands |"
    yield "| --- | --- | --- | ---: | --- | ---: |"
    for name in names:
        on, off = found[name, True], found[name, False]
        what = DEFECTS[name].what + (f" (`{DEFECTS[name].fix}`)" if DEFECTS[name].fix else "")
        yield f"| {name} | {what} | {_by(on)} | {on.commands:,} | {_by(off)} | {off.commands:,} |"
    yield from _missed(found, names)


def _missed(found: Mapping[tuple[str, bool], Caught], names: list[str]) -> Iterator[str]:
    missed = [n for n in names if any(found[n, c].over and not found[n, c].by for c in (True, False))]
    early = [n for n in names if not (found[n, True].over and found[n, False].over)]
    if missed:
        yield ""
        yield "Why those that were missed were missed:"
        yield ""
    for name in missed:
        where = " and ".join(
            told
            for c, told in ((True, "with checks"), (False, "without"))
            if found[name, c].over and not found[name, c].by
        )
        why = DEFECTS[name].hidden or "no reason is known"
        yield f"- `{name}` ({where}): {why}."
    if early:
        yield ""
        yield "The run was ended before it was done with: " + ", ".join(f"`{n}`" for n in early) + "."


def _by(caught: Caught) -> str:
    if not caught.by:
        return f"**missed** ({caught.ended})" if caught.ended else "**missed**" if caught.over else "not done"
    return f"{caught.by} {caught.name or caught.scenario}".strip()


def document(found: Mapping[tuple[str, bool], Caught], hunt: Hunt) -> dict[str, object]:
    """The report as JSON."""
    return {
        "format": FORMAT,
        "version": VERSION,
        **_kind(hunt),
        "defects": [{**{f.name: getattr(c, f.name) for f in fields(c)}, "over": c.over} for c in found.values()],
    }


def _kind(hunt: Hunt) -> dict[str, object]:
    """What two hunts must have in common, so that one may go on from the other's results."""
    return {
        "steps": hunt.steps,
        "seed": hunt.seed,
        "profile": hunt.profile,
        "scenarios": bool(hunt.scenarios),
        "specs": bool(hunt.specs),
    }


def results_from(text: str, hunt: Hunt) -> Results:
    """What a document holds.  Raises ValueError for one that is none, or of a hunt of another kind."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("format") != FORMAT or data.get("version") != VERSION:
        raise ValueError("it holds no results of --seeded")
    for name, value in _kind(hunt).items():
        if data.get(name) != value:
            raise ValueError(f"it is of a hunt with {name} {data.get(name)}, and this one has {value}")
    out: Results = {}
    kinds = {f.name: type(f.default) for f in fields(Caught)} | {"defect": str, "checks": bool}
    for item in data.get("defects", ()):
        if not isinstance(item, dict) or not all(type(item.get(n)) is _plain(kinds[n], item.get(n)) for n in kinds):
            raise ValueError("a result in it is none")
        caught = Caught(**{n: item[n] for n in kinds})
        out[caught.defect, caught.checks] = caught
    return out


def _plain(kind: type, value: object) -> type:
    """The type that JSON gives a value of this one."""
    return int if kind is float and type(value) is int else kind
