"""`make change-quality`: how often change points are false, and which steps are found how soon, on known series.

    python tools/quality/changes.py [--points 100000] [--json docs/history-quality.json] [--sap FOLDER]

With apache-otava and ruptures installed they are measured on the same series. `--sap` takes a checkout of
github.com/SAP/performance-regression-data-set (CC-BY-4.0) and adds its 25 labelled series.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from change_methods import Method, installed
from change_series import NOISES, WITHIN, described, hits, series

LENGTHS = (100, 200, 1000)
SHAPES = ("none", "spikes", "wider")
STEPS = 300


def seeded(*words: object) -> np.random.Generator:
    """A generator that depends on the words alone."""
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def false_alarms(method: Method, shape: str, kind: str, n: int, points: int) -> dict[str, Any]:
    """Change points found in series that have none, per 1,000 points."""
    rng, count, many = seeded(shape, kind, n), 0, max(1, points // n)
    begin_s = time.perf_counter()
    for _ in range(many):
        count += len(method(series(shape, kind, n, rng)[0]))
    spent_ms = 1000 * (time.perf_counter() - begin_s) / many
    return {"false per 1,000": round(1000 * count / (many * n), 3), "ms": round(spent_ms, 2), "series": many}


def found_steps(method: Method, shape: str, kind: str, n: int, many: int) -> dict[str, Any]:
    """How many of the changes are found, within WITHIN points of their place, and how many others are."""
    rng, right, found, places_all = seeded(shape, kind, n), 0, 0, 0
    for _ in range(many):
        times, places = series(shape, kind, n, rng)
        at = method(times)
        right += hits(at, places)
        found += len(at)
        places_all += len(places)
    return {"found": round(right / places_all, 3), "per series": round(found / many, 2), "series": many}


def watched(method: Method, kind: str, many: int, n: int = 300, begin: int = 60) -> dict[str, Any]:
    """A series read anew after each point, as CI does: alarms ever raised, at new places, per 1,000 points."""
    rng, alarms, points = seeded("watched", kind), 0, 0
    for _ in range(many):
        times, _places = series("none", kind, n, rng)
        seen: list[int] = []
        for end in range(begin, n + 1):
            new = [at for at in method(times[:end]) if all(abs(at - old) > WITHIN for old in seen)]
            seen += new
            alarms += len(new)
        points += n - begin
    return {"false per 1,000": round(1000 * alarms / points, 3), "series": many, "points": points}


def delays(method: Method, kind: str, many: int, n: int = 200) -> dict[str, Any]:
    """How many points after a step it is first told, in a series read anew after each of them."""
    rng, waited = seeded("delays", kind, n), []
    for _ in range(many):
        times, _places = series("none", kind, n + 20, rng)
        times[n:] *= 1.05
        told = (after for after in range(1, 21) if any(abs(at - n) <= WITHIN for at in method(times[: n + after])))
        waited.append(next(told, 99))
    return {
        "within 5": round(sum(delay <= 5 for delay in waited) / many, 3),
        "median delay": float(np.median(waited)),
        "90 % by": float(np.quantile(waited, 0.9)),
        "series": many,
    }


def sap(folder: Path, method: Method) -> dict[str, Any]:
    """Changes found in SAP's small labelled data set, by label; of regressions also those within WITHIN points."""
    home = folder / "hana" / "small_2021"
    with (home / "metadata" / "dataset_details.csv").open(newline="") as file:
        details = list(csv.DictReader(file, delimiter=";"))
    found: dict[str, dict[str, int]] = {}
    for row in details:
        with (home / "data" / row["Dataset"]).open(newline="") as file:
            times = np.array([float(line["Measurement"]) for line in csv.DictReader(file)])
        at = method(times[times > 0])
        label = found.setdefault(row["Type"].strip(), {"series": 0, "points": 0, "changes": 0})
        label["series"] += 1
        label["points"] += times.size
        label["changes"] += len(at)
        if int(row["Change Point"]):  # the last index, from 1, before the regression: so the first one after it, from 0
            label["right"] = label.get("right", 0) + hits(at, [int(row["Change Point"])])
    return found


def measured(method: Method, scale: float, points: int, *, quick: bool) -> list[dict[str, Any]]:
    """All rows of one method."""
    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        for kind in NOISES if shape == "none" else ("normal",):
            rows += [
                {"shape": shape, "noise": kind, "n": n, **false_alarms(method, shape, kind, n, int(points * scale))}
                for n in LENGTHS
            ]
    for shape in ("late", "step", "drift"):
        for kind in NOISES if shape != "drift" else ("normal",):
            many = max(20, int(STEPS * scale))
            rows += [
                {"shape": shape, "noise": kind, "n": n, **found_steps(method, shape, kind, n, many)} for n in LENGTHS
            ]
    if not quick:
        for kind in NOISES:
            rows.append({"shape": "watched", "noise": kind, "n": 300, **watched(method, kind, max(4, int(20 * scale)))})
            rows.append({"shape": "delay", "noise": kind, "n": 200, **delays(method, kind, max(20, int(100 * scale)))})
    return rows


def main() -> int:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000, help="of series without a change, per row")
    parser.add_argument("--others", type=float, default=0.1, help="what share of that other libraries get")
    parser.add_argument("--only", help="only this method")
    parser.add_argument("--sap", type=Path, help="a checkout of SAP/performance-regression-data-set")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name, method in installed().items():
        if options.only not in (None, name):
            continue
        own = name == "perfguard"
        rows = measured(method, 1.0 if own else options.others, options.points, quick=not own)
        results[name] = {"rows": rows, **({"sap": sap(options.sap, method)} if options.sap else {})}
        columns = (
            "shape",
            "noise",
            "n",
            "false per 1,000",
            "found",
            "per series",
            "within 5",
            "median delay",
            "90 % by",
        )
        print(f"\n{name}\n\n{described(rows, (*columns, 'series', 'ms'))}", flush=True)
        if options.sap:
            print(results[name]["sap"], flush=True)
    if options.json is not None:
        known = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps({**known, **results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
