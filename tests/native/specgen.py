"""Whole random specs, as text: small, well typed by construction, with everything that the language has.

`bundle(seed)` gives files; the first is the spec, the others are what it imports, patches or refines.  A spec is made of
shapes that do something (guarded updates, critical sections, hand-overs by queues, state machines) with random
expressions in them.  `risk`, drawn per spec, says how often a part that may err is left unguarded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from random import Random

from tests.native.genshapes import ENDS, LOCKS, Shapes, wanted
from tests.native.gensteps import Steps
from tests.native.genthread import Threads
from tests.native.gentypes import (
    BOOL,
    INT,
    Define,
    NoWay,
    Ty,
    Var,
    literal_of,
    optional,
    queue_of,
    range_type,
    set_of,
)

PROPERTY_KINDS = ("invariant", "invariant", "step", "reachable", "recoverable", "leads_to")


@dataclass(frozen=True)
class Bundle:
    """Files by name; `main` is the spec."""

    files: dict[str, str]
    main: str = "main.hmm"


def bundle(seed: int, attempt: int = 0) -> Bundle:
    """The spec of a seed; `attempt`: another one, where the last was too large or not a spec."""
    maker = Maker(Random(f"{seed}.{attempt}"), wanted(seed), attempt)
    while True:
        try:
            return maker.bundle()
        except NoWay:
            maker = Maker(Random(maker.random.random()), wanted(seed), attempt)


@dataclass
class Maker(Steps):
    """Makes one spec."""

    types: list[str] = field(default_factory=list)
    properties: list[str] = field(default_factory=list)
    constants: list[tuple[str, str, str]] = field(default_factory=list)  # params: name, default, another value

    # ------------------------------------------------------------ files

    def bundle(self) -> Bundle:
        way = self.random.choices(("plain", "import", "patches", "refines"), (73, 6, 11, 10))[0]
        if self.wants & {"replace", "remove"}:
            way = "patches"
        elif self.wants & {"refines holds", "refines violated"}:
            way = "refines"
        elif "import" in self.wants:
            way = "import"
        if way in ("patches", "refines"):
            self.room = min(self.room, 3000)
        self.make()
        if way == "refines":
            ghost, concrete, mapping = self.refinement()
        docs = self.random.choice(("", '"""A generated spec."""\n'))
        types, rest = "\n".join(self.types), "\n".join(self.declarations)
        if way == "import":
            files = {
                "main.hmm": f'spec main\n{docs}import "shared.hmm";\n{rest}\n',
                "shared.hmm": f"spec shared\n{types}\n",
            }
        elif way == "patches":
            files = {"main.hmm": self.patch(), "base.hmm": f"spec base\n{docs}{types}\n{rest}\n"}
        elif way == "refines":
            base = f"spec base\n{types}\n{rest}\n"
            header = f'spec main refines "base.hmm" by {{ ghost = {mapping}; }}\n'
            files = {"main.hmm": f"{header}{types}\n{rest}\n{concrete}\n", "base.hmm": f"{base}{ghost}\n"}
        else:
            files = {"main.hmm": f"spec main\n{docs}{types}\n{rest}\n"}
        return Bundle(files)

    def patch(self) -> str:
        items: list[str] = []
        self.e.primes = False
        if self.transitions and "remove" not in self.wants and (self.chance(55) or "replace" in self.wants):
            name = self.random.choice(self.transitions)
            items.append(f"  replace {self.transition(name)}")
        elif self.properties:
            items.append(f"  remove {self.properties.pop(self.number(0, len(self.properties) - 1))};")
        items.append(f"  add {self.transition(self.e.fresh('t'))}")
        if self.chance(50):
            items.append(f"  add invariant extra: !({self.rare()});")
        return 'spec main patches "base.hmm" {\n' + "\n".join(items) + "\n}\n"

    def refinement(self) -> tuple[str, str, str]:
        """What the abstract spec has besides, what the concrete has, and how that is mapped."""
        ghost = "var ghost: bool = false;\ntransition ghost_step { ghost := !ghost; }"
        high = self.number(1, 3)
        mapping = self.random.choice(("g == 1", f"g > {high - 1}", "g % 2 == 1", f"g == {high}"))
        body = f"g := (g + 1) % {high + 1};"
        start = "0"
        if "refines violated" in self.wants:
            # Two things at once that the abstract spec does one by one, or a start that it lacks.
            if self.chance(30):
                start = "any"
            else:
                self.declarations.append("var h: 0..2 = 0;\ntransition h_step { h := (h + 1) % 3; }")
                body += " h := (h + 1) % 3;"
        elif "refines holds" not in self.wants:
            if self.chance(60):
                # Possibly more than a step of the abstract spec at once.
                body += " " + self.statement({}, False)
            start = self.random.choice(("0", "0", "0", "any"))
        return ghost, f"var g: 0..{high} = {start};\ntransition concrete_step {{ {body} }}", mapping

    # ------------------------------------------------------------ types

    def make(self) -> None:
        e = self.e
        if self.chance(78):
            self.symmetric.append(self.identities("Page", self.random.choice((1, 2, 2, 2, 3, 3))))
        if self.chance(45):
            self.symmetric.append(self.identities("Cpu", 2))
        high = self.number(1, 3)
        low = self.random.choice((0, 0, 0, 1)) if high > 1 else 0
        self.slot = range_type(low, high, "Slot")
        if self.chance(30):
            self.constants.append(("TOP", str(high), str(max(low + 1, high - 1))))
            self.types += [f"param TOP = {high};", f"type Slot = {low}..TOP;"]
            e.params.append(("TOP", INT))
        else:
            self.types.append(f"type Slot = {low}..{high};")
        words = ("none", "present", "device")[: self.number(2, 3)]
        self.kind = Ty("Kind", "enum", len(words), words=words)
        self.types.append(f"type Kind = enum {{ {', '.join(words)} }};")
        self.plain = [BOOL, self.slot, self.kind, range_type(0, self.number(1, 3)), range_type(-1, 1)]
        self.types_made()
        e.binder_types = [*self.symmetric, self.slot, self.kind, BOOL]
        if self.chance(25):
            self.constants.append(("ON", "true", "false"))
            self.types.append("param ON = true;")
            e.params.append(("ON", BOOL))
        if self.chance(12):
            self.constants.append(("WAY", "none", "present"))
            self.types.append("param WAY: Kind = none;")
            e.params.append(("WAY", self.kind))
        self.contents()

    def identities(self, name: str, n: int) -> Ty:
        if n > 1 and self.chance(60):
            self.types.append(f"param {name.upper()}S = {n};")
            self.constants.append((f"{name.upper()}S", str(n), str(n - 1)))
            self.types.append(f"type {name} = symmetric[{name.upper()}S];")
        else:
            self.types.append(f"type {name} = symmetric[{n}];")
        return Ty(name, "symmetric", n)

    def types_made(self) -> None:
        """Records, unions, optionals, sets and queues."""
        names = [*self.symmetric, self.slot, self.kind]
        if self.chance(55):
            second = self.random.choice([BOOL, self.slot, *(optional(s) for s in self.symmetric)])
            fields = [("kind", self.kind), ("tag", second)]
            if self.chance(25):
                fields.append(("on", BOOL))
            size = 1
            for _, f in fields:
                size *= f.size
            self.pte = Ty("Pte", "record", size, tuple(f for _, f in fields), tuple(n for n, _ in fields))
            self.types.append("type Pte = record { " + " ".join(f"{n}: {f.text};" for n, f in fields) + " };")
            self.made += [self.pte, optional(self.pte)]
            if self.chance(40):
                self.union("Thing", [self.pte, self.slot])
            if self.chance(50):
                self.made.append(queue_of(1, self.pte))
        if self.chance(65):
            members = self.random.sample(names, min(len(names), 2))
            free = Ty("", "enum", 1, words=("nobody",))
            self.union("Owner", [*members, free], " | ".join([*(m.text for m in members), "enum { nobody }"]))
        self.made += [optional(t) for t in names if self.chance(50)]
        self.made += [set_of(t) for t in names if self.chance(45)]
        self.made += [queue_of(self.random.choice((1, 2, 2)), t) for t in names if self.chance(45)]

    def union(self, name: str, members: list[Ty], text: str = "") -> None:
        self.types.append(f"type {name} = {text or ' | '.join(m.text for m in members)};")
        self.made.append(Ty(name, "union", sum(m.size for m in members), tuple(members)))

    # ------------------------------------------------------------ declarations

    def contents(self) -> None:
        out, wants = self.declarations, self.wants
        ends = wants & set(ENDS)
        # Runs that end: each step burns fuel, and perhaps the last of it may not be burnt.
        self.fuel = bool(wants & {"deadlock", "stuck"}) or (self.chance(4) and not wants & set(LOCKS))
        if self.fuel:
            out.append(f"var fuel: 0..4 = {self.number(2, 4)};")
            self.e.variables.append(Var("fuel", (), range_type(0, 4), writable=False))
            if "stuck" in wants or (not ends and self.chance(50)):
                out.append(f"assume fuel_left: fuel > {self.number(0, 1)};")
            if ends:
                self.add_step({}, "", "skip;")
            self.room = min(self.room, 600)
        threads = Threads(self) if (self.chance(62) or wants & {"mine", "thread", *LOCKS}) and not self.fuel else None
        if threads is not None:
            # Half of the states, or nearly, are theirs.
            rest, self.room = self.room**0.55, self.room**0.7
            threads.declare()
            self.room = max(rest, 8)
        if "unknown" in wants:
            out.append(f"var never: 0..3 = {self.number(0, 2)};\nassume nowhere: never > 2;")
        shapes = Shapes(self)
        for want in sorted(wants):
            shapes.make(want)
        self.room = max(self.room, 3)
        arrows = [self.machine() for _ in range(0 if self.fuel else self.random.choice((0, 0, 1, 1, 2)))]
        for _ in range(self.number(3, 7)):
            self.variable()
        if self.chance(12) and not self.fuel:
            self.room = max(self.room, 16)
            self.wide()
        if not self.e.variables:
            self.plain_variable()
        for _ in range(self.random.choice((0, 1, 1, 2))):
            self.define()
        for arrow in arrows:
            arrow()
        if threads is not None:
            threads.write()
        for _ in range(self.number(1 if threads is None else 0, 5 if self.fuel else 4)):
            out.append(self.transition(self.e.fresh("t")))
        self.quiet = self.chance(10)
        if not self.tame and self.chance(75) and not self.fuel:
            self.danger()
        if not self.quiet:
            self.drivers()
        self.judged()
        self.lists()
        self.instances()

    def type_for_variable(self) -> Ty:
        return self.random.choice([*self.plain, *self.made, *self.made, *self.symmetric])

    def variable(self) -> None:
        t = self.type_for_variable()
        indices: tuple[Ty, ...] = ()
        can = [*self.symmetric, *self.symmetric, self.slot, self.kind, BOOL, range_type(0, 1)]
        can += [m for m in self.made if m.kind in ("optional", "union") and m.size <= 4]
        if self.chance(60):
            indices = (self.random.choice(can),)
            if self.chance(18):
                indices = (self.random.choice(can[: len(self.symmetric) + 1]), self.slot)
        found = next((x for x in ((t, indices), (t, ()), (BOOL, indices)) if self.fits(*x)), None)
        if found is None:
            return
        t, indices = found
        places = prod(i.size for i in indices)
        name = self.e.fresh("v")
        start = literal_of(t)
        binders = "".join(f"[{i.text}]" for i in indices)
        if start is None or (t.size**places <= 6 and self.chance(20)):
            start = "any"
            if t.size**places > 64:
                return
        elif self.chance(50):
            start = self.e.literal(t)
        if start != "any" and len(indices) == 1 and (indices[0] == t or indices[0] in t.parts) and self.chance(60):
            binders, start = f"[i: {indices[0].text}]", "{i}" if t.kind == "set" else "i"
            if t.kind == "queue" or t.kind == "record":
                binders, start = f"[{indices[0].text}]", literal_of(t) or "any"
        self.declarations.append(f"var {name}{binders}: {t.text} = {start};")
        self.e.variables.append(Var(name, indices, t))

    def fits(self, t: Ty, indices: tuple[Ty, ...]) -> bool:
        """Whether there is room for such a variable; then it is taken."""
        values = t.size ** prod(i.size for i in indices)
        return values <= 4000 and self.take(values)

    def plain_variable(self) -> None:
        self.declarations.append("var n: 0..3 = 0;")
        self.e.variables.append(Var("n", (), range_type(0, 3)))

    def wide(self) -> None:
        """State of several words, little of which changes."""
        if self.chance(50) and self.take(9):
            n = self.number(20, 70)
            self.declarations.append(f"var log[0..{n}]: 0..9 = {self.number(0, 9)};")
            at = self.number(0, n)
            self.declarations.append(f"transition logged {{ log[{at}] := (log[{at}] + 1) % 3; }}")
            self.declarations.append(f"transition copied when log[{at}] == 1 {{ log[{n}] := log[{at}]; }}")
            self.transitions += ["logged", "copied"]
            self.steps += ["logged", "copied"]
            self.declarations.append(f"invariant logs: sum(log[i] for i: 0..{n}) != {self.number(0, 20)};")
        elif self.take(16):
            n = self.number(64, 140)
            self.types.append(f"type Wide = 0..{n};")
            few = sorted({self.number(0, n) for _ in range(3)})
            self.declarations.append("var wide: set of Wide = {};")
            self.declarations.append(
                f"transition widen(k: Wide) when k in {{{', '.join(map(str, few))}}} {{ wide += {{k}}; }}"
            )
            self.declarations.append("transition narrow when size(wide) > 1 { choose k in wide; wide -= {k}; }")
            self.declarations.append(f"invariant widths: size({{k in wide | k > {few[0]}}}) < {self.number(1, 4)};")
            self.transitions += ["widen", "narrow"]
            self.steps += ["widen", "narrow"]

    def define(self) -> None:
        e = self.e
        t = self.random.choice((BOOL, BOOL, INT, self.slot))
        params = [self.random.choice([*self.symmetric, self.slot, self.kind]) for _ in range(self.number(0, 1))]
        names = [e.fresh("a") for _ in params]
        body = e.expr(t, dict(zip(names, params, strict=True)), 2)
        heads = ", ".join(f"{n}: {p.text}" for n, p in zip(names, params, strict=True))
        name = e.fresh("f")
        self.declarations.append(f"define {name}{f'({heads})' if heads else ''}: {t.text} = {body};")
        e.defines.append(Define(name, tuple(params), t))

    def machine(self) -> Callable[[], None]:
        """Declares the variable; the arrows are written later, when all variables are known."""
        n = self.number(2, 4)
        words = tuple(self.e.fresh("s") for _ in range(n))
        index = self.random.choice([None, *self.symmetric, *self.symmetric, self.slot])
        if not self.take(n ** (index.size if index else 1)):
            index = None
            if not self.take(n):
                return lambda: None
        name = self.e.fresh("m")
        t = Ty(f"states of {name}", "enum", n, words=words)
        self.e.variables.append(Var(name, (index,) if index else (), t))
        place = len(self.declarations)
        self.declarations.append("")

        def arrows() -> None:
            scope = {"x": index} if index else {}
            initial = words[0] if self.chance(80) else f"{{{words[0]}, {words[1]}}}"
            lines = [f"machine {name}{f'[x: {index.text}]' if index else ''} {{"]
            lines += [f"  states {', '.join(words)};", f"  initial {initial};"]
            shared = self.e.fresh("arrow")
            names: list[str] = []
            for i, w in enumerate([*words, *(self.random.choice(words) for _ in range(self.number(0, 2)))]):
                target = words[(i + 1) % n] if i < n else self.random.choice(words)
                source = w if self.chance(80) else f"{{{', '.join(self.random.sample(words, 2))}}}"
                by = shared if self.chance(35) else self.e.fresh("arrow")
                inner = dict(scope)
                params = when = ""
                if self.chance(15) and by != shared:
                    y = self.e.fresh("k")
                    inner[y] = self.random.choice([self.slot, *self.symmetric])
                    params = f"({y}: {inner[y].text})"
                if self.chance(40):
                    when = f" when {self.e.boolean(inner, 1)}"
                body = f" {{ {self.block(inner, 1)} }}" if self.chance(40) else ";"
                lines.append(f"  {source} -> {target} by {by}{params}{when}{body}")
                names.append(by)
            self.steps += dict.fromkeys(names)
            self.declarations[place] = "\n".join([*lines, "}"])

        return arrows

    # ------------------------------------------------------------ properties

    def judged(self) -> None:
        e, out = self.e, self.declarations
        for kind in self.random.sample(PROPERTY_KINDS, self.number(2, len(PROPERTY_KINDS))):
            name = e.fresh({"leads_to": "lead", "reachable": "reach"}.get(kind, "p"))
            text = self.random.choice(("", "", ' "what must hold"'))
            if kind == "invariant":
                body = f"!{self.rare()}" if self.chance(75) else self.closed(lambda s: e.boolean(s, 3), "forall")
                body = body if body[1:2] == "(" else f"!({body[1:]})" if body.startswith("!") else body
            elif kind == "step":
                e.primes = True
                body = self.closed(lambda s: f"({e.atom(s, 1)} => {e.boolean(s, 1)})", "forall")
                e.primes = False
            elif kind == "leads_to":
                body = self.leads()
            else:
                body = self.rare() if self.chance(80) else self.closed(lambda s: e.boolean(s, 2))
            self.properties.append(name)
            out.append(f"{kind} {name}{text}: {body};")
        if self.chance(30) and not self.wants & set(ENDS):
            out.append(f"terminal {e.fresh('end')}: {'true' if self.chance(40) else self.rare()};")
        if self.chance(50 if self.quiet else 16):
            out.append(f"assume {e.fresh('limit')}: !({self.rare()});")
        if self.properties and self.symmetric and self.chance(15):
            proved = [d.split()[1].rstrip(":") for d in out if d.startswith("invariant")]
            if proved:
                out.append(f"prove {proved[0]} for every {self.symmetric[0].text};")

    def leads(self) -> str:
        e = self.e

        def both(scope: dict[str, Ty]) -> str:
            return f"{e.atom(scope, 1)} ~> {e.atom(scope, 1)}"

        if self.symmetric and self.chance(65):
            x, t = e.fresh("b"), self.random.choice(self.symmetric)
            return f"forall {x}: {t.text} {{ {both({x: t})} }}"
        return both({})

    def lists(self) -> None:
        out = self.declarations
        steps = list(dict.fromkeys(self.steps))
        for word, percent in (("fair", 60), ("strongly fair", 30), ("event", 12)):
            if steps and self.chance(percent):
                few = self.random.sample(steps, min(len(steps), self.number(1, 4)))
                out.append(f"{word} {', '.join(few)};")
        if steps and self.chance(12):
            out.append(f'source "mm/memory.c" do_swap_page for {self.random.choice(steps)};')
        if self.chance(12):
            t = self.random.choice((BOOL, INT))
            out.append(
                f"observe {self.e.fresh('seen')}: {t.text} = {self.closed(lambda s: self.e.expr(t, s, 1)) if t == BOOL else self.e.integer({}, 1)};"
            )

    def instances(self) -> None:
        out = self.declarations
        if self.constants and self.chance(45):
            out.append("instance usual { }")
            few = self.random.sample(self.constants, self.number(1, len(self.constants)))
            out.append(f"instance other {{ {' '.join(f'{n} = {v};' for n, _, v in few)} }}")
            if self.properties and self.chance(30):
                out.append(f"expect other violates {self.random.choice(self.properties)};")
        elif self.chance(10):
            out.append(f"expect default has {self.number(10, 99)} {self.random.choice(('states', 'orbits'))};")
