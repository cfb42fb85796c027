"""The lower half of the parser: tokens one by one, expressions, page ranges."""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.forms import FORMS, RESERVED
from hmmspec.conform.scenario.lexer import Token, number
from hmmspec.diagnostics import Diagnostics, Span, did_you_mean

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_DEEPEST = 60
_FUNCTIONS = ("min", "max", "has")


class Stop(Exception):
    """A statement that cannot be read; what is wrong has been told."""


class ExprParser:
    """`here` is the token that is looked at; `take` goes on.  Mistakes are told and raise `Stop`."""

    def __init__(self, found: Sequence[Token], told: Diagnostics) -> None:
        self._tokens = found
        self._at = 0
        self._depth = 0
        self.told = told

    # ---- tokens

    @property
    def here(self) -> Token:
        return self._tokens[self._at]

    @property
    def next(self) -> Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The token here; go on to the next (the end of the file is never left behind)."""
        token = self.here
        if token.kind != "end":
            self._at += 1
        return token

    def skip_lines(self) -> None:
        while self.here.kind == "newline" or self.here.text == ";":
            self.take()

    def stop(self, code: str, message: str, fix: str | None = None, span: Span | None = None) -> Stop:
        """Tell a mistake; the caller raises what this returns."""
        self.told.error(code, span or self.here.span, message, fix=fix)
        return Stop()

    def sign(self, text: str, fix: str | None = None) -> Token:
        """This sign and no other."""
        if self.here.text != text or self.here.kind == "string":
            raise self.stop("HMM121", f"'{text}' is expected here, not {self.here}", fix)
        return self.take()

    def name(self, what: str) -> Token:
        """A name or a word."""
        if self.here.kind != "name":
            raise self.stop("HMM121", f"{what} is expected here, not {self.here}")
        return self.take()

    def new_name(self, what: str) -> Token:
        """The name of something new."""
        token = self.name(f"the name of {what}")
        if token.text in RESERVED:
            raise self.stop("HMM121", f"'{token.text}' is a word of the format and cannot be a name", None, token.span)
        return token

    def one_of(self, words: Sequence[str], what: str) -> Token:
        """One of these words."""
        if self.here.text not in words or self.here.kind != "name":
            fix = did_you_mean(self.here.text, words) or f"one of {', '.join(words)}"
            raise self.stop("HMM122", f"{what} is expected here, not {self.here}", fix)
        return self.take()

    def text(self) -> str | None:
        """A text in quotes, if one stands here."""
        return self.take().text[1:-1] if self.here.kind == "string" else None

    # ---- ranges and values

    def range(self) -> s.Range:
        """`[a, b)` or `[a]`."""
        if self.here.text != "[":
            fix = "pages are written [first, end): from 'first' up to, but without, 'end'; one page is [7]"
            raise self.stop("HMM121", f"a page range is expected here, not {self.here}", fix)
        start = self.take()
        first = self.expr()
        if self.here.text == "]":
            return s.Range(first, None, span=start.span.to(self.take().span))
        if self.here.text == "." and self.next.text == ".":
            raise self.stop("HMM121", "'..' is not a range of pages", "write [0, 4) for the pages 0, 1, 2 and 3")
        self.sign(",", "a page range is [first, end) or [page]")
        end = self.expr()
        if self.here.text == "]":
            fix = "a range is closed by ')' since its end does not belong to it: [0, 4) is the pages 0, 1, 2 and 3"
            raise self.stop("HMM121", "')' is expected here, not ']'", fix)
        return s.Range(first, end, span=start.span.to(self.sign(")").span))

    def values(self) -> s.Values:
        """`[a, b)` or `{a, b, c}`."""
        if self.here.text == "[":
            return self.range()
        start = self.sign("{", "values are written {1, 2, 3} or [0, 10)")
        items: list[s.Expr] = []
        self._lines()
        while self.here.text != "}":
            items.append(self.expr())
            self._lines()
            if self.here.text != "}":
                self.sign(",")
                self._lines()
        return s.Listed(tuple(items), span=start.span.to(self.take().span))

    def _lines(self) -> None:
        while self.here.kind == "newline":
            self.take()

    # ---- expressions

    def expr(self) -> s.Expr:
        """Weakest first: `||`, `&&`, comparisons and `in`, `+ -`, `* / %`, `- !`."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.stop("HMM121", f"an expression has at most {_DEEPEST} levels")
        try:
            return self._or()
        finally:
            self._depth -= 1

    def _or(self) -> s.Expr:
        left = self._and()
        while self.here.text == "||":
            self.take()
            right = self._and()
            left = s.Binary("||", left, right, span=left.span.to(right.span))
        return left

    def _and(self) -> s.Expr:
        left = self._compared()
        while self.here.text == "&&":
            self.take()
            right = self._compared()
            left = s.Binary("&&", left, right, span=left.span.to(right.span))
        return left

    def _compared(self) -> s.Expr:
        left = self._sum()
        if self.here.text == "in" and self.here.kind == "name":
            self.take()
            values = self.values()
            return s.Member(left, values, span=left.span.to(values.span))
        if self.here.text in _COMPARISONS:
            op = self.take().text
            right = self._sum()
            left = s.Binary(op, left, right, span=left.span.to(right.span))
            if self.here.text in _COMPARISONS:
                raise self.stop("HMM121", "comparisons cannot be chained", "write 'a < b && b < c'")
        return left

    def _sum(self) -> s.Expr:
        left = self._product()
        while self.here.text in ("+", "-"):
            op = self.take().text
            right = self._product()
            left = s.Binary(op, left, right, span=left.span.to(right.span))
        return left

    def _product(self) -> s.Expr:
        left = self._unary()
        while self.here.text in ("*", "/", "%"):
            op = self.take().text
            right = self._unary()
            left = s.Binary(op, left, right, span=left.span.to(right.span))
        return left

    def _unary(self) -> s.Expr:
        if self.here.text in ("-", "!"):
            first = self.take()
            self._depth += 1
            if self._depth > _DEEPEST:
                raise self.stop("HMM121", f"an expression has at most {_DEEPEST} levels")
            operand = self._unary()
            self._depth -= 1
            return s.Unary("-" if first.text == "-" else "!", operand, span=first.span.to(operand.span))
        return self._primary()

    def _primary(self) -> s.Expr:
        token = self.here
        if token.kind == "number":
            self.take()
            return s.Number(number(token.text), span=token.span)
        if token.kind == "string":
            self.take()
            return s.Text(token.text[1:-1], span=token.span)
        if token.text == "(":
            self.take()
            inner = self.expr()
            self.sign(")")
            return inner
        if token.kind != "name" or (token.text in RESERVED and token.text not in {*_FUNCTIONS, *_VALUES}):
            raise self.stop("HMM121", f"a value is expected here, not {token}")
        self.take()
        if token.text in _FUNCTIONS:
            return self._function(token)
        name = s.Name(token.text, span=token.span)
        if self.here.text == ".":
            self.take()
            field = self.name("a field of a result")
            index = None
            if self.here.text == "[":
                self.take()
                index = self.expr()
                self.sign("]")
            return s.FieldOf(name, field.text, index, span=token.span.to(field.span))
        if self.here.text == "(":
            fix = f"'{token.text}' is a command: it stands at the beginning of a line" if token.text in FORMS else None
            raise self.stop("HMM122", f"there is no function '{token.text}'", fix or "min, max and has", token.span)
        return name

    def _function(self, token: Token) -> s.Function:
        self.sign("(")
        args = [self.expr()]
        while self.here.text == ",":
            self.take()
            args.append(self.expr())
        end = self.sign(")")
        if token.text == "has" and (len(args) != 1 or not isinstance(args[0], s.Name)):
            fix = "has(device_thp) asks whether the target has it"
            raise self.stop("HMM121", "'has' takes the name of one behaviour", fix, token.span.to(end.span))
        return s.Function(token.text, tuple(args), span=token.span.to(end.span))


_VALUES = ("true", "false", "private", "coherent")
