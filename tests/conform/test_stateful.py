"""The state machine: it runs clean on a kernel that keeps its promises, finds one that does not, and can be extended."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from hmmspec.conform.commands import Load, MigrateToDevice, Mmap, Open, Store
from hmmspec.conform.stateful import ConformanceMachine, Violation, machine
from tests.conform.fake import FakeTarget

# What is found is not made small here: that takes Hypothesis a minute, and is its own business.
SMALL = settings(
    phases=[Phase.generate],
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    run_state_machine_as_test(machine(FakeTarget()), settings=SMALL)


@pytest.mark.parametrize("bug", ["lost_on_fault", "fork_shares"])
def test_a_broken_kernel_is_found(bug: str) -> None:
    with pytest.raises(Violation) as found:
        run_state_machine_as_test(machine(FakeTarget(bug)), settings=settings(SMALL, max_examples=400))
    told = str(found.value)
    assert "data lost" in told
    assert "mmap p0" in told
    assert "what was seen:" in told


class Extended(ConformanceMachine):
    """One rule of its own: there and back."""

    trips = 0

    def make_target(self) -> FakeTarget:
        return FakeTarget("lost_on_fault")

    @rule(page=st.integers(0, 3))
    def there_and_back(self, page: int) -> None:
        self.do(Mmap("p0", page))
        self.do(Open("p0", "dev0"))
        self.do(Store("p0", page, stamp=7))
        self.do(MigrateToDevice("p0", "dev0", page))
        assert self.do(Load("p0", page)).stamps == (7,)


def test_a_rule_of_ones_own() -> None:
    with pytest.raises(Violation, match="must hold 7"):
        run_state_machine_as_test(Extended, settings=settings(SMALL, max_examples=300))
