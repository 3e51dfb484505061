"""What collectives cost over a hierarchy of links: alpha-beta models, each formula with its source.

A group is the devices that one level of links joins at a time, innermost first: `Ring(size, alpha_s, beta_s_per_byte)`.
All devices of a group have the same link and send and receive at once; `nbytes` is what one device holds, before an
all-gather or after a reduce-scatter as well as in an all-reduce: always the whole tensor. Seconds.

Formulas for one level: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH",
IJHPCA 19(1), 2005, sections 4.1 to 4.5. Composition over levels: Cho et al., "BlueConnect", MLSys 2019, section 3: an
all-reduce is a reduce-scatter at each level going out, each with what the level inside left, and an all-gather at each
level coming back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from perfguard_suites.simulator.errors import LayoutError
from perfguard_suites.simulator.hardware import Hardware, Link


class Ring(NamedTuple):
    """Devices of a group that one level of links joins. `alpha_s`: a message's fixed cost."""

    size: int
    alpha_s: float
    beta_s_per_byte: float


def ring_of(size: int, link: Link) -> Ring:
    """`size` devices joined by this link."""
    return Ring(size, link.latency_s, 1 / link.bandwidth_bytes_per_s)


def group_of(hardware: Hardware, size: int, stride: int = 1) -> tuple[Ring, ...]:
    """The rings of `size` devices that lie `stride` apart, counted from the innermost level.

    A level whose links join d devices holds d / stride of them; what does not fit goes on at the next. Raises
    `LayoutError` where the outermost level ends before the group, or the group does not fill a level evenly.
    """
    rings: list[Ring] = []
    inside = 1  # of the group's devices that the levels so far hold
    for link in hardware.levels:
        if inside == size:
            break
        held = min(size, max(1, link.devices // stride))
        if held <= inside:
            continue
        if size % held or held % inside:
            raise LayoutError(
                f"{hardware.name}: a group of {size}",
                f"does not fill the level of {link.devices} devices evenly",
                "take powers of two",
            )
        rings.append(ring_of(held // inside, link))
        inside = held
    if inside != size:
        most = hardware.levels[-1].devices if hardware.levels else 1
        raise LayoutError(
            f"{hardware.name}: a group of {size}", f"its links join {most} devices", "spread the model less"
        )
    return tuple(rings)


def reduce_scatter_s(group: Sequence[Ring], nbytes: float) -> float:
    """Each device ends with its part of the sum: rings, p - 1 messages of nbytes / p at each level (4.2, 4.4)."""
    seconds = 0.0
    for ring in group:
        part = nbytes / ring.size
        seconds += (ring.size - 1) * (ring.alpha_s + part * ring.beta_s_per_byte)
        nbytes = part
    return seconds


def all_gather_s(group: Sequence[Ring], nbytes: float) -> float:
    """Each device ends with all parts: the same messages as a reduce-scatter, the other way (4.1)."""
    return reduce_scatter_s(group, nbytes)


def all_reduce_s(group: Sequence[Ring], nbytes: float) -> float:
    """Each device ends with the whole sum: the quicker of two algorithms.

    Long messages: reduce-scatter, then all-gather (Rabenseifner; 4.5). Short ones: recursive doubling, log2(p)
    exchanges of everything at each level (4.5).
    """
    doubling = sum(math.ceil(math.log2(ring.size)) * (ring.alpha_s + nbytes * ring.beta_s_per_byte) for ring in group)
    return min(2 * reduce_scatter_s(group, nbytes), doubling)


def all_to_all_s(group: Sequence[Ring], nbytes: float) -> float:
    """Each device sends every other its own share of `nbytes`: pairwise exchange (4.3).

    Of p devices, those within a level's group and not within the next inner one are reached over that level's link, one
    message each; levels take turns, as they would share the device's port.
    """
    total = math.prod(ring.size for ring in group)
    seconds, inside = 0.0, 1
    for ring in group:
        reached = inside * ring.size
        peers = reached - inside
        seconds += peers * (ring.alpha_s + nbytes / total * ring.beta_s_per_byte)
        inside = reached
    return seconds


def point_to_point_s(hardware: Hardware, distance: int, nbytes: float) -> float:
    """One message to a device `distance` further: alpha + n beta of the innermost link joining both (Hockney 1994).

    Raises `LayoutError` where no link does.
    """
    for link in hardware.levels:
        if distance < link.devices:
            return link.latency_s + nbytes / link.bandwidth_bytes_per_s
    raise LayoutError(f"{hardware.name}: a device {distance} further", "no level of its links joins both")
