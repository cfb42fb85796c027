"""What ends a run: a spec error, a failed assert, a misused lock.  Plain data, and the exception that carries it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hmmspec.diagnostics import NOWHERE, Span
from hmmspec.system.types import Int, Null, Range, Type, Union, project, show_type, show_value


@dataclass(frozen=True)
class Fault:
    """finding: 'spec_error', 'assert', 'double_acquire', 'foreign_release' or 'held_at_stop'.
    name: the property's name for an assert, else the finding.
    kind: of a spec error: 'range', 'null', 'member', 'queue', 'empty', 'division'; else empty.
    """

    finding: str
    name: str
    kind: str
    message: str
    span: Span = field(default=NOWHERE, compare=False, repr=False)


class SpecFault(Exception):
    """Raised while an expression or a step is evaluated."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def spec_error(kind: str, message: str, span: Span) -> Fault:
    return Fault("spec_error", "spec_error", kind, message, span)


def members_of(t: Type) -> tuple[Type, ...]:
    """The members of a union; any other type is its own only member."""
    return t.members if isinstance(t, Union) else (t,)


def is_integer(t: Type) -> bool:
    return isinstance(t, (Int, Range))


@dataclass(frozen=True)
class Site:
    """A place in the spec where something can go wrong.

    text: the expression; source, target: the types of a cast; path: of an assignment, the target in pieces: text, and
    types of the index values that stand between the texts.
    """

    span: Span
    text: str
    source: Type | None = None
    target: Type | None = None
    path: tuple[str | Type, ...] = ()

    def cast(self, value: object) -> SpecFault:
        """The value is none of the target type."""
        assert self.source is not None and self.target is not None
        wanted = show_type(self.target)
        shown = show_value(self.source, value)
        held = self.source
        if isinstance(held, Union):
            held = held.members[project(held, value)[0]]
        where = f" (`{self.text}`)" if self.text and self.text != shown else ""
        if isinstance(held, Null):
            return SpecFault(spec_error("null", f"null where {wanted} is wanted{where}", self.span))
        if is_integer(held) and any(is_integer(m) for m in members_of(self.target)):
            subject = f"`{self.text}` is {shown}," if where else shown + " is"
            return SpecFault(spec_error("range", f"{subject} outside {wanted}", self.span))
        return SpecFault(spec_error("member", f"{shown} where {wanted} is wanted{where}", self.span))

    def store(self, value: object, indices: tuple[object, ...]) -> SpecFault:
        """The value that is assigned is outside the range of the target."""
        assert self.target is not None
        rest = list(indices)
        place = "".join(p if isinstance(p, str) else show_value(p, rest.pop(0)) for p in self.path)
        return SpecFault(spec_error("range", f"{place} := {value} is outside {show_type(self.target)}", self.span))

    def queue(self, what: str) -> SpecFault:
        return SpecFault(spec_error("queue", f"{what}: `{self.text}`", self.span))

    def empty(self, what: str) -> SpecFault:
        return SpecFault(spec_error("empty", f"{what} of nothing: `{self.text}`", self.span))

    def division(self) -> SpecFault:
        return SpecFault(spec_error("division", f"division by zero: `{self.text}`", self.span))
