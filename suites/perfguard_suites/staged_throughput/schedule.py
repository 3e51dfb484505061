"""A batch schedule: which requests each step computed, so that any stage can compute the same steps again.

The shape of a batch changes the bits of quantised kernels, and then tokens: stages compare only on equal schedules.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from time import perf_counter

from perfguard_suites.staged_throughput.errors import ReplayError
from perfguard_suites.staged_throughput.sequence import Sequence

Step = tuple[str, ...]
Schedule = tuple[Step, ...]


def static_schedule(names: Items[str], concurrency: int, new_tokens: int) -> Schedule:
    """Batches of `concurrency` requests from their prompts to their ends, one batch after the other."""
    groups = [tuple(names[at : at + concurrency]) for at in range(0, len(names), concurrency)]
    return tuple(group for group in groups for _ in range(new_tokens))


def last_steps(schedule: Schedule) -> dict[str, int]:
    """The step in which each request gets its last token."""
    return {name: index for index, step in enumerate(schedule) for name in step}


class Steps:
    """What a stage computed, step by step: by whom, and when it was done (`perf_counter` seconds)."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, Items[Sequence]]] = []

    def add(self, sequences: Items[Sequence]) -> None:
        """These have a token more, now. The list is kept as it is."""
        self._steps.append((perf_counter(), sequences))

    @property
    def schedule(self) -> Schedule:
        """The names alone."""
        return tuple(tuple(each.name for each in sequences) for _, sequences in self._steps)

    def token_s(self) -> dict[Sequence, list[float]]:
        """When each sequence got its tokens."""
        found: dict[Sequence, list[float]] = {}
        for moment_s, sequences in self._steps:
            for each in sequences:
                found.setdefault(each, []).append(moment_s)
        return found


class Replay:
    """Makes a scheduler follow a schedule: whom it may admit now, and whom the next step computes."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._at = 0
        self._here: set[str] = set()

    @property
    def done(self) -> bool:
        """Whether all steps were taken."""
        return self._at >= len(self._schedule)

    def admits(self, name: str) -> bool:
        """Whether the next step wants that request."""
        return not self.done and name in self._schedule[self._at]

    def choose(self, running: Items[Sequence]) -> Items[Sequence]:
        """The next step's requests once all are here, nobody before. Raises `ReplayError` for one that ended early."""
        if self.done:
            raise ReplayError("schedule", f"its {self._at} steps are over, {len(running)} requests are not")
        by_name = {each.name: each for each in running}
        wanted = self._schedule[self._at]
        missing = [name for name in wanted if name not in by_name]
        gone = [name for name in missing if name in self._here]
        if gone:
            raise ReplayError(f"schedule: step {self._at}", f"wants {gone}, which have ended")
        self._here.update(by_name)
        if missing:
            return []
        self._at += 1
        return [by_name[name] for name in wanted]
