"""What a simulation came to: latency, throughput, utilisation, and shares of communication and waiting, by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perfguard_suites.simulator.config import Request
from perfguard_suites.simulator.errors import ImpossibleFigure
from perfguard_suites.simulator.gantt import PHASES
from perfguard_suites.simulator.gemm import Gemm, GemmEvaluator
from perfguard_suites.simulator.hardware import Hardware
from perfguard_suites.simulator.pricing import PS_PER_S
from perfguard_suites.simulator.schedule import PhaseSums


@dataclass(frozen=True, slots=True)
class Work:
    """What was simulated: the request on a device, the decode steps by position, the distinct products, the stages."""

    request: Request
    hardware: Hardware
    positions: Sequence[int]
    gemms: frozenset[Gemm]
    stages: int


@dataclass(frozen=True, slots=True)
class PhaseStatistics:
    """One phase, simulated. Fractions are of its span, averaged over the pipeline's stages.

    `mfu`: operations of products over what the matrix units could do. `mbu`: bytes that had to cross the memory over
    what it could move. `bubble`: a stage has nothing to do. `communication`: a link is busy; `exposed_communication`:
    and nothing is computed meanwhile.
    """

    simulated_ps: int
    tasks: int
    mfu: float
    mbu: float
    bubble: float
    communication: float
    exposed_communication: float

    @property
    def simulated_s(self) -> float:
        """Its span in seconds."""
        return self.simulated_ps / PS_PER_S


@dataclass(frozen=True, slots=True)
class Statistics:
    """A simulation's figures. Times in seconds unless the name says picoseconds.

    `tpot_s` is the mean over the simulated steps; `request_s` the whole request, its decode extrapolated by that mean
    where not all steps were simulated (`simulated_tokens` of `output_tokens`). `tokens_per_s`: all output tokens of all
    replicas over `request_s`. `unique_gemms`: distinct products of this run. The rest are the evaluator's counters
    since it was made; `fallbacks` are products that no tile fitted, whose figures are guesses.
    """

    phases: Mapping[str, PhaseStatistics]
    total_ps: int
    ttft_s: float
    tpot_s: float
    request_s: float
    prompt_tokens_per_s: float
    tokens_per_s: float
    simulated_tokens: int
    output_tokens: int
    unique_gemms: int
    gemm_evaluations: int
    gemm_hits: int
    gemm_disk_hits: int
    gemm_search_s: float
    fallbacks: int
    precise: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; phases with their seconds too."""
        found = asdict(self)
        for name, one in self.phases.items():
            found["phases"][name]["simulated_s"] = one.simulated_s
        return found


def statistics_of(work: Work, phases: Sequence[PhaseSums], evaluator: GemmEvaluator) -> Statistics:
    """The figures of a simulated schedule, its four phases in order. Raises `ImpossibleFigure`."""
    request = work.request
    named = {name: _of_phase(name, sums, work) for name, sums in zip(PHASES, phases, strict=True)}
    h2d_s, prefill_s, decode_s, d2h_s = (one.simulated_s for one in named.values())
    steps = len(work.positions)
    tpot_s = decode_s / steps
    request_s = h2d_s + prefill_s + tpot_s * request.output_tokens + d2h_s
    return Statistics(
        phases=named,
        total_ps=phases[-1].end_ps,
        ttft_s=(phases[1].end_ps - phases[0].start_ps) / PS_PER_S,
        tpot_s=tpot_s,
        request_s=request_s,
        prompt_tokens_per_s=request.batch * request.prompt_tokens / prefill_s,
        tokens_per_s=request.batch * (request.output_tokens + 1) / request_s,
        simulated_tokens=steps,
        output_tokens=request.output_tokens,
        unique_gemms=len(work.gemms),
        gemm_evaluations=evaluator.evaluations,
        gemm_hits=evaluator.hits,
        gemm_disk_hits=evaluator.disk_hits,
        gemm_search_s=evaluator.search_s,
        fallbacks=evaluator.fallbacks,
        precise=evaluator.precise,
    )


def _of_phase(name: str, sums: PhaseSums, work: Work) -> PhaseStatistics:
    stages_ps = work.stages * sums.span_ps
    if not stages_ps:
        return PhaseStatistics(0, sums.tasks, 0.0, 0.0, 0.0, 0.0, 0.0)
    seconds = stages_ps / PS_PER_S
    peak = work.hardware.peak_flops_per_s(work.request.dtype)
    return PhaseStatistics(
        sums.span_ps,
        sums.tasks,
        mfu=utilisation(f"{name}: MFU", sums.flops, seconds * peak),
        mbu=utilisation(f"{name}: MBU", sums.nbytes, seconds * work.hardware.dram_bandwidth_bytes_per_s),
        bubble=1 - sums.busy_ps / stages_ps,
        communication=sums.link_ps / stages_ps,
        exposed_communication=sums.exposed_ps / stages_ps,
    )


def utilisation(culprit: str, done: float, possible: float) -> float:
    """What was done over what was possible. Raises `ImpossibleFigure` above 1, which clamping would hide."""
    if done > possible:
        raise ImpossibleFigure(
            culprit, f"{done / possible:.4f} is above 1", "a peak figure of the hardware or a cost model is wrong"
        )
    return done / possible
