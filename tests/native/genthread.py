"""Threads, locks and procedures of generated specs.

A thread is a row of segments: a label, perhaps a wait, statements, perhaps a call, perhaps a jump.  Locks are taken and
released as they should be, but for the mistakes that `risk` brings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.native.genshapes import LOCKS
from tests.native.gentypes import BOOL, Lock, NoWay, Ty, Var, literal_of, range_type

if TYPE_CHECKING:
    from tests.native.specgen import Maker


@dataclass
class Plan:
    """A thread that is declared and not yet written."""

    name: str
    index: Ty | None
    param: Ty | None
    labels: list[str]
    locals: list[tuple[str, Ty]]
    at: int  # where it goes among the declarations


@dataclass
class Procedure:
    name: str
    param: Ty | None
    result: Ty | None
    waits: bool  # it begins with a wait
    locks: set[str] = field(default_factory=set)


class Threads:
    """All threads of one spec."""

    def __init__(self, maker: Maker) -> None:
        self.m, self.e = maker, maker.e
        self.plans: list[Plan] = []
        self.procedures: list[Procedure] = []
        self.pairs: list[tuple[int, str, str]] = []
        self.mistakes = maker.random.choice((0, 0, 0, 8, 20, 35))

    def slip(self) -> bool:
        return self.m.chance(self.mistakes)

    # ------------------------------------------------------------ declarations

    def declare(self) -> None:
        """Locks and threads; what they do is written when all is declared."""
        m, e = self.m, self.e
        for _ in range(m.random.choice((0, 1, 2, 2, 2))):
            index = m.random.choice([None, None, *m.symmetric, m.slot])
            if index is not None and index.size > 3:
                index = None
            rw = m.chance(30)
            name = e.fresh("lk")
            e.locks.append(Lock(name, (index,) if index else (), rw))
            m.declarations.append(f"{'rwlock' if rw else 'lock'} {name}{f'[{index.text}]' if index else ''};")
        if m.wants & {"mine", *LOCKS}:
            self.wanted_pair(next(iter(m.wants & set(LOCKS)), ""))
        elif m.chance(35):
            self.pair()
        for _ in range(m.random.choice((1, 1, 2, 2, 3))):
            self.plan()

    def plan(self) -> None:
        m, e = self.m, self.e
        index = m.random.choice([None, *m.symmetric, *m.symmetric, range_type(0, 1)])
        param = m.random.choice([None, None, *m.symmetric, m.slot])
        n = m.number(2, 4)
        locals_: list[tuple[str, Ty]] = []
        rich = "thread" in m.wants and not self.plans
        if rich:
            n, param = 2, m.random.choice([*m.symmetric, m.slot])
            index = None if index and index.size > 2 else index
            locals_.append((e.fresh("z"), range_type(0, 1)))
            m.room = max(m.room, 36.0 ** (index.size if index else 1))
        for _ in range(m.random.choice((0, 1, 1, 2))):
            t = m.random.choice((BOOL, range_type(0, 2), *(x for x in m.made if x.size <= 4 and literal_of(x))))
            locals_.append((e.fresh("z"), t))
        for keep in ((True, True), (False, True), (True, False), (False, False)):
            size = float(n + 1)
            for _, t in locals_ if keep[1] else []:
                size *= t.size
            if param and keep[0]:
                size *= param.size
            if m.take(size ** (index.size if index else 1)):
                break
        else:
            index = None
            if not m.take(n):
                return
            keep = (False, False)
        param = param if keep[0] else None
        locals_ = locals_ if keep[1] else []
        name = e.fresh("w")
        # Labels may be those of another thread.
        labels = [f"{m.random.choice('abcd')}{k}" for k in range(n)]
        place = Ty(f"place of {name}", "place", n + 1, words=(*labels, "stopped"))
        indices = (index,) if index else ()
        e.variables.append(Var(name, indices, place, writable=False))
        e.variables += [Var(name, indices, t, writable=False, suffix=f".{x}") for x, t in locals_]
        m.declarations.append("")
        self.plans.append(Plan(name, index, param, labels, locals_, len(m.declarations) - 1))

    # ------------------------------------------------------------ bodies

    def write(self) -> None:
        m = self.m
        for _ in range(m.random.choice((0, 1, 1, 2)) if self.plans else 0):
            self.procedure()
        if self.plans and "thread" in m.wants:
            self.procedure(m.slot)
        for at, again, end in self.pairs:
            body = m.block({}, 1) if m.chance(40) else "skip;"
            m.declarations[at] = m.declarations[at].replace("BODY", f"{again} {body}").replace("END", end)
        for plan in self.plans:
            m.declarations[plan.at] = self.thread(plan)
            m.steps += [plan.name, f"{plan.name}.{m.random.choice(plan.labels)}"]

    def pair(self) -> None:
        """Threads that hold two locks at once, perhaps taken in both orders."""
        m, e = self.m, self.e
        first = [e.fresh("lk"), e.fresh("lk")]
        for lock in first:
            m.declarations.append(f"{m.random.choice(('lock', 'lock', 'rwlock'))} {lock};")
        for _ in range(2):
            if not m.take(3):
                return
            name = e.fresh("w")
            one, two = first if m.chance(50) else reversed(first)
            again = f"acquire {one};" if m.chance(14) else f"acquire {two};"
            if m.chance(20):
                again = f"if (!trylock {two}) {{ release {one}; restart; }}"
            out = f"release {two}; release {one};" if m.chance(85) else f"release {two};"
            end = m.random.choice(("restart;", "restart;", "stop;", ""))
            self.pairs.append((len(m.declarations), again, end))
            m.declarations.append(f"thread {name} {{\n  a: acquire {one};\n  b: BODY\n  c: {out} END\n}}")
            m.steps += [name, f"{name}.b"]

    def wanted_pair(self, finding: str) -> None:
        """Two threads at two locks that show one finding, or none."""
        m, e = self.m, self.e
        one, two, outer = e.fresh("lk"), e.fresh("lk"), e.fresh("lk")
        kind = m.random.choice(("lock", "rwlock"))
        m.room /= 6
        m.declarations += [f"{kind} {one};", f"lock {two};", f"lock {outer};"]
        orders = [(one, two), (two, one) if finding in ("lock_cycle", "lock_order") else (one, two)]
        if m.chance(50):
            orders.reverse()
        for k, (first, second) in enumerate(orders):
            name = e.fresh("w")
            body, out = "", f"release {second}; release {first};"
            if "mine" in m.wants:
                tested = m.random.choice((one, two, f"read {one}") if kind == "rwlock" else (one, two))
                body = f"assert {e.fresh('as')}: {m.random.choice(('', '!'))}mine({tested});"
            if k == 0 and finding == "double_acquire":
                body = f"{body} c: acquire {m.random.choice((first, second))};"
            elif k == 0 and finding == "foreign_release":
                out += f" release {m.random.choice((first, second))};"
            elif k == 0 and finding == "held_at_stop":
                out = f"release {m.random.choice((first, second))};"
            elif finding == "lock_order":
                # Never at the same time: no cycle.
                first, out = f"{outer}; a1: acquire {first}", f"{out} release {outer};"
            end = m.random.choice(("restart;", "stop;", "")) if k == 0 else "restart;"
            if kind == "rwlock" and first == one and m.chance(60):
                first = f"read {one}"
            m.declarations.append(
                f"thread {name} {{\n  a: acquire {first};\n  b: acquire {second}; {body}\n  d: {out} {end}\n}}"
            )
            m.steps += [name, f"{name}.b"]

    def local(self, x: str, t: Ty) -> str:
        return f"  var {x}: {t.text} = {literal_of(t)};"

    def procedure(self, result: Ty | None = None) -> None:
        m, e = self.m, self.e
        name, x, y = e.fresh("proc"), e.fresh("x"), e.fresh("y")
        param = m.random.choice([None, m.slot, *m.symmetric])
        result = result or m.random.choice([None, BOOL, m.slot])
        lines = [f"procedure {name}{f'({x}: {param.text})' if param else ''}{f': {result.text}' if result else ''} {{"]
        scope = {x: param} if param else {}
        t = range_type(0, 2)
        with_local = m.chance(50)
        if with_local:
            lines.append(self.local(y, t))
            scope[y] = t
        free = [lock for lock in e.locks if not lock.indices]
        waits = bool(free) and m.chance(25)
        shape = m.number(0, 3)
        if waits:
            lock = m.random.choice(free)
            lines.append(f"  acquire {lock.name}; {m.block(scope, 1)} release {lock.name};")
        elif shape == 0:
            lines.append(f"  p0: {m.block(scope, 1)}")
            lines.append(f"  p1: {m.block(scope, 1)}")
        elif shape == 1 and with_local:
            lines.append(f"  p0: while ({y} < 2) {{ p1: {y} += 1; {m.block(scope, 1, False)} }}")
        else:
            lines.append(f"  {m.block(scope, m.number(1, 2))}")
        if with_local and m.chance(60):
            lines.append(f"  {y} := {m.number(0, 2)};")
        if result is not None:
            if m.chance(30):
                lines.append(f"  if ({e.boolean(scope, 1)}) {{ return {e.expr(result, scope, 1)}; }}")
            lines.append(f"  return {e.expr(result, scope, 2)};")
        m.declarations.append("\n".join([*lines, "}"]))
        self.procedures.append(Procedure(name, param, result, waits, {lock.name} if waits else set()))

    def thread(self, plan: Plan) -> str:
        m, e = self.m, self.e
        c, p = e.fresh("x"), e.fresh("x")
        heads = f"thread {plan.name}"
        scope: dict[str, Ty] = {}
        if plan.index:
            heads += f"[{c}: {plan.index.text}]"
            scope[c] = plan.index
        if plan.param:
            heads += f"({p}: {plan.param.text})"
            scope[p] = plan.param
        if m.chance(50 if "thread" in m.wants else 12):
            heads += f" runs when {e.atom({c: plan.index} if plan.index else {}, 1)}"
        lines = [f"{heads} {{", *(self.local(x, t) for x, t in plan.locals)]
        scope.update(plan.locals)
        e.mine = True
        own = [Var(x, (), t) for x, t in plan.locals]
        e.variables += own
        held: list[tuple[str, bool]] = []
        at: list[list[tuple[str, bool]]] = []
        for k, label in enumerate(plan.labels):
            at.append(list(held))
            lines.append(f"  {label}: {self.segment(plan, k, scope, held, at)}")
        out = "" if self.slip() else " ".join(f"release {x};" for x, _ in reversed(held))
        ending = m.random.choice(("restart;", "restart;", "restart;", "stop;", "", f"goto {plan.labels[0]};"))
        if out and ending.startswith("goto") and at[0]:
            ending = "restart;"
        lines.append(f"  {out} {ending}")
        e.mine = False
        for v in own:
            e.variables.remove(v)
        return "\n".join([*lines, "}"])

    def segment(
        self, plan: Plan, k: int, scope: dict[str, Ty], held: list[tuple[str, bool]], at: list[list[tuple[str, bool]]]
    ) -> str:
        m, e = self.m, self.e
        inner = dict(scope)
        out: list[str] = []
        wait = m.number(0, 9)
        likely = 90 if "thread" in m.wants else 55
        call = self.call(scope) if self.procedures and m.chance(likely) else None
        waits = call is not None and call[1].waits
        if wait < 1 and not waits:
            out.append(f"await {e.boolean(scope, 1)};")
        elif wait < 6 and e.locks and not waits:
            out += self.acquire(scope, held)
        elif wait == 6 and e.locks and not held and not waits:
            lock, read = self.pick_lock(scope)
            word = "read " if read else ""
            out.append(f"if (trylock {word}{lock}) {{ {m.block(inner, 1)} release {lock}; }}")
        if waits and call is not None and not (call[1].locks & {x for x, _ in held}):
            out.append(call[0])
        loop = [x for x, t in plan.locals if t.kind == "range"]
        if loop and m.chance(70 if "thread" in m.wants else 40):
            x = m.random.choice(loop)
            out.append(f"while ({x} < {m.number(1, 2)}) {{ i{k}: {x} += 1; {m.block(inner, 1, False)} }}")
        else:
            out += [m.statement(inner) for _ in range(m.number(0, 2))]
        if call is not None and not waits:
            out.append(call[0])
        if self.slip():
            lock, _ = self.pick_lock(scope) if e.locks else ("", False)
            if lock:
                out.append(f"release {lock};")
        elif held and m.chance(30):
            out.append(f"release {held.pop()[0]};")
        same = [plan.labels[i] for i in range(k) if at[i] == held]
        if same and m.chance(20):
            out.append(f"if ({e.boolean(inner, 1)}) {{ goto {m.random.choice(same)}; }}")
        elif m.chance(12) and (not held or self.slip()):
            word = m.random.choice(("restart", "stop"))
            out.append(f"if ({e.boolean(inner, 1)}) {{ {word}; }}")
        return " ".join(out) or "skip;"

    def pick_lock(self, scope: dict[str, Ty]) -> tuple[str, bool]:
        lock = self.m.random.choice(self.e.locks)
        stable = {x: t for x, t in scope.items() if t.kind in ("symmetric", "range") and not x.startswith("z")}
        index = ""
        for t in lock.indices:
            names = [x for x, has in stable.items() if has == t]
            if names:
                index = f"[{self.m.random.choice(names)}]"
            elif t.kind == "range":
                index = f"[{self.m.number(t.low, t.high)}]"
            else:
                raise NoWay
        return lock.name + index, lock.rw and self.m.chance(50)

    def acquire(self, scope: dict[str, Ty], held: list[tuple[str, bool]]) -> list[str]:
        if held and self.slip():
            return [f"acquire {held[-1][0]};"]
        for _ in range(3):
            try:
                lock, read = self.pick_lock(scope)
            except NoWay:
                continue
            if all(lock != x for x, _ in held):
                held.append((lock, read))
                return [f"acquire {'read ' if read else ''}{lock};"]
        return []

    def call(self, scope: dict[str, Ty]) -> tuple[str, Procedure] | None:
        m, e = self.m, self.e
        f = m.random.choice(self.procedures)
        try:
            given = e.expr(f.param, scope, 1) if f.param else ""
            if f.result is None or m.chance(20):
                return f"call {f.name}({given});", f
            v, below, _ = e.some([p for p in e.paths(lambda t: t == f.result) if p[0].writable])
            return f"{e.path(v, below, scope, 0)} := call {f.name}({given});", f
        except NoWay:
            return None
