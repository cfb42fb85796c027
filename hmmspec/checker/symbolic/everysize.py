"""What small instances suggest is asked of every size: does each step keep what is claimed, whatever their number?

Only what was asked together, and all of it kept, is sure: a claim that is kept with the help of another one is worth as
much as that other one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from hmmspec.checker.symbolic.grounded import Known
from hmmspec.checker.symbolic.induction import Claim, Induction
from hmmspec.checker.symbolic.samples import Sizes
from hmmspec.checker.symbolic.steps import Step
from hmmspec.checker.symbolic.strengthen import Strengthener


@dataclass
class EverySize:
    """Asks one `Induction`, up to `until` (time.process_time()).

    claim: what is claimed; undecided: why something is not sure, which is written there; tell: is told how far it is;
    kept_with: what each was kept with, by the number of a rule.
    """

    induction: Induction
    search: Strengthener
    claim: Callable[[Known], Claim]
    undecided: dict[Known, str]
    until: float
    tell: Callable[[str], None]
    kept_with: dict[tuple[Known, int], frozenset[Known]] = field(default_factory=dict)

    def confirm(self, wanted: Iterable[Known]) -> list[Sizes]:
        """Ask whether what the search found makes these inductive; what it does is `search.sure` from then on.  Sizes
        of instances in which a step breaks something.  Raises TimeoutError."""
        wanted = [k for k in wanted if k in self.search.support and k not in self.search.sure]
        found: list[Sizes] = []
        failed: set[Known] = set()
        while True:
            # What was kept with the help of something that is not has to be asked again, without that.
            wanted = [k for k in wanted if failed.isdisjoint(self.search.needed([k]))]
            together = self.search.needed(wanted)
            new = [k for k in together if k not in self.search.sure]
            broken = self._broken(new, together, found)
            if not broken:
                self.search.sure.update(new)
                return found
            failed |= broken

    def _broken(self, new: list[Known], together: list[Known], found: list[Sizes]) -> set[Known]:
        """Those of the new claims that some step may break, out of states in which all together hold."""
        for k in new:
            self.undecided[k] = "time limit"
        failed: set[Known] = set()
        for k in new:
            if self.induction.start_breaks(self.claim(k)) is not False:
                self.undecided[k] = "whether it holds at the start was not decided"
                failed.add(k)
        steps = self.induction.encoding.steps
        for step in steps if new else ():
            self.tell(f"every size: step {step.rule.number + 1} of {len(steps)}")
            if self._keeps(new, step, self._rests_on(new)) is True:
                continue
            for k in new:
                answer = self._keeps([k], step, self._rests_on([k]))
                if answer is not True:
                    answer = self._keeps([k], step, together)
                if answer is not True:
                    failed.add(k)
                if isinstance(answer, Sizes):
                    self.undecided[k] = f"{step.rule.name} may break it"
                    found.append(answer)
                elif answer is None:
                    seconds = self.induction.seconds
                    self.undecided[k] = f"Z3 did not decide in {seconds:g} s whether {step.rule.name} keeps it"
        for k in new:
            if k not in failed:
                del self.undecided[k]
        return failed

    def _rests_on(self, some: Iterable[Known]) -> list[Known]:
        """What the steps of small instances need to keep them."""
        return list(dict.fromkeys(x for k in some for x in self.search.support.get(k, ())))

    def _keeps(self, some: Iterable[Known], step: Step, known: Sequence[Known]) -> bool | Sizes | None:
        """`Induction.kept`, which is remembered."""
        asked = [k for k in some if not self._known(k, step, known)]
        if not asked:
            return True
        if time.process_time() > self.until:
            raise TimeoutError
        answer = self.induction.kept(map(self.claim, asked), step, map(self.claim, known))
        if answer is True:
            self.kept_with.update(((k, step.rule.number), frozenset(known)) for k in asked)
        return answer

    def _known(self, k: Known, step: Step, known: Collection[Known]) -> bool:
        with_ = self.kept_with.get((k, step.rule.number))
        return with_ is not None and with_.issubset(known)

    def closed(self, some: Iterable[Known]) -> list[Known]:
        """Of what is sure some claims, and what they need besides, so that every step keeps them all together."""
        out = list(some)
        if self._all_kept(out):  # mostly: then one question for each step is enough
            return out
        for k in out:  # it grows
            for step in self.induction.encoding.steps:
                try:
                    kept = self._keeps([k], step, out)
                except TimeoutError:
                    kept = None
                if kept is not True:
                    out += sorted(self.kept_with[k, step.rule.number].difference(out), key=lambda x: x.name)
        return out

    def _all_kept(self, some: list[Known]) -> bool:
        """Whether every step keeps all of these together, out of states in which they hold."""
        try:
            return all(self._keeps(some, step, some) is True for step in self.induction.encoding.steps)
        except TimeoutError:
            return False
