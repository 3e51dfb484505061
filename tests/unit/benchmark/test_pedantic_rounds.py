"""Exactly the rounds that were asked for, with set-up and tear-down outside the timing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from perfguard.benchmark.pedantic import pedantic_target, sample_rounds
from perfguard.benchmark.rounds import Arguments, Rounds
from perfguard.measure import Plan, Round, Samples
from perfguard.spans import phase

PLAN = Plan(budget_s=1e-9)


class Listener:
    """Keeps what sampling tells."""

    def __init__(self) -> None:
        self.rounds: list[Round] = []

    def stage(self, stage: str, detail: dict[str, float]) -> None:
        pass

    def round(self, done: Round) -> None:
        self.rounds.append(done)

    def again(self, values_s: Sequence[float]) -> bool:
        return False


class Clock:
    """Moves only when told to."""

    now = 0

    def __call__(self) -> int:
        return self.now


def measured(
    fn: Callable[..., Any],
    how: Rounds,
    arguments: Arguments | None = None,
    teardown: Callable[..., Any] | None = None,
    clock: Clock | None = None,
) -> tuple[Samples, Any, list[Round]]:
    listener = Listener()
    with pedantic_target(fn, arguments or Arguments(), teardown, "cpu") as target:
        samples = sample_rounds(target, PLAN, listener, clock or Clock(), how)
    return samples, target.result, listener.rounds


def test_set_up_calls_and_tear_down_in_order_and_number() -> None:
    """Two warm-up rounds and three timed ones, each set up and torn down with its own arguments."""
    seen: list[str] = []

    def setup() -> Any:
        seen.append("setup")
        return (len(seen),), {"k": "v"}

    def target(number: int, k: str) -> int:
        seen.append(f"call {k}")
        return number

    how = Rounds(rounds=3, warmup_rounds=2)
    samples, result, rounds = measured(target, how, Arguments(setup=setup), lambda *_, **__: seen.append("teardown"))
    assert seen == ["setup", "call v", "teardown"] * 5
    assert result == 13
    assert [(r.warmup, r.iterations) for r in rounds] == [(True, 1)] * 2 + [(False, 1)] * 3
    assert (len(samples.values_s), len(samples.warmup_s), samples.iterations) == (3, 2, 1)


def test_iterations_multiply_and_one_more_call_gives_the_result() -> None:
    """As in pytest-benchmark: (2 + 3) rounds of 4 calls, and one untimed."""
    calls: list[int] = []
    torn: list[int] = []
    samples, _, _ = measured(lambda: calls.append(1), Rounds(3, 2, 4), None, lambda: torn.append(1))
    assert (len(calls), len(torn)) == (21, 6)
    assert samples.account.calls == 12


def test_only_the_calls_are_timed_and_phased() -> None:
    """Set-up and tear-down move the clock and open phases, and neither is in a sample or the account."""
    clock = Clock()

    def work(nanoseconds: int, name: str) -> None:
        with phase(name):
            clock.now += nanoseconds

    def setup() -> None:
        work(1000, "setup")

    samples, _, _ = measured(
        lambda: work(7, "call"), Rounds(4), Arguments(setup=setup), lambda: work(500, "teardown"), clock
    )
    assert samples.values_s == (7e-9,) * 4
    assert samples.account.wall_s == pytest.approx(28e-9)
    assert [p.path for p in samples.account.phases] == ["call"]


def test_coroutine_functions_are_awaited() -> None:
    """All rounds on one event loop."""
    loops = set()

    async def work(x: int) -> int:
        loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0)
        return x

    _, result, _ = measured(work, Rounds(3), Arguments((5,)))
    assert result == 5
    assert len(loops) == 1


@pytest.mark.parametrize(
    "how",
    [Rounds(0), Rounds(rounds=-1), Rounds(warmup_rounds=-1), Rounds(iterations=0), Rounds(iterations=2.0)],  # type: ignore[arg-type]
)
def test_numbers_that_make_no_sense(how: Rounds) -> None:
    """A ValueError that names the number."""
    with pytest.raises(ValueError, match="whole number"):
        how.check(None)


def test_iterations_with_a_setup() -> None:
    """Its second call would meet what the first one left: a ValueError."""
    with pytest.raises(ValueError, match="iterations=2 with a setup"):
        Rounds(iterations=2).check(lambda: None)


def test_arguments_given_twice() -> None:
    """A TypeError if set-up returns arguments and there are others; none if it returns nothing."""
    with pytest.raises(TypeError, match="setup returned"):
        Arguments((1,), {}, lambda: ((2,), {})).fresh()
    assert Arguments((1,), {"k": 2}, lambda: None).fresh() == ((1,), {"k": 2})


def test_an_exception_ends_it_and_closes_the_loop() -> None:
    """It comes through as it is."""

    async def fails() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        measured(fails, Rounds(2))
