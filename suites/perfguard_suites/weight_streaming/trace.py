"""What was done when while a model streamed: intervals by layer, on the host's one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfguard.spans import Overlap, intervals, overlap

READY, LATE = "ready", "late"


class Stretch(NamedTuple):
    """One interval of one layer, nanoseconds. `lane`: the reader or stream; of a wait, whether the layer was late."""

    layer: int
    start_ns: int
    end_ns: int
    lane: str = ""


@dataclass(slots=True)
class Trace:
    """Waits, loads, computes and evictions since `begin_ns`; cheap enough to be always on."""

    begin_ns: int = 0
    end_ns: int = 0
    waits: list[Stretch] = field(default_factory=list)
    loads: list[Stretch] = field(default_factory=list)
    computes: list[Stretch] = field(default_factory=list)
    evicts: list[Stretch] = field(default_factory=list)
    wakes_ns: list[int] = field(default_factory=list)  # from a late layer's last byte to its compute
    distances: list[int] = field(default_factory=list)  # the prefetch distance at each layer
    most_present: int = 0

    @property
    def wall_s(self) -> float:
        """Seconds of the scope."""
        return (self.end_ns - self.begin_ns) / 1e9

    def wait_per_layer_s(self) -> float:
        """Seconds that the compute waited for weights, per layer computed."""
        return total_s(self.waits) / max(1, len(self.computes))

    def handoffs_ns(self) -> list[int]:
        """From one layer's compute to the next one's within a pass, where that layer was there already."""
        return [
            after.start_ns - before.end_ns
            for before, after, wait in zip(self.computes, self.computes[1:], self.waits[1:], strict=False)
            if after.layer == before.layer + 1 and wait.lane == READY
        ]

    def slowest_load(self) -> Stretch | None:
        """The load that took longest."""
        return max(self.loads, key=lambda load: load.end_ns - load.start_ns, default=None)

    def overlap(
        self,
        *,
        serial_s: float | None = None,
        copy_alone_s: float | None = None,
        compute_alone_s: float | None = None,
    ) -> Overlap:
        """Of loads and computes in this scope; `layers` counts the computes, over all passes."""
        return overlap(
            intervals.clip(rows(self.loads), self.begin_ns, self.end_ns),  # what was asked for before came in later
            rows(self.computes),
            wall_s=self.wall_s,
            layers=max(1, len(self.computes)),
            serial_s=serial_s,
            copy_alone_s=copy_alone_s,
            compute_alone_s=compute_alone_s,
        )


def rows(stretches: Sequence[Stretch]) -> npt.NDArray[np.int64]:
    """(n, 2) nanoseconds."""
    return np.array([(each.start_ns, each.end_ns) for each in stretches], dtype=np.int64).reshape(-1, 2)


def total_s(stretches: Sequence[Stretch]) -> float:
    """Their sum, which is a time where they follow each other."""
    return sum(each.end_ns - each.start_ns for each in stretches) / 1e9
