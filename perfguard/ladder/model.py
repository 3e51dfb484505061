"""What a ladder is made of: a load, a stage, and what one run of a stage tells. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from perfguard.errors import LadderError

KINDS = ("prefill", "decode", "mixed")


@dataclass(frozen=True, slots=True)
class Load:
    """What every stage is given: `requests` of `prompt_tokens` each, `new_tokens` generated for each.

    Closed loop with `concurrency` requests under way; with `rate_per_s`, open loop: requests begin at the times of a
    Poisson process of that rate, whatever became of those before. Raises `LadderError` for counts below 1.
    """

    requests: int = 40
    concurrency: int = 8
    prompt_tokens: int = 32
    new_tokens: int = 50
    rate_per_s: float | None = None
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("requests", "concurrency", "prompt_tokens", "new_tokens"):
            if getattr(self, name) < 1:
                raise LadderError(f"load: {name}", f"{getattr(self, name)} is too few", "give 1 at least")
        if self.rate_per_s is not None and not (math.isfinite(self.rate_per_s) and self.rate_per_s > 0):
            raise LadderError(
                "load: rate_per_s", f"{self.rate_per_s!r} is no rate", "give requests per second, or None"
            )

    @property
    def tokens(self) -> int:
        """Tokens generated where no request ends early."""
        return self.requests * self.new_tokens


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward pass of the backend, `time.perf_counter` seconds.

    `rows`: sequences in the batch; `tokens`: positions computed; `kind`: "prefill", "decode", or "mixed" for both.
    """

    begin_s: float
    end_s: float
    rows: int
    tokens: int
    kind: str

    @property
    def shape(self) -> tuple[str, int, int]:
        """What must be equal for two passes to be compared: kind, rows, tokens."""
        return self.kind, self.rows, self.tokens


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """One request, `time.perf_counter` seconds: when it was meant to begin, when it did, when each token came.

    `tokens`: how many there were, where several came at once and so share an entry of `token_s` (0: one an entry).
    """

    intended_s: float
    begin_s: float
    token_s: tuple[float, ...]
    queue_s: float = 0.0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class StageRun:
    """One run of a stage under a load, `wall_s` from the first request's beginning to the last one's end.

    `forwards` is empty where the stage cannot know them (a foreign server). `calls`: how often each component was
    called in this run, counted by the component itself. `phases`: seconds by what the stage spent its own time on.
    `client_cpu_s`: CPU time of the client that made the load, where that is not the stage itself. `refused`: requests
    that the server turned away because it was full, beside those in `requests`.
    """

    wall_s: float
    tokens: int
    requests: tuple[RequestTimes, ...]
    forwards: tuple[Forward, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)
    phases: Mapping[str, float] = field(default_factory=dict)
    client_cpu_s: float = 0.0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """The stack up to `component`, which proves by `StageRun.calls` that it was on the path ("": nothing to prove).

    `target`: what its speed must be over stage 0's, None for no such claim.
    """

    name: str
    component: str
    run: Callable[[Load], StageRun]
    target: float | None = None

    def __call__(self, load: Load) -> StageRun:
        """One run."""
        return self.run(load)


def stage(
    component: str, *, name: str = "", target: float | None = None
) -> Callable[[Callable[[Load], StageRun]], Stage]:
    """Make a function from a load to a `StageRun` a stage, named after the function where `name` is empty."""

    def make(run: Callable[[Load], StageRun]) -> Stage:
        return Stage(name or run.__name__, component, run, target)

    return make
