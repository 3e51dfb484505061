"""Figures of a stage beside its speed: time outside passes per step, occupancy, phases, what the client cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from perfguard.ladder.model import StageRun
from perfguard.ladder.terms import profile_of
from perfguard.stats.quantiles import Interval, median_interval

# A client that takes more of a core per 100 tokens/s, or of a core at all, is measured rather than the server.
CLIENT_LIMIT = 0.02
CLIENT_BUSY = 0.8


def gap_s_per_step(runs: Sequence[StageRun]) -> Interval | None:
    """Seconds outside passes per pass, the median over runs; None where passes are not known."""
    if not all(run.forwards for run in runs):
        return None
    return median_interval([profile_of(run).gap_s * run.tokens / len(run.forwards) for run in runs])


def steps(runs: Sequence[StageRun]) -> float:
    """Passes per run."""
    return sum(len(run.forwards) for run in runs) / len(runs)


def rows_per_step(runs: Sequence[StageRun]) -> float | None:
    """Mean sequences of the passes that decode; None where there are none."""
    rows = [each.rows for run in runs for each in run.forwards if each.kind != "prefill"]
    return sum(rows) / len(rows) if rows else None


def phases_s_per_token(runs: Sequence[StageRun]) -> Mapping[str, float]:
    """Seconds per token of each phase that a stage reports, over all runs, largest first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for run in runs:
        for name, took_s in run.phases.items():
            seconds[name] += took_s
    tokens = sum(run.tokens for run in runs)
    return {name: took_s / tokens for name, took_s in sorted(seconds.items(), key=lambda item: -item[1])}


def client_core_per_100(runs: Sequence[StageRun]) -> float:
    """Share of a core that the client takes per 100 tokens/s: its CPU seconds per 100 tokens."""
    return 100 * sum(run.client_cpu_s for run in runs) / sum(run.tokens for run in runs)


def client_core(runs: Sequence[StageRun]) -> float:
    """Share of a core that the client took."""
    return sum(run.client_cpu_s for run in runs) / sum(run.wall_s for run in runs)


def client_line(runs: Sequence[StageRun]) -> str:
    """What the client cost, and whether it was the bottleneck; empty where no client was timed."""
    if not any(run.client_cpu_s for run in runs):
        return ""
    share, whole = client_core_per_100(runs), client_core(runs)
    told = f"client: {share:.2%} of a core per 100 tokens/s, {whole:.0%} of a core in all"
    if share > CLIENT_LIMIT or whole > CLIENT_BUSY:
        return f"{told}: it was the bottleneck or close to it, the server may be faster than this says"
    return told
