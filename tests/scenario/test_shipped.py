"""The scenarios that come with hmmspec, on the reference kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.plan import Plan
from hmmspec.conform.scenario.report import plan_lines
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.scenario.syntax import ScenarioFile
from hmmspec.conform.target import Target
from hmmspec.conform.targets import open_target
from hmmspec.lang.load import read_source
from hmmspec.report.style import Style

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"
FILES: list[ScenarioFile] = [parse(read_source(str(path))) for path in sorted(FOLDER.glob("*.scn"))]
SCENARIOS = [(file, scenario) for file in FILES for scenario in file.scenarios]
NAMES = [f"{Path(file.path).stem}-{scenario.name}" for file, scenario in SCENARIOS]

# The kernel's own tests of the test device, those that are described here.
KERNEL_TESTS = """
    open_close anon_read anon_read_prot anon_write anon_write_prot anon_write_child_shared anon_write_huge
    anon_write_hugetlb file_read file_write migrate migrate_file_private migrate_fault migrate_release migrate_shared
    migrate_multiple anon_read_multiple anon_teardown mixedmap snapshot compound exclusive exclusive_mprotect
    exclusive_cow gup migrate_anon_huge_empty migrate_anon_huge_zero migrate_anon_huge_free migrate_anon_huge_fault
    migrate_partial_unmap_fault migrate_remap_fault migrate_anon_huge_err migrate_anon_huge_zero_err migrate_sizes
""".split()


@pytest.fixture(scope="module")
def newest() -> Target:
    return open_target("ref", {"profile": "latest", "size": "large"})


@pytest.fixture(scope="module", params=["latest", "6.12"])
def kernel(request: pytest.FixtureRequest) -> Target:
    return open_target("ref", {"profile": request.param, "size": "large"})


def run(target: Target, todo: list[Plan]) -> None:
    for plan in todo:
        report = run_plan(plan, target)
        assert report.status != "failed", "\n".join(plan_lines(report, Style(140), ""))


@pytest.mark.parametrize(("file", "scenario"), SCENARIOS, ids=NAMES)
def test_scenario(file: ScenarioFile, scenario: object, newest: Target) -> None:
    """Small buffers, few seeds, and the last choice of the parameters in each variant."""
    chosen = next(s for s in file.scenarios if s is scenario)
    todo = plans(file, chosen, facts_of(newest), Choice(params={"N": 16, "count": 256}, seeds=2))
    run(newest, list({plan.variant: plan for plan in todo}.values()))


@pytest.mark.slow
@pytest.mark.parametrize(("file", "scenario"), SCENARIOS, ids=NAMES)
def test_scenario_in_full(file: ScenarioFile, scenario: object, kernel: Target) -> None:
    chosen = next(s for s in file.scenarios if s is scenario)
    run(kernel, plans(file, chosen, facts_of(kernel), Choice()))


def test_what_there_is() -> None:
    names = [scenario.name for _, scenario in SCENARIOS]
    assert len(names) == len(set(names))
    assert set(KERNEL_TESTS) <= set(names)
    assert len(set(names) - set(KERNEL_TESTS)) >= 20
    assert all(scenario.title for _, scenario in SCENARIOS)


def test_nothing_is_skipped_on_the_newest_kernel() -> None:
    target = open_target("ref", {"profile": "latest"})
    todo = [p for file, s in SCENARIOS for p in plans(file, s, facts_of(target), Choice())]
    assert [p.title for p in todo if p.skipped] == []
    assert {p.variant for p in todo} == {"private", "coherent", ""}
