"""How much CPU a container may use, and how often the kernel stopped it for using more: cgroup v1 and v2.

Sources: the kernel's documentation, admin-guide/cgroup-v2 (cpu.max, cpu.stat) and scheduler/sched-bwc (cfs_quota_us).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CpuLimit:
    """The tightest quota on the way to our group: `cpus` of it, None without any; how often it was hit so far.

    `periods` are those in which anything ran, `throttled` those in which the group was stopped, for `throttled_s`.
    """

    cpus: float | None = None
    periods: int = 0
    throttled: int = 0
    throttled_s: float = 0.0


def read_limit(root: Path = Path("/")) -> CpuLimit:
    """The limit of this process's group, or of a parent if that is tighter. `root` is where /proc and /sys are."""
    found = CpuLimit()
    for folder in _groups(root):
        cpus = _quota(folder)
        if cpus is not None and (found.cpus is None or cpus < found.cpus):
            found = _counted(folder, cpus)
    return found


def _groups(root: Path) -> Iterator[Path]:
    """The folders of our group and its parents, inner ones first; in a container ours may be the mounted top itself."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            tops = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        top = next((top for top in tops if top.is_dir()), None)
        if top is None:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for length in range(len(parts), -1, -1):
            if (folder := top.joinpath(*parts[:length])).is_dir():
                yield folder


def _quota(folder: Path) -> float | None:
    words = _text(folder / "cpu.max").split()
    if len(words) != 2:
        words = [_text(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota_us, period_us = int(words[0]), int(words[1])
    except (ValueError, IndexError):  # "max", or no such files
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _counted(folder: Path, cpus: float) -> CpuLimit:
    pairs = (line.split() for line in _text(folder / "cpu.stat").splitlines())
    stat = {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
    seconds = stat.get("throttled_usec", 0) / 1e6 or stat.get("throttled_time", 0) / 1e9
    return CpuLimit(cpus, stat.get("nr_periods", 0), stat.get("nr_throttled", 0), seconds)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
