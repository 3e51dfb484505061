"""Files for services that track benchmarks over time: Bencher and github-action-benchmark.

Both know a benchmark by its name and draw one value a run, so both get medians with their interval.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from perfguard.document import Case, Direction, Metric, Run
from perfguard.report.source import Source
from perfguard.report.words import account_line, figure, one_line

# Bencher's built-in measure of a time, whose unit is nanoseconds (https://bencher.dev/docs/explanation/measures/).
LATENCY = "latency"
NS_PER_S = 1e9
# Longer names, in bytes of UTF-8, are refused by Bencher (its crate bencher_valid).
MAX_BENCHMARK_BYTES = 1024
MAX_MEASURE_BYTES = 64
# What that action draws its charts in; a unit it does not know would be shown as it is.
_ACTION_UNITS = {"time": ("ns", NS_PER_S)}


def figures(run: Run) -> Iterator[tuple[Case, Metric]]:
    """Every metric of a case that passed."""
    return ((case, metric) for case in run.cases if case.status == "passed" for metric in case.metrics)


def bencher(source: Source) -> str:
    """Bencher Metric Format, for `bencher run --adapter json --file PATH`.

    `time` is the measure `latency`; every time is in nanoseconds, everything else in the metric's own unit.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for case, metric in figures(source.run):
        factor = NS_PER_S if metric.kind == "time" else 1.0
        low, high = metric.ci
        measure = LATENCY if metric.name == "time" else cut_bytes(one_line(metric.name), MAX_MEASURE_BYTES)
        found.setdefault(cut_bytes(one_line(case.id), MAX_BENCHMARK_BYTES), {})[measure] = {
            "value": metric.median * factor,
            "lower_value": min(low, metric.median) * factor,
            "upper_value": max(high, metric.median) * factor,
        }
    return json.dumps(found, indent=1, allow_nan=False) + "\n"


def action_smaller(source: Source) -> str:
    """For `tool: customSmallerIsBetter`: the metrics of which less is better."""
    return _action(source.run, "lower")


def action_bigger(source: Source) -> str:
    """For `tool: customBiggerIsBetter`: the metrics of which more is better."""
    return _action(source.run, "higher")


def _action(run: Run, direction: Direction) -> str:
    entries = []
    for case, metric in figures(run):
        if metric.direction != direction:
            continue
        unit, factor = _ACTION_UNITS.get(metric.kind, (metric.unit or metric.kind, 1.0))
        low, high = metric.ci
        extra = [figure(metric), *([account_line(case.account)] if case.account and metric.name == "time" else [])]
        entries.append(
            {
                "name": one_line(case.id if metric.name == "time" else f"{case.id} {metric.name}"),
                "unit": unit,
                "value": metric.median * factor,
                "range": f"± {(high - low) / 2 * factor:.6g}",
                "extra": "\n".join(map(one_line, extra)),
            }
        )
    return json.dumps(entries, indent=1, allow_nan=False) + "\n"


def cut_bytes(text: str, most: int) -> str:
    """`text`, or as much of it as fits `most` bytes of UTF-8 with an ellipsis; never empty."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode() or "?"
    return data[: most - 3].decode("utf-8", "ignore") + "…"
