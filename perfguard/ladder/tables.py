"""The ladder's tables as rows of text, for a terminal and for Markdown: speeds, losses, phases, latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfguard.commands.table import table
from perfguard.ladder.figures import client_line, gap_s_per_step, phases_s_per_token, rows_per_step, steps
from perfguard.ladder.latency import (
    Latency,
    Limits,
    Quantiles,
    batch_sizes,
    good_share,
    goodput_per_s,
    latency_of,
    speed_of,
)
from perfguard.ladder.result import NOISY_SPREAD, Ladder
from perfguard.report.words import GLYPHS
from perfguard.stats.quantiles import Interval, median_interval
from perfguard.units import format_value

MOST_PHASES = 6
TOLD_UNMATCHED = 0.02
TOLD_ADDED = 0.01
# Columns of words, flush left.
WORDS = frozenset({"stage", "component", "verdict", "target", "phases", "batch sizes"})
NOTHING_S = 1e-12  # what arithmetic leaves


@dataclass(frozen=True, slots=True)
class Section:
    """A table with its title."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def filled(self) -> Section:
        """Without the columns that are empty throughout."""
        kept = [i for i in range(len(self.headers)) if any(row[i] for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return Section(self.title, [self.headers[i] for i in kept], rows)

    def text(self) -> str:
        """For a terminal."""
        return f"{self.title}\n{table(self.headers, self.rows, frozenset(self.headers) - WORDS)}"

    def markdown(self) -> str:
        """For a page."""
        lines = [self.headers, ["---" if header in WORDS else "---:" for header in self.headers], *self.rows]
        escaped = (" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines)
        return f"{self.title}:\n\n" + "\n".join(f"| {line} |" for line in escaped)


def sections(ladder: Ladder, limits: Limits | None = None) -> list[Section]:
    """The tables that this ladder can fill."""
    found = [_speeds(ladder)]
    found += [_losses(ladder)] if any(ladder.terms(name) for name in ladder.names[1:]) else []
    found += [_phases(ladder)] if any(run.phases for each in ladder.kept for run in each.runs.values()) else []
    found += [_latencies(ladder)] if any(latency_of(ladder.runs(name)).ttft for name in ladder.names) else []
    found += [_goodput(ladder, limits)] if limits is not None and str(limits) else []
    return [section.filled() for section in found]


def render(ladder: Ladder, limits: Limits | None = None, *, markdown: bool = False) -> str:
    """All tables, and what must be said beside them."""
    parts = [section.markdown() if markdown else section.text() for section in sections(ladder, limits)]
    told = sentences(ladder)
    parts.append("\n".join(f"- {line}" for line in told) if markdown else "\n".join(told))
    return "\n\n".join(parts) + "\n"


def sentences(ladder: Ladder) -> list[str]:
    """What adds up and what does not, how quiet it was, what the client cost."""
    n = len(ladder.kept)
    confidence = ladder.over(ladder.names[-1], ladder.names[0]).confidence
    told = []
    if len(ladder.names) > 1 and _of_components(ladder):
        told.append(
            f"time per token of {ladder.names[-1]} {_us(ladder.top_s_per_token)} = {ladder.names[0]} "
            f"{_us(ladder.added_s_per_token(ladder.names[0]).estimate)} + added "
            f"{_us(sum(ladder.added_s_per_token(name).estimate for name in ladder.names[1:]))} + unexplained "
            f"{_us(ladder.unexplained_s)} ({ladder.unexplained_fraction:.2%})"
        )
    told.append(
        f"n = {n} rounds, each stage once in each, in random order and its reverse; intervals are of medians, "
        f"{confidence:.0%} sure; {ladder.names[0]} spreads by {ladder.spread:.1%} (interquartile; noisy above "
        f"{NOISY_SPREAD:.0%})"
    )
    set_aside = len(ladder.rounds) - n
    told.append(
        f"other processes took {_mean_others(ladder):.2f} cores; {ladder.disturbed} of {len(ladder.rounds)} rounds "
        f"were disturbed, {set_aside} set aside"
    )
    told += _account(ladder)
    for name in ladder.names:
        added = ladder.added_gap(name)
        if added is not None and added.low > TOLD_ADDED:
            told.append(
                f"{name} spends {_percent(added)} of the time of the stage below outside the passes: a loss of its "
                f"own, whatever the speeds say"
            )
        found = ladder.terms(name)
        if found is not None and found.terms.unmatched > TOLD_UNMATCHED:
            told.append(
                f"{name}: {found.terms.unmatched:.0%} of its forward time is in batch shapes that {ladder.names[0]} "
                f"never ran, taken to be dilated as the others are"
            )
        if line := client_line(ladder.runs(name)):
            told.append(f"{name}: {line}")
        if refused := sum(run.refused for run in ladder.runs(name)):
            told.append(f"{name}: {refused} requests were refused, the server was full")
    if ladder.noisy:
        told.append(f"{GLYPHS['noisy']} noisy: {ladder.noisy}; no target counts as met")
    return told


def _account(ladder: Ladder) -> list[str]:
    """How exactly the terms add up to the losses."""
    known = [found for name in ladder.names[1:] if (found := ladder.terms(name)) is not None]
    if not known:
        return []
    worst = max(known, key=lambda found: abs(found.residual_s))
    share = abs(worst.residual_s / worst.loss_s) if worst.loss_s else 0.0
    remainder = f"{abs(worst.residual_s):.1e} s per token, {share:.1e} of that loss"
    return [f"serial gap + dilation + batch mix is each stage's loss: the largest remainder is {remainder}"]


def _speeds(ladder: Ladder) -> Section:
    several = len(ladder.names) > 1
    headers = ["stage", "component", "tokens/s"]
    headers += [f"over {ladder.names[0]}", "over previous", "added per token", "verdict"] if several else []
    headers.append("target")
    rows = []
    for stage in ladder.stages:
        row = [stage.name, stage.component, _figure(median_interval(ladder.tokens_per_s(stage.name)), 1)]
        if several:
            row += _against(ladder, stage.name)
        row.append(_target(ladder, stage.name, stage.target))
        rows.append(row)
    return Section("Tokens per second", headers, rows)


def _against(ladder: Ladder, name: str) -> list[str]:
    if name == ladder.names[0]:
        return ["1", "", _us(ladder.added_s_per_token(name).estimate) if _of_components(ladder) else "", ""]
    verdict = ladder.verdict(name)
    return [
        _figure(ladder.over_stage0(name), 3),
        _figure(ladder.over_previous(name), 3),
        _us_interval(ladder.added_s_per_token(name)) if _of_components(ladder) else "",
        f"{GLYPHS[verdict]} {verdict}",
    ]


def _of_components(ladder: Ladder) -> bool:
    """Whether its stages add components; those of a sweep are loads, whose differences are no costs."""
    return any(stage.component for stage in ladder.stages)


def _target(ladder: Ladder, name: str, target: float | None) -> str:
    if target is None:
        return ""
    met = ladder.target_met(name)
    word = "noisy" if ladder.noisy else "cannot tell" if met is None else "met" if met else "missed"
    return f">= {target:g}: {word}"


def _losses(ladder: Ladder) -> Section:
    rows = []
    for name in ladder.names:
        found, runs = ladder.terms(name), ladder.runs(name)
        if found is None:
            rows.append([name, *(["not known"] * 4), "", "", "", "", "", ""])
            continue
        gap, occupancy, added = gap_s_per_step(runs), rows_per_step(runs), ladder.added_gap(name)
        speeds = [speed_of(runs, kind) for kind in ("prefill", "decode")]
        rows.append(
            [
                name,
                *(_us(s) for s in (found.loss_s, found.terms.gap_s, found.terms.dilation_s, found.terms.mix_s)),
                "" if gap is None else _us_range(gap),
                "" if added is None else _percent(added),
                f"{steps(runs):g}",
                "" if occupancy is None else f"{occupancy:.2f}",
                *("" if speed is None else f"{speed:.0f}" for speed in speeds),
            ]
        )
    return Section(
        f"Loss against {ladder.names[0]} per token, and its three terms",
        ["stage", "loss", "serial gap", "dilation", "batch mix", "gap per step", "added outside passes", "steps",
         "rows per decode step", "prefill tokens/s", "decode tokens/s"],
        rows,
    )  # fmt: skip


def _phases(ladder: Ladder) -> Section:
    rows = []
    for name in ladder.names:
        phases = list(phases_s_per_token(ladder.runs(name)).items())[:MOST_PHASES]
        rows.append([name, ", ".join(f"{phase} {_us(took_s)}" for phase, took_s in phases)])
    return Section("Where the stages say that they spent their own time, per token", ["stage", "phases"], rows)


def _latencies(ladder: Ladder) -> Section:
    rows = []
    for name in ladder.names:
        found = latency_of(ladder.runs(name))
        batches = batch_sizes(ladder.runs(name))
        whole = sum(batches.values())
        told = ", ".join(f"{size}: {count / whole:.0%}" for size, count in list(batches.items())[-3:][::-1])
        rows.append([name, str(found.ttft.n if found.ttft else 0), *_latency_cells(found), told])
    headers = ["stage", "n", "first token", "per token", "inter-token", "end to end", "queue", "batch sizes"]
    return Section("Latency p50 / p90 / p99, ms, from the intended beginning", headers, rows)


def _latency_cells(found: Latency) -> list[str]:
    return [_ms(each) for each in (found.ttft, found.tpot, found.inter_token, found.end_to_end, found.queue)]


def _goodput(ladder: Ladder, limits: Limits) -> Section:
    rows = [
        [name, _figure(median_interval([goodput_per_s(run, limits) for run in ladder.runs(name)]), 2),
         f"{good_share(ladder.runs(name), limits):.1%}"]
        for name in ladder.names
    ]  # fmt: skip
    return Section(f"Goodput: requests with {limits}", ["stage", "good requests/s", "of all requests"], rows)


def _mean_others(ladder: Ladder) -> float:
    return sum(each.other_cores for each in ladder.rounds) / len(ladder.rounds)


def _ranged(interval: Interval, told: str, ends: str, scale: float) -> str:
    """The words for an estimate, and its ends in that format where there are any."""
    low, high = scale * interval.low, scale * interval.high
    return told if interval.confidence <= 0 else f"{told} [{low:{ends}}, {high:{ends}}]"


def _figure(interval: Interval, decimals: int) -> str:
    return _ranged(interval, f"{interval.estimate:.{decimals}f}", f".{decimals}f", 1.0)


def _us(seconds: float) -> str:
    return format_value(seconds if abs(seconds) >= NOTHING_S else 0.0, "s")


def _us_interval(interval: Interval) -> str:
    return _ranged(interval, f"{1e6 * interval.estimate:+.1f} µs", "+.1f", 1e6)


def _us_range(interval: Interval) -> str:
    return _ranged(interval, f"{1e6 * interval.estimate:.1f} µs", ".1f", 1e6)


def _percent(interval: Interval) -> str:
    return _ranged(interval, f"{interval.estimate:+.2%}", "+.2f", 100)


def _ms(found: Quantiles | None) -> str:
    return "" if found is None else " / ".join(f"{1e3 * value:.3g}" for value in (found.p50, found.p90, found.p99))
