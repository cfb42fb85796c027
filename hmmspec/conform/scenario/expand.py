"""A scenario for one target: every choice of its parameters and its variant as a plan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from hmmspec.conform.scenario import syntax as s
from hmmspec.conform.scenario.plan import Plan, Value
from hmmspec.conform.scenario.unroll import Facts, Unroller, missing
from hmmspec.conform.scenario.values import Evaluator, Unseen, mistake
from hmmspec.diagnostics import SpecError, did_you_mean
from hmmspec.records import dataclass

VARIANTS = ("private", "coherent")
MOST_PLANS = 4096
MOST_SEEDS = 100_000
SEEDS = 10  # of a scenario with a race that says nothing of them


@dataclass(frozen=True)
class Choice:
    """What the command line says: one variant only; parameters; how often races run (None: as the scenario says)."""

    variant: str = ""
    params: Mapping[str, int] = field(default_factory=dict)
    seeds: int | None = None


def plans(file: s.ScenarioFile, scenario: s.Scenario, facts: Facts, choice: Choice) -> list[Plan]:
    """All plans of a scenario on a target with these facts; those that it cannot run say why.

    Raises SpecError: with every mistake of the first plan that has any.
    """
    out: list[Plan] = []
    for variant in _variants(scenario, choice):
        shared = _shared(file, facts, variant)
        declared = _params(file, scenario, shared, facts, choice)
        several = [name for name, values in declared.items() if len(values) > 1 or name in choice.params]
        count = 1
        for values in declared.values():
            count *= len(values)
        if count > MOST_PLANS:
            fix = f"at most {MOST_PLANS} choices of parameters"
            raise mistake("HMM125", scenario, f"the parameters of '{scenario.name}' have {count} choices", fix)
        out += [
            _plan(file, scenario, facts, choice, variant, {**shared, **chosen}, chosen, several)
            for chosen in _choices(declared)
        ]
    return out


def param_names(file: s.ScenarioFile) -> list[str]:
    """The names of all parameters in a file."""
    declared = [d for sc in file.scenarios for d in sc.declarations if isinstance(d, s.Param)]
    return [p.name for p in (*file.params, *declared)]


def _variants(scenario: s.Scenario, choice: Choice) -> list[str]:
    """A scenario whose devices do not depend on the variant has none; one that names a variant has that."""
    named = [d.kind for d in scenario.declarations if isinstance(d, s.Variant)]
    if not named and not any(isinstance(d, s.DeviceDecl) and not d.kind for d in scenario.declarations):
        return [""]
    return [v for v in VARIANTS if (not named or v in named) and choice.variant in ("", v)]


def _shared(file: s.ScenarioFile, facts: Facts, variant: str) -> dict[str, Value]:
    values: dict[str, Value] = {kind: kind == variant for kind in VARIANTS}
    for let in file.lets:
        if let.name in values:
            raise mistake("HMM124", let, f"'{let.name}' is defined twice")
        values[let.name] = Evaluator(values, facts.behaviours).value(let.value)
    return values


def _params(
    file: s.ScenarioFile, scenario: s.Scenario, shared: Mapping[str, Value], facts: Facts, choice: Choice
) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {}
    for param in (*file.params, *(d for d in scenario.declarations if isinstance(d, s.Param))):
        if param.name in out or param.name in shared:
            raise mistake("HMM124", param, f"'{param.name}' is defined twice")
        known = {**shared, **{name: values[0] for name, values in out.items()}}
        values = Evaluator(known, facts.behaviours).items(param.values)
        for value in values:
            if isinstance(value, str):
                raise mistake("HMM125", param.values, f"a parameter is a number, not '{value}'")
        if not values:
            raise mistake("HMM125", param.values, f"'{param.name}' has no value at all")
        out[param.name] = [int(v) for v in values]
        if param.name in choice.params:
            out[param.name] = [choice.params[param.name]]
    return out


def _choices(declared: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    for values in itertools.product(*declared.values()):
        yield dict(zip(declared, values, strict=True))


def _plan(
    file: s.ScenarioFile,
    scenario: s.Scenario,
    facts: Facts,
    choice: Choice,
    variant: str,
    values: Mapping[str, Value],
    chosen: Mapping[str, int],
    several: Sequence[str],
) -> Plan:
    evaluate = Evaluator(values, facts.behaviours)
    shown = {name: chosen[name] for name in several}
    skipped = ""
    for need in scenario.declarations:
        if isinstance(need, s.Need) and not skipped:
            try:
                if not Evaluator(values, facts.behaviours, undefined="HMM127").truth(need.condition):
                    skipped = f"it needs {need.condition.span.text}"
            except Unseen as reason:
                skipped = f"it needs {need.condition.span.text}, and {reason}"
    unroller = Unroller(file, scenario, facts, variant, values)
    # What is skipped is read all the same, so far as that can be done: mistakes show on every target.
    unroller.run()
    if unroller.told.items:
        raise SpecError(unroller.told.items)
    skipped = skipped or unroller.skipped or missing(unroller.steps, facts)
    seeds = _seeds(scenario, evaluate, choice, unroller.races > 0)
    return Plan(
        scenario,
        variant,
        dict(chosen),
        shown,
        tuple(unroller.steps),
        unroller.process_names,
        unroller.device_names,
        seeds,
        skipped,
    )


def _seeds(scenario: s.Scenario, evaluate: Evaluator, choice: Choice, races: bool) -> int:
    """How often it runs: once, unless it has a race or says so itself."""
    declared = [d for d in scenario.declarations if isinstance(d, s.Seeds)]
    seeds = SEEDS if races else 1
    for one in declared:
        seeds = evaluate.number(one.count)
        if not 1 <= seeds <= MOST_SEEDS:
            raise mistake("HMM125", one.count, f"{seeds} seeds", f"from 1 to {MOST_SEEDS}")
    return seeds if choice.seeds is None or not (races or declared) else choice.seeds


def unknown_param(name: str, files: Sequence[s.ScenarioFile]) -> str | None:
    """What may be meant by a parameter that no file has; None if one has it."""
    known = [n for file in files for n in param_names(file)]
    if name in known:
        return None
    return did_you_mean(name, known) or (f"there are {', '.join(dict.fromkeys(known))}" if known else "there are none")
