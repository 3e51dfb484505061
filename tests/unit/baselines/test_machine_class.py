"""A machine class is equal where absolute times compare, and different where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.baselines import machine

GIB = 1024**3
DESCRIPTION = {
    "cpu_model": "AMD EPYC",
    "cpus": 2,
    "cpus_physical": 2,
    "cpus_usable": 2,
    "memory_gib": 24,
    "accelerator": "none",
    "os": "Linux",
    "kernel": "6",
    "libc": "glibc 2.36",
    "architecture": "x86_64",
    "python": "CPython 3.11",
    "numpy": "2.4",
    "torch": "2.13",
    "hypervisor": "yes",
}


def test_the_class_is_readable_and_ends_in_a_hash() -> None:
    """A person should recognise the machine; the hash stands for all the rest."""
    name = machine.machine_class(DESCRIPTION)
    assert name.startswith("amd-epyc-2c-24g-linux-py3.11-")
    assert len(name.rsplit("-", 1)[1]) == 6
    assert name == machine.machine_class(dict(reversed(list(DESCRIPTION.items()))))


@pytest.mark.parametrize("key", sorted(set(DESCRIPTION) - {"hypervisor"}))
def test_each_part_of_the_identity_changes_the_class(key: str) -> None:
    """Also one that is only there or not, such as torch."""
    other = {**DESCRIPTION, key: "other"}
    without = {name: value for name, value in DESCRIPTION.items() if name != key}
    classes = {machine.machine_class(one) for one in (DESCRIPTION, other, without)}
    assert len(classes) == 3
    assert machine.differences(DESCRIPTION, other) == (f"{key} ({DESCRIPTION[key]} here, other there)",)


@pytest.mark.parametrize("change", [{"hypervisor": None}, {"hypervisor": "KVM"}, {"class": "whatever"}, {"extra": 1}])
def test_what_is_no_part_of_the_identity_does_not(change: dict[str, Any]) -> None:
    """A run document's machine map holds its class too."""
    assert machine.machine_class({**DESCRIPTION, **change}) == machine.machine_class(DESCRIPTION)
    assert machine.differences(DESCRIPTION, {**DESCRIPTION, **change}) == ()


def test_an_accelerator_is_seen_in_the_name() -> None:
    """It is what such a machine is for."""
    one, eight = ({**DESCRIPTION, "accelerator": gpu} for gpu in ("1 x NVIDIA H200", "8 x NVIDIA A100-SXM4-80GB"))
    assert "-24g-h200-linux-" in machine.machine_class(one)
    assert "-24g-8xa100-linux-" in machine.machine_class(eight)


@given(st.sampled_from([1, 2, 4, 8, 16, 24, 32, 64, 96, 128, 512]), st.floats(0.0, 0.24))
def test_memory_that_firmware_keeps_does_not_change_the_size(nominal_gib: int, kept: float) -> None:
    """A machine reports up to a quarter less than it is sold with, and differently after each update."""
    assert machine.nominal_gib(int(nominal_gib * GIB * (1 - kept))) == nominal_gib


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("AMD EPYC 7B13 64-Core Processor", "amd-epyc-7b13"),
        ("Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz", "intel-xeon-platinum"),
        ("Intel(R) Xeon(R) Processor @ 2.60GHz", "intel-xeon"),
        ("Apple M2 Pro", "apple-m2-pro"),
        ("", "cpu"),
    ],
)
def test_cpu_names_become_their_telling_words(model: str, slug: str) -> None:
    """Without trade marks, clock rates and core counts."""
    assert machine.cpu_slug(model) == slug


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "garbage"}, None),
        ({}, None),
    ],
)
def test_a_container_s_cpu_quota_is_read(tmp_path: Path, files: dict[str, str], cpus: float | None) -> None:
    """From control groups of either version."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.cpu_quota(tmp_path) == cpus
