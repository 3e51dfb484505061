"""The Gantt chart: which task is when on which resource, as columns; built of pieces that repeat layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perfguard_suites.simulator.templates import RESOURCE_KINDS, Template

NO_LAYER = -1
PHASES = ("H2D", "Prefill", "Decode", "D2H")

Column = npt.NDArray[np.int64]
SmallColumn = npt.NDArray[np.int32]


class Piece(NamedTuple):
    """A template placed: `layers` copies of it one after the other from `start_ps`, the first for layer `first_layer`.

    `token` is the decode step, or 0 of the prefill; `stage` the pipeline stage whose device this is.
    """

    template: Template
    phase: int
    stage: int
    token: int
    microbatch: int
    first_layer: int
    layers: int
    start_ps: int


class Resource(NamedTuple):
    """Something that does one task at a time: the `kind` unit of the first device of a pipeline stage."""

    stage: int
    kind: str

    @property
    def name(self) -> str:
        """How it is shown."""
        return f"stage {self.stage} {self.kind}"


@dataclass(frozen=True)
class Gantt:
    """Columns of equal length, a row for each task, in no particular order; times in picoseconds.

    `name`, `phase` and `resource` index `names`, `PHASES` and `resources`; `layer` is -1 outside the layers. One device
    stands for all of its stage: tensor ranks, replicas and expert ranks do the same at the same time.
    """

    names: tuple[str, ...]
    resources: tuple[Resource, ...]
    pieces: tuple[Piece, ...]
    name: SmallColumn
    resource: SmallColumn
    phase: SmallColumn
    layer: SmallColumn
    token: SmallColumn
    microbatch: SmallColumn
    start_ps: Column
    duration_ps: Column
    phase_ends_ps: tuple[int, ...]

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return len(self.start_ps)

    @property
    def end_ps(self) -> Column:
        """When each task ends."""
        return self.start_ps + self.duration_ps

    def overlapping(self) -> int:
        """How many tasks begin before the one before them on their resource has ended: 0, or the schedule is wrong."""
        order = np.lexsort((self.start_ps, self.resource))
        resource, start, end = self.resource[order], self.start_ps[order], self.end_ps[order]
        return int(np.count_nonzero((resource[1:] == resource[:-1]) & (start[1:] < end[:-1])))

    def busy_ps(self, resource: int) -> int:
        """How long one resource is busy."""
        return int(self.duration_ps[self.resource == resource].sum())


def build(pieces: Sequence[Piece], stages: int, phase_ends_ps: Sequence[int]) -> Gantt:
    """The chart of placed pieces."""
    tasks = sum(piece.layers * len(piece.template.names) for piece in pieces)
    resources = tuple(Resource(stage, kind) for stage in range(stages) for kind in RESOURCE_KINDS)
    known: dict[str, int] = {}
    cache: dict[int, tuple[SmallColumn, SmallColumn, Column, Column]] = {}
    small = np.empty((6, tasks), np.int32)
    times = np.empty((2, tasks), np.int64)
    at = 0
    for piece in pieces:
        template = piece.template
        columns = cache.get(id(template))
        if columns is None:
            columns = cache[id(template)] = _columns(template, known)
        names, kinds, offsets, durations = columns
        end = at + piece.layers * len(names)
        shape = (piece.layers, len(names))
        layers = np.arange(piece.layers, dtype=np.int32)[:, None]
        rows = small[:, at:end].reshape(6, *shape)
        rows[0] = names
        rows[1] = kinds + piece.stage * len(RESOURCE_KINDS)
        rows[2] = piece.phase
        rows[3] = piece.first_layer + layers if piece.first_layer != NO_LAYER else NO_LAYER
        rows[4] = piece.token
        rows[5] = piece.microbatch
        starts, lasts = times[0, at:end].reshape(shape), times[1, at:end].reshape(shape)
        starts[:] = piece.start_ps + layers * np.int64(template.length_ps) + offsets
        lasts[:] = durations
        at = end
    return Gantt(
        names=tuple(known), resources=resources, pieces=tuple(pieces), name=small[0], resource=small[1], phase=small[2],
        layer=small[3], token=small[4], microbatch=small[5], start_ps=times[0], duration_ps=times[1],
        phase_ends_ps=tuple(phase_ends_ps),
    )  # fmt: skip


def _columns(template: Template, known: dict[str, int]) -> tuple[SmallColumn, SmallColumn, Column, Column]:
    """A template's columns; its names are numbered among those `known`."""
    return (
        np.array([known.setdefault(name, len(known)) for name in template.names], np.int32),
        np.array(template.kinds, np.int32),
        np.array(template.offsets_ps, np.int64),
        np.array(template.durations_ps, np.int64),
    )
