"""A running server as a stage; sweeps over concurrency and rate, whose stages are one server under many loads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from perfguard.ladder.client import run_load
from perfguard.ladder.endpoint import Endpoint
from perfguard.ladder.model import Load, Stage, StageRun

Say = Callable[[str], None]


def _quiet(_: str) -> None:
    pass


def endpoint_stage(
    endpoint: Endpoint,
    *,
    name: str = "server",
    load: Load | None = None,
    target: float | None = None,
    fresh: Iterator[int] | None = None,
    say: Say = _quiet,
) -> Stage:
    """A stage that puts the load (or always `load`) on a server; it can count no components, and knows no passes.

    Each run has prompts of its own, by the next number of `fresh`: a server that remembers prefixes would otherwise
    compute them in the first round only.
    """
    numbers = itertools.count() if fresh is None else fresh

    def run(asked: Load) -> StageRun:
        chosen = asked if load is None else load
        return run_load(endpoint, replace(chosen, seed=(chosen.seed << 20) + next(numbers)), say)

    return Stage(name, "", run, target)


def sweep(endpoint: Endpoint, loads: Sequence[Load], say: Say = _quiet) -> list[Stage]:
    """One stage for each load, named by what differs: the rate where there is one, or else the concurrency."""
    fresh = itertools.count()
    return [endpoint_stage(endpoint, name=_name_of(load), load=load, fresh=fresh, say=say) for load in loads]


def _name_of(load: Load) -> str:
    return f"concurrency {load.concurrency}" if load.rate_per_s is None else f"{load.rate_per_s:g} requests/s"
