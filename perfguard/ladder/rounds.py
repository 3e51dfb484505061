"""The rounds: every stage in turn, in random order and then in its reverse, until the ratios are narrow enough.

A stage that was measured minutes after another on a shared machine says nothing about it; within a round it does.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from time import perf_counter

from perfguard.errors import LadderError
from perfguard.ladder.model import Load, Stage, StageRun
from perfguard.ladder.result import Ladder, LadderRound
from perfguard.ladder.terms import profile_of

# Half the width of each adjacent ratio's interval: a loss of 3 % is then three times as far from none.
NARROW = 0.01
FEWEST_ROUNDS = 6  # below that, no interval of a median reaches 95 %
FLOOR_ROUNDS = 2
MOST_ROUNDS = 200
MOST_TOLD = 9  # stages in a line of progress
# Others' share of all CPUs from which a round is disturbed, and the least time that the kernel's ticks can tell.
DISTURBED_SHARE = 0.05
SHORTEST_DISTURBANCE_S = 0.03

Meter = Callable[[], tuple[float, float]]


def measure(
    stages: Sequence[Stage],
    load: Load,
    *,
    rounds: int | None = None,
    budget_s: float,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    meter: Meter | None = None,
    same_tokens: bool = True,
) -> Ladder:
    """Run the stages in turn and compare them.

    One round warms up and is not counted. Then exactly `rounds`, or, with None, as many as `budget_s` allows (the
    warm-up counts against it), fewer where every adjacent ratio is known to 1 % sooner. Orders are random, reproducible
    by `seed`; every second round runs in the reverse of the one before. `meter` reads the shares of all CPUs that
    others and the hypervisor took since its last reading (default: from the kernel).

    Raises `LadderError` for a stage whose component, or one below it, was not called; for a run that cannot be; with
    `same_tokens`, for stages that generate different numbers of tokens. What a stage raises comes through.
    """
    _check_stages(stages, rounds)
    read = kernel_meter() if meter is None else meter
    rng = random.Random(seed)
    begun_s = perf_counter()
    say(f"warm-up: {len(stages)} stages, {load.requests} requests of {load.prompt_tokens} + {load.new_tokens} tokens")
    _round(stages, [stage.name for stage in stages], load, read, same_tokens)
    done: list[LadderRound] = []
    order: list[str] = []
    round_s = perf_counter() - begun_s
    while len(done) < (MOST_ROUNDS if rounds is None else rounds):
        over = perf_counter() - begun_s + round_s > budget_s
        if rounds is None and over and len(done) >= FLOOR_ROUNDS:
            break
        order = order[::-1] if len(done) % 2 else rng.sample([stage.name for stage in stages], len(stages))
        round_begun_s = perf_counter()
        done.append(_round(stages, order, load, read, same_tokens))
        round_s = perf_counter() - round_begun_s
        say(_told(done, rounds))
        if rounds is None and len(done) >= FEWEST_ROUNDS and not len(done) % 2 and _narrow(stages, load, done):
            break
    return Ladder(tuple(stages), load, tuple(done))


def _round(stages: Sequence[Stage], order: Sequence[str], load: Load, read: Meter, same_tokens: bool) -> LadderRound:
    by_name = {stage.name: (index, stage) for index, stage in enumerate(stages)}
    runs: dict[str, StageRun] = {}
    read()
    for name in order:
        index, stage = by_name[name]
        runs[name] = run = stage.run(load)
        check_run(stages[: index + 1], run)
    taken = sum(read())
    if same_tokens:
        _check_tokens(runs)
    runs = {stage.name: runs[stage.name] for stage in stages}
    return LadderRound(tuple(order), runs, taken * (os.cpu_count() or 1), taken > DISTURBED_SHARE)


def check_run(path: Sequence[Stage], run: StageRun) -> None:
    """Raise `LadderError` if a run of `path[-1]` cannot be, or a component of `path` was not called in it."""
    name = path[-1].name
    if not (run.tokens > 0 and run.wall_s > 0):
        raise LadderError(
            f"ladder: {name}", f"{run.tokens} tokens in {run.wall_s!r} s", "a run generates tokens in some time"
        )
    for stage in path:
        if stage.component and run.calls.get(stage.component, 0) <= 0:
            counted = ", ".join(f"{component} {count}" for component, count in run.calls.items()) or "none"
            raise LadderError(
                f"ladder: {name}",
                f"{stage.component} was not on the path: it counted no call (counted: {counted})",
                "a stage that bypasses its component measures something else",
            )
    try:
        profile_of(run)
    except ValueError as error:
        raise LadderError(f"ladder: {name}", str(error), "all its times must be of one clock") from None


def _check_tokens(runs: dict[str, StageRun]) -> None:
    tokens = {name: run.tokens for name, run in runs.items()}
    if len(set(tokens.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in tokens.items())
        raise LadderError("ladder", f"stages generated different numbers of tokens: {told}", "ignore end-of-sequence")


def _check_stages(stages: Sequence[Stage], rounds: int | None) -> None:
    names = [stage.name for stage in stages]
    if not names:
        raise LadderError("ladder", "no stages", "give one at least")
    if len(set(names)) < len(names):
        raise LadderError("ladder", f"two stages of one name among {', '.join(names)}", "name each differently")
    if rounds is not None and rounds < 1:
        raise LadderError("ladder: rounds", f"{rounds} is too few", "give 1 at least")


def _narrow(stages: Sequence[Stage], load: Load, done: Sequence[LadderRound]) -> bool:
    ladder = Ladder(tuple(stages), load, tuple(done))
    return all(ladder.over_previous(name).relative_half_width <= NARROW for name in ladder.names)


def _told(done: Sequence[LadderRound], rounds: int | None) -> str:
    last = done[-1]
    speeds = [f"{name} {run.tokens / run.wall_s:.1f}" for name, run in list(last.runs.items())[:MOST_TOLD]]
    more = f", {len(last.runs) - MOST_TOLD} more" if len(last.runs) > MOST_TOLD else ""
    disturbed = f" (disturbed: others took {last.other_cores:.2f} cores)" if last.disturbed else ""
    return f"round {len(done)}{'' if rounds is None else f'/{rounds}'}: tokens/s {', '.join(speeds)}{more}{disturbed}"


def kernel_meter(measured: Sequence[int] = ()) -> Meter:
    """What others and the hypervisor took of all CPUs, by the kernel's account; its ticks alone count as nothing.

    `measured`: ids of processes that are no others, beside this one and its descendants.
    """
    from perfguard.noise import NoiseMeter

    noise = NoiseMeter(measured)
    read_s = perf_counter()

    def read() -> tuple[float, float]:
        nonlocal read_s
        took_s, read_s = perf_counter() - read_s, perf_counter()
        others, steal = noise.read()
        told = (others + steal) * (os.cpu_count() or 1) * took_s > SHORTEST_DISTURBANCE_S
        return (others, steal) if told else (0.0, 0.0)

    return read
