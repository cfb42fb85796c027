"""What `hmmspec prove` shows of specs/, specs/bugs/ and the benchmark model, as a table: docs/proofs.md.

Each file is a process of its own.  What came of it goes to docs/proofs.json, and the page is made from
that (`--page` makes the page again and proves nothing).  Counts are of properties, each once, whatever settings of the
fixed params it is proved for.  Exits with 1 if something that a file wants proved was neither proved nor, as the file
expects, refuted.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hmmspec.lang.load import load
from hmmspec.system import expr as E
from hmmspec.system.analyse import Analysis
from hmmspec.system.build import build_all
from hmmspec.system.system import AssertProperty, Invariant, StepProperty, System
from hmmspec.system.types import Symmetric

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "proofs.json"
PAGE = ROOT / "docs" / "proofs.md"
FILES = ("specs/*.hmm", "specs/bugs/*.hmm", "benchmarks/pages_frames.hmm")


@dataclass(frozen=True)
class Row:
    """One property of one file with one setting of the params that keep their value.

    shown: 'proved', 'refuted' (a run was found, as the file expects) or 'open'; lemmas: how many invariants were found
    that the proof needs; over_two: how many of these speak of two identities or more; one_array: the property reads at
    most one variable; two_of: a type of which it relates two identities ('' if there is none).
    """

    path: str
    fixed: str
    every: tuple[str, ...]
    property: str
    kind: str
    shown: str
    lemmas: int
    over_two: int
    one_array: bool
    two_of: str
    threads: bool  # a spec with threads and locks


@dataclass(frozen=True)
class Run:
    """One file."""

    path: str
    cpu_seconds: float
    wall_seconds: float
    exit_code: int


# ------------------------------------------------------------ proving


def prove(path: Path, limit: str) -> tuple[Run, list[dict[str, Any]]]:
    """All prove clauses of one file, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "hmmspec",
        "prove",
        "--json",
        "--quiet",
        "--time",
        limit,
        str(path.relative_to(ROOT)),
    ]
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - begin
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    try:
        verdicts = json.loads(done.stdout)["verdicts"]
    except ValueError:
        verdicts = []
    return Run(str(path.relative_to(ROOT)), round(cpu, 1), round(wall, 1), done.returncode), verdicts


def rows(path: Path, verdicts: Iterable[dict[str, Any]]) -> Iterator[Row]:
    """What is said of each property, with what its text tells."""
    systems = {s.instance: s for s in build_all(load(str(path)))}
    for v in verdicts:
        system, proof = systems[v["instance"]], v["proof"]
        body = body_of(system, v["property"])
        shown = {"holds": "proved", "violated": "refuted" if v["expected"] else "open"}.get(v["verdict"], "open")
        yield Row(
            path=str(path.relative_to(ROOT)),
            fixed=", ".join(f"{name} = {value}" for name, value in proof["fixed"].items()),
            every=tuple(proof["every"]),
            property=v["property"],
            kind=v["kind"],
            shown=shown,
            lemmas=len(proof["invariants"]),
            over_two=sum(binders(text) >= 2 for text in proof["invariants"]),
            one_array=body is not None and len(Analysis(system).reads(body)) <= 1,
            two_of=two_of(body) if body is not None else "",
            threads=bool(system.threads and system.locks),
        )


def body_of(system: System, name: str) -> E.Expr | None:
    """What a property says; nothing of what a step may not end in."""
    for p in system.properties:
        if p.name == name and isinstance(p, Invariant | StepProperty) and not isinstance(p, AssertProperty):
            return p.body
    return None


def two_of(e: E.Expr) -> str:
    """The symmetric type of which a property binds two identities at once."""

    def inside(e: object, outer: tuple[str, ...]) -> str:
        if isinstance(e, E.Quant):
            for b in e.binders:
                if isinstance(b.type, Symmetric):
                    if b.type.name in outer:
                        return b.type.name
                    outer = (*outer, b.type.name)
        if isinstance(e, tuple):
            return next((x for part in e if (x := inside(part, outer))), "")
        if hasattr(e, "__dataclass_fields__"):
            parts = (getattr(e, name) for name in e.__dataclass_fields__ if name not in ("type", "span"))
            return next((x for part in parts if (x := inside(part, outer))), "")
        return ""

    return inside(e, ())


def binders(invariant: str) -> int:
    """Of how many identities a found invariant speaks."""
    head = re.match(r"forall ([^{|]*)[{|]", invariant)
    return head[1].count(",") + 1 if head else 0


# ------------------------------------------------------------ the page


def page(found: list[Row], runs: list[Run]) -> str:
    """docs/proofs.md."""
    out = [HEAD, *counts(found), "", "## Property by property", ""]
    for path in dict.fromkeys(r.path for r in found):
        mine = [r for r in found if r.path == path]
        (run,) = (r for r in runs if r.path == path)
        of = ", ".join(dict.fromkeys(t for r in mine for t in r.every))
        out += [
            f"### {path}",
            "",
            f"For every number of {of}. {run.cpu_seconds:g} s of CPU time.",
            "",
            "| property | with | | invariants found | of which over two identities | relates two |",
            "|---|---|---|---|---|---|",
        ]
        for r in mine:
            lemmas = (str(r.lemmas), str(r.over_two)) if r.shown == "proved" else ("", "")
            out.append(f"| `{r.property}` | {r.fixed} | {r.shown} | {lemmas[0]} | {lemmas[1]} | {r.two_of} |")
        out.append("")
    return "\n".join(out)


HEAD = """# What is proved for any number

Made by `python benchmarks/proofs.py` with `hmmspec prove`, one process for each file. *Proved*: for every number of
identities of the types named, with the params in the second column as they are there. *Refuted*: by a run, as the file
expects: it is the kernel without a patch. An *invariant found* is one that the proof needs and that nobody wrote down.
"""


def tally(found: list[Row]) -> dict[str, int]:
    """What the table of counts says, of specs/ alone and each property once."""

    def properties(rows: Iterable[Row]) -> int:
        return len({(r.path, r.property) for r in rows})

    ours = [r for r in found if re.fullmatch(r"specs/\w+\.hmm", r.path)]
    proved = [r for r in ours if r.shown == "proved"]
    return {
        "properties proved": properties(proved),
        "with invariants that were found": properties(r for r in proved if r.lemmas),
        "with a found invariant over two identities": properties(r for r in proved if r.over_two),
        "about more than one variable": properties(r for r in proved if not r.one_array),
        "of specs with threads and locks": properties(r for r in proved if r.threads),
        "that relate two identities of one type": properties(r for r in proved if r.two_of),
        "that relate two pages": properties(r for r in proved if r.two_of == "Page"),
        "not proved": properties(r for r in ours if r.shown == "open"),
    }


def counts(found: list[Row]) -> Iterator[str]:
    """The table of counts."""
    yield from ("| in `specs/` | |", "|---|---|")
    for what, n in tally(found).items():
        yield f"| {what} | {n} |"
    bugs = [r for r in found if r.path.startswith("specs/bugs/")]
    yield from ("", "| in `specs/bugs/` | |", "|---|---|")
    for shown in ("proved", "refuted", "open"):
        files = len({r.path for r in bugs if r.shown == shown})
        yield f"| {shown} | {sum(r.shown == shown for r in bugs)}, in {files} files |"


def saved() -> tuple[list[Row], list[Run]]:
    """What RESULTS has."""
    data = json.loads(RESULTS.read_text(encoding="utf-8"))
    return [Row(**{**r, "every": tuple(r["every"])}) for r in data["rows"]], [Run(**r) for r in data["runs"]]


def main() -> int:
    """Prove, save, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--page", action="store_true", help="write the page from what was saved")
    parser.add_argument("--time", default="120s", help="limit for each goal")
    parser.add_argument("files", nargs="*", type=Path, help="these alone; the others stay as they were")
    args = parser.parse_args()
    found, runs = saved() if RESULTS.exists() else ([], [])
    every = sorted(p for pattern in FILES for p in ROOT.glob(pattern) if build_all(load(str(p)))[0].proofs)
    wanted = [str(p.relative_to(ROOT)) for p in every]
    found, runs = [r for r in found if r.path in wanted], [r for r in runs if r.path in wanted]
    chosen = [] if args.page else [p.resolve() for p in args.files] or every
    for path in chosen:
        run, verdicts = prove(path, args.time)
        own = list(rows(path, verdicts))
        runs = [*(r for r in runs if r.path != run.path), run]
        found = [*(r for r in found if r.path != run.path), *own]
        print(f"{run.path}: {sum(r.shown == 'proved' for r in own)} proved, "
              f"{sum(r.shown == 'refuted' for r in own)} refuted, {sum(r.shown == 'open' for r in own)} open, "
              f"{run.cpu_seconds} s CPU, exit code {run.exit_code}", flush=True)  # fmt: skip
        runs.sort(key=lambda r: wanted.index(r.path))
        found.sort(key=lambda r: wanted.index(r.path))
        data = {"runs": [asdict(r) for r in runs], "rows": [asdict(r) for r in found]}
        RESULTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    data = {"runs": [asdict(r) for r in runs], "rows": [asdict(r) for r in found]}
    RESULTS.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(found, runs), encoding="utf-8")
    return int(any(r.shown == "open" for r in found) or any(r.exit_code for r in runs))


if __name__ == "__main__":
    sys.exit(main())
