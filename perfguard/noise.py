"""What else the machine did meanwhile: CPU taken by other processes and stolen by the hypervisor."""

from __future__ import annotations

import os

import psutil


class NoiseMeter:
    """Reads the share of all CPUs that others used since the last reading."""

    def __init__(self) -> None:
        self._before = _reading()

    def read(self) -> tuple[float, float]:
        """(others, steal) as fractions of all CPUs since the last call; processes we started are not others."""
        busy_s, steal_s, own_s, total_s = (now - then for now, then in zip(_reading(), self._before, strict=True))
        self._before = _reading()
        if total_s <= 0:
            return 0.0, 0.0
        return min(1.0, max(0.0, (busy_s - own_s) / total_s)), min(1.0, max(0.0, steal_s / total_s))


def _reading() -> tuple[float, float, float, float]:
    times = psutil.cpu_times()
    steal_s = getattr(times, "steal", 0.0)
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    # guest time is counted in user time already
    total_s = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total_s - idle_s - steal_s, steal_s, _own_cpu_s(), total_s


def _own_cpu_s() -> float:
    """CPU seconds of this process, its finished children and its living descendants."""
    own = os.times()
    used = own.user + own.system + own.children_user + own.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            used += sum(child.cpu_times()[:2])
        except psutil.Error:  # gone meanwhile: it is in the children's times next
            continue
    return used
