"""Claims about reading /proc and /sys, on trees of files as machines of several kinds have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfguard.doctor.cgroup import CpuLimit, read_limit
from perfguard.doctor.findings import Finding, findings
from perfguard.doctor.machine import Facts, read_facts


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


def test_the_tightest_quota_on_the_way_up_counts_with_its_own_throttling(tmp_path: Path) -> None:
    """Cgroup v2: 4 CPUs for the service, 1.5 for the slice above it, none at the top."""
    group = "sys/fs/cgroup/a.slice"
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a.slice/b.service",
            f"{group}/cpu.max": "150000 100000",
            f"{group}/cpu.stat": "usage_usec 9\nnr_periods 40\nnr_throttled 7\nthrottled_usec 250000",
            f"{group}/b.service/cpu.max": "400000 100000",
            "sys/fs/cgroup/cgroup.controllers": "cpu",
        },
    )
    assert read_limit(root) == CpuLimit(1.5, 40, 7, 0.25)


def test_a_container_sees_its_group_at_the_mounted_top(tmp_path: Path) -> None:
    """Its path leads outside of what is mounted: the top itself is its group."""
    files = {"proc/self/cgroup": "0::/../../x", "sys/fs/cgroup/cpu.max": "50000 100000"}
    assert read_limit(tree(tmp_path, files)).cpus == 0.5


def test_quotas_of_version_one(tmp_path: Path) -> None:
    """Files of their own names, times in nanoseconds, -1 for no quota."""
    group = "sys/fs/cgroup/cpu,cpuacct"
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/",
            f"{group}/docker/x/cpu.cfs_quota_us": "200000",
            f"{group}/docker/x/cpu.cfs_period_us": "100000",
            f"{group}/docker/x/cpu.stat": "nr_periods 3\nnr_throttled 1\nthrottled_time 500000000",
            f"{group}/cpu.cfs_quota_us": "-1",
            f"{group}/cpu.cfs_period_us": "100000",
        },
    )
    assert read_limit(root) == CpuLimit(2.0, 3, 1, 0.5)


def test_a_machine_that_tells_all_is_read(tmp_path: Path) -> None:
    """Governor, turbo, siblings, nodes, huge pages, swap, clock, hypervisor."""
    cpu = "sys/devices/system/cpu"
    root = tree(
        tmp_path,
        {
            f"{cpu}/intel_pstate/no_turbo": "0",
            f"{cpu}/smt/active": "1",
            f"{cpu}/isolated": "3",
            **{f"{cpu}/cpu{n}/topology/thread_siblings_list": "0-255" for n in range(256)},
            f"{cpu}/cpu0/cpufreq/scaling_governor": "powersave",
            f"{cpu}/cpu1/cpufreq/scaling_governor": "performance",
            f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "12",
            "sys/devices/system/node/node0/x": "",
            "sys/devices/system/node/node1/x": "",
            "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
            "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet",
            "proc/meminfo": "MemTotal: 9 kB\nSwapTotal:       2048 kB",
            "proc/vmstat": "pswpin 4\npswpout 6",
            "proc/cpuinfo": "flags\t\t: fpu hypervisor sse",
            "sys/class/dmi/id/product_name": "KVM",
            "proc/loadavg": "1.25 0.8 0.5 1/99 1234",
        },
    )
    facts = read_facts(root)
    assert (facts.boost, facts.smt, facts.isolated, facts.overheated) == (True, True, "3", 12)
    assert facts.governors == (("performance", 1), ("powersave", 1))
    assert len(facts.siblings) == (1 if facts.usable > 1 else 0)
    assert (facts.numa_nodes, facts.huge_pages, facts.clock) == (2, "always", "hpet")
    assert (facts.swap_bytes, facts.swapped, facts.hypervisor, facts.load) == (2 * 2**20, 10, "KVM", 1.25)


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    """An empty tree: everything unknown, and said to be."""
    facts = read_facts(tmp_path)
    assert (facts.boost, facts.numa_nodes, facts.clock, facts.limit.cpus) == (None, None, "", None)
    told = {each.name: each.weight for each in findings(facts, facts, [0.0], [0.0])}
    assert (told["turbo"], told["frequency governor"], told["clock source"]) == ("untold",) * 3


def by_name(before: Facts, after: Facts, others: float = 0.0, steal: float = 0.0) -> dict[str, Finding]:
    return {each.name: each for each in findings(before, after, [0.0, others], [0.0, steal])}


QUIET = Facts(8, 8, governors=(("performance", 8),), boost=False, overheated=3, numa_nodes=1, clock="tsc", swapped=5)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("SMT siblings", {"siblings": ((0, 4), (1, 5))}),
        ("NUMA", {"numa_nodes": 2}),
        ("frequency governor", {"governors": (("powersave", 8),)}),
        ("turbo", {"boost": True}),
        ("heat", {"overheated": 9}),
        ("clock source", {"clock": "hpet"}),
        ("CPU quota", {"limit": CpuLimit(4.0, 10, 2, 0.1)}),
        ("huge pages", {"huge_pages": "always"}),
        ("swap", {"swapped": 90}),
    ],
)
def test_each_thing_that_costs_says_so_first_with_what_would_help(name: str, changes: dict[str, object]) -> None:
    """On a machine where nothing else does; on the same machine without it, nothing costs."""
    assert {each.weight for each in by_name(QUIET, QUIET).values()} <= {"fine", "untold"}
    changed = replace(QUIET, **changes)  # type: ignore[arg-type]
    first = findings(QUIET, changed, [0.0], [0.0])[0]
    assert (first.name, first.weight) == (name, "costs")
    assert first.advice


def test_others_and_the_hypervisor_are_judged_by_their_worst() -> None:
    """One restart of two disturbed: said, with the worst."""
    found = by_name(QUIET, QUIET, others=0.4, steal=0.05)
    assert found["other load"].weight == found["steal time"].weight == "costs"
    assert "40% at worst" in found["other load"].found
    assert "5.0% at worst" in found["steal time"].found
