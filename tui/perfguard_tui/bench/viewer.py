"""The dashboard with probes: it is the real one, and also notes how late its loop, its frames and its view are."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

gc.disable()  # as the dashboard itself begins

import numpy as np

from perfguard_tui.app import Dashboard
from perfguard_tui.feed import LiveFeed
from perfguard_tui.settle import settle
from perfguard_tui.sources import Source
from perfguard_tui.store import Store

STEP_S = 0.025


class Probe(Dashboard):
    """`figures` since the last F5; F6 writes them to the file."""

    def __init__(self, store: Store, feed: LiveFeed, out: Path) -> None:
        super().__init__([Source("", store, feed)])
        self._out = out
        self._begin_s = time.monotonic()
        self._attached_s = 0.0
        self._watching = False  # the loop, between F5 and F6 only: to watch costs more than an idle dashboard
        self._reset()

    def _reset(self) -> None:
        self._lags: list[float] = []
        self._cpu: list[float] = []
        self._stale: list[float] = []
        self._frames = 0
        self._since_s = time.monotonic()
        self._since_events = self._store.snapshot(()).events
        self._thread_s = time.thread_time()

    async def _watch(self) -> None:
        while self._watching:
            begin_s = time.monotonic()
            await asyncio.sleep(STEP_S)
            self._lags.append(time.monotonic() - begin_s - STEP_S)

    def draw(self) -> None:
        """Also note what the frame before took, painting included: from its drawing to the drawing of the next one."""
        now_s = time.thread_time()
        self._cpu.append(now_s - self._thread_s)
        self._thread_s = now_s
        super().draw()

    def tick(self) -> None:
        """Also note how old what the frame before showed has become, and count the frames that showed something new."""
        run = self._store._run  # noqa: SLF001 - the probe looks inside
        if run.first_ns is not None and self.run_shown.events:
            shown_ns = run.first_ns + self.run_shown.elapsed_s * 1e9
            self._stale.append((time.perf_counter_ns() - shown_ns) / 1e9)
        before = self.run_shown
        super().tick()
        if not self._attached_s and len(self.run_shown.cases) > 1:
            self._attached_s = time.monotonic() - self._begin_s
        self._frames += before is not self.run_shown

    def key_f5(self) -> None:
        """Begin anew."""
        self._reset()
        self._watching = True
        self.run_worker(self._watch())

    def key_f6(self) -> None:
        """Write the figures."""
        self._watching = False
        took_s = time.monotonic() - self._since_s
        feed = self._feed.status
        figures: dict[str, Any] = {
            "attach_s": self._attached_s,
            "events_per_s": (self._store.snapshot(()).events - self._since_events) / took_s,
            "fps": self._frames / took_s,
            "loop_p99_s": _quantile(self._lags, 0.99),
            "staleness_max_s": max(self._stale, default=0.0),
            "frame_cpu_p99_s": _quantile(self._cpu, 0.99),
            "frame_cpu_p50_s": _quantile(self._cpu, 0.5),
            "lost": feed.gaps + feed.shed + feed.bad + self.run_shown.bad,
            "events": self._store.snapshot().events,
        }
        part = self._out.with_suffix(".part")
        part.write_text(json.dumps(figures), encoding="utf-8")
        part.rename(self._out)


def _quantile(values: list[float], q: float) -> float:
    return float(np.quantile(values, q)) if values else 0.0


def main() -> None:
    """`viewer ENDPOINT OUT`."""
    settle()
    store = Store()
    feed = LiveFeed(store, sys.argv[1])
    app = Probe(store, feed, Path(sys.argv[2]))
    feed.start()
    try:
        app.run()
    finally:
        feed.stop()


if __name__ == "__main__":
    main()
