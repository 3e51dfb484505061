"""What this machine is, as far as absolute times depend on it, and the commit that is measured.

A machine class is the fingerprint of what must be equal for two absolute times to compare. It is rounded
so that two machines of one type get one class: memory up to the next usual size (a "24 GB" machine
reports 23.4 or 23.6 GiB, whatever its firmware keeps), versions to major.minor, the kernel to its major.
Nothing here imports what it reports on: numpy and torch are asked by their installed metadata.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from perfguard.programs import output_of

TIMEOUT_S = 5.0
LIBRARIES = ("numpy", "scipy", "torch", "pyzmq", "msgpack")
# What must be equal for absolute times to compare. The rest of a description is there for readers.
IDENTITY = (
    "cpu_model",
    "cpus",
    "cpus_physical",
    "cpus_usable",
    "cpu_quota",
    "memory_gib",
    "accelerator",
    "os",
    "kernel",
    "libc",
    "architecture",
    "python",
    *LIBRARIES,
)
_GIB = 1024**3


def describe() -> dict[str, Any]:
    """The machine as a flat map of text and numbers. Takes up to `TIMEOUT_S` where a driver tool hangs.

    `cpus_usable` are the CPUs this process may run on, `cpu_quota` the CPUs its container may use (None: no
    quota); a library that is not installed is absent.
    """
    description: dict[str, Any] = {
        "accelerator": _accelerator(),
        "architecture": platform.machine(),
        "cpu_model": _cpu_model(),
        "cpu_quota": cpu_quota(Path("/sys/fs/cgroup")),
        "cpus": psutil.cpu_count(logical=True) or 1,
        "cpus_physical": psutil.cpu_count(logical=False) or 0,
        "cpus_usable": _cpus_usable(),
        "hypervisor": _hypervisor(),
        "kernel": platform.release().split(".")[0],
        "libc": " ".join(platform.libc_ver()).strip(),
        "memory_gib": nominal_gib(psutil.virtual_memory().total),
        "os": platform.system(),
        "python": f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}",
    }
    for library in LIBRARIES:
        version = _installed(library)
        if version:
            description[library] = version
    return {key: value for key, value in sorted(description.items()) if value is not None}


def identity(description: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a description that decides its class, sorted by key."""
    return {key: description[key] for key in sorted(IDENTITY) if key in description}


def machine_class(description: Mapping[str, Any]) -> str:
    """The class of a description: readable, then six hex digits of a hash over all of its identity.

    For example `amd-epyc-2c-24g-linux-py3.11-3fa1c2`. Usable as the name of a folder.
    """
    same = identity(description)
    digest = hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()[:6]
    python = str(same.get("python", "")).split(" ")
    parts = [
        cpu_slug(str(same.get("cpu_model", ""))),
        f"{same.get('cpus_usable', 0)}c",
        f"{same.get('memory_gib', 0)}g",
        _accelerator_slug(str(same.get("accelerator", "none"))),
        _slug(str(same.get("os", ""))),
        ("py" if python[0] == "CPython" else _slug(python[0])) + python[-1],
        digest,
    ]
    return "-".join(part for part in parts if part)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """In what two identities differ: `memory_gib (24 here, 32 there)`, sorted by key."""
    here, there = identity(ours), identity(theirs)
    return tuple(
        f"{key} ({here.get(key, 'none')} here, {there.get(key, 'none')} there)"
        for key in sorted({*here, *there})
        if here.get(key) != there.get(key)
    )


def nominal_gib(size_bytes: int) -> int:
    """The usual memory size that holds `size_bytes`, in GiB: the next of 1, 2, 3, 4, 6, 8, 12, 16, ..."""
    power = 1
    while power * _GIB < size_bytes:
        if power >= 2 and power * 3 // 2 * _GIB >= size_bytes:
            return power * 3 // 2
        power *= 2
    return power


def cpu_slug(model: str) -> str:
    """The telling words of a CPU's name: `AMD EPYC 7B13 64-Core Processor` -> `amd-epyc-7b13`."""
    text = re.sub(r"\((r|tm|c)\)|@.*$|\b\d+-core\b|\b(cpu|processor|with|gen)\b", " ", model.lower())
    words = re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", text)
    return "-".join(words[:3]) or "cpu"


def cpu_quota(cgroup: Path) -> float | None:
    """How many CPUs a container may use, from cgroup v2 or v1 under `cgroup`; None if there is no quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return None if quota == "max" else round(int(quota) / int(period), 2)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((cgroup / "cpu/cpu.cfs_period_us").read_text())
        return None if quota_us <= 0 else round(quota_us / period_us, 2)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def commit_info(path: Path, aside: Path | None = None) -> dict[str, Any]:
    """The git commit checked out at `path`: `id`, `branch` ("" if detached), `dirty`, `time` (ISO 8601).

    `dirty` means tracked files differ from the commit; changes below `aside` do not count: a series of updates
    of baselines must not make its own commit look changed. Outside git, or without it, `id` is "".
    """
    nothing = {"id": "", "branch": "", "dirty": False, "time": ""}
    folder = path if path.is_dir() else path.parent
    git = ["git", "-C", str(folder)]
    status = [*git, "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    # git refuses a pathspec outside of the checkout: then there is nothing to leave aside.
    without = _output([*status, "--", ":(top)", f":(exclude){aside.resolve()}"]) if aside else ""
    lines = (without or _output(status)).splitlines()
    head = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = head.get("branch.oid", "")
    if not commit or commit == "(initial)":
        return nothing
    branch = head.get("branch.head", "")
    return {
        "id": commit,
        "branch": "" if branch == "(detached)" else branch,
        "dirty": any(not line.startswith("#") for line in lines),
        "time": _output([*git, "log", "-1", "--format=%cI", commit]).strip(),
    }


def _output(command: list[str]) -> str:
    return output_of(command, TIMEOUT_S)


def _cpu_model() -> str:
    if platform.system() == "Darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
    info = _read(Path("/proc/cpuinfo"))
    if match := re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE):
        return " ".join(match[1].split())
    # arm64 Linux names no model, only who designed the core and which one it is.
    codes = (re.search(rf"^CPU {what}\s*:\s*(\S+)$", info, re.MULTILINE) for what in ("implementer", "part"))
    found = [code[1] for code in codes if code]
    return " ".join([platform.machine(), *found])


def _cpus_usable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return psutil.cpu_count(logical=True) or 1


def _accelerator() -> str:
    """The NVIDIA GPUs by the driver's own names, such as `2 x NVIDIA A100-SXM4-80GB`; "none" without any."""
    models = [
        match[1].strip()
        for info in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        if (match := re.search(r"^Model:\s*(.+)$", _read(info), re.MULTILINE))
    ]
    if not models:
        models = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()
    counts = {model: models.count(model) for model in sorted(models) if model.strip()}
    return ", ".join(f"{count} x {model.strip()}" for model, count in counts.items()) or "none"


def _accelerator_slug(accelerator: str) -> str:
    """`1 x NVIDIA H200` -> `h200`, `8 x NVIDIA A100-SXM4-80GB` -> `8xa100`."""
    match = re.match(r"(\d+) x (?:NVIDIA |Tesla |GeForce )*([^,]+)", accelerator)
    if not match:
        return ""
    name = _slug(match[2]).split("-")[0]
    return name if match[1] == "1" else f"{match[1]}x{name}"


def _hypervisor() -> str | None:
    """A hint that this is a virtual machine: its product name, or else "yes"; None if it looks bare."""
    if not re.search(r"^flags\s*:.*\bhypervisor\b", _read(Path("/proc/cpuinfo")), re.MULTILINE):
        return None
    name = _read(Path("/sys/class/dmi/id/product_name")) or _read(Path("/sys/hypervisor/type"))
    return name.strip() or "yes"


def _installed(library: str) -> str | None:
    try:
        return ".".join(importlib.metadata.version(library).split("+")[0].split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
