"""What the sampler makes of a plan that a suite has changed."""

from __future__ import annotations

from collections.abc import Sequence

from perfguard.benchmark.wishes import Wishes
from perfguard.measure import Plan, Round, sample
from perfguard.measure.blocks import Target


class Listener:
    """Keeps the stages and rounds of one measurement."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.rounds: list[Round] = []

    def stage(self, stage: str, detail: dict[str, float]) -> None:
        self.stages.append(stage)

    def round(self, done: Round) -> None:
        self.rounds.append(done)

    def again(self, values_s: Sequence[float]) -> bool:
        return False


class Work:
    """A function of 10 us on a clock of its own."""

    now_ns = 0
    calls = 0

    def __call__(self) -> None:
        self.now_ns += 10_000
        self.calls += 1

    def clock(self) -> int:
        self.now_ns += 1
        return self.now_ns


def measured(wishes: Wishes) -> Listener:
    work, listener = Work(), Listener()
    plan = wishes.plan(Plan(budget_s=0.01, min_rounds=5, target=0.5))
    sample(Target(work), plan, listener, work.clock)
    return listener


def test_rounds_last_as_long_as_asked() -> None:
    """2 ms a round are at least 200 calls of 10 us; unasked, a thousand clock readings are over at once."""
    assert all(r.iterations >= 200 for r in measured(Wishes(min_time_s=0.002)).rounds)
    assert all(r.iterations < 10 for r in measured(Wishes()).rounds)


def test_without_warm_up_every_round_counts() -> None:
    """And nobody is told that it did not settle."""
    listener = measured(Wishes(warmup=False))
    assert listener.stages == ["calibrate", "measure"]
    assert not any(r.warmup for r in listener.rounds)


def test_min_and_max_rounds_hold_whatever_the_budget() -> None:
    """Exact counts: the interval of a steady function is narrow at once."""
    assert sum(not r.warmup for r in measured(Wishes(min_rounds=77, max_time_s=0.0)).rounds) == 77
    assert sum(not r.warmup for r in measured(Wishes(max_rounds=2)).rounds) == 2
