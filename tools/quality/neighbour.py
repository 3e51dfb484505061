"""A noisy neighbour: processes that load cores and memory in bursts, as other tenants of a shared machine do.

`python tools/quality/neighbour.py --seconds 60` loads the machine by itself; `with neighbour():` does so for the time
of the context. Bursts and pauses have exponential lengths, so that they hit blocks, rounds and whole process runs
alike; a burst is either arithmetic (takes a core's time) or copies of 32 MiB (takes memory bandwidth and caches too).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

BURST_S = 1.0
PAUSE_S = 1.5
COPY_BYTES = 32 * 1024 * 1024


def load(seed: int, seconds: float, burst_s: float = BURST_S, pause_s: float = PAUSE_S) -> None:
    """Burst and pause for `seconds`, with mean lengths as given."""
    rng = random.Random(seed)
    source, sink = bytearray(COPY_BYTES), bytearray(COPY_BYTES)
    end_s, parent = time.monotonic() + seconds, os.getppid()
    while (now_s := time.monotonic()) < end_s and os.getppid() == parent:  # who asked for the load may be killed
        until_s = min(end_s, now_s + rng.expovariate(1 / burst_s))
        copies = rng.random() < 0.5
        while time.monotonic() < until_s:
            if copies:
                sink[:] = source
            else:
                sum(i * i for i in range(20_000))
        time.sleep(max(0.0, min(rng.expovariate(1 / pause_s), end_s - time.monotonic())))


@contextlib.contextmanager
def neighbour(processes: int = 2, *, seed: int = 1, longest_s: float = 86_400.0) -> Iterator[None]:
    """That many loading processes for the time of the context; they end by themselves after `longest_s`."""
    command = [sys.executable, str(Path(__file__).resolve()), "--processes", "1", "--seconds", str(longest_s)]
    running = [
        subprocess.Popen([*command, "--seed", str(seed + i)], stdin=subprocess.DEVNULL) for i in range(processes)
    ]
    try:
        yield
    finally:
        for process in running:
            process.kill()
        for process in running:
            process.wait()


def main() -> int:
    """Load this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--processes", type=int, default=2, help="how many at once (default 2)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.processes == 1:
        load(options.seed, options.seconds)
        return 0
    with (
        neighbour(options.processes, seed=options.seed, longest_s=options.seconds),
        contextlib.suppress(KeyboardInterrupt),
    ):
        time.sleep(options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
