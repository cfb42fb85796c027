"""Tokens to the tree of a file.  A mistake ends its statement, not the reading: one run tells all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.exprs import Stop
from hmmspec.conform.scenario.forms import FORMS
from hmmspec.conform.scenario.lexer import tokens
from hmmspec.conform.scenario.statements import StatementParser
from hmmspec.diagnostics import Diagnostic, Diagnostics, Source, SpecError, did_you_mean

T = TypeVar("T")

_TOP = ("scenario", "procedure", "param", "let")
_HEAD = ("param", "device", "process", "needs", "variant", "seeds")


def parse(source: Source) -> s.ScenarioFile:
    """The tree of a file.  Raises SpecError with every mistake of its text."""
    told = Diagnostics()
    parser = _FileParser(tokens(source, told), told)
    found = parser.file(source.path)
    if parser.unbalanced:
        raise SpecError([_cause(told, parser.unbalanced)])
    told.raise_if_errors()
    return found


def _cause(told: Diagnostics, unbalanced: Sequence[Diagnostic]) -> Diagnostic:
    """Where braces do not match, most of what is told follows from that: the first mistake, if there is another."""
    others = [d for d in told.items if d not in unbalanced]
    return min(others, key=lambda d: d.span.start) if others else unbalanced[0]


class _FileParser(StatementParser):
    """Declarations and what holds them."""

    def file(self, path: str) -> s.ScenarioFile:
        """Everything up to the end."""
        lets: list[s.Let] = []
        params: list[s.Param] = []
        procedures: list[s.Procedure] = []
        scenarios: list[s.Scenario] = []
        while True:
            self.skip_lines()
            if self.here.kind == "end":
                break
            try:
                match self.here.text:
                    case "scenario":
                        scenarios.append(self._scenario())
                    case "procedure":
                        procedures.append(self._procedure())
                    case "let":
                        lets.append(self.let())
                        self.end_of_statement()
                    case "param":
                        params.append(self._param())
                        self.end_of_statement()
                    case text:
                        if text == "}":
                            raise self.unbalance("a '}' without its '{'")
                        known = did_you_mean(text, _TOP)
                        fix = known or "commands stand in a scenario: scenario NAME { .. }"
                        raise self.unbalance(f"{self.here} begins nothing that stands outside a scenario", fix)
            except Stop:
                self.recover_to(_TOP)
        if not scenarios and not self.told.has_errors and not procedures:
            self.told.error("HMM121", self.here.span, "the file has no scenario", fix="scenario NAME { .. }")
        for kind, named in (("scenario", scenarios), ("procedure", procedures)):
            self._twice(kind, named)
        return s.ScenarioFile(path, tuple(lets), tuple(params), tuple(procedures), tuple(scenarios))

    def _twice(self, kind: str, named: list[s.Scenario] | list[s.Procedure]) -> None:
        seen: set[str] = set()
        for one in named:
            if one.name in seen:
                self.told.error("HMM124", one.span, f"the {kind} '{one.name}' stands twice in this file")
            seen.add(one.name)

    def _scenario(self) -> s.Scenario:
        self.take()
        name = self.new_name("a scenario")
        title = self.text() or ""
        declarations: list[s.Declaration] = []

        def declare() -> bool:
            if self.here.text not in _HEAD or self.here.kind != "name":
                return False
            declarations.extend(self._declaration())
            return True

        body = self.block("scenario", declare)
        return s.Scenario(name.text, title, tuple(declarations), body, span=name.span)

    def _procedure(self) -> s.Procedure:
        self.take()
        name = self.new_name("a procedure")
        if name.text in FORMS:
            raise self.stop("HMM124", f"'{name.text}' is a command", None, name.span)
        self.sign("(")
        params: list[str] = []
        while self.here.text != ")":
            params.append(self.new_name("a parameter").text)
            if self.here.text != ")":
                self.sign(",")
        self.take()
        return s.Procedure(name.text, tuple(params), self.block("procedure"), span=name.span)

    def _declaration(self) -> list[s.Declaration]:
        match self.here.text:
            case "param":
                return [self._param()]
            case "device":
                return self._devices()
            case "process":
                self.take()
                names = self.listed(lambda: self.new_name("a process"))
                return [s.ProcessDecl(n.text, span=n.span) for n in names]
            case "needs":
                self.take()
                needs = self.listed(self.expr)
                return [s.Need(e, span=e.span) for e in needs]
            case "variant":
                self.take()
                word = self.one_of(("private", "coherent"), "a variant")
                return [s.Variant("private" if word.text == "private" else "coherent", span=word.span)]
            case _:
                first = self.take()
                count = self.expr()
                return [s.Seeds(count, span=first.span.to(count.span))]

    def _devices(self) -> list[s.Declaration]:
        self.take()
        names = self.listed(lambda: self.new_name("a device"))
        if self.here.text == "private":
            self.take()
            return [s.DeviceDecl(n.text, "private", span=n.span) for n in names]
        if self.here.text == "coherent":
            self.take()
            return [s.DeviceDecl(n.text, "coherent", span=n.span) for n in names]
        return [s.DeviceDecl(n.text, "", span=n.span) for n in names]

    def _param(self) -> s.Param:
        self.take()
        name = self.new_name("a parameter")
        if self.here.text == "in":
            self.take()
            return s.Param(name.text, self.values(), span=name.span)
        self.sign("=", f"a parameter has a value, 'param {name.text} = 8', or several, 'param {name.text} in {{1, 2}}'")
        value = self.expr()
        return s.Param(name.text, s.Listed((value,), span=value.span), span=name.span)

    def listed(self, one: Callable[[], T]) -> list[T]:
        """One or more, with commas between."""
        out = [one()]
        while self.here.text == ",":
            self.take()
            out.append(one())
        return out
