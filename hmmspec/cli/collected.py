"""What `pytest --hmmspec` collects: each instance of a spec, each scenario, each binding is a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmmspec.checker.options import CheckOptions
from hmmspec.cli.args import shown
from hmmspec.cli.engines import ENGINES
from hmmspec.cli.limits import default_memory
from hmmspec.cli.specs import load_one
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.generate import shape_for
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.plan import Plan
from hmmspec.conform.scenario.report import plan_lines
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.session import Explorer
from hmmspec.conform.session import Plan as SessionPlan
from hmmspec.conform.target import Target
from hmmspec.conform.targets import NoTarget, open_target
from hmmspec.conform.telling import found_text
from hmmspec.diagnostics import SpecError
from hmmspec.lang.load import read_source
from hmmspec.report.style import PLAIN
from hmmspec.report.text import TextOptions, report_text
from hmmspec.system.system import System

_TARGETS: dict[str, Target] = {}  # name -> the one that serves all tests of this process


class Unexpected(Exception):
    """A test failed; the message is the report."""


class Item(pytest.Item):
    """A test whose failure is told in our own words."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: str | None = None) -> str:
        """The report; for anything else what pytest would say."""
        if isinstance(excinfo.value, Unexpected):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))


class SpecItem(Item):
    """An instance of a spec: everything is as its file expects."""

    system: System

    def runtest(self) -> None:
        """Search its states.  Raises Unexpected."""
        report = ENGINES["auto"](self.system, CheckOptions(engine="auto", memory=default_memory()), None)
        if report.exit_code:
            raise Unexpected(report_text(report, PLAIN, TextOptions()))

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the test is, for pytest."""
        return self.path, None, f"instance {self.name}"


class ScenarioItem(Item):
    """A scenario, for one kind of device memory and one choice of its parameters."""

    plan: Plan

    def runtest(self) -> None:
        """Run it.  Raises Unexpected; skips what the target cannot do."""
        report = run_plan(self.plan, target_of(self.config))
        if report.status == "skipped":
            pytest.skip(self.plan.skipped)
        if report.status == "failed":
            raise Unexpected("\n".join(plan_lines(report, PLAIN, f"hmmspec scenario {self.path}")))

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the test is, for pytest."""
        return self.path, self.plan.scenario.span.line - 1, self.name


class BindingItem(Item):
    """A binding: random programs on the target are explained by its spec."""

    def runtest(self) -> None:
        """Run and follow.  Raises Unexpected."""
        target = target_of(self.config)
        steps = int(self.config.getoption("hmmspec_steps"))
        explorer = Explorer(target, [Follower(load_for(str(self.path)))], SessionPlan(steps, 0, (shape_for(target),)))
        found = explorer.explore().found
        if found is not None:
            raise Unexpected("\n".join(found_text(found, PLAIN)))

    def reportinfo(self) -> tuple[os.PathLike[str], int | None, str]:
        """Where the test is, for pytest."""
        return self.path, None, "binding"


class OurFile(pytest.File):
    """A file of ours."""

    def collect(self) -> Iterator[pytest.Item]:
        """Its tests.  Raises CollectError with the diagnostics of a wrong file."""
        try:
            yield from self._items()
        except SpecError as error:
            raise self.CollectError("\n".join(shown(d) for d in error.diagnostics)) from None
        except NoTarget as error:
            raise self.CollectError(str(error)) from None

    def _items(self) -> Iterator[pytest.Item]:
        if self.path.suffix == ".hmm":
            for system in load_one(str(self.path), [], {}).systems:
                item = SpecItem.from_parent(self, name=system.instance)
                item.system = system
                yield item
        elif self.path.suffix == ".bind":
            load_for(str(self.path))
            yield BindingItem.from_parent(self, name="follows")
        else:
            file = parse(read_source(str(self.path)))
            facts = facts_of(target_of(self.config))
            for scenario in file.scenarios:
                for plan in plans(file, scenario, facts, Choice("", {}, None)):
                    item_ = ScenarioItem.from_parent(self, name=plan.title)
                    item_.plan = plan
                    yield item_


def collector(file_path: Path, parent: pytest.Collector) -> pytest.Collector:
    """The collector of one file."""
    made: pytest.Collector = OurFile.from_parent(parent, path=file_path)
    return made


def target_of(config: pytest.Config) -> Target:
    """The kernel that scenarios and bindings run on, made once.  Raises NoTarget."""
    name = str(config.getoption("hmmspec_target"))
    if name not in _TARGETS:
        _TARGETS[name] = open_target(name, {"size": "large"})
    return _TARGETS[name]
