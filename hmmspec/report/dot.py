"""Diagrams in the DOT language of Graphviz: plain data, and the text that draws it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vertex:
    """key: unique in its diagram; label: lines of text; tone: '' | 'initial' | 'end' | 'call' | 'final' | 'bad'."""

    key: str
    label: str
    tone: str = ""
    tip: str = ""


@dataclass(frozen=True)
class Edge:
    """From key to key."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True)
class Diagram:
    """One titled box of a drawing."""

    title: str
    vertices: tuple[Vertex, ...]
    edges: tuple[Edge, ...]


_TONES = {
    "": "",
    "initial": ", peripheries=2",
    "end": ', style="rounded,dashed"',
    "call": ', shape=component, style="filled", fillcolor="#eeeeee"',
    "final": ', style="rounded,filled", fillcolor="#dde6f5"',
    "bad": ', style="rounded,filled", fillcolor="#f4c7c3"',
}


_CROWDED = 100  # with more edges than that Graphviz takes minutes to place their labels


def to_dot(name: str, diagrams: Sequence[Diagram]) -> str:
    """The drawing, ending in a newline.

    Edges between the same two vertices become one with all labels; in a crowded drawing labels are tool tips.
    """
    crowded = sum(len(d.edges) for d in diagrams) > _CROWDED
    lines = [f"digraph {quoted(name)} {{", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    lines += ['  edge [fontname="sans-serif", fontsize=10];']
    if crowded:
        lines += ["  nslimit=1; nslimit1=1; mclimit=0.1; splines=false;"]
    for number, diagram in enumerate(diagrams):
        lines += [f"  subgraph cluster_{number} {{", f"    label={quoted(diagram.title)};"]
        lines += ['    fontname="sans-serif";']
        lines += [f"    {line}" for line in _inside(number, diagram, "tooltip" if crowded else "label")]
        lines.append("  }")
    return "\n".join([*lines, "}"]) + "\n"


def quoted(text: str) -> str:
    """A DOT string; its lines are centred."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _inside(number: int, diagram: Diagram, told: str) -> Iterator[str]:
    for v in diagram.vertices:
        tip = f", tooltip={quoted(v.tip)}" if v.tip else ""
        yield f"{quoted(f'{number}.{v.key}')} [label={quoted(v.label)}{_TONES[v.tone]}{tip}];"
    merged: dict[tuple[str, str], list[str]] = {}
    for e in diagram.edges:
        labels = merged.setdefault((e.source, e.target), [])
        if e.label and e.label not in labels:
            labels.append(e.label)
    for (source, target), labels in merged.items():
        ends = f"{quoted(f'{number}.{source}')} -> {quoted(f'{number}.{target}')}"
        yield f"{ends} [{told}={quoted(chr(10).join(labels))}];" if labels else f"{ends};"
