"""Sentences that more than one report says: a figure with its interval, a change with its phases."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from perfguard.document import Account, Metric, PhaseChange, Run
from perfguard.units import format_change, format_value

# A verdict is always a glyph and a word: neither colour nor shape alone.
GLYPHS = {"slower": "▲", "faster": "▼", "same": "=", "noisy": "?", "new": "+", "missing": "-", "broken": "!"}

# The basis of a duet's changes, and its other side as that names it: `main (c0ffee1)`, or a folder.
PAIRS = "pairs"
_REVISION = re.compile(r"(.+) \([0-9a-f]{7,}\)", re.DOTALL)
# What was compared, where it was not the medians that are shown.
BASES = {
    "fastest": " (fastest rounds compared)",
    "fastest, at one speed": " (fastest rounds compared, at one speed of the machine)",
}


def figure(metric: Metric) -> str:
    """`412 µs ±1.2 %  n=120`; an exact or single figure without interval."""
    value = format_value(metric.median, metric.unit, metric.kind)
    if metric.n <= 1:
        return value
    low, high = metric.ci
    if metric.median and metric.kind != "fraction":
        return f"{value} ±{(high - low) / 2 / abs(metric.median):.1%}  n={metric.n}"
    return f"{value} [{format_value(low, metric.unit, metric.kind)}, {format_value(high, metric.unit, metric.kind)}]"


def change_line(metric: Metric) -> str:
    """`time: 1.2 ms -> 2.1 ms, +75 % [+60 %, +92 %], limit 10 %, 5 process runs`."""
    now = format_value(metric.median, metric.unit, metric.kind)
    if metric.change is None or metric.baseline is None:
        return f"{metric.name}: {now}"
    before = format_value(metric.baseline.median, metric.unit, metric.kind)
    if metric.limit == 0:
        return f"{metric.name}: {before} -> {now} (exact)"
    low, high = metric.change.ci
    return (
        f"{metric.name}: {before} -> {now}, {format_change(metric.change.ratio)} "
        f"[{format_change(low)}, {format_change(high)}], limit {metric.limit:.0%}, "
        f"{evidence(metric)}{BASES.get(metric.change.basis, '')}"
    )


def evidence(metric: Metric) -> str:
    """What a change rests on: `5 process runs in the baseline`, or in a duet `12 restarts a side`."""
    runs = 0 if metric.baseline is None else metric.baseline.process_runs
    plural = "" if runs == 1 else "s"
    if is_paired(metric):
        return f"{runs} restart{plural} a side"
    return f"{runs} process run{plural} in the baseline"


def is_paired(metric: Metric) -> bool:
    """Whether the metric was compared in a duet."""
    return metric.change is not None and metric.change.basis == PAIRS


def phase_change_line(phase: PhaseChange) -> str:
    """`serialize +18 ms = 94 % of the change`; in a duet with its own change, `(+31 % [+28 %, +34 %])`."""
    sign = "+" if phase.delta_s >= 0 else "-"
    told = f"{phase.path} {sign}{format_value(abs(phase.delta_s), 's')} = {phase.share:.0%} of the change"
    if phase.ratio is None or phase.ci is None:
        return told
    low, high = phase.ci
    return f"{told} ({format_change(phase.ratio)} [{format_change(low)}, {format_change(high)}])"


def account_line(account: Account, most: int = 6) -> str:
    """`copy 61 % · wake_up 20 % · ... · unaccounted 1.2 %`: shares of the wall, self times, largest first."""
    wall = account.wall_s or 1.0
    parts = [f"{phase.path} {phase.self_s / wall:.0%}" for phase in account.phases[:most]]
    if len(account.phases) > most:
        parts.append(f"{len(account.phases) - most} more {sum(p.self_s for p in account.phases[most:]) / wall:.0%}")
    return " · ".join([*parts, f"unaccounted {account.unaccounted_s / wall:.1%}"])


def again(case_ids: Sequence[str], metrics: Iterable[Metric] = ()) -> str:
    """The command that measures these cases again, against the same other side where `metrics` were of a duet."""
    pairs = (metric.baseline for metric in metrics if metric.baseline is not None and is_paired(metric))
    options = ["--perfguard"]
    if (other := next(pairs, None)) is not None:
        revision = _REVISION.fullmatch(other.source)
        option = f"--perfguard-against={revision[1]}" if revision else f"--perfguard-against-path={other.source}"
        options.append(shlex.quote(one_line(option)))
    return " ".join(["pytest", *options, *(shlex.quote(one_line(case)) for case in case_ids)])


def short_ids(run: Run) -> Mapping[str, str]:
    """Node ids without the folders of their file, where that still tells all cases of the run apart."""
    short = {case.id: _without_folders(case.id) for case in run.cases}
    counts = Counter(short.values())
    return {case: name if counts[name] == 1 else case for case, name in short.items()}


def one_line(text: str) -> str:
    """Foreign text on one line: what a terminal, a table or another tool might stumble over becomes a space."""
    return "".join(c if c.isprintable() else " " for c in text)


def _without_folders(case_id: str) -> str:
    file, separator, test = case_id.partition("::")
    return f"{file.rpartition('/')[2]}{separator}{test}"
