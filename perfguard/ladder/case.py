"""The ladder inside performance tests: measured once for a module, and what each stage's case records of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from perfguard.fixtures import Perfguard
from perfguard.ladder.latency import tpot_s, ttft_s
from perfguard.ladder.model import Load, Stage
from perfguard.ladder.result import Ladder
from perfguard.ladder.rounds import measure
from perfguard.ladder.tables import render
from perfguard.pictures import Rung, Rungs

BUDGETS_S: Mapping[str, float] = {"quick": 30.0, "standard": 120.0, "full": 400.0}
SMALL = Load(requests=2, concurrency=2, prompt_tokens=4, new_tokens=3)


def profile_of(config: Any) -> str:
    """The profile of a pytest run (`request.config`): quick, standard or full, and `off` without `--perfguard`."""
    if not config.getoption("perfguard", False):
        return "off"
    return str(config.getoption("perfguard_profile", None) or config.getini("perfguard_profile") or "quick")


def measure_for(
    profile: str,
    stages: Sequence[Stage],
    load: Load,
    *,
    small: Load = SMALL,
    budgets_s: Mapping[str, float] = BUDGETS_S,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Ladder:
    """The ladder of a profile; in an ordinary test run (`off`) one round of the `small` load, which finds bypasses too.

    `options` go to `measure`.
    """
    if profile == "off":
        return measure(stages, small, rounds=1, budget_s=0.0, seed=seed, say=say, **options)
    return measure(stages, load, rounds=None, budget_s=budgets_s[profile], seed=seed, say=say, **options)


def record_stage(
    perfguard: Perfguard, ladder: Ladder, name: str, *, gated: bool = True, limit: float | None = None
) -> None:
    """Record a stage's figures, one stage a case.

    `tokens_per_s`, `over_stage0` (the one that is gated), `over_previous`, `added_s_per_token`; `added_gap_fraction`
    where passes are known, `ttft_s` and `tpot_s` where it has requests that tell. The ratio of a noisy ladder is not
    gated: it can neither pass nor fail.
    """
    runs = ladder.runs(name)
    perfguard.record(
        "tokens_per_s", ladder.tokens_per_s(name).tolist(), unit="tokens/s", kind="throughput", gated=False
    )
    if name != ladder.names[0]:
        ratios = {"over_stage0": ladder.names[0], "over_previous": ladder.below(name)}
        for metric, reference in ratios.items():
            judged = gated and metric == "over_stage0" and not ladder.noisy
            samples = ladder.over_samples(name, reference).tolist()
            perfguard.record(metric, samples, unit="", kind="ratio", direction="higher", gated=judged, limit=limit)
    perfguard.record("added_s_per_token", ladder.added_samples(name).tolist(), unit="s", gated=False)
    added_gap = ladder.added_gap_samples(name)
    if added_gap is not None:
        perfguard.record("added_gap_fraction", added_gap.tolist(), unit="", kind="fraction", gated=False)
    requests = [request for run in runs for request in run.requests if request.token_s]
    if requests:
        perfguard.record("ttft_s", [ttft_s(request) for request in requests], unit="s", gated=False)
    if per_token := [took for request in requests if (took := tpot_s(request)) is not None]:
        perfguard.record("tpot_s", per_token, unit="s", gated=False)
    if ladder.noisy:
        perfguard.note(f"noisy: {ladder.noisy}")


def record_ladder(perfguard: Perfguard, ladder: Ladder) -> None:
    """Record what is of the whole ladder: `ladder_unexplained_fraction`, and its tables as notes."""
    perfguard.record("ladder_unexplained_fraction", ladder.unexplained_fraction, unit="", kind="fraction", gated=False)
    for part in render(ladder).rstrip().split("\n\n"):
        perfguard.note(part)
    perfguard.picture(picture_of(ladder))


def picture_of(ladder: Ladder) -> Rungs:
    """Each stage's tokens per second, and by what terms it is slower than stage 0."""
    rungs = []
    for name in ladder.names:
        found = ladder.terms(name) if name != ladder.names[0] else None
        terms = None if found is None else found.terms
        parts = {} if terms is None else {"gap": terms.gap_s, "dilation": terms.dilation_s, "mix": terms.mix_s}
        rungs.append(Rung(name, float(median(ladder.tokens_per_s(name))), parts=parts))
    title, lost = "tokens per second by stage", f"lost per token, against {ladder.names[0]}"
    return Rungs(title, tuple(rungs), "tokens/s", "throughput", parts_title=lost)
