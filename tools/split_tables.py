"""Write the measured tables of docs/split-rpc.md from run documents, between its two markers.

    python tools/split_tables.py docs/split-rpc.md --suite quick.json --request run_seed.json run_whole-layer.json

`--suite`: documents of `pytest --perfguard-json=FILE suites/perfguard_suites/split_rpc`. `--request`: outputs of
`python -m perfguard_suites.split_rpc run --json`. Each may be several files. Without a document to write into, the
tables go to stdout.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- measured -->", "<!-- measured: end -->"
MIB = 1024 * 1024
# What `ladder.StepResult` says of a step.
STEP = re.compile(
    r"(?P<what>.+) \((?P<before>[\w-]+) -> (?P<after>[\w-]+)\): predicted (?P<predicted>\S+) ms, "
    r"measured (?P<measured>\S+ ms \[\S+ \S+\]) of (?P<wall>\S+) ms(?: outside products)?, (?P<verdict>.+)"
)
Metrics = Mapping[str, Mapping[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 for a file that is not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("document", nargs="?", default="", help="Markdown with both markers")
    parser.add_argument("--suite", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--request", nargs="*", default=[], metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        parts = [suite_tables(_load(path)) for path in options.suite]
        if options.request:
            parts.append(request_table([_load(path) for path in options.request]))
        text = "\n\n".join(parts)
        if options.document:
            path = Path(options.document)
            path.write_text(between_markers(path.read_text(encoding="utf-8"), text, options.document), encoding="utf-8")
        else:
            print(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"split_tables: {error!r}", file=sys.stderr)
        return 2
    return 0


def between_markers(document: str, text: str, name: str) -> str:
    """The document with this text between its markers. Raises ValueError where one is missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{name}: lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


def suite_tables(run: Mapping[str, Any]) -> str:
    """The variants, the ladder and the memory of one run document."""
    cases = [case for case in run["cases"] if "/split_rpc/" in case["id"]]
    variants = [case for case in cases if "test_request[" in case["id"] and case["metrics"]]
    ladder = next(case for case in cases if "test_ladder[" in case["id"])
    notes: list[str] = ladder["notes"]
    sees = [note for note in notes if "; the server sees " in note]
    steps = [found for note in notes if (found := STEP.fullmatch(note))]
    said = [note for note in notes if note not in sees and not STEP.fullmatch(note)]
    blocks = [
        f"### {said[0]}",
        f"Machine class `{run['machine']['class']}`, {run['started'][:10]}, profile {run['profile']}.",
        _table(VARIANT_HEAD, (_variant_row(case) for case in variants)),
        "Gains in ms of a request; where a step leaves the server's products as they are, they are left out.",
        _table(
            ("step", "from -> to", "predicted", "measured [interval]", "verdict"), (_step_row(step) for step in steps)
        ),
        "\n".join(f"- {note}" for note in (*said[1:], *_memory(cases))),
        "\n".join(f"- {note}" for note in sees),
    ]
    return "\n\n".join(block for block in blocks if block)


VARIANT_HEAD = (
    "variant",
    "prefill, ms",
    "decode step, ms",
    "calls",
    "MiB sent",
    "MiB received",
    "split over single [interval]",
    "non-compute speedup over seed",
    "unaccounted, %",
    "prediction error, %",
    "logits, max relative error",
)


def _variant_row(case: Mapping[str, Any]) -> Iterator[str]:
    found: Metrics = {metric["name"]: metric for metric in case["metrics"]}

    def of(name: str) -> float:
        return float(found[name]["median"])

    low, high = found["split_over_single"]["ci"]
    yield f"`{case['params']['variant']}`"
    yield f"{1e3 * of('prefill_time'):.1f}"
    yield f"{1e3 * of('decode_step_time'):.1f}"
    yield f"{of('calls'):.0f}"
    yield f"{of('bytes_sent') / MIB:.2f}"
    yield f"{of('bytes_received') / MIB:.2f}"
    yield f"{of('split_over_single'):.2f} [{low:.2f}, {high:.2f}]"
    yield f"{of('speedup_over_seed'):.1f}"
    yield f"{100 * of('unaccounted_fraction'):.2f}"
    yield f"{100 * of('prediction_error'):.0f}"
    yield f"{of('logits_max_rel_error'):.1e}"


def _step_row(step: re.Match[str]) -> Iterator[str]:
    yield step["what"]
    yield f"`{step['before']}` -> `{step['after']}`"
    yield step["predicted"]
    yield step["measured"].replace(" ms", "")
    yield step["verdict"]


def _memory(cases: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for case in cases:
        if "test_memory" in case["id"]:
            found: Metrics = {metric["name"]: metric for metric in case["metrics"]}
            server, client = (found[f"{side}_peak_rss"]["median"] / MIB for side in ("server", "client"))
            yield f"peak memory: server {server:.0f} MiB, client {client:.0f} MiB ({'; '.join(case['notes'])})"


def request_table(requests: Sequence[Mapping[str, Any]]) -> str:
    """One request each, with where its prefill went."""
    server = requests[0]["server"]
    head = ("variant", "prefill, ms", "decode step, ms", "calls", "MiB sent", "MiB received", "unaccounted, %")
    return "\n\n".join(
        (
            f"### {server['model']}, once, on {server['device']}",
            f"{server['dtype']}, {server['threads']} threads in each process.",
            _table(
                (*head, "server, client peak GiB", "where the prefill went"), (_request_row(each) for each in requests)
            ),
        )
    )


def _request_row(found: Mapping[str, Any]) -> Iterator[str]:
    memory, path = found["peak_rss_bytes"], found["prefill"]["critical_path_s"]
    yield f"`{found['variant']['name']}`"
    yield f"{1e3 * found['prefill_s']:.1f}"
    yield f"{1e3 * found['decode_step_s']:.1f}"
    yield f"{found['calls']}"
    yield f"{found['bytes_sent'] / MIB:.2f}"
    yield f"{found['bytes_received'] / MIB:.2f}"
    yield f"{100 * found['unaccounted_fraction']:.2f}"
    yield f"{memory['server'] / MIB / 1024:.1f}, {memory['client'] / MIB / 1024:.1f}"
    largest = sorted(path.items(), key=lambda item: -item[1])[:5]
    yield ", ".join(f"{name} {seconds / found['prefill']['wall_s']:.0%}" for name, seconds in largest)


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _load(path: str) -> Mapping[str, Any]:
    with Path(path).open(encoding="utf-8") as file:
        found: Mapping[str, Any] = json.load(file)
    return found


if __name__ == "__main__":
    sys.exit(main())
