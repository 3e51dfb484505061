"""What a viewer that was stopped or killed changes about a run's time: nothing that can be measured, or how much.

Three runs in one process take turns in random order: one that nobody watches, one whose viewer was stopped
(SIGSTOP) in the middle, one whose viewer was killed. The ratio of their times is taken turn by turn, so that a
machine which drifts does so for all three.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from perfguard.events import EventStream
from perfguard.stats.quantiles import median_interval
from perfguard_tui.bench.load import case_ids, round_fields, started_fields

TURNS = 150
ROUNDS = 400  # of a turn
WORK = 600  # additions that a round consists of: some tens of microseconds
CONFIDENCE = 0.99
_FOLLOW = """
import sys
from perfguard.events import Subscriber
with Subscriber.attach(sys.argv[1]) as subscriber:
    print("attached", flush=True)
    while not subscriber.over:
        subscriber.take(0.1)
"""


def stopped_part(folder: Path) -> dict[str, float]:
    """Ratios of a run's time, with the ends of their 99 % intervals."""
    streams: dict[str, EventStream] = {}
    viewers: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in ("none", "stopped", "killed"):
            streams[name] = EventStream(f"bench-{name}")
            endpoint = streams[name].open_bus(f"ipc://{folder}/{name}.sock")
            streams[name].emit("run_started", **started_fields(case_ids(10)))
            if name != "none":
                viewers[name] = _follow(endpoint)
        _turn(streams["stopped"])
        viewers["stopped"].send_signal(signal.SIGSTOP)
        viewers["killed"].kill()
        viewers["killed"].wait(10)
        times_s = _take_turns(streams)
    finally:
        for viewer in viewers.values():
            viewer.kill()
            viewer.communicate(timeout=10)
        for stream in streams.values():
            stream.close()
    figures: dict[str, float] = {}
    for name in ("stopped", "killed"):
        ratios = [watched / alone for watched, alone in zip(times_s[name], times_s["none"], strict=True)]
        interval = median_interval(ratios, CONFIDENCE)
        figures |= {
            f"{name}_viewer_ratio": interval.estimate,
            f"{name}_viewer_ratio_low": interval.low,
            f"{name}_viewer_ratio_high": interval.high,
        }
    return figures


def _take_turns(streams: dict[str, EventStream]) -> dict[str, list[float]]:
    times_s: dict[str, list[float]] = {name: [] for name in streams}
    rng, order = random.Random(1), list(streams)
    for stream in streams.values():
        _turn(stream)
    for _ in range(TURNS):
        rng.shuffle(order)
        for name in order:
            times_s[name].append(_turn(streams[name]))
    return times_s


def _turn(stream: EventStream) -> float:
    """Seconds of some rounds of work, each told as it ends."""
    fields = round_fields(case_ids(1)[0], 0, 1e-3)
    begin_s = time.perf_counter()
    for _ in range(ROUNDS):
        for _ in range(WORK):
            pass
        stream.emit("round", **fields)
    return time.perf_counter() - begin_s


def _follow(endpoint: str) -> subprocess.Popen[str]:
    viewer = subprocess.Popen([sys.executable, "-c", _FOLLOW, endpoint], stdout=subprocess.PIPE, text=True)
    assert viewer.stdout is not None
    viewer.stdout.readline()
    return viewer
