"""Write the measured tables of docs/weight-streaming.md from run documents, between its two markers.

    python tools/streaming_tables.py docs/weight-streaming.md run.json [run.json ...]

The documents are those of `pytest --perfguard --perfguard-json=FILE suites/perfguard_suites/weight_streaming`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from split_tables import between_markers

Metrics = Mapping[str, Mapping[str, Any]]
FIGURES = (
    ("overlapped_over_ideal", "T / ideal"),
    ("overlap_efficiency", "interval overlap"),
    ("copy_hidden", "copy hidden"),
    ("realised_saving", "realised saving"),
    ("compute_stretch", "compute stretch"),
    ("over_seed_scheme", "over the seed's scheme"),
    ("over_accelerate", "over accelerate"),
    ("map_over_seed_scheme", "mapped, over the seed's"),
)
HEAD = ("layers, source, load : compute", "waited, µs a layer", "most layers in memory", "validity")
POLICIES_SAID = """\
Policies on the same memory (four cached layers and two buffers), where loading takes twice as long as computing:"""
POLICIES = ("lookahead", "adaptive", "lru", "belady", "resident")


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 for a file that is not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    try:
        runs = [json.loads(path.read_text(encoding="utf-8")) for path in options.runs]
        text = options.document.read_text(encoding="utf-8")
        options.document.write_text(between_markers(text, tables(runs), str(options.document)), encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        print(f"streaming_tables: {error!r}", file=sys.stderr)
        return 2
    return 0


def tables(runs: Sequence[Mapping[str, Any]]) -> str:
    """The overlap's cases, the policies, and single figures."""
    measured = [case for run in runs for case in run["cases"] if "/weight_streaming/" in case["id"] and case["metrics"]]
    cases = list({case["id"]: case for case in measured}.values())  # the last run of a case counts
    first = runs[0]
    head = (*HEAD[:1], *(title for _, title in FIGURES), *HEAD[1:])
    blocks = [
        f"Machine class `{first['machine']['class']}`, {first['started'][:10]}, profile {first['profile']}.",
        _table(head, map(_overlap_row, _of(cases, "test_overlap"))),
    ]
    for case in _of(cases, "test_policies"):
        blocks.append(POLICIES_SAID)
        blocks.append(
            _table(("policy", "loads a pass", "time over lookahead's", "waited, µs a layer"), _policies(case))
        )
    singles = [line for name in ("test_load_bandwidth", "test_span_cost") for case in _of(cases, name)
               for line in case["notes"] if line.startswith("goal")]  # fmt: skip
    blocks.append("\n".join(f"- {line}" for line in singles))
    return "\n\n".join(block for block in blocks if block)


def _of(cases: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [case for case in cases if f"::{name}[" in case["id"]]


def _metrics(case: Mapping[str, Any]) -> Metrics:
    return {metric["name"]: metric for metric in case["metrics"]}


def _overlap_row(case: Mapping[str, Any]) -> Iterator[str]:
    found, params = _metrics(case), case["params"]
    yield f"{params['layers']}, {params['source']}, {params['ratio']}"
    for name, _ in FIGURES:
        yield _with_interval(found.get(name))
    yield f"{1e6 * found['weight_wait_per_layer_s']['median']:.0f}"
    yield f"{found['resident_layers_max']['median']:.0f}"
    yield next(("noisy" if "noisy:" in note else "valid") for note in case["notes"] if "token rows a pass" in note)


def _policies(case: Mapping[str, Any]) -> Iterator[Iterator[str]]:
    found = _metrics(case)
    for policy in POLICIES:
        over = "1" if policy == "lookahead" else _with_interval(found[f"{policy}_over_lookahead"])
        wait = 1e6 * found[f"{policy}_wait_per_layer_s"]["median"]
        yield iter((f"`{policy}`", f"{found[f'{policy}_loads_a_pass']['median']:.0f}", over, f"{wait:.0f}"))


def _with_interval(metric: Mapping[str, Any] | None) -> str:
    if metric is None:
        return "-"
    low, high = metric["ci"]
    return f"{metric['median']:.2f} [{low:.2f}, {high:.2f}]"


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
