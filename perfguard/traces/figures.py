"""An analysis as JSON: the names that other tools rely on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from perfguard.spans.overlapping import Overlap, OverlapBounds
from perfguard.traces.analysis import Analysis
from perfguard.traces.nsys_csv import Total, Totals

SCHEMA = "perfguard.overlap/1"


def as_map(analysis: Analysis) -> dict[str, Any]:
    """All of `analysis`; times in seconds, efficiencies and shares as fractions, None where there is no figure."""
    return {
        "schema": SCHEMA,
        "source": analysis.source,
        "format": analysis.format,
        "device": analysis.device,
        "device_name": analysis.device_name,
        "span_s": analysis.span_s,
        "idle_s": analysis.idle_s,
        "utilisation": analysis.utilisation,
        "utilisation_with_copies": analysis.utilisation_with_copies,
        "lanes": analysis.lanes,
        "pairs": [asdict(pair) for pair in analysis.pairs],
        "overlap": None if analysis.overlap is None else overlap_map(analysis.overlap, analysis.pipeline_layers),
        "kernels": [asdict(row) for row in analysis.kernels],
        "ranges": [
            {
                **asdict(one.row),
                "window": one.window,
                "compute_s": one.compute_s,
                "copy_s": one.copy_s,
                "both_s": one.both_s,
                "efficiency": one.efficiency,
            }
            for one in analysis.ranges
        ],
        "layers": [{**asdict(one.row), "name": one.name, "layer": one.layer} for one in analysis.layers],
        "gaps": [asdict(gap) for gap in analysis.gaps],
        "gaps_after": [asdict(one) for one in analysis.gaps_after],
        "hta": None if analysis.hta is None else asdict(analysis.hta),
        "notes": list(analysis.notes),
    }


def overlap_map(overlap: Overlap, layers: int | None) -> dict[str, Any]:
    """The figures of copies and kernels, and the ceilings that they can reach; those of a pipeline need `layers`."""
    return {
        "copy_s": overlap.copy_s,
        "compute_s": overlap.compute_s,
        "both_s": overlap.both_s,
        "layers": layers,
        "overlap_efficiency": overlap.overlap_efficiency,
        "copy_hidden": overlap.copy_hidden,
        "copy_hidden_ceiling": overlap.copy_hidden_ceiling,
        "pipeline_efficiency": overlap.pipeline_efficiency if layers else None,
        "overlapped_over_ideal": overlap.overlapped_over_ideal if layers else None,
    }


def totals_map(
    totals: Totals, layers: Sequence[tuple[str, int, Total]], bounds: OverlapBounds | None
) -> dict[str, Any]:
    """The tables of `nsys stats`; shares are of each table's total, as there. Bounds where a scope was named."""
    tables = {"ranges": totals.ranges, "kernels": totals.kernels, "copies": totals.copies}
    shares = {id(row): share for rows in tables.values() for row, share in with_shares(rows)}
    return {
        "schema": SCHEMA,
        "source": totals.source,
        "format": "nsys-csv",
        **{name: [total_map(row, share) for row, share in with_shares(rows)] for name, rows in tables.items()},
        "layers": [{**total_map(row, shares[id(row)]), "name": name, "layer": layer} for name, layer, row in layers],
        "bounds": None if bounds is None else bounds_map(bounds),
    }


def bounds_map(bounds: OverlapBounds) -> dict[str, Any]:
    """What totals say of an overlap: both ends, and no figure between them."""
    return {
        **asdict(bounds),
        "low_s": bounds.low_s,
        "high_s": bounds.high_s,
        "overlap_efficiency": bounds.overlap_efficiency,
        "utilisation": bounds.utilisation,
        "utilisation_ceiling": bounds.utilisation_ceiling,
    }


def with_shares(rows: tuple[Total, ...]) -> list[tuple[Total, float]]:
    """Each row with its share of the total of all, largest first."""
    everything = sum(row.total_s for row in rows) or 1.0
    return [(row, row.total_s / everything) for row in sorted(rows, key=lambda row: -row.total_s)]


def total_map(row: Total, share: float) -> dict[str, Any]:
    """One row; None for figures that its report lacks."""
    known = {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(row).items()
    }
    return {**known, "share": share}
