"""The plan: each proposed step from the seeds' starting point, its gain predicted before and measured after.

A step is a pair of variants that differ in one thing. What it gains is the difference of their times within the
same rounds; the prediction comes from the time model, which has seen neither. Where a step leaves the server's products
as they are, they are left out on both sides: they are nine tenths of the time, and so of its noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from perfguard.stats.quantiles import Interval, median_interval
from perfguard_suites.split_rpc.account import COMPUTE, OWN, PassAccount
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.field import Field
from perfguard_suites.split_rpc.request import RequestFigures
from perfguard_suites.split_rpc.time_model import PARTS
from perfguard_suites.split_rpc.variants import VARIANTS

GAIN_GOAL = 0.25
# Below this share of the request, a gain is less than what the machine's noise leaves to see.
NEGLIGIBLE = 0.03
PRODUCTS = PARTS[1]
SAME_PRODUCTS = 0.02
_SHORT = dict(zip(PARTS, ("client", "products", "between"), strict=True))


@dataclass(frozen=True, slots=True)
class Step:
    """One proposal: `after` is `before` with it. `climbed`: it is on the way to the best honest variant."""

    what: str
    before: str
    after: str
    climbed: bool = True


STEPS = (
    Step("IPC instead of TCP", "seed", "naive-ipc", climbed=False),
    Step("frames without copies instead of one msgpack blob", "naive-ipc", "multipart-ipc"),
    Step("shared memory", "multipart-ipc", "shm"),
    Step("computing in shared memory instead of copying there", "shm", "shm-loans"),
    Step("K and V repeated after the wire", "shm-loans", "repeat-after"),
    Step("packed causal scores", "repeat-after", "packed-scores", climbed=False),
    Step("qkv, rotation and scores in one call", "repeat-after", "qkv-scores"),
    Step("values and output projection in one call, V resident", "qkv-scores", "trusted-minimal"),
    Step("embedding in the trusted process", "trusted-minimal", "local-embedding"),
    Step("bf16 on the wire", "local-embedding", "minimal-bf16", climbed=False),
    Step("fp16 on the wire", "local-embedding", "minimal-fp16", climbed=False),
    Step("packed causal scores, fused", "local-embedding", "minimal-packed", climbed=False),
    Step("two chunks in flight", "local-embedding", "minimal-pipelined", climbed=False),
    Step("attention in the trusted process", "local-embedding", "linear-only", climbed=False),
    Step("replies checked", "linear-only", "verified", climbed=False),
    Step("one-time masks", "linear-only", "masked", climbed=False),
    Step("one-time masks, replies checked", "masked", "masked-verified", climbed=False),
    Step("activations in shared GPU memory (insecure)", "local-embedding", "cuda-ipc", climbed=False),
    Step("whole layers on the server (insecure)", "local-embedding", "whole-layer", climbed=False),
)


# Where the climb ends: fixed here, since the fastest of many in one run is the luckiest as well, and another next time.
BEST_HONEST = [step.after for step in STEPS if step.climbed][-1]


@dataclass(frozen=True, slots=True)
class StepResult:
    """Seconds that a step gained: predicted, and measured with its interval, of `before_s`, the wall before it.

    `ratio`: walls of `before` over `after`, round by round. `failed`: which assumption of the model failed, if any did.
    `untouched`: the server's products are the same before and after, and not counted.
    """

    step: Step
    predicted_s: float
    measured_s: Interval
    before_s: float
    ratio: tuple[float, ...]
    failed: str
    untouched: bool = True

    @property
    def error(self) -> float:
        """Relative error of the predicted gain."""
        return abs(self.predicted_s - self.measured_s.estimate) / max(abs(self.measured_s.estimate), 1e-9)

    @property
    def verdict(self) -> str:
        """Whether the prediction held, in words."""
        negligible = NEGLIGIBLE * self.before_s
        if abs(self.predicted_s) < negligible and abs(self.measured_s.estimate) < negligible:
            return "as predicted: next to nothing"
        if self.error <= GAIN_GOAL:
            return "as predicted"
        if self.measured_s.low <= self.predicted_s <= self.measured_s.high:
            return f"within the interval, but not within {GAIN_GOAL:.0%}: {self.failed}"
        return f"not as predicted: {self.failed}"

    def __str__(self) -> str:
        low, high = 1e3 * self.measured_s.low, 1e3 * self.measured_s.high
        return (
            f"{self.step.what} ({self.step.before} -> {self.step.after}): predicted {1e3 * self.predicted_s:+.1f} ms, "
            f"measured {1e3 * self.measured_s.estimate:+.1f} ms [{low:+.1f}, {high:+.1f}] of "
            f"{1e3 * self.before_s:.1f} ms{' outside products' if self.untouched else ''}, {self.verdict}"
        )


def parts_of(figures: RequestFigures) -> Mapping[str, float]:
    """Seconds of a request by the time model's parts, from its accounts."""
    return parts_of_passes([figures.prefill, *figures.decode])


def parts_of_passes(accounts: Iterable[PassAccount]) -> Mapping[str, float]:
    """The same of some of its passes."""
    own, compute, rest = PARTS
    found = {own: 0.0, compute: 0.0, rest: 0.0}
    for account in accounts:
        for name, seconds in account.path.items():
            part = own if name.startswith(OWN) else compute if name == COMPUTE else rest
            found[part] += seconds
    return found


def parts_beside(field: Field, name: str) -> str:
    """The predicted parts of a request beside the measured ones, its prefill and its decode steps apart."""
    assert field.micro_model is not None
    config, plan, words = field.plan.source.config(), field.plan, []
    passes = {"prefill": [(plan.prompt, 0)], "decode": [(1, plan.prompt + step) for step in range(plan.steps)]}
    for what, rows in passes.items():
        predicted = [field.micro_model.pass_parts_s(config, VARIANTS[name], *row) for row in rows]
        measured = [
            parts_of_passes([figures.prefill] if what == "prefill" else figures.decode)
            for figures in field.requests[name]
        ]
        for part in PARTS:
            said, took = sum(row[part] for row in predicted), median(row[part] for row in measured)
            words.append(f"{_SHORT[part]} {1e3 * said:.1f}/{1e3 * took:.1f}")
        words[-len(PARTS)] = f"{what} {words[-len(PARTS)]}"
    return f"ms predicted/measured: {', '.join(words)}"


def climb(field: Field, config: ModelConfig) -> list[StepResult]:
    """Every step whose two variants were in the field."""
    return [_result(step, field, config) for step in STEPS if {step.before, step.after} <= set(field.requests)]


def _result(step: Step, field: Field, config: ModelConfig) -> StepResult:
    assert field.micro_model is not None
    model, plan = field.micro_model, field.plan
    predicted = {
        name: model.parts_s(config, VARIANTS[name], plan.prompt, plan.steps) for name in (step.before, step.after)
    }
    change = {part: predicted[step.before][part] - predicted[step.after][part] for part in PARTS}
    untouched = abs(change[PRODUCTS]) <= SAME_PRODUCTS * predicted[step.before][PRODUCTS]
    counted = [part for part in PARTS if not (untouched and part == PRODUCTS)]
    before = [parts_of(figures) for figures in field.requests[step.before]]
    after = [parts_of(figures) for figures in field.requests[step.after]]
    gains = [sum(one[part] - other[part] for part in counted) for one, other in zip(before, after, strict=True)]
    misses = {
        part: change[part] - median(one[part] - other[part] for one, other in zip(before, after, strict=True))
        for part in counted
    }
    worst = max(counted, key=lambda part: abs(misses[part]))
    return StepResult(
        step,
        sum(change[part] for part in counted),
        median_interval(gains),
        field.wall_s(step.before),
        tuple(field.gains(step.before, step.after, lambda figures: figures.wall_s)),
        f"{worst} cost not what they cost alone (missed by {1e3 * misses[worst]:+.1f} ms)",
        untouched,
    )
