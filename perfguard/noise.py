"""What else the machine did meanwhile: CPU taken by other processes and stolen by the hypervisor."""

from __future__ import annotations

import os
from collections.abc import Sequence

import psutil


class NoiseMeter:
    """Reads the share of all CPUs that others used since the last reading.

    `measured`: ids of processes that are no others either, with their descendants: a server that somebody else started.
    """

    def __init__(self, measured: Sequence[int] = ()) -> None:
        self._measured = tuple(measured)
        self._before = _reading(self._measured)

    def read(self) -> tuple[float, float]:
        """(others, steal) as fractions of all CPUs since the last call; processes we started are not others."""
        now = _reading(self._measured)
        busy_s, steal_s, own_s, total_s = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        if total_s <= 0:
            return 0.0, 0.0
        return min(1.0, max(0.0, (busy_s - own_s) / total_s)), min(1.0, max(0.0, steal_s / total_s))


def _reading(measured: Sequence[int]) -> tuple[float, float, float, float]:
    times = psutil.cpu_times()
    steal_s = getattr(times, "steal", 0.0)
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # guest time is counted in user time already
    total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total_s - idle_s - steal_s, steal_s, _own_cpu_s(measured), total_s


def _own_cpu_s(measured: Sequence[int]) -> float:
    """CPU seconds of this process, its finished children, its living descendants, and of those measured beside it."""
    own = os.times()
    used = own.user + own.system + own.children_user + own.children_system
    trees = [(psutil.Process(), False)]
    for pid in measured:
        try:
            trees.append((psutil.Process(pid), True))
        except psutil.Error:
            continue
    counted = {os.getpid()}
    for root, itself in trees:
        for each in [*([root] if itself else []), *_descendants(root)]:
            if each.pid not in counted:
                counted.add(each.pid)
                used += _cpu_s(each)
    return used


def _descendants(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.Error:
        return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.Error:  # gone meanwhile: it is in its parent's times next
        return 0.0
