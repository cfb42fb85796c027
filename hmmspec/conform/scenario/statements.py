"""The upper half of the parser: statements, commands, what is expected of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.exprs import ExprParser, Stop
from hmmspec.conform.scenario.forms import (
    BYTES,
    COUNTED,
    ERRNOS,
    FIELDS,
    FORMS,
    MAPS,
    OUTCOMES,
    SIGNALS,
    Form,
    Modifier,
)
from hmmspec.conform.scenario.lexer import Token
from hmmspec.diagnostics import Diagnostic, Diagnostics, Span, did_you_mean

_WORDS = ("for", "repeat", "if", "race", "expect", "outcome", "let")
_HEAD = ("param", "device", "process", "needs", "variant", "seeds")
_OUTSIDE = ("scenario", "procedure")
_COMPARED = ("==", "!=", "<", "<=", ">", ">=")
_DEEPEST = 40
_CALLED = {
    "prot": "a protection",
    "advice": "an advice",
    "on": "'on' or 'off'",
    "point": "a point where something can fail",
    "fail_alloc": "a flag",
}


class StatementParser(ExprParser):
    """Blocks of statements."""

    def __init__(self, found: Sequence[Token], told: Diagnostics) -> None:
        super().__init__(found, told)
        self.unbalanced: list[Diagnostic] = []  # what was told of braces that do not match
        self._blocks = 0

    # ---- blocks

    def unbalance(self, message: str, fix: str | None = None, span: Span | None = None) -> Stop:
        """As `stop`, of braces that do not match."""
        out = self.stop("HMM121", message, fix, span)
        self.unbalanced.append(self.told.items[-1])
        return out

    def block(self, what: str, declare: Callable[[], bool] | None = None) -> tuple[s.Statement, ...]:
        """`{ .. }`.  `declare` reads a declaration, if one stands here; they come before the first command."""
        opened = self.sign("{", f"the body of '{what}' stands between braces")
        self._blocks += 1
        if self._blocks > _DEEPEST:
            raise self.stop("HMM121", f"blocks are nested at most {_DEEPEST} deep", None, opened.span)
        body: list[s.Statement] = []
        while True:
            self.skip_lines()
            if self.here.text == "}" and self.here.kind == "sign":
                self.take()
                break
            if self.here.kind == "end" or (self.here.text in _OUTSIDE and self.next.kind == "name"):
                # A scenario never stands in a block: the brace is missing before it.
                raise self.unbalance(f"this '{{' of '{what}' is not closed", "write } at its end", opened.span)
            try:
                self._depth = 0
                if declare is None or body or not declare():
                    body.append(self.statement())
                self.end_of_statement()
            except Stop:
                self._recover()
        self._blocks -= 1
        return tuple(body)

    def end_of_statement(self) -> None:
        """Nothing more on this line."""
        if self.here.kind not in {"newline", "end"} and self.here.text not in {";", "}"}:
            previous = self._tokens[self._at - 1]
            if previous.text == "}":
                return
            raise self.stop("HMM121", f"{self.here} does not belong to this statement", "write it on a line of its own")

    def _recover(self) -> None:
        """Go to the end of the statement: of its line, and of the block that it opens, if any."""
        depth = 0
        while self.here.kind != "end":
            text = self.here.text if self.here.kind == "sign" else ""
            if depth == 0 and (self.here.kind == "newline" or text == "}"):
                return
            if self.here.text in _OUTSIDE and self.here.kind == "name" and self._tokens[self._at - 1].kind == "newline":
                return
            depth += (text == "{") - (text == "}")
            self.take()

    def recover_to(self, words: Sequence[str]) -> None:
        """Go to a line that begins with one of the words."""
        self._blocks = self._depth = 0
        while self.here.kind != "end":
            if self.take().kind == "newline" and self.here.text in words and self.here.kind == "name":
                return

    # ---- statements

    def statement(self) -> s.Statement:
        """One statement."""
        if self.here.kind != "name":
            raise self.stop("HMM121", f"a statement cannot begin with {self.here}")
        match self.here.text:
            case "let":
                return self.let()
            case "for" | "repeat":
                return self._loop()
            case "if":
                return self._if()
            case "race":
                return self._race()
            case "expect":
                first = self.take()
                condition = self.expr()
                return s.Expect(condition, self.text() or "", span=first.span.to(condition.span))
            case "outcome":
                return self._outcome()
            case "thread":
                raise self.stop("HMM128", "threads stand in a race", "race { thread { .. } thread { .. } }")
            case word:
                if word in _HEAD:
                    raise self.stop("HMM128", f"'{word}' stands before the first command", "move it to the top")
        if self.next.text == "(" and self.here.text not in FORMS:
            return self._call()
        return self._do()

    def let(self) -> s.Let:
        """`let M = N / 2`."""
        self.take()
        name = self.new_name("a value")
        self.sign("=")
        return s.Let(name.text, self.expr(), span=name.span)

    def _loop(self) -> s.Statement:
        first = self.take()
        if first.text == "repeat":
            count = self.expr()
            values: s.Values = s.Range(s.Number(0, span=count.span), count, span=count.span)
            return s.For("", values, self.block("repeat"), span=first.span)
        name = self.new_name("a loop's value")
        if self.here.text != "in":
            raise self.stop("HMM121", f"'in' is expected here, not {self.here}", "for i in [0, 10) { .. }")
        self.take()
        return s.For(name.text, self.values(), self.block("for"), span=name.span)

    def _if(self) -> s.If:
        first = self.take()
        condition = self.expr()
        then = self.block("if")
        other: tuple[s.Statement, ...] = ()
        if self.here.kind == "newline" and self.next.text == "else":
            self.take()
        if self.here.text == "else":
            self.take()
            other = (self._if(),) if self.here.text == "if" else self.block("else")
        return s.If(condition, then, other, span=first.span.to(condition.span))

    def _race(self) -> s.Race:
        first = self.take()
        self.sign("{", "race { thread { .. } thread { .. } }")
        threads: list[s.Thread] = []
        while True:
            self.skip_lines()
            if self.here.text == "}":
                self.take()
                break
            if self.here.kind == "end":
                raise self.unbalance("this race is not closed", "write } at its end", first.span)
            if self.here.text != "thread":
                wrong = self.stop("HMM128", f"a race holds threads only, not {self.here}", "thread { .. }")
                if self.here.kind != "name":
                    raise wrong
                self.statement()
                continue
            start = self.take()
            process = None
            if self.here.text != "{":
                name = self.name("a process")
                process = s.Word(name.text, span=name.span)
            threads.append(s.Thread(process, self.block("thread"), span=start.span))
        if len(threads) < 2 and not self.told.has_errors:
            raise self.stop("HMM128", "a race has at least two threads", None, first.span)
        return s.Race(tuple(threads), span=first.span)

    def _outcome(self) -> s.Possible:
        self.take()
        name = self.new_name("an outcome")
        title = self.text() or ""
        self.sign(":", "outcome NAME: condition")
        return s.Possible(name.text, title, self.expr(), span=name.span)

    def _call(self) -> s.Call:
        name = self.take()
        self.sign("(")
        args: list[s.Expr] = []
        while self.here.text != ")":
            args.append(self.expr())
            if self.here.text != ")":
                self.sign(",")
        end = self.take()
        return s.Call(s.Word(name.text, span=name.span), tuple(args), span=name.span.to(end.span))

    # ---- commands

    def _do(self) -> s.Do:
        start = self.here.span
        process = device = None
        if self.next.text == ":":
            token = self.take()
            process = s.Word(token.text, span=token.span)
            self.take()
        if self.next.text == ".":
            token = self.take()
            device = s.Word(token.text, span=token.span)
            self.take()
        token = self.name("a command")
        form = self._form(token.text, token.span, device)
        args = self._args(form)
        result = None
        if self.here.text == "as":
            self.take()
            named = self.new_name("a result")
            result = s.Word(named.text, span=named.span)
        expected: tuple[s.Case, ...] = ()
        if self.here.text == "->":
            self.take()
            expected = self._cases(form)
        elif self.here.text in FIELDS or self.here.text in OUTCOMES:
            raise self.stop("HMM121", f"'->' is expected before {self.here}", "load [0, 4) -> data 1")
        span = start.to(self._tokens[self._at - 1].span)
        return s.Do(process, device, s.Word(token.text, span=token.span), tuple(args), result, expected, span=span)

    def _form(self, word: str, span: Span, device: s.Word | None) -> Form:
        form = FORMS.get(word)
        if form is None:
            raise self.stop("HMM122", f"there is no command '{word}'", did_you_mean(word, (*FORMS, *_WORDS)), span)
        if form.subject == "device" and device is None:
            raise self.stop("HMM122", f"'{word}' is done by a device", f"write DEVICE.{word}", span)
        if form.subject != "device" and device is not None:
            who = "a process" if form.subject == "process" else "nobody in particular"
            raise self.stop("HMM122", f"'{word}' is done by {who}, not by a device", f"write {form.written}", span)
        return form

    def _args(self, form: Form) -> list[tuple[str, s.Arg]]:
        args: list[tuple[str, s.Arg]] = []
        for lead in form.leads:
            if lead == "range":
                args.append(("range", self.range()))
            elif lead == "stamp":
                self.sign("=", f"write {form.written}")
                args.append(("stamp", self.expr()))
            elif lead == "number":
                args.append(("number", self.expr()))
            else:
                field, _, choices = lead.partition(":")
                known = choices.split("|")
                token = self.name(f"the {field}") if known == ["name"] else self.one_of(known, _CALLED[field])
                args.append((field, s.Word(token.text, span=token.span)))
        while self.here.kind == "name" and self.here.text != "as":
            word = self.here
            modifier = form.modifiers.get(word.text)
            if modifier is None:
                break
            self.take()
            args += self._modifier(modifier, word.span, args)
        another = self.here.text in FORMS or self.next.text in {".", ":"}
        if self.here.kind == "name" and self.here.text not in {"as", *FIELDS, *OUTCOMES} and not another:
            fix = did_you_mean(self.here.text, form.modifiers) or f"write {form.written}"
            raise self.stop("HMM122", f"'{form.word}' does not take {self.here}", fix)
        for needed in form.required:
            if all(field != form.modifiers[needed].field for field, _ in args):
                raise self.stop("HMM121", f"'{needed}' is missing", f"write {form.written}")
        return args

    def _modifier(self, modifier: Modifier, span: Span, before: Sequence[tuple[str, s.Arg]]) -> list[tuple[str, s.Arg]]:
        out: list[tuple[str, s.Arg]] = [(field, s.Word(value, span=span)) for field, value in modifier.sets]
        if modifier.operand == "number":
            out.append((modifier.field, self.expr()))
        elif modifier.operand:
            token = self.name("a device" if modifier.operand == "device" else "a name")
            out.append((modifier.field, s.Word(token.text, span=token.span)))
        there = {field for field, _ in before}
        for field, _ in out:
            if field in there:
                raise self.stop("HMM124", f"the {field} is said twice", None, span)
        return out

    # ---- expectations

    def _cases(self, form: Form) -> tuple[s.Case, ...]:
        cases = [self._case(form)]
        while self.here.text == "|":
            self.take()
            cases.append(self._case(form))
        return tuple(cases)

    def _case(self, form: Form) -> s.Case:
        conditions = [self._condition(form)]
        while self.here.text == ",":
            self.take()
            conditions.append(self._condition(form))
        outcomes = [c for c in conditions if isinstance(c, s.Outcome)]
        span = conditions[0].span.to(conditions[-1].span)
        if len(outcomes) > 1:
            fix = f"separate what is possible by '|': {outcomes[0].word} | {outcomes[1].word}"
            raise self.stop("HMM126", "a command has one outcome", fix, span)
        if outcomes and len(conditions) > 1 and outcomes[0].word in {"any", "error", *ERRNOS}:
            fix = "on an error there are no results; say what holds without it as another case, after '|'"
            raise self.stop("HMM126", f"'{outcomes[0].word}' cannot stand with what a success shows", fix, span)
        return s.Case(tuple(conditions), span=span)

    def _condition(self, form: Form) -> s.Condition:
        token = self.name("an outcome, or a field of the result,")
        word = token.text
        if word in OUTCOMES or word in ERRNOS or word in SIGNALS:
            return s.Outcome(word, span=token.span)
        if word not in FIELDS:
            known = did_you_mean(word, (*form.fields, *OUTCOMES, *ERRNOS, *SIGNALS))
            fix = known or f"'{form.word}' shows {_and(('the outcome', *form.fields))}"
            raise self.stop("HMM126", f"'{word}' is neither an outcome nor a field of a result", fix, token.span)
        if word not in form.fields:
            fix = f"it shows {_and(('the outcome', *form.fields))}"
            raise self.stop("HMM126", f"'{form.word}' has no '{word}' in its result", fix, token.span)
        if word in COUNTED:
            op = self.take().text if self.here.text in _COMPARED else "=="
            value = self.expr()
            return s.Counted(word, op, value, span=token.span.to(value.span))
        if self.here.text in _COMPARED or self.here.text == "=":
            raise self.stop("HMM121", f"'{word}' is followed by its value at once", f"{word} [0, 2) ..")
        pages = self.range() if self.here.text == "[" else None
        if word == "data":
            stamps = [self._stamp()]
            while self.here.text == "or":
                self.take()
                stamps.append(self._stamp())
            return s.Stamps(pages, tuple(stamps), span=token.span.to(self._tokens[self._at - 1].span))
        values = [self._bits(word)]
        while self.here.text == "or":
            self.take()
            values.append(self._bits(word))
        span = token.span.to(self._tokens[self._at - 1].span)
        return s.Bits("byte" if word == "byte" else "map", pages, tuple(values), span=span)

    def _stamp(self) -> s.StampValue:
        start = self.here
        if start.text == "zero":
            self.take()
            return s.StampValue(None, True, span=start.span)
        each = start.text == "each"
        if each:
            self.take()
        value = self.expr()
        return s.StampValue(value, each, span=start.span.to(value.span))

    def _bits(self, field: str) -> tuple[s.Word, ...]:
        known = (*BYTES, "LOCAL", "REMOTE") if field == "byte" else tuple(MAPS)
        out = [self._bit(field, known)]
        while self.here.text == "+":
            self.take()
            out.append(self._bit(field, known))
        return tuple(out)

    def _bit(self, field: str, known: Sequence[str]) -> s.Word:
        off = field == "map" and self.here.text == "!"
        start = self.take().span if off else self.here.span
        if field == "map" and self.here.text == "none":
            return s.Word("none", span=start.to(self.take().span))
        word = self.one_of(known, "what a snapshot shows" if field == "byte" else "what the pagemap shows")
        return s.Word(word.text, off, span=start.to(word.span))


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
