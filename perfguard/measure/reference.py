"""The reference kernel: fixed work, run between the rounds of a case, whose time says how fast the machine is now.

A core beside a busy sibling, a lower clock, a slower host: they slow this kernel as they slow the case, so that the
case's time can be compared at one speed with runs of another hour. Plain arithmetic on the interpreter; a second one,
copies of 4 MiB, explained nothing in recorded runs that this one did not (docs/quality.md) and was dropped.
"""

from __future__ import annotations

from time import perf_counter_ns

# The kernel takes some 300 microseconds: run every 20 milliseconds it costs below two per cent.
EVERY_NS = 20_000_000
STEPS = 4000


def kernel() -> int:
    """The fixed work."""
    total = 0
    for i in range(STEPS):
        total += i * i % 7
    return total


class SpeedMeter:
    """Times the kernel now and then; call `tick` between rounds. `fastest_s` is None before the first time."""

    def __init__(self) -> None:
        self._due_ns = 0
        self._fastest_ns: int | None = None

    @property
    def fastest_s(self) -> float | None:
        """The kernel's fastest time so far, in seconds."""
        return None if self._fastest_ns is None else self._fastest_ns / 1e9

    def tick(self) -> None:
        """Time the kernel if it is due."""
        start_ns = perf_counter_ns()
        if start_ns < self._due_ns:
            return
        kernel()
        end_ns = perf_counter_ns()
        self._due_ns = end_ns + EVERY_NS
        if end_ns > start_ns and (self._fastest_ns is None or end_ns - start_ns < self._fastest_ns):
            self._fastest_ns = end_ns - start_ns
