"""What the kernel tells of this machine that moves times: read from /proc and /sys, nothing measured, nothing changed.

Sources: the kernel's documentation, admin-guide/pm/cpufreq, admin-guide/pm/intel_pstate, ABI/testing/sysfs-devices-
system-cpu, admin-guide/mm/transhuge, admin-guide/mm/numaperf. What a machine does not tell (another system, a container
that hides it) is None or "".
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from perfguard.doctor.cgroup import CpuLimit, read_limit

CPU = "sys/devices/system/cpu"


@dataclass(frozen=True, slots=True)
class Facts:
    """One reading; counts are since boot, so a second reading tells what came in between.

    `usable` are the CPUs that this process may run on, `siblings` groups of these that share a core; `governors` are
    names with their number of CPUs; `boost` whether clocks may exceed the nominal one; `load` is the load average over
    a minute; `swapped` are pages swapped in and out, `overheated` is how often the first CPU was slowed for heat.
    """

    cpus: int = 1
    usable: int = 1
    siblings: tuple[tuple[int, ...], ...] = ()
    smt: bool | None = None
    isolated: str = ""
    governors: tuple[tuple[str, int], ...] = ()
    boost: bool | None = None
    overheated: int | None = None
    limit: CpuLimit = field(default_factory=CpuLimit)
    numa_nodes: int | None = None
    huge_pages: str = ""
    swap_bytes: int | None = None
    swapped: int | None = None
    clock: str = ""
    hypervisor: str = ""
    container: bool = False
    load: float | None = None


def read_facts(root: Path = Path("/")) -> Facts:
    """What this machine tells. `root` is where its /proc and /sys are."""
    usable = _usable()
    return Facts(
        cpus=os.cpu_count() or 1,
        usable=len(usable),
        siblings=_siblings(root, usable),
        smt=_flag(root / CPU / "smt/active"),
        isolated=_text(root / CPU / "isolated"),
        governors=_governors(root),
        boost=_boost(root),
        overheated=overheated(root),
        limit=read_limit(root),
        numa_nodes=len(list((root / "sys/devices/system/node").glob("node[0-9]*"))) or None,
        huge_pages=_chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        swap_bytes=_swap_bytes(root),
        swapped=_swapped(root),
        clock=_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        hypervisor=_hypervisor(root),
        container=any((root / name).exists() for name in (".dockerenv", "run/.containerenv")),
        load=_load(root),
    )


def overheated(root: Path = Path("/")) -> int | None:
    """How often the kernel counted that the first CPU's core was slowed for heat, None where it does not say."""
    return _number(root / CPU / "cpu0/thermal_throttle/core_throttle_count")


def _usable() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _siblings(root: Path, usable: frozenset[int]) -> tuple[tuple[int, ...], ...]:
    """Groups of usable CPUs that share a core, those of two and more."""
    groups = set()
    for cpu in usable:
        text = _text(root / CPU / f"cpu{cpu}/topology/thread_siblings_list")
        shared = tuple(sorted(usable & _numbers(text)))
        if len(shared) > 1:
            groups.add(shared)
    return tuple(sorted(groups))


def _numbers(text: str) -> set[int]:
    """`0-2,5` as a set."""
    found: set[int] = set()
    for part in text.split(","):
        if match := re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part.strip()):
            found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found


def _governors(root: Path) -> tuple[tuple[str, int], ...]:
    paths = sorted((root / CPU).glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return tuple(sorted(Counter(text for path in paths if (text := _text(path))).items()))


def _boost(root: Path) -> bool | None:
    off = _flag(root / CPU / "intel_pstate/no_turbo")
    return _flag(root / CPU / "cpufreq/boost") if off is None else not off


def _swap_bytes(root: Path) -> int | None:
    match = re.search(r"^SwapTotal:\s*(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE)
    return None if match is None else 1024 * int(match[1])


def _swapped(root: Path) -> int | None:
    counts = re.findall(r"^pswp(?:in|out) (\d+)$", _text(root / "proc/vmstat"), re.MULTILINE)
    return sum(map(int, counts)) if counts else None


def _hypervisor(root: Path) -> str:
    """The virtual machine's product, or "yes"; "" on what looks like bare metal."""
    if not re.search(r"^flags\s*:.*\bhypervisor\b", _text(root / "proc/cpuinfo"), re.MULTILINE):
        return ""
    return _text(root / "sys/class/dmi/id/product_name") or "yes"


def _load(root: Path) -> float | None:
    with contextlib.suppress(ValueError, IndexError):
        return float(_text(root / "proc/loadavg").split()[0])
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def _chosen(text: str) -> str:
    """The word in brackets of `always [madvise] never`."""
    match = re.search(r"\[(\w+)\]", text)
    return match[1] if match else ""


def _flag(path: Path) -> bool | None:
    number = _number(path)
    return None if number is None else number != 0


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
