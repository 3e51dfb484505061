"""Claims about sampling, with a clock that does as it is told: no real time passes here."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from perfguard.errors import MeasurementError, OptionError
from perfguard.measure import PROFILES, Plan, Round, interleave, sample
from perfguard.measure.blocks import Target, prepared
from perfguard.measure.clock import inspect_clock
from perfguard.spans import phase


@dataclass
class FakeClock:
    """A clock that moves by `cost_ns` when read, and by what the measured function says."""

    now_ns: int = 0
    cost_ns: int = 50

    def __call__(self) -> int:
        self.now_ns += self.cost_ns
        return self.now_ns

    def work(self, durations_ns: Callable[[], int]) -> Callable[[], int]:
        def call() -> int:
            self.now_ns += durations_ns()
            return self.now_ns

        return call


@dataclass
class Seen:
    """An observer that remembers."""

    stages: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)

    def stage(self, stage: str, detail: dict[str, float]) -> None:
        self.stages.append(stage)

    def round(self, done: Round) -> None:
        self.rounds.append(done)

    def again(self, values_s: Sequence[float]) -> bool:
        return False


PLAN = Plan(budget_s=1.0, min_rounds=10)


def test_iterations_make_a_round_long_against_the_clock() -> None:
    """A 100 ns call is repeated until a block is a thousand clock readings long; its figure is per call."""
    clock, seen = FakeClock(), Seen()
    samples = sample(Target(clock.work(lambda: 100)), PLAN, seen, clock)
    assert samples.iterations * 100 >= 1000 * 50
    assert samples.interval.estimate == pytest.approx(100e-9, rel=0.01)
    assert seen.stages == ["calibrate", "warmup", "measure"]


def test_a_long_call_is_not_repeated_within_a_round() -> None:
    """A call of a millisecond is timed one by one, and sampling stops at once where there is no noise."""
    clock = FakeClock()
    samples = sample(Target(clock.work(lambda: 1_000_000)), PLAN, Seen(), clock)
    assert samples.iterations == 1
    assert len(samples.values_s) == PLAN.min_rounds


def test_warm_up_goes_on_until_the_figure_settles_and_is_kept_apart() -> None:
    """Calls that get faster at first are warm-up, none of them a sample."""
    clock, left = FakeClock(), iter([50, 40, 30, 20, 10, 5] + [1] * 10_000)
    samples = sample(Target(clock.work(lambda: next(left) * 1_000_000)), PLAN, Seen(), clock)
    assert max(samples.warmup_s) == pytest.approx(0.05, rel=0.01)
    assert max(samples.values_s) == pytest.approx(0.001, rel=0.01)
    assert samples.settled


def test_warm_up_that_never_settles_ends_and_is_said() -> None:
    """A function that gets faster for ever is measured all the same, within the bound, and marked."""
    clock, step = FakeClock(), iter(range(10**9))
    samples = sample(Target(clock.work(lambda: int(2e8 * 0.8 ** next(step)) + 100)), PLAN, Seen(), clock)
    assert not samples.settled
    assert sum(samples.warmup_s) <= PLAN.budget_s * PLAN.warmup_fraction + 0.2


def test_noise_is_sampled_until_the_interval_is_narrow() -> None:
    """With 5 % noise more than the minimum of rounds is taken, and the interval ends within the target."""
    clock, rng = FakeClock(), random.Random(1)
    work = clock.work(lambda: int(200_000 * rng.uniform(0.95, 1.05)))
    samples = sample(Target(work), PLAN, Seen(), clock)
    assert len(samples.values_s) > PLAN.min_rounds
    assert samples.interval.relative_half_width <= PLAN.target


def test_the_budget_ends_what_does_not_get_narrow() -> None:
    """Noise that cannot be averaged out stops at the budget, not at the maximum of rounds."""
    clock, rng = FakeClock(), random.Random(2)
    samples = sample(Target(clock.work(lambda: int(10_000_000 * rng.lognormvariate(0, 1)))), PLAN, Seen(), clock)
    assert PLAN.budget_s <= sum(samples.values_s) < PLAN.budget_s + 1
    assert samples.interval.relative_half_width > PLAN.target


def test_a_call_longer_than_the_budget_still_has_three_rounds() -> None:
    """A 10 s call in a 1 s budget is measured three times, with the coverage that three samples have."""
    clock = FakeClock()
    samples = sample(Target(clock.work(lambda: 10**10)), PLAN, Seen(), clock)
    assert len(samples.values_s) == PLAN.floor_rounds
    assert samples.interval.confidence == pytest.approx(0.75)


def test_a_clock_that_jumps_back_spoils_rounds_and_not_the_figure() -> None:
    """Rounds in which the clock went backwards are dropped, counted and said."""
    clock, calls = FakeClock(), iter(range(10**9))
    work = clock.work(lambda: -5_000_000 if next(calls) % 7 == 6 else 1_000_000)
    samples = sample(Target(work), PLAN, Seen(), clock)
    assert min(samples.values_s) > 0
    assert samples.interval.estimate == pytest.approx(1e-3, rel=0.01)
    assert any("clock" in note for note in samples.notes)


def test_a_clock_that_only_goes_back_is_an_error_and_no_hang() -> None:
    """A clock that never gives a positive time ends in an error that names it."""
    clock = FakeClock(cost_ns=0)
    with pytest.raises(MeasurementError, match="clock"):
        sample(Target(clock.work(lambda: -1000)), PLAN, Seen(), clock)


def test_a_clock_that_jumps_ahead_is_one_outlier() -> None:
    """A suspended machine (an hour in one round) moves neither the median nor its interval."""
    clock, calls = FakeClock(), iter(range(10**9))
    work = clock.work(lambda: 3_600 * 10**9 if next(calls) == 20 else 1_000_000)
    samples = sample(Target(work), Plan(budget_s=1.0, min_rounds=30), Seen(), clock)
    assert samples.interval.high == pytest.approx(1e-3, rel=0.01)


def test_phases_of_a_round_are_per_call_and_close() -> None:
    """Each round tells its phases in seconds per call, and with `unaccounted` they sum to its value."""

    def fn() -> None:
        with phase("inner"):
            sum(range(200))

    seen = Seen()
    with prepared(fn) as target:
        samples = sample(target, Plan(budget_s=0.02, min_rounds=5), seen)
    for done in seen.rounds:
        if not done.warmup:
            assert set(done.phases) == {"inner", "unaccounted"}
            assert sum(done.phases.values()) == pytest.approx(done.value_s)
    (inner,) = samples.account.phases
    assert inner.count == samples.account.calls == len(samples.values_s) * samples.iterations


def test_garbage_is_collected_between_rounds_only_and_it_is_said() -> None:
    """The collector is off inside the timing; what piles up is collected between rounds, and a note counts that."""
    collecting, kept = [], []

    def fn() -> None:
        collecting.append(gc.isenabled())
        kept.append([[] for _ in range(60_000)])

    with prepared(fn) as target:
        samples = sample(target, Plan(budget_s=0.05, min_rounds=5, max_rounds=8), Seen())
    assert not any(collecting)
    assert gc.isenabled()
    assert any("young collections between rounds" in note for note in samples.notes)


def test_async_functions_are_awaited_on_one_loop() -> None:
    """A coroutine function is awaited in every call, all on one event loop, and its result comes back."""
    import asyncio

    loops = set()

    async def fn() -> int:
        loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0)
        return 7

    with prepared(fn) as target:
        sample(target, Plan(budget_s=0.02, min_rounds=5), Seen())
    assert target.result == 7
    assert len(loops) == 1


def test_what_cannot_be_called_or_waited_for_is_refused() -> None:
    """A result instead of a function, and a device that is none, are errors that say so."""
    with pytest.raises(MeasurementError, match="not its result"), prepared(42):  # type: ignore[arg-type]
        pass
    with pytest.raises(MeasurementError, match="tpu"), prepared(print, device="tpu"):
        pass


def test_alternatives_take_turns_in_random_order() -> None:
    """Each round times each alternative once; the order differs between rounds; drift cancels in the ratio."""
    clock, order = FakeClock(), []
    drift = {"factor": 1.0}

    def alternative(name: str, ns: int) -> Target:
        def work() -> int:
            order.append(name)
            drift["factor"] *= 1.001
            return int(ns * drift["factor"])

        return Target(clock.work(work))

    rows: list[dict[str, float]] = []
    targets = {"a": alternative("a", 1_000_000), "b": alternative("b", 3_000_000)}
    comparison = interleave(targets, PLAN, random.Random(4), lambda _, row: rows.append(row), clock)
    assert comparison.rounds == len(rows) >= PLAN.min_rounds
    assert comparison.ratio("b", "a").estimate == pytest.approx(3.0, rel=0.01)
    blocks = "".join(order[-4 * comparison.rounds :])  # each alternative: one untimed call, then its timed block
    turns = {blocks[i : i + 4] for i in range(0, len(blocks), 4)}
    assert turns == {"aabb", "bbaa"}


def test_a_comparison_needs_two_and_knows_their_names() -> None:
    """One alternative is no comparison; an unknown name in a ratio is named."""
    clock = FakeClock()
    one = Target(clock.work(lambda: 10**6))
    with pytest.raises(MeasurementError, match="at least two"):
        interleave({"a": one}, PLAN, random.Random(0), lambda *_: None, clock)
    both = {"a": one, "b": Target(clock.work(lambda: 10**6))}
    comparison = interleave(both, PLAN, random.Random(0), lambda *_: None, clock)
    with pytest.raises(MeasurementError, match="'c'"):
        comparison.ratio("c", "a")


def test_the_clock_is_inspected_by_reading_it() -> None:
    """Cost and step come out as they are; a clock that stands still is treated as stepping by one."""
    facts = inspect_clock(FakeClock(cost_ns=70))
    assert (facts.cost_ns, facts.step_ns) == (70, 70)
    assert inspect_clock(lambda: 5).step_ns == 1


@pytest.mark.parametrize("budget", [0, -1, float("nan"), 1e9])
def test_a_budget_is_a_sane_number_of_seconds(budget: float) -> None:
    """Zero, negative, NaN and absurd budgets are refused."""
    with pytest.raises(OptionError, match="budget"):
        PROFILES["quick"].with_budget(budget)
