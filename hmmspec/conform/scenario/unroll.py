"""The body of a scenario as a straight list of commands: loops, choices and procedures carried out, names resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field

from hmmspec.conform.commands import ARENA_PAGES, Command, Kill, Spawn
from hmmspec.conform.results import STAMPS
from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.forms import FORMS, Form
from hmmspec.conform.scenario.plan import OK, Cases, Judge, Outcomes, PlanStep, RaceStep, Step, Value
from hmmspec.conform.scenario.values import Evaluator, Unseen, mistake
from hmmspec.conform.scenario.wants import wants
from hmmspec.conform.target import CAPABILITIES, needs
from hmmspec.diagnostics import Diagnostics, SpecError, did_you_mean
from hmmspec.records import dataclass

MOST_STEPS = 200_000
_DEEPEST = 40
_FILE_PAGES = 1 << 17


@dataclass(frozen=True)
class Facts:
    """What a target says of itself: device -> kind of memory; capabilities; behaviours (None: known, but not told)."""

    devices: Mapping[str, str]
    capabilities: frozenset[str]
    behaviours: Mapping[str, Value | None]


@dataclasses.dataclass
class _Scope:
    values: dict[str, Value]
    results: dict[str, int] = field(default_factory=dict)
    process: str = ""  # who does what is written without a name
    in_thread: bool = False
    depth: int = 0

    def inner(self, **changed: object) -> _Scope:
        """What a block sees: what it defines is unknown outside; results are known afterwards."""
        out = _Scope(dict(self.values), self.results, self.process, self.in_thread, self.depth + 1)
        for name, value in changed.items():
            setattr(out, name, value)
        return out


class Unroller:
    """`run` fills `steps`; mistakes are in `told`; `skipped` says why the target cannot run it."""

    def __init__(
        self, file: s.ScenarioFile, scenario: s.Scenario, facts: Facts, variant: str, values: Mapping[str, Value]
    ) -> None:
        self.steps: list[PlanStep] = []
        self.races = 0
        self.told = Diagnostics()
        self.skipped = ""
        self.process_names: dict[str, str] = {}  # p0 -> what the scenario calls it
        self.device_names: dict[str, str] = {}
        self._facts = facts
        self._scenario = scenario
        self._procedures = {p.name: p for p in file.procedures}
        self._values = values
        self._variant = variant
        self._processes: dict[str, str] = {}  # name -> p0
        self._devices: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._results: set[str] = set()
        self._count = 0
        self._into: list[PlanStep] = self.steps

    def run(self) -> None:
        """Unroll the whole scenario."""
        try:
            self._declare()
            scope = _Scope(dict(self._values), process=next(iter(self._processes)))
            self._block(self._scenario.body, scope)
        except SpecError as error:
            self.told.items += error.diagnostics
        except Unseen as reason:
            self.skipped = str(reason)

    # ---- declarations

    def _declare(self) -> None:
        names: set[str] = set(self._values)

        def new(node: s.DeviceDecl | s.ProcessDecl) -> None:
            if node.name in names:
                raise mistake("HMM124", node, f"'{node.name}' is defined twice")
            names.add(node.name)

        processes = [d for d in self._scenario.declarations if isinstance(d, s.ProcessDecl)]
        for process in processes:
            new(process)
            self._process(process.name)
        if not processes:
            self._process("main")
        taken: dict[str, int] = {}
        for device in self._scenario.declarations:
            if isinstance(device, s.DeviceDecl):
                new(device)
                kind = device.kind or self._variant
                self._kinds[device.name] = kind
                there = [name for name, k in self._facts.devices.items() if k == kind]
                number = taken[kind] = taken.get(kind, 0) + 1
                self._devices[device.name] = there[number - 1] if number <= len(there) else ""
                if number <= len(there):
                    self.device_names[there[number - 1]] = device.name
                elif not self.skipped:
                    some = f"{number} devices" if number > 1 else "a device"
                    self.skipped = f"it needs {some} with {kind} memory"
        for process in processes[1:]:
            self._step(Spawn(self._processes[process.name]), OK, process)

    def _process(self, name: str) -> str:
        number = f"p{len(self.process_names)}"
        self.process_names[number] = name
        self._processes[name] = number
        return number

    # ---- statements

    def _block(self, body: Sequence[s.Statement], scope: _Scope) -> None:
        if scope.depth > _DEEPEST:
            raise mistake(
                "HMM125", body[0], f"procedures and blocks are at most {_DEEPEST} deep", "does it call itself?"
            )
        group: list[s.Possible] = []
        for statement in (*body, None):
            if isinstance(statement, s.Possible):
                group.append(statement)
                continue
            if group:
                self._outcomes(group, scope)
                group = []
            if statement is None:
                break
            try:
                self._statement(statement, scope)
            except SpecError as error:
                # Go on: one run tells all mistakes, and of a missing name where it is missing first.
                said = {(d.code, d.message) for d in self.told.items}
                self.told.items += [d for d in error.diagnostics if (d.code, d.message) not in said]
                if len(self.told.items) > 20 or self._count >= MOST_STEPS:
                    raise SpecError(()) from None

    def _statement(self, statement: s.Statement, scope: _Scope) -> None:
        evaluate = Evaluator(scope.values, self._facts.behaviours, known_results=tuple(self._results))
        match statement:
            case s.Do():
                self._do(statement, scope, evaluate)
            case s.Let(name, value):
                if name in scope.values:
                    raise mistake("HMM124", statement, f"'{name}' is defined already", "values never change")
                scope.values[name] = evaluate.value(value)
            case s.For(name, values, body):
                if name in scope.values:
                    raise mistake("HMM124", statement, f"'{name}' is defined already")
                for item in evaluate.items(values):
                    inner = scope.inner()
                    if name:
                        inner.values[name] = item
                    self._block(body, inner)
            case s.If(condition, then, other):
                self._block(then if evaluate.truth(condition) else other, scope.inner())
            case s.Call():
                self._call(statement, scope, evaluate)
            case s.Race():
                self._race(statement, scope)
            case s.Expect(condition, text):
                self._into.append(self._judge(condition, text, statement, scope))
            case s.Possible():
                self._outcomes([statement], scope)

    def _call(self, call: s.Call, scope: _Scope, evaluate: Evaluator) -> None:
        procedure = self._procedures.get(call.name.word)
        if procedure is None:
            fix = did_you_mean(call.name.word, (*self._procedures, *FORMS))
            raise mistake("HMM123", call.name, f"there is no procedure '{call.name.word}'", fix)
        if len(call.args) != len(procedure.params):
            wanted = (
                f"{len(procedure.params)} values: {', '.join(procedure.params)}" if procedure.params else "no values"
            )
            raise mistake("HMM125", call, f"'{procedure.name}' takes {wanted}; there are {len(call.args)}")
        values = dict(self._values)
        # Its parameters hide what has the same name outside: who calls it need not know them.
        values |= {name: evaluate.value(arg) for name, arg in zip(procedure.params, call.args, strict=True)}
        self._block(procedure.body, scope.inner(values=values))

    def _race(self, race: s.Race, scope: _Scope) -> None:
        if scope.in_thread:
            raise mistake("HMM128", race, "a race in a thread")
        self.races += 1
        threads: list[tuple[Step, ...]] = []
        outer = self._into
        try:
            for thread in race.threads:
                into: list[PlanStep] = []
                self._into = into
                who = thread.process.word if thread.process else scope.process
                self._who(thread.process, who)
                self._block(thread.body, scope.inner(process=who, in_thread=True))
                steps = tuple(step for step in into if isinstance(step, Step))
                own = [step.command for step in steps if not isinstance(step.command, Spawn | Kill)]
                doers = {p for command in own if (p := getattr(command, "process", ""))}
                if len(doers) > 1 and not self.told.items:
                    fix = "thread PROCESS { .. } says whose it is"
                    raise mistake("HMM128", thread, "a thread is of one process", fix)
                if not steps and not self.told.items:
                    raise mistake("HMM128", thread, "a thread that does nothing")
                threads.append(steps)
        finally:
            self._into = outer
        self._into.append(RaceStep(tuple(threads), race.span))

    def _judge(self, condition: s.Expr, text: str, node: s.Node, scope: _Scope) -> Judge:
        if scope.in_thread:
            raise mistake("HMM128", node, "this stands after the race, where the results are there", None)
        _check(condition, scope.values, scope.results, self._facts.behaviours)
        with suppress(Unseen):
            results = dict.fromkeys(scope.results)
            Evaluator(scope.values, self._facts.behaviours, results).truth(condition)
        return Judge(condition, dict(scope.values), dict(scope.results), text, node.span)

    def _outcomes(self, group: Sequence[s.Possible], scope: _Scope) -> None:
        choices: list[tuple[str, Judge]] = []
        for one in group:
            if any(name == one.name for name, _ in choices):
                raise mistake("HMM124", one, f"the outcome '{one.name}' stands twice")
            choices.append((one.name, self._judge(one.condition, one.text, one, scope)))
        self._into.append(Outcomes(tuple(choices), group[0].span))

    # ---- commands

    def _do(self, do: s.Do, scope: _Scope, evaluate: Evaluator) -> None:
        form = FORMS[do.command.word]
        args: dict[str, object] = {}
        if form.subject != "system":
            args["process"] = self._who(do.process, do.process.word if do.process else scope.process)
        elif do.process is not None and form.word != "spawn":
            fix = f"write {form.written}"
            raise mistake("HMM122", do.process, f"'{form.word}' is done by nobody in particular", fix)
        device = ""
        if do.device is not None:
            args["device"] = self._device(do.device)
            device = self._kinds[do.device.word]
        for name, arg in do.args:
            if isinstance(arg, s.Range):
                first, count = self._pages(arg, evaluate, form)
                args |= {"page": first, "count": count}
            elif not isinstance(arg, s.Word):
                args[name] = self._number(name, arg, evaluate)
        for name, arg in do.args:
            if isinstance(arg, s.Word):
                args[name] = self._word(name, arg, form, args)
        command = form.command(**args)
        expected = wants(do, command, device, evaluate)
        step = self._step(command, expected, do)
        if do.result is not None:
            if do.result.word in scope.values or do.result.word in self._processes:
                raise mistake("HMM124", do.result, f"'{do.result.word}' is the name of something else")
            scope.results[do.result.word] = step
            self._results.add(do.result.word)

    def _step(self, command: Command, expected: Cases, node: s.Node) -> int:
        if self._count >= MOST_STEPS:
            raise mistake("HMM125", node, f"the scenario has more than {MOST_STEPS} commands")
        self._into.append(Step(self._count, command, expected, node.span))
        self._count += 1
        return self._count - 1

    def _who(self, node: s.Node | None, name: str) -> str:
        if name not in self._processes:
            fix = did_you_mean(name, self._processes) or "a fork or 'process' defines one"
            raise mistake("HMM123", node or s.Node(), f"there is no process '{name}' here", fix)
        return self._processes[name]

    def _device(self, word: s.Word) -> str:
        if word.word not in self._devices:
            fix = did_you_mean(word.word, self._devices) or f"declare it: device {word.word}"
            raise mistake("HMM123", word, f"there is no device '{word.word}'", fix)
        # A device that the target lacks has a name here all the same: the run is skipped, its mistakes are told.
        return self._devices[word.word] or "dev0"

    def _pages(self, pages: s.Range, evaluate: Evaluator, form: Form) -> tuple[int, int]:
        first = evaluate.number(pages.first)
        end = first + 1 if pages.end is None else evaluate.number(pages.end)
        most = _FILE_PAGES if "file:name" in form.leads else ARENA_PAGES
        if first < 0:
            raise mistake("HMM125", pages.first, f"pages are counted from 0: there is no page {first}")
        if end <= first:
            told = "a range of no pages" if end == first else "a range that ends before it begins"
            raise mistake("HMM125", pages, f"[{first}, {end}) is {told}")
        if end > most:
            raise mistake("HMM125", pages, f"[{first}, {end}) goes beyond page {most - 1}, the last one")
        return first, end - first

    def _number(self, name: str, arg: s.Expr, evaluate: Evaluator) -> int:
        value = evaluate.number(arg)
        least, most = {"stamp": (0, STAMPS), "times": (1, 1 << 20)}.get(name, (0, ARENA_PAGES))
        if not least <= value < most:
            raise mistake("HMM125", arg, f"{value} is no {name}", f"from {least} to {most - 1}")
        return value

    def _word(self, name: str, arg: s.Word, form: Form, args: Mapping[str, object]) -> object:
        if form.word in ("fork", "spawn"):
            if arg.word in self._kinds or arg.word in self._values:
                raise mistake("HMM124", arg, f"'{arg.word}' is the name of something else")
            return self._process(arg.word)
        if name == "device" or (name == "source" and ("kind", "device") in args.items()):
            return self._device(arg)
        if form.word == "flags":
            return arg.word == "fail_alloc"
        if form.word == "uffd_wp":
            return arg.word == "on"
        return True if arg.word == "true" else arg.word


def missing(steps: Sequence[PlanStep], facts: Facts) -> str:
    """What the commands ask of a target that it lacks, in words; '' if there is nothing."""
    wanted: set[str] = set()
    for step in steps:
        if isinstance(step, RaceStep):
            wanted.add("race")
            for thread in step.threads:
                for one in thread:
                    wanted |= needs(one.command)
        elif isinstance(step, Step):
            wanted |= needs(step.command)
    lacking = sorted(wanted - facts.capabilities)
    return (
        "the target lacks " + ", ".join(f"{name} ({CAPABILITIES.get(name, '')})" for name in lacking) if lacking else ""
    )


def _check(
    expr: s.Expr, values: Mapping[str, Value], results: Mapping[str, int], behaviours: Mapping[str, Value | None]
) -> None:
    """Whether the names in a condition over results are there, and it can be a condition.  Raises SpecError."""
    match expr:
        case s.Unary(_, operand):
            _check(operand, values, results, behaviours)
        case s.Binary(_, left, right):
            _check(left, values, results, behaviours)
            _check(right, values, results, behaviours)
        case s.Member(item, _):
            _check(item, values, results, behaviours)
        case s.Function(name, args) if name != "has":
            for arg in args:
                _check(arg, values, results, behaviours)
    # With results that never returned: names, fields and kinds of values are looked at, the values themselves are not.
    with suppress(Unseen):
        Evaluator(values, behaviours, dict.fromkeys(results)).value(expr)
