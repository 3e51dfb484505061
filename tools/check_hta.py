"""Compare `perfguard overlap` with HolisticTraceAnalysis on traces, figure by figure.

HTA brings JupyterLab and plotly along, so it lives in an environment of its own:

    python -m venv .venv-hta && .venv-hta/bin/pip install HolisticTraceAnalysis==0.5.0 psutil
    .venv-hta/bin/python tools/check_hta.py [--drop-syncs] trace.json.gz ...

Exits 1 if a figure differs by more than rounding: HTA cuts each interval to whole microseconds, through float64.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from perfguard.traces import kineto
from perfguard.traces.analysis import analyse
from perfguard.traces.scan import open_plain

TIMES = ("idle_time", "compute_time", "non_compute_time", "kernel_time")


def theirs(path: Path, *, drop_syncs: bool) -> dict[str, float]:
    """HTA's own figures; it reads folders of files with a rank in them.

    With `drop_syncs` it sees no synchronisations: it counts those on a stream as work that is not compute.
    """
    from hta.trace_analysis import TraceAnalysis

    with tempfile.TemporaryDirectory() as folder:
        with open_plain(path) as file:
            document = json.load(file)
        if drop_syncs:
            document["traceEvents"] = [one for one in document["traceEvents"] if one.get("cat") != "cuda_sync"]
        document.setdefault("distributedInfo", {"rank": 0})["rank"] = 0
        with gzip.open(Path(folder) / "rank-0.json.gz", "wt", encoding="utf-8") as out:
            json.dump(document, out)
        found = TraceAnalysis(trace_dir=folder)
        breakdown = found.get_temporal_breakdown(visualize=False).iloc[0]
        figures = {name: float(breakdown[f"{name}(us)"]) for name in TIMES}
        overlap = found.get_comm_comp_overlap(visualize=False)["comp_comm_overlap_pctg"].iloc[0]
        figures["comp_comm_overlap_pctg"] = float(overlap)
        types, _ = found.get_gpu_kernel_breakdown(visualize=False)
        return figures | {str(row["kernel_type"]): float(row["sum"]) for _, row in types.iterrows()}


def ours(path: Path) -> tuple[dict[str, float], int]:
    """Perfguard's figures by HTA's definitions, and how many activities there are to round."""
    analysis = analyse(kineto.read(path))
    found = analysis.hta
    if found is None:
        return {}, 0
    overlap = found.comp_comm_overlap_pctg
    figures: dict[str, Any] = {name: getattr(found, f"{name}_us") for name in TIMES}
    figures["comp_comm_overlap_pctg"] = float("nan") if overlap is None else overlap
    return figures | found.kernel_types_us, sum(row.count for row in analysis.kernels)


def main(paths: list[str]) -> int:
    """Print both figures of each file; 1 if any differ."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    differing = 0
    drop_syncs = "--drop-syncs" in paths
    for path in (one for one in paths if one != "--drop-syncs"):
        reference, (mine, activities) = theirs(Path(path), drop_syncs=drop_syncs), ours(Path(path))
        print(f"{path}: {activities} activities")
        for name, value in reference.items():
            other = mine.get(name, 0.0)
            missing = math.isnan(value) and math.isnan(other)
            # Each start and end may round the other way: at most one microsecond an edge, usually none.
            allowed = 0.02 if name.endswith("pctg") else max(1.0, 0.001 * value)
            equal = missing or abs(value - other) <= allowed
            differing += not equal
            print(f"  {'equal ' if equal else 'DIFFER'}  {name:40} {value:14.2f} HTA  {other:14.2f} perfguard")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
