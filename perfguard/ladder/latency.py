"""What a request waits for: first token, next token, the whole; queue, batch sizes, goodput. Pure, each with its n."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perfguard.ladder.model import RequestTimes, StageRun


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Quantiles of `n` values, seconds; linear between order statistics."""

    n: int
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request must keep to count as good, seconds; None: no such limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    end_to_end_s: float | None = None

    def __str__(self) -> str:
        names = {"first token": self.ttft_s, "per token": self.tpot_s, "end to end": self.end_to_end_s}
        return ", ".join(f"{name} <= {1e3 * limit:g} ms" for name, limit in names.items() if limit is not None)

    def kept_by(self, request: RequestTimes) -> bool:
        """Whether a request kept all limits. One without tokens kept none."""
        if not request.token_s:
            return False
        took = (ttft_s(request), tpot_s(request), end_to_end_s(request))
        limits = (self.ttft_s, self.tpot_s, self.end_to_end_s)
        return all(s is None or limit is None or s <= limit for s, limit in zip(took, limits, strict=True))


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of the requests of some runs, together; None where there is nothing to tell it from.

    All count from when a request was meant to begin, so that one which could not begin in time is late as well
    (coordinated omission). `tpot`: from the first token to the last one over the tokens after the first.
    `inter_token`: between one event of text and the next, 0 where several arrive at once.
    """

    ttft: Quantiles | None
    tpot: Quantiles | None
    inter_token: Quantiles | None
    end_to_end: Quantiles | None
    queue: Quantiles | None


def ttft_s(request: RequestTimes) -> float:
    """Seconds to the first token, from the intended beginning."""
    return request.token_s[0] - request.intended_s


def tpot_s(request: RequestTimes) -> float | None:
    """Seconds per output token after the first; None for fewer than two, or where all arrived at once."""
    tokens = request.tokens or len(request.token_s)
    took_s = request.token_s[-1] - request.token_s[0]
    return took_s / (tokens - 1) if tokens > 1 and len(request.token_s) > 1 else None


def end_to_end_s(request: RequestTimes) -> float:
    """Seconds to the last token, from the intended beginning."""
    return request.token_s[-1] - request.intended_s


def latency_of(runs: Iterable[StageRun]) -> Latency:
    """The latencies of all requests of `runs` that got a token."""
    requests = [request for run in runs for request in run.requests if request.token_s]
    return Latency(
        quantiles([ttft_s(request) for request in requests]),
        quantiles([took for request in requests if (took := tpot_s(request)) is not None]),
        quantiles([after - before for request in requests for before, after in pairwise(request.token_s)]),
        quantiles([end_to_end_s(request) for request in requests]),
        quantiles([request.queue_s for request in requests if request.queue_s > 0]),
    )


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """Their quantiles, None of none."""
    if not values:
        return None
    p50, p90, p99 = np.quantile(np.asarray(values), (0.5, 0.9, 0.99))
    return Quantiles(len(values), float(p50), float(p90), float(p99))


def goodput_per_s(run: StageRun, limits: Limits) -> float:
    """Requests per second of wall that kept the limits."""
    return sum(limits.kept_by(request) for request in run.requests) / run.wall_s


def good_share(runs: Sequence[StageRun], limits: Limits) -> float:
    """Share of all requests, refused ones too, that kept the limits."""
    asked = sum(len(run.requests) + run.refused for run in runs)
    return sum(limits.kept_by(request) for run in runs for request in run.requests) / asked if asked else 0.0


def batch_sizes(runs: Iterable[StageRun]) -> Mapping[int, int]:
    """Passes that decode by their number of sequences, smallest first."""
    counts = Counter(each.rows for run in runs for each in run.forwards if each.kind != "prefill")
    return dict(sorted(counts.items()))


def speed_of(runs: Iterable[StageRun], kind: str) -> float | None:
    """Positions per second of forward time in passes of one kind ("prefill", "decode"); None where there are none."""
    chosen = [each for run in runs for each in run.forwards if each.kind == kind]
    took_s = sum(each.end_s - each.begin_s for each in chosen)
    return sum(each.tokens for each in chosen) / took_s if took_s > 0 else None
