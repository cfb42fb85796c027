"""Names and refusals of an export.  Of a spec's text only names reach the output, and those only as identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hmmspec.diagnostics import NOWHERE, Diagnostic, Severity, Span, SpecError
from hmmspec.system.types import Enum

# What the two languages, C and the programs that SPIN generates keep for themselves; compared in lower case.
_RESERVED = frozenset(
    # Promela
    """active assert atomic bit bool break byte c_code c_decl c_expr c_state c_track chan cond_expr d_proctype d_step do
    d_type else empty enabled eval false fi for full get_priority goto hidden if init inline in int len local ltl mtype
    nempty never nfull notrace np_ od of pc_value pid printf priority proctype provided return run select set_priority
    short show skip timeout trace true typedef unless unsigned xr xs eventually always until stronguntil weakuntil
    release implies equivalent next not"""
    # Murphi and Rumur
    """ alias and array assume begin by case clear const cover do else elsif end endalias endexists endfor endforall
    endfunction endif endprocedure endrecord endrule endruleset endstartstate endswitch endwhile enum error exists
    forall function invariant ismember isundefined liveness multiset multisetadd multisetcount multisetremove or
    procedure process program put record rule ruleset scalarset startstate string switch then theorem to traceuntil
    type undefine union var while"""
    # C, and macros of pan.c
    """ auto char continue default double extern final float getframe iam_alive inline interface long main max min mix
    now onstack_now onstack_put onstack_zap pthread_equal q_sz rand register restrict rot signed sizeof static struct
    this trpt uchar uint ulong unix linux ushort void volatile wasnew""".split()
)


def identifier(text: str) -> str:
    """The text as letters, digits and underscores, beginning with a letter: fit for a name or a comment."""
    out = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:120]
    return out if out[:1].isalpha() else f"v_{out}".rstrip("_")


class Names:
    """Gives every thing a name of its own, in both languages free."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def fresh(self, wanted: str) -> str:
        """A name like `wanted` that is given only once."""
        base = identifier(wanted)
        if base.lower() in _RESERVED:
            base = f"v_{base}"
        name, number = base, 1
        # Murphi does not tell capitals from small letters.
        while name.lower() in self._used:
            number += 1
            name = f"{base}_{number}"
        self._used.add(name.lower())
        return name


class Literals:
    """Names for the numbers of enum literals; `given` holds those asked for."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.given: dict[tuple[Enum, int], str] = {}

    def __call__(self, t: Enum, number: int) -> str:
        if (t, number) not in self.given:
            self.given[t, number] = self._names.fresh(f"{t.name or 'enum'}_{t.literals[number]}")
        return self.given[t, number]


@contextmanager
def within(span: Span) -> Iterator[None]:
    """A refusal inside that knows no place gets this one."""
    try:
        yield
    except SpecError as error:
        raise SpecError([replace(d, span=span) if d.span is NOWHERE else d for d in error.diagnostics]) from None


def refuse(what: str, span: Span = NOWHERE, fix: str | None = None) -> SpecError:
    """The error for a construct that the other language cannot say."""
    return SpecError([Diagnostic("HMM078", f"not exported: {what}", span, Severity.ERROR, (), fix)])
