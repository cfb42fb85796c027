"""What generated specs have in them: each row of the contract's table, each kind of verdict and error, how many states.

Counted on the parsed files and on the reports, not on what the generator believes.  `python -m tests.native.census 1000`
prints the census of the first thousand seeds (no compiler is needed).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass

from hmmspec.checker.verdict import InstanceReport, Status
from hmmspec.diagnostics import Source
from hmmspec.lang import syntax as S
from hmmspec.lang.parser import parse
from tests.native.agree import Case, case

# Part of the table -> what belongs to it.  A name is a class of the syntax tree, perhaps with one of its values.
TABLE: dict[str, tuple[str, ...]] = {
    "values": (
        "BoolType", "RangeType", "named range", "EnumType", "SymmetricType", "UnionType", "OptionalType", "RecordType",
        "array", "nested array", "SetType", "QueueType", "NullLit", "EmptyQueue", "AnyInit", "start by index",
    ),
    "expressions": (
        *(f"Binary {op}" for op in "+ - * / % == != < <= > >= && || => <=> in".split()), "Unary !", "Unary -", "IfExpr",
        *(f"Quant {k}" for k in "forall exists count sum min max".split()), "over a set", "over a range", "several binders",
        "quantifier with a filter", "SetLit", "SetComp type", "SetComp set", "Call size", "Call min", "Call max", "RecordLit",
        "Define", "define with parameters", "range after in", "set after in", "type after in", "Member",
    ),
    "steps": (
        "Transition", "transition with parameters", "transition with when", "Assign :=", "Assign +=", "Assign -=", "Let",
        "If", "else if", "For", "for with a filter", "choose from a type", "choose from a set", "choose with a filter", "Either",
        "Assert", "Push", "Pop", "Call head", "Skip",
    ),
    "machines": ("Machine", "machine with an index", "several sources", "several initial", "arrow with parameters", "arrow with when",
                 "arrow with a body", "arrows of one name"),
    "threads": (
        "Thread", "thread with an index", "thread with a parameter", "thread with locals", "Await", "Goto", "While", "Restart",
        "Stop", "Procedure", "Return", "procedure with a local", "procedure with labels", "CallStmt", "call into",
        "runs when", "place read", "local read outside",
    ),
    "locks": ("LockDecl lock", "LockDecl rwlock", "array of locks", "Acquire", "acquire read", "Release", "Trylock", "Held held",
              "Held mine", "held read"),
    "properties": (
        *(f"Property {k}" for k in "invariant step reachable recoverable leads_to terminal assume".split()), "primes",
        "leads_to under forall",
    ),
    "instances": ("ParamDecl", "Instance", "ExpectViolates", "ExpectCount"),
    "proofs": ("Prove",),
    "files": ("Import", "Refines", "Patches", "Replace", "Remove", "Add"),
    "step lists": ("Fair weak", "Fair strong", "Event", "SourceAnchor", "Observe"),
}  # fmt: skip

# What a verdict can be, and each kind of spec error by its message.
VERDICTS: tuple[str, ...] = (
    *(f"{k} {s}" for k in ("invariant", "step", "assert", "reachable", "recoverable", "leads_to", "deadlock", "spec_error",
                           "double_acquire", "foreign_release", "held_at_stop", "lock_cycle", "refines")
      for s in ("holds", "violated")),
    "lock_order holds", "lock_order warning", "deadlock warning", "unknown",
)  # fmt: skip
ERRORS: dict[str, str] = {
    "range": r"outside",
    "null": r"^null where",
    "member": r"^(?!null)\S+ where .* is wanted",
    "queue": r"^(push|pop|head)\b",
    "empty": r"of nothing",
    "division": r"division by zero",
}


def _nodes(x: object) -> Iterator[S.Node]:
    if isinstance(x, tuple):
        for y in x:
            yield from _nodes(y)
    elif is_dataclass(x) and isinstance(x, S.Node):
        yield x
        for f in fields(x):
            if f.name != "span":
                yield from _nodes(getattr(x, f.name))


def facts(file: S.File) -> set[str]:
    """What one file has in it."""
    out: set[str] = set()
    threads = {d.name.name for d in file.declarations if isinstance(d, S.Thread)}
    locals_ = {v.name.name for d in file.declarations if isinstance(d, S.Thread) for v in d.locals}
    types = {d.name.name for d in file.declarations if isinstance(d, S.TypeDecl)}
    for node in _nodes(file):
        out.add(type(node).__name__)
        out.update(_more(node, threads, locals_, types))
    return out


def _more(node: S.Node, threads: set[str], locals_: set[str], types: set[str]) -> Iterator[str]:
    match node:
        case S.TypeDecl(type=S.RangeType()):
            yield "named range"
        case S.VarDecl(indices=indices, init=init):
            if indices:
                yield "array"
            if len(indices) > 1:
                yield "nested array"
            if any(i.name is not None for i in indices) and init is not None:
                yield "start by index"
        case S.Binary(op, _, right):
            yield f"Binary {op}"
            if op == "in":
                named = isinstance(right, S.Name) and right.name in types
                yield f"{'range' if isinstance(right, S.RangeExpr) else 'type' if named else 'set'} after in"
        case S.Unary(op, _):
            yield f"Unary {op}"
        case S.Quant(kind, binders, filter_, _):
            yield f"Quant {kind}"
            if len(binders) > 1 or len(binders[0].names) > 1:
                yield "several binders"
            if filter_ is not None:
                yield "quantifier with a filter"
            for b in binders:
                if b.over_set:
                    yield "over a range" if isinstance(b.domain, S.RangeExpr) else "over a set"
                elif isinstance(b.domain, S.RangeType):
                    yield "over a range"
            if isinstance(node.body, S.LeadsTo):
                yield "leads_to under forall"
        case S.SetComp(binder, _):
            yield f"SetComp {'set' if binder.over_set else 'type'}"
        case S.Call(name, _):
            yield f"Call {name.name}"
        case S.Define(params=params) if params:
            yield "define with parameters"
        case S.Name(name, primed):
            if primed:
                yield "primes"
            if name in threads:
                yield "place read"
        case S.Member(_, name) if name.name in locals_:
            yield "local read outside"
        case S.Transition(params=params, when=when):
            if params:
                yield "transition with parameters"
            if when is not None:
                yield "transition with when"
        case S.Assign(_, op, _):
            yield f"Assign {op}"
        case S.If(_, _, (S.If(),)):
            yield "else if"
        case S.For(_, filter_, _) if filter_ is not None:
            yield "for with a filter"
        case S.Choose(binders, filter_):
            yield "choose from a set" if binders[0].over_set else "choose from a type"
            if filter_ is not None:
                yield "choose with a filter"
        case S.Machine(_, indices, _, initial, arrows):
            if indices:
                yield "machine with an index"
            if len(initial) > 1:
                yield "several initial"
            if len({a.name.name for a in arrows}) < len(arrows):
                yield "arrows of one name"
        case S.Arrow(sources, _, _, params, when, body):
            if len(sources) > 1:
                yield "several sources"
            if params:
                yield "arrow with parameters"
            if when is not None:
                yield "arrow with when"
            if body:
                yield "arrow with a body"
        case S.Thread(_, indices, params, runs_when, own, _):
            for there, what in ((indices, "an index"), (params, "a parameter"), (own, "locals")):
                if there:
                    yield f"thread with {what}"
            if runs_when is not None:
                yield "runs when"
        case S.Procedure(locals=own, body=body):
            if own:
                yield "procedure with a local"
            if any(isinstance(s, S.Label) for s in body):
                yield "procedure with labels"
        case S.CallStmt(target, _, _) if target is not None:
            yield "call into"
        case S.LockDecl(kind, _, indices):
            yield f"LockDecl {kind}"
            if indices:
                yield "array of locks"
        case S.Acquire(True, _):
            yield "acquire read"
        case S.Held(kind, read, _):
            yield f"Held {kind}"
            if read:
                yield "held read"
        case S.Property(kind=kind):
            yield f"Property {kind}"
        case S.Fair(strong, _):
            yield f"Fair {'strong' if strong else 'weak'}"
        case _:
            pass


def verdicts(reports: Iterable[InstanceReport]) -> set[str]:
    """Kinds of verdicts and errors in the reports on one spec."""
    out: set[str] = set()
    for r in reports:
        for v in r.verdicts:
            name = v.property if v.kind == "built-in" else v.kind
            out.add("unknown" if v.status is Status.UNKNOWN else f"{name} {v.status.value}")
            if v.property == "spec_error" and v.trace is not None:
                out.update(f"error {k}" for k, pattern in ERRORS.items() if re.search(pattern, v.trace.message))
    return out


class Census:
    """Counts over many cases."""

    def __init__(self, seeds: Iterable[int]) -> None:
        self.states: list[int] = []
        self.found: Counter[str] = Counter()
        for seed in seeds:
            self.add(case(seed))
            case.cache_clear()

    def add(self, c: Case) -> None:
        """Count one more case."""
        self.states.append(max(r.states or 0 for r in c.shown))
        here: set[str] = verdicts(c.shown)
        for name, text in c.files.files.items():
            here |= facts(parse(Source(name, text)))
        self.found.update(here)

    def rows(self) -> Iterator[tuple[str, str, int]]:
        """Part, what, in how many specs."""
        for part, names in TABLE.items():
            yield from ((part, name, self.found[name]) for name in names)
        yield from (("verdicts", name, self.found[name]) for name in VERDICTS)
        yield from (("errors", name, self.found[f"error {name}"]) for name in ERRORS)

    def over(self, states: int) -> int:
        """How many specs have more states than this."""
        return sum(n > states for n in self.states)

    def table(self) -> str:
        """As text, for the log of a test."""
        ordered = sorted(self.states)
        tenths = ", ".join(str(ordered[len(ordered) * k // 10]) for k in range(1, 10)) if ordered else ""
        head = f"{len(ordered)} specs, {self.over(100)} with over 100 states; tenths: {tenths}; largest {ordered[-1]}"
        return "\n".join([head, *(f"{part:<12} {name:<28} {n:>5}" for part, name, n in self.rows())])

    def missing(self, row: float, verdict: float) -> list[str]:
        """What occurs too rarely: rows of the table, and kinds of verdicts and errors."""
        return [
            f"{part}, {name}: {n}"
            for part, name, n in self.rows()
            if n < (verdict if part in ("verdicts", "errors") else row)
        ]


if __name__ == "__main__":
    print(Census(range(int(sys.argv[1]))).table())
