"""A mistake in the text, said the way a reader of C would want to hear it.

`explain` looks at the token where the parser stopped, at what stands around it and at what could have stood there, and
gives a diagnostic; and, where the repair is plain, the repair, so that parsing goes on as if it had been made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lark import Token

from hmmspec.diagnostics import Diagnostic, Note, Source, Span, did_you_mean

# The texts to put in, and how many tokens of the file to leave out for them.
Repair = tuple[tuple[str, ...], int]
Answer = tuple[Diagnostic, Repair | None]


@dataclass(frozen=True)
class Vocabulary:
    """Terminals by what they begin.  `names`: terminal -> its text, for keywords and operators."""

    names: Mapping[str, str]
    declarations: frozenset[str]
    statements: frozenset[str]
    expressions: frozenset[str]
    types: frozenset[str]
    operators: frozenset[str]
    soft: frozenset[str]

    def is_keyword(self, token: Token) -> bool:
        """Whether the token is a reserved word."""
        return token.type in self.names and token[:1].isalpha() and token.type not in self.soft


@dataclass(frozen=True)
class Scene:
    """Where the parser stopped: the bad token, those before it (repairs included), a few after it, and the terminals
    that could have stood there."""

    source: Source
    bad: Token
    before: Sequence[Token]
    after: Sequence[Token]
    accepts: frozenset[str]
    words: Vocabulary

    @property
    def prev(self) -> Token | None:
        return self.before[-1] if self.before else None

    @property
    def next(self) -> Token | None:
        return self.after[0] if self.after else None

    @property
    def span(self) -> Span:
        if self.bad.type == "$END":
            end = (self.prev.end_pos or 0) if self.prev else len(self.source.text)
            return Span(self.source, max(0, end - 1), end)
        return Span(self.source, self.bad.start_pos or 0, self.bad.end_pos or 0)

    @property
    def starts_line(self) -> bool:
        """Whether the bad token is on a later line than the one before it."""
        between = self.source.text[(self.prev.end_pos or 0) if self.prev else 0 : self.bad.start_pos]
        return "\n" in between

    @property
    def in_expression(self) -> bool:
        """Whether an expression could have gone on here."""
        return "AND" in self.accepts

    @property
    def wants_operand(self) -> bool:
        return {"NUMBER", "NAME", "FORALL"} <= self.accepts

    def open_brackets(self) -> list[Token]:
        """The brackets before the mistake that are not closed, outermost first."""
        stack: list[Token] = []
        for token in self.before:
            if token in ("(", "[", "{"):
                stack.append(token)
            elif token in (")", "]", "}") and stack:
                stack.pop()
        return stack


def explain(scene: Scene) -> Answer:
    """The diagnostic for a mistake, and its repair if that is plain."""
    for rule in _RULES:
        answer = rule(scene)
        if answer is not None:
            return answer
    return _unexpected(scene), None


def _say(scene: Scene, code: str, message: str, fix: str | None = None, notes: tuple[Note, ...] = ()) -> Diagnostic:
    return Diagnostic(code, message, scene.span, notes=notes, fix=fix)


# ---------------------------------------------------------------- one rule for each kind of mistake


def _end_of_file(scene: Scene) -> Answer | None:
    if scene.bad.type != "$END":
        return None
    notes = tuple(
        Note(f"this '{token}' is not closed", _span(scene.source, token)) for token in scene.open_brackets()[-1:]
    )
    if not notes and "SEMICOLON" in scene.accepts:
        return _missing_semicolon(scene), ((";",), 0)
    return _say(scene, "HMM002", f"the file ends here, but {_expected(scene)} must follow", notes=notes), None


def _equals(scene: Scene) -> Answer | None:
    """`=`, `==` and `:=` taken for one another."""
    bad, accepts = scene.bad, scene.accepts
    if bad in ("=", "==") and "SET" in accepts:
        return _say(scene, "HMM012", f"'{bad}' does not assign", "write ':=' to assign"), ((":=",), 1)
    if bad == "=" and "EQ" in accepts:
        return _say(scene, "HMM012", "'=' does not compare", "write '==' to compare"), (("==",), 1)
    if bad in (":=", "==") and "EQUAL" in accepts:
        return _say(scene, "HMM012", f"'{bad}' does not give a value here", "write '='"), (("=",), 1)
    if bad in (":=", "+=", "-=") and scene.in_expression:
        fix = "write '==' to compare; an assignment is a statement of its own"
        return _say(scene, "HMM012", f"'{bad}' stands in an expression", fix), (
            ("==",),
            1,
        ) if bad == ":=" and "EQ" in accepts else None
    if bad in ("+", "-") and "SET" in accepts and scene.prev is not None:
        place = scene.prev if scene.next is not None and scene.next == bad else "x"
        fix = f"write '{place} {bad}= 1;'"
        return _say(scene, "HMM012", f"a statement cannot go on with '{bad}'", fix), None
    if bad in ("*", "/", "%") and "SET" in accepts:
        fix = "write 'x := x * 2;': only '+=' and '-=' exist"
        return _say(scene, "HMM012", f"a statement cannot go on with '{bad}'", fix), None
    return None


def _chain(scene: Scene) -> Answer | None:
    if scene.bad.type in ("EQ", "NE", "LT", "LE", "GT", "GE", "IN") and scene.in_expression:
        fix = "write 'a < b && b < c', or put one comparison in parentheses"
        return _say(scene, "HMM011", "comparisons cannot be chained", fix), (("&&",), 1)
    return None


def _numbers(scene: Scene) -> Answer | None:
    if scene.bad.type == "NUMBER" and scene.prev == "." and [t.type for t in scene.before[-2:-1]] == ["NUMBER"]:
        return _say(scene, "HMM008", "numbers are whole", "count in smaller units; a range is written 1..5"), None
    return None


def _square_set(scene: Scene) -> Answer | None:
    if scene.prev == "[" and scene.accepts == {"RSQB"}:
        fix = "a set is written {a, b}; '[]' is the empty queue, filled by push"
        return _say(scene, "HMM001", f"unexpected {_describe(scene.bad)}, expected ']'", fix), None
    return None


def _typeless(scene: Scene) -> Answer | None:
    """`var x bool` and `var x = 3`."""
    bad, prev = scene.bad, scene.prev
    if [t.type for t in scene.before[-2:-1]] != ["VAR"] or prev is None or "COLON" not in scene.accepts:
        return None
    if bad in ("=", ":="):
        return _say(scene, "HMM001", f"the variable '{prev}' needs a type", f"write 'var {prev}: TYPE = VALUE;'"), None
    if bad.type in scene.words.types:
        fix = f"write 'var {prev}: {bad} ...'"
        return _say(scene, "HMM001", f"unexpected {_describe(bad)}, expected ':' and a type", fix), ((":",), 0)
    return None


_WORD_OPERATORS = {"and": "&&", "or": "||", "implies": "=>", "iff": "<=>", "equals": "==", "mod": "%"}


def _operator_words(scene: Scene) -> Answer | None:
    """Operators of other languages."""
    bad, prev = scene.bad, scene.prev
    if scene.in_expression and bad in _WORD_OPERATORS:
        op = _WORD_OPERATORS[bad]
        return _say(scene, "HMM001", f"unexpected word '{bad}'", f"write '{op}'"), ((op,), 1)
    if prev == "not" and prev.type == "NAME" and "LPAR" in scene.accepts:
        return _say(scene, "HMM001", f"unexpected {_describe(bad)} after 'not'", "write '!' for 'not'"), None
    if bad == "?" and scene.in_expression:
        return _say(scene, "HMM018", "'?:' is not an operator here", "write 'if c then a else b'"), None
    if bad == "->" and "SET" in scene.accepts:
        fix = "write '.' to reach a field"
        return _say(scene, "HMM018", "'->' stands only between the states of a machine", fix), None
    if bad == "->" and scene.in_expression:
        fix = "write '=>' for 'implies', '.' to reach a field"
        return _say(scene, "HMM018", "'->' stands only between the states of a machine", fix), None
    if bad == "|" and scene.in_expression:
        return _say(scene, "HMM018", "'|' stands only before a filter and in types", "write '||' for 'or'"), (
            ("||",),
            1,
        )
    if bad == "==" and scene.next == ">" and scene.in_expression:
        return _say(scene, "HMM001", "'==>' is not an operator", "write '=>' for 'implies'"), (("=>",), 2)
    if bad in (">", "=") and prev in ("==", "=>", "<=>", "="):
        fix = "write '=>' for 'implies', '==' to compare"
        return _say(scene, "HMM001", f"'{prev}{bad}' is not an operator", fix), None
    return None


def _out_of_place(scene: Scene) -> Answer | None:
    bad = scene.bad
    if bad == "~>" and scene.in_expression:
        fix = "write 'leads_to NAME: P ~> Q;', or 'leads_to NAME: forall p: Page { P ~> Q };'"
        message = "'~>' stands only in a leads_to property, outside of any other operator"
        return _say(scene, "HMM018", message, fix), None
    if bad == ".." and scene.in_expression:
        return _say(scene, "HMM018", "a range stands only right of 'in' and as a type", "write 'x in 0..3'"), None
    if bad == "if" and scene.wants_operand:
        fix = "write '(if c then a else b)'"
        return _say(scene, "HMM018", "an 'if' inside an expression stands in parentheses", fix), None
    if bad.type == "DOC":
        fix = "write a comment: // ..."
        return _say(scene, "HMM018", 'a """ text stands only after the name of the spec', fix), ((), 1)
    if bad == "var" and "SKIP" in scene.accepts:
        fix = "move it to the top of the body, before the first statement; or write 'let x = e;'"
        return _say(scene, "HMM018", "variables of a thread stand before its statements", fix), None
    if bad == "spec" and "INVARIANT" in scene.accepts:
        return _say(scene, "HMM018", "a file holds one spec", "put the second spec in a file of its own"), None
    if bad == "(" and scene.prev in ("for", "forall", "exists", "choose"):
        fix = f"leave the parentheses out: {scene.prev} p: Page"
        return _say(scene, "HMM018", f"no parentheses stand around what '{scene.prev}' ranges over", fix), None
    if bad == "(" and "SET" in scene.accepts:
        fix = f"write 'call {scene.prev}(...);' for a procedure; nothing else can be called"
        return _say(scene, "HMM018", "a call is a statement only after 'call'", fix), None
    if bad in ("where", "with", "st", "when") and "VBAR" in scene.accepts:
        fix = "write '|' before a filter, as in 'p: Page | pins[p] > 0'"
        return _say(scene, "HMM018", f"unexpected '{bad}'", fix), None
    if bad == "'":
        message = "a prime stands right after the name of a variable, thread or define"
        return _say(scene, "HMM018", message, "write place'[p]"), None
    return None


def _stray_semicolon(scene: Scene) -> Answer | None:
    if scene.bad != ";" or scene.prev is None:
        return None
    if scene.prev == "}" and ({"INVARIANT", "SKIP", "$END"} & scene.accepts):
        return _say(scene, "HMM001", "unexpected ';' after '}'", "leave it out: a block ends with its '}'"), ((), 1)
    if scene.prev == ";":
        return _say(scene, "HMM001", "unexpected second ';'", "leave it out"), ((), 1)
    if [t.type for t in scene.before[:1]] == ["SPEC"] and len(scene.before) <= 3 and "INVARIANT" in scene.accepts:
        return _say(scene, "HMM001", "unexpected ';' after the spec's name", "leave it out"), ((), 1)
    return None


def _brackets(scene: Scene) -> Answer | None:
    pairs = {")": "(", "]": "[", "}": "{"}
    if scene.bad not in pairs:
        return None
    stack = scene.open_brackets()
    if not stack:
        fix = f"leave it out, or look for a '{scene.bad}' too many above"
        return _say(scene, "HMM015", f"this '{scene.bad}' closes nothing", fix), None
    if stack[-1] != pairs[scene.bad]:
        note = Note(f"this '{stack[-1]}' is still open", _span(scene.source, stack[-1]))
        message = f"this '{scene.bad}' does not close the '{stack[-1]}' before it"
        return _say(scene, "HMM015", message, notes=(note,)), None
    return None


def _keyword_as_name(scene: Scene) -> Answer | None:
    bad = scene.bad
    if "NAME" not in scene.accepts or not scene.words.is_keyword(bad):
        return None
    new_declaration = scene.starts_line and bad.type in scene.words.declarations
    operand = scene.wants_operand and not new_declaration
    only_name = not scene.wants_operand and "SKIP" not in scene.accepts and "BOOL" not in scene.accepts
    assigned = "SKIP" in scene.accepts and scene.next is not None and scene.next in (":", ":=", "[", "+=", "-=")
    if "SKIP" in scene.accepts and not assigned:
        return None
    declares = new_declaration and scene.next is not None and scene.next.type == "NAME"
    if not (operand or (only_name and not declares) or assigned):
        return None
    fix = f"choose another name, such as '{bad}_'"
    return _say(scene, "HMM006", f"'{bad}' is a keyword and cannot be a name", fix), ((str(bad),), 1)


def _missing_braces(scene: Scene) -> Answer | None:
    if "LBRACE" not in scene.accepts or scene.bad in (")", "]", "}", ";"):
        return None
    opener = next((t for t in reversed(scene.before) if t.type in _BLOCK_WORDS), None)
    if opener is None:
        return None
    if opener in ("forall", "exists"):
        if scene.in_expression and scene.bad.type in scene.words.operators:
            return None
        fix = f"write {opener} p: Page {{ ... }}, or {opener} p: Page | filter {{ ... }}"
        return _say(scene, "HMM014", f"the body of '{opener}' stands in braces", fix), None
    if scene.bad.type in scene.words.statements:
        fix = "write '{' before it and '}' after it"
        return _say(scene, "HMM014", f"what follows '{opener}' stands in braces", fix), None
    return None


_BLOCK_WORDS = frozenset(["FORALL", "EXISTS", "IF", "ELSE", "WHILE", "FOR", "EITHER", "__ANON_5", "WHEN", "TRANSITION"])


def _semicolon(scene: Scene) -> Answer | None:
    if "SEMICOLON" not in scene.accepts:
        return None
    words, bad = scene.words, scene.bad
    begins = bad.type in words.statements | words.declarations and bad.type not in words.operators
    if bad == "}" or (begins and (scene.starts_line or words.is_keyword(bad))):
        return _missing_semicolon(scene), ((";",), 0)
    return None


def _missing_semicolon(scene: Scene) -> Diagnostic:
    end = (scene.prev.end_pos or 0) if scene.prev is not None else 0
    span = Span(scene.source, max(0, end - 1), end)
    return Diagnostic("HMM013", "a ';' is missing after this", span, fix="end it with ';'")


_OTHER_TONGUES = {
    "bool": "write 'var NAME: bool = false;'",
    "int": "write 'var NAME: 0..7 = 0;'",
    "enum": "write 'type NAME = enum { a, b };'",
    "record": "write 'type NAME = record { a: bool; };'",
    "struct": "write 'type NAME = record { a: bool; };'",
    "typedef": "write 'type NAME = ...;'",
    "const": "write 'param NAME = 3;'",
    "constant": "write 'param NAME = 3;'",
    "constants": "write 'param NAME = 3;'",
    "variables": "write 'var NAME: TYPE = VALUE;'",
    "function": "write 'define NAME(p: T): R = e;', or 'procedure' for steps",
    "def": "write 'define NAME(p: T): R = e;', or 'procedure' for steps",
    "fn": "write 'define NAME(p: T): R = e;', or 'procedure' for steps",
    "void": "write 'procedure NAME(p: T) { ... }'",
    "process": "write 'thread NAME { ... }'",
    "proctype": "write 'thread NAME { ... }'",
    "module": "a file begins with 'spec NAME'",
    "action": "write 'transition NAME { ... }'",
    "rule": "write 'transition NAME { ... }'",
    "ruleset": "write 'transition NAME(p: T) { ... }'",
    "property": "write 'invariant NAME: ...;', or 'step', 'reachable', 'leads_to'",
    "assert": "write 'invariant NAME: ...;'",
    "include": "write 'import \"file.hmm\";'",
    "use": "write 'import \"file.hmm\";'",
    "let": "write 'define NAME = e;'",
    "when": "write 'transition NAME when condition { ... }'",
    "elif": "write 'else if'",
    "elsif": "write 'else if'",
}


def _foreign_words(scene: Scene) -> Answer | None:
    """A word of another language, or a misspelt keyword, where a declaration or statement begins."""
    bad, prev, names = scene.bad, scene.prev, scene.words.names
    if "INVARIANT" in scene.accepts and bad in _OTHER_TONGUES:
        return _say(scene, "HMM001", f"'{bad}' does not begin a declaration", _OTHER_TONGUES[bad]), None
    if prev is not None and prev.type == "NAME" and bad.type in scene.words.expressions | {"TEXT"}:
        # `aquire ptl;`: the mistake is the word before.
        words = {names[t] for t in scene.words.statements | {"SEMICOLON"} if names.get(t, "").isalpha()} | {"elif"}
        near = get_close_matches(prev, words, n=1, cutoff=0.7)
        if near and scene.accepts & {"SET", "COLON"}:
            fix = "write 'else if'" if near == ["elif"] else f"did you mean '{near[0]}'?"
            message = f"unexpected {_describe(bad)} after '{prev}'"
            return Diagnostic("HMM001", message, _span(scene.source, prev), fix=fix), None
    return None


def _left_out(scene: Scene) -> Answer | None:
    """What other languages do without: the type of a parameter, the name of an arrow, the braces of a quantifier."""
    bad, prev, names = scene.bad, scene.prev, scene.words.names
    opener = next((t for t in reversed(scene.before) if t.type in _BLOCK_WORDS), None)
    accepted = {names.get(t, t) for t in scene.accepts}
    if accepted == {"by"}:
        return _say(scene, "HMM001", "an arrow needs a name", f"write '-> {prev} by NAME'"), None
    if bad == ":" and [t.type for t in scene.before[-2:-1]] == ["LET"]:
        return _say(scene, "HMM001", "a 'let' has the type of its value", f"write 'let {prev} = e;'"), None
    if accepted == {":", ",", "in"} and opener in ("forall", "exists"):
        fix = f"write {opener} p: Page {{ ... }}"
        return _say(scene, "HMM014", f"the body of '{opener}' stands in braces", fix), None
    if accepted == {":", ","} and bad == ")":
        return _say(scene, "HMM001", "a parameter needs a type", f"write '{prev}: TYPE'"), None
    if bad == "not" and scene.next == "in" and scene.in_expression:
        return _say(scene, "HMM001", "unexpected word 'not'", "write '!(x in S)'"), None
    return None


_RULES = (
    _end_of_file,
    _left_out,
    _numbers,
    _square_set,
    _typeless,
    _operator_words,
    _equals,
    _chain,
    _out_of_place,
    _stray_semicolon,
    _foreign_words,
    _keyword_as_name,
    _missing_braces,
    _semicolon,
    _brackets,
)


def _unexpected(scene: Scene) -> Diagnostic:
    names = scene.words.names
    fix = None
    if scene.bad.type == "NAME":
        fix = did_you_mean(scene.bad, [names[t] for t in scene.accepts if names.get(t, "").replace("_", "").isalpha()])
    stack = scene.open_brackets()
    expected = _expected(scene)
    notes: tuple[Note, ...] = ()
    if stack and {"(": "RPAR", "[": "RSQB"}.get(stack[-1]) in scene.accepts:
        notes = (Note(f"this '{stack[-1]}' is still open", _span(scene.source, stack[-1])),)
    if [t.type for t in scene.before[-3:-2]] == ["REPLACE"] and scene.prev == "{":
        expected = "an arrow or a labelled step"
    return _say(scene, "HMM001", f"unexpected {_describe(scene.bad)}, expected {expected}", fix, notes)


# ---------------------------------------------------------------- words


def _describe(token: Token) -> str:
    text = token if len(token) <= 40 else token[:37] + "..."
    text = Token(token.type, text.split("\n")[0])
    kind = {"NAME": "name ", "NUMBER": "number ", "$END": "end of the file"}.get(token.type)
    if token.type == "TEXT":
        return f"text {text}"
    if token.type == "$END":
        return "end of the file"
    if kind is None and token[:1].isalpha():
        kind = "keyword "
    return f"{kind or ''}'{text}'"


def _expected(scene: Scene) -> str:
    """What could have stood there, in plain words."""
    rest, words = set(scene.accepts), scene.words
    said: list[str] = []
    for phrase, group in (
        ("a declaration", words.declarations),
        ("a statement", words.statements),
        ("an expression", words.expressions),
        ("an expression", words.expressions - {"IF"}),
        ("a type", words.types),
    ):
        if group <= rest and phrase not in said:
            said.append(phrase)
            rest -= group
    if "NAME" in rest:
        said.append("a name")
        rest -= words.soft
    operator = "AND" in rest or "PLUS" in rest
    if operator:
        rest -= words.operators
    plain = {"NAME": "", "NUMBER": "a number", "TEXT": 'a text in "quotes"', "DOC": "", "$END": "the end of the file"}
    others = [plain.get(t) if t in plain else f"'{words.names[t]}'" for t in sorted(rest)]
    said.extend(sorted(word for word in others if word))
    if operator:
        said.append("an operator")
    if len(said) > 7:
        said = [*said[:6], "..."]
    if len(said) <= 1:
        return said[0] if said else "something else"
    return ", ".join(said[:-1]) + " or " + said[-1]


def _span(source: Source, token: Token) -> Span:
    return Span(source, token.start_pos or 0, token.end_pos or 0)
