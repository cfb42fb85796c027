"""Diagrams of what a spec declares, from its syntax tree alone: machines by their arrows, threads by their labels."""

from __future__ import annotations

from hmmspec.lang import syntax
from hmmspec.report.dot import Diagram, Edge, Vertex

_LONGEST = 48  # characters of a condition on an edge
_STOPPED = "stopped"
_RETURN = "return"


def diagrams_of(spec: syntax.Spec) -> dict[str, Diagram]:
    """Name -> diagram, of every machine, thread and procedure, in the order of the file."""
    out: dict[str, Diagram] = {}
    for d in spec.declarations:
        match d:
            case syntax.Machine():
                out[d.name.name] = _machine(d)
            case syntax.Thread() | syntax.Procedure():
                out[d.name.name] = _Flow(d).diagram()
            case _:
                pass
    return out


def _machine(machine: syntax.Machine) -> Diagram:
    first = {s.name for s in machine.initial}
    vertices = tuple(Vertex(s.name, s.name, "initial" if s.name in first else "") for s in machine.states)
    edges = []
    for arrow in machine.arrows:
        when = f"{arrow.name.name}\n[{_short(arrow.when)}]" if arrow.when is not None else arrow.name.name
        edges += [Edge(s.name, arrow.target.name, when) for s in arrow.sources]
    return Diagram(f"machine {machine.name.name}", vertices, tuple(edges))


class _Flow:
    """Follows control through a thread's or procedure's body, from label to label."""

    def __init__(self, body: syntax.Thread | syntax.Procedure) -> None:
        self.decl = body
        self.is_thread = isinstance(body, syntax.Thread)
        self.waits: dict[str, list[str]] = {}
        self.calls: dict[str, str] = {}
        self.edges: dict[Edge, None] = {}
        starts = body.body and isinstance(body.body[0], syntax.Label)
        self.first = body.body[0].name.name if starts and isinstance(body.body[0], syntax.Label) else "start"
        self.waits[self.first] = []

    def diagram(self) -> Diagram:
        end = _STOPPED if self.is_thread else _RETURN
        for label in self._block(self.decl.body, {self.first: ""}).items():
            self._edge(label, end)
        ends = [name for name in (_STOPPED, _RETURN) if any(e.target == name for e in self.edges)]
        vertices = [
            Vertex(name, "\n".join([name, *dict.fromkeys(waits)]), "initial" if name == self.first else "")
            for name, waits in self.waits.items()
        ]
        vertices += [Vertex(key, text, "call") for key, text in self.calls.items()]
        vertices += [Vertex(name, name, "end") for name in ends]
        kind = "thread" if self.is_thread else "procedure"
        return Diagram(f"{kind} {self.decl.name.name}", tuple(vertices), tuple(self.edges))

    def _edge(self, at: tuple[str, str], target: str) -> None:
        source, condition = at
        self.edges[Edge(source, target, condition)] = None

    def _block(self, block: syntax.Block, at: dict[str, str]) -> dict[str, str]:
        """Where control can be after the block: label -> the condition under which its step comes this far."""
        for statement in block:
            at = self._statement(statement, at)
        return at

    def _statement(self, statement: syntax.Stmt, at: dict[str, str]) -> dict[str, str]:
        match statement:
            case syntax.Label(name=label):
                return self._arrive(at, label.name)
            case syntax.Goto(label=label):
                return self._leave(at, label.name)
            case syntax.Restart():
                return self._leave(at, self.first)
            case syntax.Stop():
                return self._leave(at, _STOPPED)
            case syntax.Return():
                return self._leave(at, _RETURN)
            case syntax.If(condition=condition, then=then, otherwise=otherwise):
                text = _short(condition)
                yes = self._block(then, dict.fromkeys(at, text))
                no = self._block(otherwise, dict.fromkeys(at, f"else of {text}"))
                return _joined(at, yes, no)
            case syntax.Either(branches=branches):
                return _joined(at, *(self._block(b, dict(at)) for b in branches))
            case syntax.While(condition=condition, body=body):
                return self._while(_short(condition), body, at)
            case syntax.For(body=body):
                return _joined(at, self._block(body, dict(at)), at)
            case syntax.CallStmt():
                return self._call(_source(statement), at)
            case syntax.Await() | syntax.Acquire():
                for here in at:
                    if here in self.waits:
                        self.waits[here].append(_source(statement))
                return at
            case _:
                return at

    def _arrive(self, at: dict[str, str], label: str) -> dict[str, str]:
        self.waits.setdefault(label, [])
        for entry in at.items():
            if entry[0] != label or entry[1]:
                self._edge(entry, label)
        return {label: ""}

    def _leave(self, at: dict[str, str], target: str) -> dict[str, str]:
        for entry in at.items():
            self._edge(entry, target)
        return {}

    def _call(self, text: str, at: dict[str, str]) -> dict[str, str]:
        key = f"call {text}"
        self.calls[key] = text
        for entry in at.items():
            self._edge(entry, key)
        return {key: ""}

    def _while(self, text: str, body: syntax.Block, at: dict[str, str]) -> dict[str, str]:
        entry = dict(at)
        while True:
            # A pass may end at labels that the first pass did not start from: again until nothing is new.
            after = self._block(body, dict.fromkeys(entry, text))
            fresh = {label: "" for label in after if label not in entry}
            if not fresh:
                return dict.fromkeys(entry, f"else of {text}")
            entry.update(fresh)


def _joined(before: dict[str, str], *ways: dict[str, str]) -> dict[str, str]:
    """Control after a fork: a label that comes through several ways has no condition of its own any more."""
    out: dict[str, str] = {}
    for way in ways:
        for label, condition in way.items():
            out[label] = condition if label not in out else before.get(label, "")
    return out


def _short(e: syntax.Expr | None) -> str:
    text = " ".join(e.span.text.split()) if e is not None else ""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _source(statement: syntax.Stmt) -> str:
    return " ".join(statement.span.text.split()).rstrip(";")
