"""C that maps states to those of the abstract system, and asks that system for a step between two of them."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

from hmmspec.checker.native.exprs import Exprs, Scope, comment
from hmmspec.checker.native.rules import Rules, has_choice
from hmmspec.diagnostics import Limit
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.layout import layout
from hmmspec.system.types import Array, Type, cardinality

REFINE = Path(__file__).with_name("refine.c")


def refinement_text(system: core.System, exprs: Exprs, words: int) -> tuple[str, ...]:
    """C for the refinement map and the abstract system, to be put behind the rules; empty where there is none.

    Raises Limit where an abstract state is longer than one of this system.
    """
    plan = system.refinement
    if plan is None:
        return ()
    where = layout(plan.abstract)
    if where.words > words:
        raise Limit("a state of the abstract spec is longer than one of this spec")
    abstract = Exprs(plan.abstract, where, exprs.values, "abstract_")
    image = _image(system, plan, exprs, abstract)
    rules = _Abstract(abstract)
    steps = [rules.can_step(r) for r in plan.abstract.rules]
    assumed = _assumed(plan.abstract, abstract)
    anything = [f"  if (abstract_{r.number}(c, s, to)) return 1;" for r in plan.abstract.rules]
    return (
        REFINE.read_text(encoding="utf-8"),
        *abstract.functions,
        *image,
        *assumed,
        *steps,
        "static int abstract_step(Ctx *c, const St *s, const St *to) {",
        *anything,
        "  (void)c; (void)s; (void)to; return 0;",
        "}",
    )


def _image(system: core.System, plan: core.RefinementMap, exprs: Exprs, abstract: Exprs) -> list[str]:
    """`image_of`: each variable of the abstract system, by the map or from the variable of the same name."""
    mapped = {m.name: m for m in plan.variables}
    out = ["static void image_of(Ctx *c, const St *s, St *out) {", "  memset(out, 0, sizeof *out);"]
    for v in plan.abstract.variables:
        m = mapped.get(v.name)
        if m is None:
            mine = system.variable(v.name)
            m = core.MappedVariable(v.name, (), E.Var(mine.name, mine.type))
        binders = tuple(E.Binder(b.name, b.type, E.OverType(b.type)) for b in m.binders)
        heads, scope, braces = exprs.loops(binders, Scope(), "")
        target: E.Expr = E.Var(v.name, v.type)
        for b in m.binders:
            assert isinstance(target.type, Array)
            target = E.Index(target, E.Local(b.name, b.type), target.type.element)
        place = abstract.place(target, replace(scope, state="out"))
        assert place is not None
        value = _as(exprs, m.value.type, target.type, exprs.expr(m.value, scope))
        stored = exprs.values.store(target.type, "out", place[1], value)
        out.append(f"  /* {comment(v.name)} */ {{ {heads} {stored}{' }' * braces} }}")
    return [*out, "  (void)c; (void)s;", "}"]


def _as(exprs: Exprs, source: Type, target: Type, value: str) -> str:
    """The types are equivalent: of one C type, if the names in them do not differ."""
    if exprs.values.name(source) != exprs.values.name(target):
        raise Limit("the refinement map goes between types that differ in their names")
    return value


def _assumed(system: core.System, exprs: Exprs) -> list[str]:
    bodies = [exprs.expr(a.body, Scope()) for a in system.assumes]
    tests = [f"  {{ V holds = {body}; if (c->fault || !holds) return 0; }}" for body in bodies]
    return ["static int abstract_assumed(Ctx *c, const St *s) {", *tests, "  (void)c; (void)s; return 1;", "}"]


class _Abstract(Rules):
    """Rules that tell whether they lead to a given state.  Steps that end in an error lead nowhere."""

    def can_step(self, r: core.Rule) -> str:
        """`abstract_N`: for any arguments."""
        scope = Scope()
        lines: list[str] = []
        rest = 1
        for p in reversed(r.params):
            x = self.exprs.fresh(p.name)
            n = cardinality(p.type)
            lines.append(f"    const V {x} = {self.values.nth(p.type, f'(number / {rest} % {n})')}; (void){x};")
            scope = scope.bind(p.name, x)
            rest *= n
        guard = self.exprs.expr(r.guard, scope)
        body = self.block(r.body, replace(scope, state="&t"), "break")
        compare = "    found |= equal(&t, to) && abstract_assumed(c, &t); } while (0);"
        forget = "    c->fault = c->failed = 0;"
        ways = ["    do { St t = *s;", *body, compare, forget]
        if has_choice(r.body):
            ways = [
                "    c->script_length = 0;",
                "    do { c->at = 0;",
                *ways,
                "    } while (!found && next_script(c));",
            ]
        return "\n".join(
            [
                f"/* {comment(r.name)} of the abstract system */",
                f"static int abstract_{r.number}(Ctx *c, const St *s, const St *to) {{",
                "  int found = 0;",
                f"  for (V number = 0; number < {prod(cardinality(p.type) for p in r.params)} && !found; number++) {{",
                *lines,
                f"    V guard = {guard};",
                "    if (c->fault) { c->fault = 0; continue; }",
                "    if (!guard) continue;",
                *ways,
                "  }",
                "  return found;",
                "}",
            ]
        )
