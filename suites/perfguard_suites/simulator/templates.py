"""A piece of the schedule that repeats: tasks at fixed offsets on a device's resources, made once for all its layers.

The operators of a piece follow one another, as each needs what the one before it made. What the options change is how
an operator's memory traffic lies beside its computation, and whether a collective waits for all of the product before
it. The memory traffic of one operator does not overlap the computation of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from perfguard_suites.simulator.config import SimulationConfig
from perfguard_suites.simulator.hardware import Hardware
from perfguard_suites.simulator.pricing import CHUNKS, Cost, to_ps

COMPUTE, DMA, LINK, HOST = range(4)
RESOURCE_KINDS = ("compute", "dma", "link", "host")


@dataclass(slots=True)
class Template:
    """Tasks of one piece: for each its name, its kind of resource, its offset and its duration, picoseconds.

    `length_ps` is the whole piece; `link_ps` how long links are busy, `exposed_ps` how long they are while nothing is
    computed. `flops` and `nbytes` are those of its operators, of which there are `computations` and `collectives`.
    """

    names: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    offsets_ps: list[int] = field(default_factory=list)
    durations_ps: list[int] = field(default_factory=list)
    length_ps: int = 0
    link_ps: int = 0
    exposed_ps: int = 0
    flops: int = 0
    nbytes: int = 0
    computations: int = 0
    collectives: int = 0

    def add(self, name: str, kind: int, offset_ps: int, duration_ps: int) -> None:
        """A task; one that takes no time is none."""
        if duration_ps > 0:
            self.names.append(name)
            self.kinds.append(kind)
            self.offsets_ps.append(offset_ps)
            self.durations_ps.append(duration_ps)

    def send(self, name: str, duration_ps: int, kind: int = LINK) -> None:
        """A message at the end, which the device waits for."""
        self.add(name, kind, self.length_ps, duration_ps)
        self.length_ps += duration_ps
        self.link_ps += duration_ps
        self.exposed_ps += duration_ps


@dataclass(frozen=True, slots=True)
class Composer:
    """Makes templates of priced operators, by the options."""

    overlap: bool
    communication_overlap: bool
    coarse: bool
    launch_ps: int

    @classmethod
    def of(cls, config: SimulationConfig, hardware: Hardware) -> Composer:
        """The composer of these options on this device, which overlaps its memory traffic or does not."""
        coarse = config.evaluation_granularity == "coarse"
        return cls(
            hardware.overlaps_dma, config.enable_comm_overlap and not coarse, coarse, to_ps(hardware.launch_overhead_s)
        )

    def compose(self, costs: Sequence[Cost]) -> Template:
        """The piece that these operators make."""
        collectives = sum(cost.collective for cost in costs)
        template = Template(
            flops=sum(cost.flops for cost in costs),
            nbytes=sum(cost.nbytes for cost in costs),
            computations=len(costs) - collectives,
            collectives=collectives,
        )
        waiting: Cost | None = None  # a computation whose collective may overlap it
        for cost in self._merged(costs) if self.coarse else costs:
            if not cost.collective:
                self._flush(template, waiting)
                waiting = cost
            elif waiting is None or not self._overlapped(template, waiting, cost):
                self._flush(template, waiting)
                waiting = None
                template.send(cost.name, cost.latency_ps)
            else:
                waiting = None
        self._flush(template, waiting)
        return template

    def _flush(self, template: Template, cost: Cost | None) -> None:
        if cost is not None:
            template.length_ps = self._computation(template, cost, template.length_ps)

    def _computation(self, template: Template, cost: Cost, start_ps: int) -> int:
        """A computation and its memory traffic from `start_ps` on, beside each other or in turns; returns its end."""
        duration_ps, moving_ps = cost.latency_ps, min(cost.memory_ps, cost.latency_ps)
        waiting_ps = 0 if self.overlap else moving_ps
        template.add(cost.name, COMPUTE, start_ps + waiting_ps, duration_ps - waiting_ps)
        template.add(cost.name, DMA, start_ps, moving_ps)
        return start_ps + duration_ps

    def _overlapped(self, template: Template, product: Cost, collective: Cost) -> bool:
        """Add a product and its collective part by part, if that is sooner done than one after the other."""
        if not self.communication_overlap or product.part is None or collective.part is None:
            return False
        computing_ps, sending_ps = product.part.latency_ps, collective.part.latency_ps
        done_ps = [computing_ps + sending_ps]  # each part: when it has been sent
        for part in range(1, CHUNKS):
            done_ps.append(max((part + 1) * computing_ps, done_ps[-1]) + sending_ps)
        if done_ps[-1] >= product.latency_ps + collective.latency_ps:
            return False
        start_ps = template.length_ps
        for part in range(CHUNKS):
            self._computation(template, product.part, start_ps + part * computing_ps)
            template.add(collective.name, LINK, start_ps + done_ps[part] - sending_ps, sending_ps)
        template.length_ps += done_ps[-1]
        template.link_ps += CHUNKS * sending_ps
        template.exposed_ps += done_ps[-1] - CHUNKS * computing_ps
        return True

    def _merged(self, costs: Sequence[Cost]) -> list[Cost]:
        """One cost for each run of computations of one block: their sum, but with its elementwise work launched once.

        Hence coarse. Computations after a collective begin a new run: they need what it brings.
        """
        found: list[Cost] = []
        for (block, collective), run in groupby(costs, key=lambda cost: (cost.block, cost.collective)):
            together = list(run)
            if collective:
                found += together
                continue
            compute_ps, memory_ps = sum(cost.compute_ps for cost in together), sum(cost.memory_ps for cost in together)
            spared = max(0, sum(not cost.flops for cost in together) - 1)
            latency_ps = sum(cost.latency_ps for cost in together) - spared * self.launch_ps
            found.append(Cost(block, block, latency_ps, compute_ps, memory_ps))
        return found
