"""Claims about whole ladders, on stacks whose time is made up: exact figures, orders, disturbances, bypasses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from perfguard.errors import LadderError
from perfguard.ladder import Forward, Ladder, Load, Stage, StageRun, blame, measure
from perfguard.ladder.rounds import MOST_ROUNDS
from perfguard.ladder.selftest import term_s_per_token, wall_s_per_token
from perfguard.ladder.synthetic import VirtualClock, delayed_stages, stages
from perfguard.ladder.tables import sentences

COSTS_S = (5e-3, 20e-6, 300e-6, 0.0, 150e-6)
LOAD = Load(requests=16, concurrency=8, new_tokens=10)


def calm() -> tuple[float, float]:
    return 0.0, 0.0


def ladder_of(made: list[Stage], load: Load = LOAD, rounds: int = 6) -> Ladder:
    return measure(made, load, rounds=rounds, budget_s=0.0, meter=calm)


def test_losses_add_up() -> None:
    """Each stage adds what its layer costs, their sum is the top's time, and all of it is serial gap."""
    ladder = ladder_of(stages(VirtualClock(), COSTS_S))
    per_token = [cost / 8 for cost in COSTS_S]
    added = [ladder.added_s_per_token(name).estimate for name in ladder.names]
    assert added[1:] == pytest.approx(per_token[1:], abs=1e-12)
    assert added[0] == pytest.approx(per_token[0])
    assert ladder.unexplained_fraction < 1e-9
    found = ladder.terms("stage 4")
    assert found is not None
    assert found.terms.gap_s == pytest.approx(sum(per_token[1:]))
    assert (found.terms.dilation_s, found.terms.mix_s, found.residual_s) == pytest.approx((0, 0, 0), abs=1e-12)
    assert ladder.over_previous("stage 0").estimate == 1
    assert ladder.noisy == ""
    assert [ladder.verdict(name) for name in ("stage 2", "stage 3")] == ["slower", "same"]


def test_a_machine_that_changes_speed_between_rounds_changes_no_ratio() -> None:
    """Drift cancels within the rounds; stage 0's spread says that there was some, and nothing passes."""
    clock = VirtualClock()
    made = stages(clock, COSTS_S)
    rates = iter([1.0, 1.0, 1.3, 0.9, 1.2, 1.0, 1.4])

    def meter() -> tuple[float, float]:  # read at the beginning and at the end of each round
        if next(ticks) % 2 == 0:
            clock.rate = next(rates)
        return 0.0, 0.0

    ticks = iter(range(100))
    made = [*made[:-1], Stage("stage 4", "Layer4", made[-1].run, target=0.1)]
    ladder = measure(made, LOAD, rounds=6, budget_s=0.0, meter=meter)
    steady = ladder_of(stages(VirtualClock(), COSTS_S))
    for name in ladder.names:
        assert ladder.over_stage0(name).estimate == pytest.approx(steady.over_stage0(name).estimate)
        assert ladder.over_stage0(name).low == pytest.approx(steady.over_stage0(name).high)
    top, median_s = ladder.terms("stage 4"), ladder.added_s_per_token("stage 0").estimate
    assert top is not None
    assert top.loss_s == pytest.approx(median_s * (1 / ladder.over_stage0("stage 4").estimate - 1))
    assert top.residual_s == pytest.approx(0, abs=1e-12)
    assert ladder.unexplained_fraction < 1e-9
    assert ladder.spread > 0.03
    assert "stage 0 itself spreads" in ladder.noisy
    assert {ladder.verdict(name) for name in ladder.names} == {"noisy"}
    assert ladder.target_met("stage 4") is None


def test_the_delay_is_blamed_on_its_layer_for_every_layer() -> None:
    """1 ms a step put into layer k is found in stage k, the backend's too, exactly on a clock that is exact."""
    found = blame(delayed_stages(VirtualClock(), COSTS_S), LOAD, rounds=2, meter=calm)
    assert [each.stage for each in found] == [f"stage {k}" for k in range(len(COSTS_S))]
    for each in found:
        assert each.injected_s == pytest.approx(1e-3 / 8)
        assert each.share == pytest.approx(1)
        assert each.elsewhere < 1e-6
        assert each.right


def test_blame_that_falls_elsewhere_is_wrong() -> None:
    """A delay that is really in another layer than claimed is not called right."""
    elsewhere = delayed_stages(VirtualClock(), COSTS_S)
    found = blame(lambda name: elsewhere("stage 3" if name == "stage 2" else ""), LOAD, rounds=2, meter=calm)
    assert not found[2].right
    assert found[2].elsewhere == pytest.approx(1)


def test_a_pass_that_others_interrupted_changes_no_term() -> None:
    """One pass of six takes a second longer, and the wall with it: neither the typical pass nor the gap does."""

    def run_with(interrupted_s: float) -> StageRun:
        begins = [2.0 * i + (interrupted_s if i > 2 else 0.0) for i in range(6)]
        passes = [
            Forward(b, b + 1.0 + (interrupted_s if i == 2 else 0.0), 4, 4, "decode") for i, b in enumerate(begins)
        ]
        return StageRun(passes[-1].end_s, 24, (), tuple(passes))

    calm, interrupted = run_with(0.0), run_with(1.0)
    term = term_s_per_token("backend")
    assert wall_s_per_token("", interrupted) - wall_s_per_token("", calm) == pytest.approx(1 / 24)
    assert term("backend", interrupted) == pytest.approx(term("backend", calm)) == pytest.approx(6 / 24)
    assert term("above", interrupted) == pytest.approx(term("above", calm)) == pytest.approx(6 / 24)


@pytest.mark.parametrize(("stage", "layer"), [(3, 3), (4, 2)])
def test_a_bypass_fails_the_ladder(stage: int, layer: int) -> None:
    """A stage whose component, or one below it, counts no call is refused by name: in the warm-up round already."""
    made = stages(VirtualClock(), COSTS_S, bypass=(stage, layer))
    with pytest.raises(LadderError, match=rf"stage {stage}: Layer{layer} was not on the path: it counted no call"):
        ladder_of(made)


def test_a_loss_outside_the_passes_is_told_though_speeds_are_noise() -> None:
    """Passes that differ by a tenth from run to run hide a loss of 3 % from the speeds, not from what a stage adds."""

    class NoisyPasses(VirtualClock):
        def spend(self, seconds: float) -> None:
            self.now_s += (self.rate if seconds > 1e-3 else 1.0) * seconds

    clock, rng = NoisyPasses(), random.Random(3)

    def noisy(run: Callable[[Load], StageRun]) -> Callable[[Load], StageRun]:
        def once(load: Load) -> StageRun:
            clock.rate = rng.uniform(0.9, 1.1)
            return run(load)

        return once

    made = [replace(each, run=noisy(each.run)) for each in stages(clock, (5e-3, 10e-6, 150e-6, 10e-6))]
    ladder = ladder_of(made)
    assert ladder.verdict("stage 2") == "noisy"
    speeds = ladder.over_previous("stage 2")
    assert speeds.low < 0.97
    assert speeds.high > 1
    added = ladder.added_gap("stage 2")
    assert added is not None
    assert 0.025 < added.low <= added.estimate <= added.high < 0.035
    (told,) = [line for line in sentences(ladder) if "a loss of its own" in line]
    assert told.startswith("stage 2 spends +")
    assert ladder.added_gap("stage 0") is None


def test_disturbed_rounds_are_set_aside_and_counted() -> None:
    """Rounds in which others took CPU time count in nothing but their number; too many of them make it noisy."""
    clock = VirtualClock()

    def run_with(busy: set[int]) -> Ladder:
        reads: Iterator[int] = iter(range(100))

        def meter() -> tuple[float, float]:
            index, at_end = divmod(next(reads), 2)
            clock.rate = 2.0 if index - 1 in busy else 1.0  # the first round is the warm-up
            return (0.4 if at_end and index - 1 in busy else 0.0), 0.0

        return measure(stages(clock, COSTS_S), LOAD, rounds=6, budget_s=0.0, meter=meter)

    some = run_with({1, 4})
    assert (some.disturbed, len(some.kept), len(some.rounds)) == (2, 4, 6)
    assert some.spread == pytest.approx(0, abs=1e-9)
    assert some.noisy == ""
    most = run_with({0, 1, 2, 3})
    assert "disturbed 4 of 6 rounds" in most.noisy
    assert len(most.kept) == 6


def test_orders_are_random_reproducible_and_reversed() -> None:
    """Every second round runs backwards, so that no stage has the same neighbour before it always."""
    made = stages(VirtualClock(), COSTS_S)
    ladder = ladder_of(made, rounds=8)
    orders = [each.order for each in ladder.rounds]
    assert all(orders[i + 1] == orders[i][::-1] for i in range(0, 8, 2))
    assert len(set(orders)) > 4
    assert orders == [each.order for each in ladder_of(made, rounds=8).rounds]
    assert all(sorted(order) == sorted(ladder.names) for order in orders)


def test_rounds_end_when_the_ratios_are_known() -> None:
    """Without a number of rounds, six are enough for a stack without noise, whatever the budget would allow."""
    ladder = measure(stages(VirtualClock(), COSTS_S), LOAD, rounds=None, budget_s=60.0, meter=calm)
    assert len(ladder.rounds) == 6 < MOST_ROUNDS


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "no stages"),
        ([Stage("a", "", lambda _: StageRun(1.0, 1, ()))] * 2, "two stages of one name"),
        ([Stage("a", "", lambda _: StageRun(1.0, 0, ()))], "ladder: a: 0 tokens in 1.0 s"),
        ([Stage("a", "", lambda _: StageRun(0.0, 5, ()))], "ladder: a: 5 tokens in 0.0 s"),
        (
            [Stage("a", "", lambda _: StageRun(1.0, 5, ())), Stage("b", "", lambda _: StageRun(1.0, 6, ()))],
            "different numbers of tokens: .*b 6",
        ),
    ],
)
def test_ladders_that_say_nothing_are_refused(made: list[Stage], said: str) -> None:
    """Each with a message that names the stage and what is wrong."""
    with pytest.raises(LadderError, match=said):
        ladder_of(made)


@pytest.mark.parametrize(
    ("field", "value"), [("requests", 0), ("new_tokens", -1), ("rate_per_s", 0.0), ("rate_per_s", float("nan"))]
)
def test_loads_that_are_none_are_refused(field: str, value: float) -> None:
    """Counts below 1 and rates that are none name their field."""
    with pytest.raises(LadderError, match=f"load: {field}"):
        Load(**{field: value})  # type: ignore[arg-type]


def test_targets_are_met_by_the_whole_interval_only() -> None:
    """A stage at 0.986 of stage 0 meets 0.98 and misses 0.99."""
    made = stages(VirtualClock(), (9e-3, 130e-6))
    for target, met in ((0.98, True), (0.99, False)):
        ladder = ladder_of([made[0], Stage("top", "Layer1", made[1].run, target)])
        assert ladder.target_met("top") is met
