"""What of the machine adds noise, and what would help: one sentence each, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from perfguard.doctor.machine import Facts

Weight = Literal["costs", "fine", "untold"]
# Shares of all CPUs, beyond which a run is a disturbed one.
MOST_OTHERS = 0.05
MOST_STEAL = 0.01
# Clocks that are read without a system call.
FAST_CLOCKS = ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: what was found, whether it costs precision, and what would help ("": nothing needed)."""

    name: str
    found: str
    weight: Weight
    advice: str = ""


def findings(before: Facts, after: Facts, others: Sequence[float], steal: Sequence[float]) -> list[Finding]:
    """All of them, what costs first. `before` and `after` the measuring; `others`, `steal`: shares of all CPUs then."""
    order: tuple[Weight, ...] = ("costs", "untold", "fine")
    found = [*_others(after, others, steal), *_cpus(after), *_clocks(before, after), *_memory(before, after)]
    return sorted(found, key=lambda each: order.index(each.weight))


def _others(facts: Facts, others: Sequence[float], steal: Sequence[float]) -> Iterator[Finding]:
    busy, stolen = max(others, default=0.0), max(steal, default=0.0)
    load = "" if facts.load is None else f", load {facts.load:.1f} on {facts.cpus} CPUs"
    yield Finding(
        "other load",
        f"other processes took {_mean(others):.0%} of the CPUs, {busy:.0%} at worst{load}",
        "costs" if busy > MOST_OTHERS else "fine",
        "end what runs beside, or measure on a machine of its own; a duet loses less by it than stored baselines"
        if busy > MOST_OTHERS
        else "",
    )
    yield Finding(
        "steal time",
        f"the hypervisor took {_mean(steal):.1%} of the CPUs, {stolen:.1%} at worst",
        "costs" if stolen > MOST_STEAL else "fine",
        "neighbours on the host get your CPUs: a dedicated host or CPUs of your own end that"
        if stolen > MOST_STEAL
        else "",
    )


def _cpus(facts: Facts) -> Iterator[Finding]:
    if facts.siblings:
        shared = ", ".join("+".join(map(str, group)) for group in facts.siblings[:4])
        yield Finding(
            "SMT siblings",
            f"CPUs {shared}{' and more' if len(facts.siblings) > 4 else ''} share cores",
            "costs",
            "what runs on the other thread of a core slows it by tens of per cent: run on one CPU of each pair "
            "(taskset -c), or switch SMT off (echo off > /sys/devices/system/cpu/smt/control)",
        )
    else:
        hidden = bool(facts.hypervisor) and facts.usable > 1
        found = "none seen; a virtual machine may hide them" if hidden else "no two usable CPUs share a core"
        yield Finding("SMT siblings", found, "untold" if hidden else "fine")
    pinned = facts.usable < facts.cpus
    yield Finding(
        "isolation",
        f"{facts.usable} of {facts.cpus} CPUs usable" + (f", isolated: {facts.isolated}" if facts.isolated else ""),
        "fine" if pinned or facts.isolated or facts.cpus == 1 else "untold",
        ""
        if pinned or facts.isolated
        else "on a machine of your own, isolcpus= with nohz_full= keeps others off some CPUs",
    )
    if facts.numa_nodes is not None:
        several = facts.numa_nodes > 1
        yield Finding(
            "NUMA",
            f"{facts.numa_nodes} node{'s' if several else ''}",
            "costs" if several else "fine",
            "memory of another node is slower: numactl --cpunodebind=0 --membind=0" if several else "",
        )


def _clocks(before: Facts, after: Facts) -> Iterator[Finding]:
    if after.governors:
        names = ", ".join(f"{name} on {count}" for name, count in after.governors)
        slow = any(name != "performance" for name, _ in after.governors)
        advice = "clocks follow the load: cpupower frequency-set -g performance" if slow else ""
        yield Finding("frequency governor", names, "costs" if slow else "fine", advice)
    else:
        hidden = "not told" + (": the hypervisor keeps it" if after.hypervisor else "")
        yield Finding("frequency governor", hidden, "untold")
    if after.boost is None:
        yield Finding("turbo", "not told", "untold")
    else:
        yield Finding(
            "turbo",
            "clocks may rise above the nominal one" if after.boost else "off",
            "costs" if after.boost else "fine",
            "how far they rise depends on heat and on the other cores: switch it off for measuring "
            "(echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo, or echo 0 > .../cpufreq/boost)"
            if after.boost
            else "",
        )
    if after.overheated is not None:
        times = after.overheated - (before.overheated or 0)
        advice = "the CPU is too hot for its clock: cool it, or wait" if times else ""
        yield Finding("heat", f"slowed {times} times meanwhile", "costs" if times else "fine", advice)
    fast = after.clock in FAST_CLOCKS
    yield Finding(
        "clock source",
        after.clock or "not told",
        "fine" if fast else "costs" if after.clock else "untold",
        "each reading is a system call: clocksource=tsc, if the machine's is stable"
        if after.clock and not fast
        else "",
    )
    yield from _container(before, after)


def _container(before: Facts, after: Facts) -> Iterator[Finding]:
    limit = after.limit
    if limit.cpus is None:
        yield Finding("CPU quota", "none", "fine")
    else:
        times = limit.throttled - before.limit.throttled
        seconds = limit.throttled_s - before.limit.throttled_s
        yield Finding(
            "CPU quota",
            f"{limit.cpus:g} CPUs, stopped {times} times for {seconds:.1f} s meanwhile ({limit.throttled} in all)",
            "costs" if times or limit.cpus < 2 else "fine",
            "a container that has used its quota stands still until the next period: give it whole CPUs "
            "(cpuset) instead of a quota, or a larger one"
            if times or limit.cpus < 2
            else "",
        )
    kind = {"": "none seen", "yes": "a virtual machine"}.get(after.hypervisor, after.hypervisor)
    yield Finding(
        "virtualisation",
        kind + (", in a container" if after.container else ""),
        "fine",
        "whoever shares the host is not seen from here, but by steal time" if after.hypervisor else "",
    )


def _memory(before: Facts, after: Facts) -> Iterator[Finding]:
    if after.huge_pages:
        always = after.huge_pages == "always"
        yield Finding(
            "huge pages",
            after.huge_pages,
            "costs" if always else "fine",
            "whether an array gets huge pages is luck from run to run: echo madvise > "
            "/sys/kernel/mm/transparent_hugepage/enabled"
            if always
            else "",
        )
    if after.swapped is not None:
        pages = after.swapped - (before.swapped or 0)
        swap = "none" if not after.swap_bytes else f"{after.swap_bytes / 2**30:.1f} GiB"
        advice = "memory is short: end what takes it, or swapoff -a" if pages else ""
        yield Finding("swap", f"{swap}, {pages} pages moved meanwhile", "costs" if pages else "fine", advice)


def _mean(shares: Sequence[float]) -> float:
    return sum(shares) / len(shares) if shares else 0.0
