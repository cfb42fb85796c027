"""From the text of a binding file to its tree.  The first mistake ends the reading; it is said with its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

from hmmspec.conform.follow import syntax as s
from hmmspec.conform.follow.lexer import Kind, Token, tokens
from hmmspec.diagnostics import Diagnostics, Source, Span, SpecError, did_you_mean

T = TypeVar("T")

# From weakest to strongest.
_LEVELS: tuple[tuple[str, ...], ...] = (
    ("||",),
    ("&&",),
    ("==", "!=", "<", "<=", ">", ">="),
    ("&",),
    ("+", "-"),
    ("*", "/", "%"),
)
_COMPARISONS = _LEVELS[2]
_DEEPEST = 100  # nesting of brackets and operators: beyond it nobody reads, and recursion would end badly
KEYWORDS = frozenset(
    "binding for with group by member define ignore also on returns each of at joins when else call return "
    "then or maybe any nothing forget impossible sees if in".split()
)
# The keywords that mean something inside an expression; the others are names there, as the spec's literals may be.
OPERATORS = frozenset({"then", "else", "if", "in", "or", "each", "returns", "joins", "of", "at"})


def parse(source: Source) -> s.Binding:
    """The tree of a binding file.  Raises SpecError (HMM130)."""
    diagnostics = Diagnostics()
    found = tokens(source, diagnostics)
    diagnostics.raise_if_errors()
    return _Parser(found).binding()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.at = 0
        self.depth = 0

    # ------------------------------------------------------------ tokens

    @property
    def here(self) -> Token:
        return self.tokens[self.at]

    def fail(self, message: str, fix: str | None = None, span: Span | None = None) -> NoReturn:
        diagnostics = Diagnostics()
        diagnostics.error("HMM130", span or self.here.span, message, fix=fix)
        raise SpecError(diagnostics.items)

    def is_next(self, *texts: str) -> bool:
        return self.here.kind in ("name", "op") and self.here.text in texts

    def is_kind(self, kind: Kind) -> bool:
        return self.here.kind == kind

    def accept(self, text: str) -> Token | None:
        if not self.is_next(text):
            return None
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, text: str, where: str) -> Token:
        found = self.accept(text)
        if found is None:
            self.fail(f"'{text}' was expected {where}, not {self.shown()}")
        return found

    def shown(self) -> str:
        return "the end of the file" if self.here.kind == "end" else f"'{self.here.text}'"

    def name(self, what: str, reserved: frozenset[str] = KEYWORDS) -> s.Name:
        token = self.here
        if token.kind != "name" or token.text in reserved:
            self.fail(f"the name of {what} was expected, not {self.shown()}")
        self.at += 1
        return s.Name(token.text, span=token.span)

    def dotted(self, what: str) -> s.Name:
        """A name, or `thread.label`."""
        first = self.name(what)
        if not self.accept("."):
            return first
        second = self.name("a label")
        return s.Name(f"{first.name}.{second.name}", span=first.span.to(second.span))

    def list_of(self, item: Callable[[], T], close: str, where: str) -> tuple[T, ...]:
        """Items separated by commas up to the closing sign."""
        out: list[T] = []
        while not self.accept(close):
            if out:
                self.expect(",", where)
            out.append(item())
        return tuple(out)

    def names_until(self, what: str) -> tuple[s.Name, ...]:
        out = [self.name(what)]
        while self.accept(","):
            out.append(self.name(what))
        return tuple(out)

    # ------------------------------------------------------------ declarations

    def binding(self) -> s.Binding:
        first = self.expect("binding", "at the start of a binding")
        self.expect("for", "after 'binding'")
        if not self.is_kind("text"):
            self.fail(f'the spec\'s file was expected, such as "page_life.hmm", not {self.shown()}')
        spec = s.Text(self.here.text, span=self.here.span)
        self.at += 1
        settings: list[s.Setting] = []
        if self.accept("with"):
            settings.append(self.setting())
            while self.accept(","):
                settings.append(self.setting())
        self.expect(";", "after the header")
        doc = ""
        if self.is_kind("doc"):
            doc = self.here.text
            self.at += 1
        group: list[s.Expr] = []
        members: list[s.Name] = []
        defines: list[s.Define] = []
        ignored: list[s.Name] = []
        also: list[s.Body] = []
        ons: list[s.On] = []
        while not self.is_kind("end"):
            if self.accept("group"):
                self.expect("by", "after 'group'")
                group.append(self.expression())
                while self.accept(","):
                    group.append(self.expression())
                self.expect(";", "here")
            elif self.accept("member"):
                members += self.names_until("a type")
                self.expect(";", "here")
            elif self.accept("ignore"):
                ignored += self.names_until("a command")
                self.expect(";", "here")
            elif self.accept("define"):
                defines.append(self.define())
            elif self.accept("also"):
                also.append(self.body())
                self.expect(";", "here")
            elif self.is_next("on"):
                ons.append(self.on())
            else:
                known = ("group", "member", "define", "ignore", "also", "on")
                fix = did_you_mean(self.here.text, known) or f"a binding is made of {', '.join(known)}"
                self.fail(f"{self.shown()} begins nothing that a binding has", fix)
        return s.Binding(
            spec, tuple(settings), doc, tuple(group), tuple(members), tuple(defines), tuple(ignored), tuple(also),
            tuple(ons), span=first.span,
        )  # fmt: skip

    def setting(self) -> s.Setting:
        param = self.name("a param of the spec")
        self.expect("=", "after the param")
        value = self.expression()
        return s.Setting(param, value, span=param.span.to(value.span))

    def define(self) -> s.Define:
        name = self.name("a define")
        self.expect("(", "after the name of a define")
        params = self.list_of(lambda: self.name("a parameter"), ")", "between parameters")
        self.expect("=", "before the value of a define")
        body = self.expression()
        self.expect(";", "at the end of a define")
        return s.Define(name, params, body, span=name.span)

    def on(self) -> s.On:
        start = self.expect("on", "here").span
        names = self.names_until("a command")
        self.expect("(", "after the command: its fields come in brackets")
        fields = self.list_of(lambda: self.name("a field"), ")", "between fields")
        results: tuple[s.Name, ...] = ()
        if self.accept("returns"):
            self.expect("(", "after 'returns'")
            results = self.list_of(lambda: self.name("a field"), ")", "between fields")
        each: tuple[s.Name, ...] = ()
        of: s.Expr | None = None
        if self.accept("each"):
            each = self.names_until("a field")
            self.expect("of", "after 'each': how many there are")
            of = self.expression()
        at: list[s.Expr] = []
        if self.accept("at"):
            at.append(self.expression())
            while self.accept(","):
                at.append(self.expression())
        joins = self.expression() if self.accept("joins") else None
        self.expect("{", "before the clauses")
        clauses: list[s.Clause] = []
        moments: dict[str, s.Body] = {}
        while not self.accept("}"):
            self.clause(clauses, moments)
        return s.On(
            names, fields, results, each, of, tuple(at), joins, tuple(clauses),
            moments.get("call"), moments.get("return"), span=start.to(names[-1].span),
        )  # fmt: skip

    def clause(self, clauses: list[s.Clause], moments: dict[str, s.Body]) -> None:
        start = self.here.span
        if self.is_next("call", "return"):
            moment = self.here.text
            self.at += 1
            self.expect(":", f"after '{moment}'")
            if moment in moments:
                self.fail(f"there is a clause '{moment}' already", span=start)
            moments[moment] = self.body()
        elif self.accept("when"):
            condition = self.expression()
            self.expect(":", "after the condition")
            clauses.append(s.Clause(condition, self.body(), span=condition.span))
        elif self.accept("else"):
            self.expect(":", "after 'else'")
            clauses.append(s.Clause(None, self.body(), span=start))
        else:
            self.fail(f"'when', 'else', 'call' or 'return' was expected, not {self.shown()}")
        self.expect(";", "at the end of a clause")

    # ------------------------------------------------------------ bodies

    def body(self) -> s.Body:
        parts = [self.sequence()]
        while self.accept("or"):
            parts.append(self.sequence())
        return parts[0] if len(parts) == 1 else s.Or(tuple(parts), span=parts[0].span.to(parts[-1].span))

    def sequence(self) -> s.Body:
        parts = [self.item()]
        while self.accept("then"):
            parts.append(self.item())
        return parts[0] if len(parts) == 1 else s.Then(tuple(parts), span=parts[0].span.to(parts[-1].span))

    def item(self) -> s.Body:
        start = self.here.span
        if self.accept("("):
            self.deeper()
            inside = self.body()
            self.depth -= 1
            self.expect(")", "here")
            return inside
        if self.accept("maybe"):
            self.deeper()
            inside = self.item()
            self.depth -= 1
            return s.Or((inside, s.Nothing(span=start)), span=start)
        if self.accept("any"):
            return self.repeated(start)
        if self.accept("nothing"):
            return s.Nothing(span=start)
        if self.accept("impossible"):
            return s.Never(span=start)
        if self.accept("forget"):
            return s.Forget(span=start)
        if self.accept("sees"):
            name = self.name("an observation")
            args = self.arguments("an observation")
            self.expect("==", "between an observation and its value")
            value = self.expression()
            return s.Sees(name.name, args, value, span=start.to(value.span))
        name = self.dotted("an event of the spec")
        return s.Happens(name.name, self.arguments("an event"), span=name.span)

    def repeated(self, start: Span) -> s.Body:
        """After `any`: an event, or several with `or` in brackets."""
        self.deeper()
        inside = self.item()
        self.depth -= 1
        parts = inside.parts if isinstance(inside, s.Or) else (inside,)
        events = tuple(p for p in parts if isinstance(p, s.Happens))
        if len(events) != len(parts):
            self.fail("'any' takes an event, or several: any (a() or b())", span=start)
        return s.Repeat(events, span=start.to(inside.span))

    def arguments(self, what: str) -> tuple[s.Expr, ...]:
        self.expect("(", f"after the name of {what}")
        return self.list_of(self.expression, ")", "between arguments")

    # ------------------------------------------------------------ expressions

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail("nested too deep")

    def expression(self, level: int = 0) -> s.Expr:
        if level == len(_LEVELS):
            return self.unary()
        self.deeper()
        left = self.expression(level + 1)
        self.depth -= 1
        while True:
            op = self.here.text
            if self.here.kind == "op" and op in _LEVELS[level]:
                if op in _COMPARISONS and isinstance(left, s.Binary) and left.op in _COMPARISONS:
                    self.fail("comparisons do not chain", "write `a < b && b < c`")
                self.at += 1
                self.deeper()
                right = self.expression(level + 1)
                self.depth -= 1
                left = s.Binary(op, left, right, span=left.span.to(right.span))
            elif op == "in" and level == _LEVELS.index(_COMPARISONS) and self.accept("in"):
                self.expect("{", "after 'in'")
                options = self.list_of(self.expression, "}", "between values")
                left = s.In(left, options, span=left.span.to(self.tokens[self.at - 1].span))
            else:
                return left

    def unary(self) -> s.Expr:
        start = self.here.span
        for op in ("!", "-"):
            if self.accept(op):
                self.deeper()
                operand = self.unary()
                self.depth -= 1
                return s.Unary("!" if op == "!" else "-", operand, span=start.to(operand.span))
        return self.postfix()

    def postfix(self) -> s.Expr:
        base = self.primary()
        while self.accept("["):
            self.deeper()
            index = self.expression()
            self.depth -= 1
            end = self.expect("]", "after an index").span
            base = s.Get(base, index, span=base.span.to(end))
        return base

    def primary(self) -> s.Expr:
        token = self.here
        if token.kind == "number":
            self.at += 1
            if len(token.text) > 18:
                self.fail("this number is larger than any in a log", span=token.span)
            base = 16 if token.text[:2] in ("0x", "0X") else 10
            return s.Number(int(token.text, base), span=token.span)
        if token.kind == "text":
            self.at += 1
            return s.Text(token.text, span=token.span)
        if self.accept("_"):
            return s.Any(span=token.span)
        if self.accept("impossible"):
            return s.Impossible(span=token.span)
        if self.accept("("):
            self.deeper()
            inside = self.expression()
            self.depth -= 1
            self.expect(")", "here")
            return inside
        if self.accept("if"):
            self.deeper()
            condition = self.expression()
            self.expect("then", "after the condition")
            then = self.expression()
            self.expect("else", "after the value of 'then'")
            otherwise = self.expression()
            self.depth -= 1
            return s.If(condition, then, otherwise, span=token.span.to(otherwise.span))
        name = self.name("a field, or a value,", OPERATORS)
        if name.name == "profile" and self.accept("."):
            behaviour = self.name("a behaviour")
            return s.Profile(behaviour.name, span=name.span.to(behaviour.span))
        if self.accept("("):
            args = self.list_of(self.expression, ")", "between arguments")
            return s.Apply(name.name, args, span=name.span.to(self.tokens[self.at - 1].span))
        return name
