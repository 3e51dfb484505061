"""`python -m perfguard_tui.bench [--json FILE] [--parts live,replay,producer,stopped]`: its goals, measured.

A producer and the dashboard are processes of their own; the dashboard runs in a pseudo-terminal of 120 x 40 with 5,000
cases. Figures of a part are put beside those that FILE already holds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from perfguard.events.bench import event_costs
from perfguard.units import format_value
from perfguard_tui.bench.load import record
from perfguard_tui.bench.stopped import stopped_part
from perfguard_tui.bench.terminal import Terminal

CASES = 5000
REPLAYED_CASES = 500  # of the hour's recording
STRETCH_S = 8.0
HOUR_EVENTS = 7_200_000
KEYS = 30
# name -> goal, whether more is better, unit
GOALS: dict[str, tuple[float, bool, str]] = {
    "events_per_s_unbatched": (20_000, True, "ev/s"),
    "events_per_s_batched": (50_000, True, "ev/s"),
    "lost": (0, False, ""),
    "fps": (10, True, ""),
    "loop_p99_s": (0.05, False, "s"),
    "staleness_max_s": (0.15, False, "s"),
    "frame_cpu_p99_s": (0.015, False, "s"),
    "idle_cpu_fraction": (0.01, False, "fraction"),
    "key_to_paint_p95_s": (0.05, False, "s"),
    "rss_bytes": (120e6, False, "B"),
    "rss_growth_bytes": (5e6, False, "B"),
    "first_frame_s": (1.0, False, "s"),
    "attach_s": (0.5, False, "s"),
    "replay_events_per_s": (200_000, True, "ev/s"),
    "producer_s_per_event": (5e-6, False, "s"),
    # Of a run's time, with the ends of the 99 % interval: a viewer costs something if the lower one is above 1.
    "stopped_viewer_ratio": (math.inf, False, ""),
    "stopped_viewer_ratio_low": (1, False, ""),
    "stopped_viewer_ratio_high": (math.inf, False, ""),
    "killed_viewer_ratio": (math.inf, False, ""),
    "killed_viewer_ratio_low": (1, False, ""),
    "killed_viewer_ratio_high": (math.inf, False, ""),
}


def live_part(folder: Path) -> dict[str, float]:
    """Attached to a run of 5,000 cases: idle, then under load, with keys pressed meanwhile."""
    endpoint, out = f"ipc://{folder}/bench.sock", folder / "figures.json"
    producer = subprocess.Popen(
        [sys.executable, "-m", "perfguard_tui.bench.load", endpoint, str(CASES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert producer.stdin is not None
    assert producer.stdout is not None
    terminal = None
    try:
        producer.stdout.readline()
        terminal = Terminal([sys.executable, "-m", "perfguard_tui.bench.viewer", endpoint, str(out)])
        first_frame_s = terminal.wait_for(b"perfguard", 20)
        terminal.wait_for(b"0/5000", 20)
        terminal.read(1.5)
        begin_s, begin_cpu_s = time.monotonic(), sum(terminal.process.cpu_times()[:2])
        terminal.read(5.0)
        idle = (sum(terminal.process.cpu_times()[:2]) - begin_cpu_s) / (time.monotonic() - begin_s)
        found: list[dict[str, float]] = []
        at_end: dict[str, float] = {}
        told: list[dict[str, float]] = []
        paints: list[float] = []
        for rate, batch, frames in ((20_000, 20, "single"), (50_000, 500, "gathered")):
            producer.stdin.write(f"{rate} {batch} {STRETCH_S} {frames}\n")
            terminal.read(1.0)
            terminal.type(b"\x1b[15~")
            if rate == 20_000:
                paints = _keys(terminal)
            terminal.read(max(0.5, STRETCH_S - 2 - sum(paints) * (rate == 20_000) - KEYS * 0.11 * (rate == 20_000)))
            found.append(_figures(terminal, out))
            told.append(json.loads(producer.stdout.readline()))
            at_end = _caught_up(terminal, out)
            print(f"at {rate} events/s: {json.dumps(found[-1])}; afterwards lost {at_end['lost']}", file=sys.stderr)
    finally:
        if terminal is not None:
            terminal.close()
        producer.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            producer.wait(10)
        producer.kill()
        producer.wait()
    return {
        # What the dashboard took in, which a slow one does at less than what was emitted.
        "events_per_s_unbatched": found[0]["events_per_s"],
        "events_per_s_batched": found[1]["events_per_s"],
        "lost": told[-1]["emitted"] - at_end["events"],
        "fps": min(one["fps"] for one in found),
        "loop_p99_s": max(one["loop_p99_s"] for one in found),
        "staleness_max_s": max(one["staleness_max_s"] for one in found),
        "frame_cpu_p99_s": max(one["frame_cpu_p99_s"] for one in found),
        "idle_cpu_fraction": idle,
        "key_to_paint_p95_s": float(np.quantile(paints, 0.95)),
        "first_frame_s": first_frame_s,
        "attach_s": at_end["attach_s"],
    }


def producer_part() -> dict[str, float]:
    """What an event costs a run that is live and that nobody watches."""
    return {"producer_s_per_event": event_costs(blocks=30)["bus"] / 1e9}


def _figures(terminal: Terminal, out: Path) -> dict[str, float]:
    """What the viewer notes on F6."""
    out.unlink(missing_ok=True)
    terminal.type(b"\x1b[17~")
    deadline_s = time.monotonic() + 30
    while not out.exists():
        terminal.read(0.05)
        if time.monotonic() > deadline_s:
            raise TimeoutError("the viewer writes no figures")
    return dict(json.loads(out.read_text(encoding="utf-8")))


def _caught_up(terminal: Terminal, out: Path) -> dict[str, float]:
    """Its figures when it has taken in all that it can still get."""
    before = _figures(terminal, out)
    while True:
        terminal.read(1.0)
        now = _figures(terminal, out)
        if now["events"] == before["events"]:
            return now
        before = now


def _keys(terminal: Terminal) -> list[float]:
    """Seconds from a key to the title of the next case, once for each key; the case's full name stands only there."""
    paints = []
    for number in range(1, KEYS + 1):
        terminal.type(b"j")
        paints.append(terminal.wait_for(f"test_c[{number:05}]".encode(), 5))
        terminal.read(0.11)
    return paints


def replay_part(folder: Path, events: int) -> dict[str, float]:
    """An hour's events from a file, as fast as they come, in the real dashboard; its memory is read meanwhile."""
    path = folder / "hour.pgrun"
    count = record(path, events, REPLAYED_CASES)
    terminal = Terminal([sys.executable, "-m", "perfguard_tui", str(path)])
    try:
        terminal.wait_for(b"perfguard", 20)
        begin_s = time.monotonic()
        seen: list[tuple[float, int]] = []
        while f"{REPLAYED_CASES}/{REPLAYED_CASES}".encode() not in terminal.output:
            terminal.read(0.2)
            seen.append((time.monotonic() - begin_s, terminal.process.memory_info().rss))
            if seen[-1][0] > 600:
                raise TimeoutError("the recording was not told within ten minutes")
        took_s = seen[-1][0]
    finally:
        terminal.close()
    settled = [rss for at_s, rss in seen if at_s > took_s / 2]
    return {
        "rss_bytes": max(rss for _, rss in seen),
        "rss_growth_bytes": max(settled) - settled[0],
        "replay_events_per_s": count / took_s,
    }


def main() -> int:
    """Measure, print the table, write the file."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_tui.bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--parts", default="live,replay,producer,stopped")
    parser.add_argument("--events", type=int, default=HOUR_EVENTS, help="of the recording (default: an hour's)")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    if options.json is not None and options.json.exists():
        figures = json.loads(options.json.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="perfguard-bench-") as folder:
        if "live" in options.parts:
            figures |= live_part(Path(folder))
        if "replay" in options.parts:
            figures |= replay_part(Path(folder), options.events)
        if "producer" in options.parts:
            figures |= producer_part()
        if "stopped" in options.parts:
            figures |= stopped_part(Path(folder))
    print(table(figures))
    if options.json is not None:
        ordered = {name: float(f"{figures[name]:.4g}") for name in GOALS if name in figures}
        options.json.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    return 0


def table(figures: dict[str, float]) -> str:
    """A Markdown table of figure, goal, and whether it is met."""
    lines = ["| figure | measured | goal | |", "| --- | ---: | ---: | --- |"]
    for name, (goal, more, unit) in GOALS.items():
        if name not in figures:
            continue
        value = figures[name]
        met = value >= goal * 0.99 if more else value <= goal
        kind = "fraction" if unit == "fraction" else ""
        shown = [format_value(one, "" if kind else unit, kind) if math.isfinite(one) else "" for one in (value, goal)]
        bound = "" if math.isinf(goal) else f"{'at least' if more else 'at most'} {shown[1]}"
        lines.append(f"| {name} | {shown[0]} | {bound} | {'' if met else 'missed'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
