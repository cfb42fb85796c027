"""A trace as a reviewer reads it: who did what, only what changed, and why the last state is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hmmspec.checker.verdict import Blame, Trace, TraceStep
from hmmspec.report.phrases import plural
from hmmspec.report.style import Style


@dataclass(frozen=True)
class TraceOptions:
    """`full_states`: the whole state after every step, not only what changed; `path`: the spec's own file; `first`:
    what the first state is called."""

    full_states: bool = False
    path: str = ""
    first: str = "start"


def trace_lines(trace: Trace, style: Style, options: TraceOptions) -> list[str]:
    """The lines of one trace, without a title."""
    out = _start(trace.initial, style, options.first)
    width = len(str(trace.length))
    if trace.loop == 0 and trace.steps:
        out += ["", style.paint("from here it repeats for ever:", "strong")]
    for number, step in enumerate(trace.steps, 1):
        out += step_lines(step, f"{number:>{width}}", style, options)
        if trace.loop == number < len(trace.steps):
            out += ["", style.paint("from here it repeats for ever:", "strong")]
    if trace.loop is not None:
        out += ["", style.paint(_ending(trace), "strong")]
    if trace.final is not None:
        out += step_lines(trace.final, f"{trace.length:>{width}}", style, options, failed=True)
    if trace.message:
        out += ["", *(style.paint(line, "bad") for line in style.wrap(trace.message))]
    if trace.blame is not None:
        out += ["", *blame_lines(trace.blame, style)]
    return out


def step_lines(step: TraceStep, number: str, style: Style, options: TraceOptions, *, failed: bool = False) -> list[str]:
    """One step: its number, who and what, where it is written, and what it changed.  `failed`: it adds no state."""
    pad = " " * (len(number) + 2)
    head = f"{number}  {step_title(step)}"
    where = _where(step, options.path)
    if where and len(head) + 2 + len(where) <= style.width:
        lines = [
            f"{style.paint(head, 'strong')}{' ' * (style.width - len(head) - len(where))}{style.paint(where, 'dim')}"
        ]
    else:
        lines = [style.paint(line, "strong") for line in style.wrap(head, "", pad)]
    for change in step.changes:
        lines += style.wrap(f"{change.cell}: {change.before} -> {change.after}", pad + "  ", pad + "      ")
    if failed:
        lines.append(f"{pad}  {style.paint('fails here', 'bad')}")
    elif not step.changes:
        lines.append(f"{pad}  (nothing changes)")
    if options.full_states and not failed:
        lines += style.wrap_items(state_text(step.cells), "; ", f"{pad}  state  ")
    return lines


def step_title(step: TraceStep) -> str:
    """`fault[cpu0]: check (p = page1)` for a thread's step, `pin (p = page0)` for any other."""
    args = step.args
    name = step.rule
    if step.actor is not None:
        thread = step.actor.split("[", 1)[0]
        args = args[len(split_cell(step.actor)[1]) :]
        name = f"{step.actor}: {step.rule.removeprefix(thread + '.')}"
    given = ", ".join(f"{n} = {v}" for n, v in args)
    return f"{name} ({given})" if given else name


def blame_lines(blame: Blame, style: Style) -> list[str]:
    """The conjunct that failed, the bound values that broke it, and what its parts were."""
    out = style.wrap(blame.conjunct, "fails:  ", "          ")
    if blame.bindings:
        out += style.wrap(", ".join(f"{n} = {v}" for n, v in blame.bindings), "for     ")
    head = "where   "
    for text, value in blame.parts:
        out += style.wrap(f"{text} is {value}", head, "          ")
        head = "        "
    return [style.paint(out[0], "bad"), *out[1:]]


def state_text(cells: Mapping[str, str]) -> list[str]:
    """A whole state, cells of one array together: `pins[*] = 0`, `place[page0, page2] = system`."""
    return [text for group in state_groups(cells) for text in group]


def state_groups(cells: Mapping[str, str]) -> list[list[str]]:
    """The same, one list for each array or variable."""
    groups: dict[str, list[tuple[str, tuple[str, ...], str]]] = {}
    for cell, value in cells.items():
        stem, indices = split_cell(cell)
        groups.setdefault(stem, []).append((cell, indices, value))
    return [list(_group(stem, members)) for stem, members in groups.items()]


def split_cell(cell: str) -> tuple[str, tuple[str, ...]]:
    """`pte[mm0][page1].kind` as its stem `pte[*][*].kind` and its indices `("mm0", "page1")`."""
    stem: list[str] = []
    indices: list[str] = []
    depth, start = 0, 0
    for i, ch in enumerate(cell):
        if ch == "[":
            depth += 1
            if depth == 1:
                start = i + 1
        elif ch == "]":
            depth -= 1
            if depth == 0:
                indices.append(cell[start:i])
                stem.append("[*]")
        elif depth == 0:
            stem.append(ch)
    return "".join(stem), tuple(indices)


def _group(stem: str, members: list[tuple[str, tuple[str, ...], str]]) -> Iterator[str]:
    shown = {value for _, _, value in members}
    if len(members) > 1 and len(shown) == 1:
        yield f"{stem} = {members[0][2]}"
    elif stem.count("[*]") == 1 and len(shown) < len(members):
        by_value: dict[str, list[str]] = {}
        for _, (index,), value in members:
            by_value.setdefault(value, []).append(index)
        for value, names in by_value.items():
            yield f"{stem.replace('[*]', '[' + ', '.join(names) + ']')} = {value}"
    else:
        for cell, _, value in members:
            yield f"{cell} = {value}"


def _start(cells: Mapping[str, str], style: Style, first: str) -> list[str]:
    """The first state, a line for each variable."""
    out: list[str] = []
    for group in state_groups(cells):
        out += style.wrap_items(group, ", ", f"{first}  " if not out else " " * (len(first) + 2))
    return out or [first]


def _ending(trace: Trace) -> str:
    if trace.loop == len(trace.steps):
        return "and stays there for ever"
    back = "at the start" if trace.loop == 0 else f"in the state after step {trace.loop}"
    repeated = plural(len(trace.steps) - (trace.loop or 0), "step")
    return f"back {back}: the last {repeated} for ever"


def _where(step: TraceStep, path: str) -> str:
    if step.span is None or not step.span.source.text:
        return ""
    return f"line {step.span.line}" if step.span.path == path else f"{step.span.path}:{step.span.line}"
