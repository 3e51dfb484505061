"""`make quality`: how often each method is wrong and what it finds, measured beside a noisy neighbour.

Runs live rounds (`live.py`) for `--minutes`, then writes docs/quality.md and docs/quality.json (`report.py`). A
measurement that was stopped goes on where it was; `--fresh` begins anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import report
from live import Bench, measure_round
from neighbour import neighbour

from perfguard.baselines.machine import commit_info, describe, machine_class

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of live rounds (default 60)")
    parser.add_argument("--seconds-per-case", type=float, default=10.0, help="a duet's budget (default 10)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "quality")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="forget earlier rounds")
    parser.add_argument("--quiet-neighbour", action="store_true", help="measure without the loading processes")
    options = parser.parse_args()
    options.folder = options.folder.resolve()  # pytest runs elsewhere
    options.folder.mkdir(parents=True, exist_ok=True)
    rounds = options.folder / "rounds.jsonl"
    if options.fresh:
        rounds.unlink(missing_ok=True)
        shutil.rmtree(options.folder / "baselines", ignore_errors=True)
    done = len({record["round"] for record in report.read(options.folder)[0]}) if rounds.exists() else 0
    end_s = time.monotonic() + 60 * options.minutes
    with (
        tempfile.TemporaryDirectory(prefix="perfguard-quality-") as scratch,
        neighbour(0 if options.quiet_neighbour else 2, seed=options.seed + done),
    ):
        bench = Bench(Path(scratch), options.folder / "baselines", options.seconds_per_case)
        while time.monotonic() < end_s:
            records = measure_round(bench, done, options.seed)
            with rounds.open("a", encoding="utf-8") as file:
                file.write("\n" if file.tell() else "")  # the last line may have been cut off
                file.writelines(json.dumps(record) + "\n" for record in records)
            done += 1
            left_s = max(0.0, end_s - time.monotonic())
            print(
                f"round {done}: {', '.join(_told(record) for record in records)}; {left_s / 60:.0f} min left",
                flush=True,
            )
    machine = describe()
    facts = {
        "machine": machine_class(machine),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": str(commit_info(ROOT).get("id", ""))[:10],
        "command": f"make quality QUALITY='--minutes {options.minutes:g}'",
        "neighbour": not options.quiet_neighbour,
        "budget_seconds_per_case": options.seconds_per_case,
    }
    (options.folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    records, facts = report.read(options.folder)
    report.write(options.docs, records, facts)
    print(report.tables(records, facts))
    return 0


def _told(record: dict[str, object]) -> str:
    return f"{record['method']} {record['seconds']:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
