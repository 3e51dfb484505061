"""The stages: each on its path, each with exactly its tokens, all with the same tokens on the same schedule."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from staged_backends import tiny

from perfguard.ladder import Load, measure
from perfguard_suites.staged_throughput.schedule import Schedule
from perfguard_suites.staged_throughput.stages import COMPONENTS, Stages

LOAD = Load(requests=10, concurrency=4, prompt_tokens=12, new_tokens=8)
# Requests join and leave in an order that no stage would choose by itself; the last one runs alone.
JUMBLED: Schedule = (
    *[("request-1", "request-2")] * 3,
    *[("request-3",)] * 2,
    *[("request-1", "request-2", "request-3")] * 5,
    *[("request-3", "request-4")],
    *[(f"request-{i}",) for i in (5, 6, 7)],
    *[tuple(f"request-{i}" for i in (4, 5, 6, 7))] * 7,
    *[tuple(f"request-{i}" for i in (8, 9))] * 8,
    *[("request-10",)] * 8,
)


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """All stages over one int8 backend, whose tokens depend on what is in a batch."""
    found = Stages(tiny("int8"))
    with found.serving():
        yield found


def test_one_schedule_gives_the_same_tokens_in_every_stage(stages: Stages) -> None:
    """A jumbled schedule replayed in stages 0 to 7 is what each of them computes, and its tokens are identical."""
    outcomes = [stages.run(number, LOAD, JUMBLED) for number in range(8)]
    expected = [set(step) for step in JUMBLED]  # a batch lies in the order of its slots
    assert all([set(step) for step in outcome.schedule] == expected for outcome in outcomes)
    first = dict(outcomes[0].tokens)
    assert all(dict(outcome.tokens) == first for outcome in outcomes)
    assert len({tuple(tokens) for tokens in first.values()}) == LOAD.requests


def test_the_schedule_matters_and_a_recorded_one_is_followed(stages: Stages) -> None:
    """int8 tokens of another schedule differ, so the test above could fail; stage 7's own is replayed by stage 0."""
    served = stages.run(7, LOAD)
    assert dict(stages.run(0, LOAD, served.schedule).tokens) == dict(served.tokens)
    assert dict(stages.run(0, LOAD).tokens) != dict(stages.run(0, LOAD, JUMBLED).tokens)


def test_every_stage_proves_its_components_and_generates_exactly_its_tokens(stages: Stages) -> None:
    """The ladder, which fails for a stage that bypasses a component, accepts all eight; wall and passes agree."""
    ladder = measure(stages.ladder(), LOAD, rounds=1, budget_s=60.0)
    for number, name in enumerate(ladder.names):
        (run,) = ladder.runs(name)
        assert run.tokens == LOAD.tokens
        assert all(run.calls[component] > 0 for component in COMPONENTS[: number + 1])
        assert len(run.requests) == LOAD.requests
        assert sum(each.rows for each in run.forwards) == LOAD.tokens
    assert ladder.terms("stage7") is not None


@pytest.mark.parametrize("number", [5, 6, 7])
def test_open_loop(stages: Stages, number: int) -> None:
    """Requests that arrive as a Poisson process are all served, and count from when they were meant to begin."""
    load = Load(requests=6, prompt_tokens=12, new_tokens=4, rate_per_s=200.0)
    run = stages.run(number, load).run
    assert run.tokens == load.tokens
    assert all(each.intended_s <= each.token_s[0] for each in run.requests)
