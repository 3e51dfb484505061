"""From `rounds.jsonl` to the tables of docs/quality.md and to docs/quality.json.

`python tools/quality/report.py build/quality` prints the tables; `--write docs` puts them into the documents.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rates import Rate
from replay import replay_duets, replay_stored
from rules import RULES

from perfguard.duet.engine import DUET_LIMIT, MOST_RESTARTS
from perfguard.duet.pace import wanted_restarts
from perfguard.stats.sequential import DuetPlan

CHANGES = (3, 5, 10, 20)
RATES = ("false_alarm_case", "false_alarm_suite", *(f"detect_{change}" for change in CHANGES))
YOUNG = 10  # stored runs before which a baseline is not judged by: it keeps ten
REPLAYED_SUITES = {"duet": 4_000, "stored": 2_000}
MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")

Records = Sequence[Mapping[str, Any]]
Outcomes = Iterable[tuple[Mapping[str, Any], Mapping[str, bool]]]  # the round's record, which cases alarmed


def rates_of(outcomes: Outcomes) -> dict[str, Rate]:
    """False alarms and detections; a suite counts where nothing was changed."""
    rates = {name: Rate() for name in RATES}
    for record, alarms in outcomes:
        injected = record["injected"]
        for case, alarmed in alarms.items():
            name = f"detect_{injected[case][1]}" if case in injected else "false_alarm_case"
            rates[name] += Rate(int(alarmed), 1)
        if not injected:
            rates["false_alarm_suite"] += Rate(int(any(alarms.values())), 1)
    return rates


def verdict_outcomes(records: Records, method: str) -> Outcomes:
    """What perfguard decided, as it said itself."""
    for record in records:
        cases = record["cases"] if record["method"] == method else {}
        if cases and (method == "duet" or min(case["runs"] for case in cases.values()) >= YOUNG):
            yield record, {name: case["verdict"] == "slower" for name, case in cases.items()}


def rule_outcomes(records: Records, rule: str) -> Outcomes:
    """What another tool's rule says of head's samples against base's of the same round."""
    for before, now in sample_pairs(records):
        pairs = {name: (before["cases"][name], case) for name, case in now["cases"].items()}
        yield now, {name: _alarms(rule, *pair) for name, pair in pairs.items()}


def _alarms(rule: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """What the rule says; of all rounds where pytest-benchmark itself gives the figure, of the kept ones elsewhere."""
    of = {"pytest_benchmark_mean_5": "mean", "pytest_benchmark_min_5": "min"}.get(rule, "data")
    figures = (np.atleast_1d(np.array(side[of])) for side in (before, now))
    return bool(RULES[rule](*figures))


def sample_pairs(records: Records) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The process runs under pytest-benchmark of each round."""
    base = {record["round"]: record for record in records if record["method"] == "base"}
    head = {record["round"]: record for record in records if record["method"] == "head"}
    return [(base[index], head[index]) for index in sorted(base.keys() & head.keys())]


def seconds_per_case(records: Records, methods: Sequence[str]) -> float | None:
    """Wall seconds that one comparison took, for each case, over all rounds."""
    rounds = {record["round"] for record in records if record["method"] in methods}
    spent = [record["seconds"] / len(record["cases"]) for record in records if record["method"] in methods]
    return sum(spent) / len(rounds) if rounds else None


def phases_named(records: Records, method: str) -> tuple[Rate, Rate]:
    """Of true alarms: how often the slowed phase leads, and how often with 90 % of the change or more."""
    first, mostly = Rate(), Rate()
    for record, alarms in verdict_outcomes(records, method):
        for name, (phase, _) in record["injected"].items():
            phases = record["cases"][name]["phases"]
            if alarms[name] and phases:
                leads = phases[0][0] == phase
                first += Rate(int(leads), 1)
                mostly += Rate(int(leads and phases[0][1] >= 0.9), 1)
    return first, mostly


def unchanged_restarts(records: Records) -> dict[str, list[tuple[float, float]]]:
    """The recorded restarts of every case while it was unchanged."""
    found: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if record["method"] == "duet":
            for name, case in record["cases"].items():
                if name not in record["injected"]:
                    found.setdefault(name, []).extend((r, se) for r, se in case.get("restarts", ()))
    return found


def base_runs(records: Records) -> dict[str, list[list[float]]]:
    """(median, fastest, reference) of every case in each process run of base."""
    found: dict[str, list[list[float]]] = {}
    for record in records:
        if record["method"] == "stored":
            for name, figures in record["figures"]["before"].items():
                found.setdefault(name, []).append(figures)
    return found


def replayed(records: Records) -> dict[str, dict[str, Rate]]:
    """Rates on recorded noise, by method."""
    rng = np.random.default_rng(1)
    restarts, runs = unchanged_restarts(records), base_runs(records)
    rates = {}
    if restarts:
        fewest = DuetPlan(tests=len(restarts), limit=DUET_LIMIT).fewest_restarts
        plan = DuetPlan(tests=len(restarts), limit=DUET_LIMIT, max_restarts=wanted_restarts(fewest, MOST_RESTARTS))
        rates[f"duet, {plan.max_restarts} restarts"] = replay_duets(restarts, REPLAYED_SUITES["duet"], plan, rng)
    if runs and min(len(found) for found in runs.values()) > YOUNG:
        for basis in ("one speed", "fastest", "median"):
            rates[f"stored: {basis}"] = replay_stored(runs, REPLAYED_SUITES["stored"], basis, rng)
    return rates


def quality(records: Records) -> dict[str, Any]:
    """What docs/quality.json holds."""
    result: dict[str, Any] = {}
    for method in ("duet", "stored"):
        rates = rates_of(verdict_outcomes(records, method))
        first, mostly = phases_named(records, method)
        result[method] = {name: rate.as_json() for name, rate in rates.items()}
        result[method]["seconds_per_case"] = seconds_per_case(records, (method,))
        result[method]["phase_leads"], result[method]["phase_named_90"] = first.as_json(), mostly.as_json()
    for rule in RULES:
        result[rule] = {name: rate.as_json() for name, rate in rates_of(rule_outcomes(records, rule)).items()}
        result[rule]["seconds_per_case"] = seconds_per_case(records, ("base", "head"))
    result["replayed"] = {
        method: {name: rate.as_json() for name, rate in rates.items()} for method, rates in replayed(records).items()
    }
    return result


def tables(records: Records, facts: Mapping[str, Any]) -> str:
    """The tables as Markdown."""
    found = quality(records)
    methods = ["duet", "stored", *RULES]
    busy = float(np.mean([record["busy"] for record in records]))
    rounds = len({record["round"] for record in records})
    unchanged = len({record["round"] for record in records if not record["injected"]})
    lines = [
        (
            f"Measured on {facts.get('machine', 'this machine')}, {facts.get('date', '')}: {rounds} rounds of twelve "
            f"cases, {unchanged} of them without any change; the processors were {busy:.0%} busy on average. "
            "Each rate has its exact 95 % interval (Clopper & Pearson) and the number of decisions."
        ),
        "",
        *_table(methods, found, seconds=True),
        "",
        "The same decisions on recorded noise, put together anew (`tools/quality/replay.py`):",
        "",
        *_table(list(found["replayed"]), found["replayed"], seconds=False),
    ]
    for method in ("duet", "stored"):
        if (leads := found[method]["phase_leads"]) is not None:
            named = found[method]["phase_named_90"]
            lines += [
                "",
                (
                    f"True alarms of `{method}`: the slowed phase leads in {_cell(leads)}, and with at least 90 % of "
                    f"the change in {_cell(named)}."
                ),
            ]
    return "\n".join(lines)


def _table(methods: Sequence[str], found: Mapping[str, Any], *, seconds: bool) -> list[str]:
    heads = ["method", "false alarm, case", "false alarm, suite", *(f"+{c} % found" for c in CHANGES)]
    heads += ["s per case"] if seconds else []
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for method in methods:
        cells = [f"`{method}`", *(_cell(found[method][name]) for name in RATES)]
        if seconds:
            spent = found[method]["seconds_per_case"]
            cells.append("-" if spent is None else f"{spent:.1f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(rate: Mapping[str, Any] | None) -> str:
    return "-" if rate is None else str(Rate(rate["hits"], rate["n"]))


def write(docs: Path, records: Records, facts: Mapping[str, Any]) -> None:
    """Put the tables between the marks in quality.md, and the figures into quality.json."""
    page = docs / "quality.md"
    begin, end = MARKS
    text = page.read_text(encoding="utf-8")
    new = re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{tables(records, facts)}\n{end}", text, flags=re.DOTALL)
    page.write_text(new, encoding="utf-8")
    figures = {"schema": "perfguard.quality/1", **facts, **quality(records)}
    (docs / "quality.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The records and the facts of a measurement; a line that was cut off is left out."""
    records = []
    for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    facts = folder / "facts.json"
    return records, json.loads(facts.read_text(encoding="utf-8")) if facts.exists() else {}


def write_traces(path: Path, records: Records) -> None:
    """Keep the recorded noise for the tests: restarts of unchanged cases and process runs of base, to 5 digits."""
    restarts = {
        name: [[_short(x) for x in pair] for pair in found] for name, found in unchanged_restarts(records).items()
    }
    runs = {name: [[_short(x) for x in run] for run in found] for name, found in base_runs(records).items()}
    text = json.dumps({"schema": "perfguard.noise/1", "restarts": restarts, "runs": runs}, sort_keys=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def main() -> int:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where run.py left rounds.jsonl")
    parser.add_argument("--write", type=Path, metavar="DOCS", help="the folder of quality.md and quality.json")
    parser.add_argument("--traces", type=Path, metavar="FILE", help="keep the recorded noise for the tests (.json.gz)")
    options = parser.parse_args()
    records, facts = read(options.folder)
    if options.traces is not None:
        write_traces(options.traces, records)
    if options.write is not None:
        write(options.write, records, facts)
    print(tables(records, facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
