"""`run`: one simulation, its log as the document has it, its figures, and its chart in files."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from perfguard_suites.simulator.engine import Simulation, Simulator
from perfguard_suites.simulator.errors import ConfigurationError
from perfguard_suites.simulator.picture import picture
from perfguard_suites.simulator.scenario_options import add_scenario_options, simulator_from
from perfguard_suites.simulator.trace import chrome_trace, document_gantt
from perfguard_suites.simulator.walls import LOGGER

HELP = "Simulate one request: latencies, utilisation and a Gantt chart, with the wall time of each phase."
SCHEMA = "perfguard.simulation/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    add_scenario_options(parser)
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write the chart for ui.perfetto.dev")
    parser.add_argument("--gantt", type=Path, metavar="FILE", help="write the chart in the document's shape")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the chart (SVG)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--quiet", action="store_true", help="no log of phases, tokens and layers on stderr")


def run(options: argparse.Namespace) -> int:
    """Simulate and print; returns the exit status. Raises `SimulatorError`."""
    simulator = simulator_from(options)
    if not options.quiet:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        LOGGER.setLevel(logging.INFO)
    simulation = simulator.run()
    gantt = simulation.gantt
    for path, write in ((options.trace, chrome_trace), (options.gantt, document_gantt)):
        if path is not None:
            _write(path, write(gantt))
    if options.picture is not None:
        _write(options.picture, picture(gantt, title_of(simulator)))
    if options.json:
        print(json.dumps(as_document(simulator, simulation), indent=2))
    else:
        print("\n".join(_lines(simulator, simulation)))
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be written: {error.strerror}", "give another path") from error


def as_document(simulator: Simulator, simulation: Simulation) -> dict[str, object]:
    """Plain JSON types: what was simulated, the figures, and the wall times."""
    request, spread, walls = simulator.request, simulator.spread, simulation.walls
    return {
        "schema": SCHEMA,
        "model": simulator.model.name,
        "hardware": simulator.hardware.name,
        "devices": spread.devices,
        "prompt_tokens": request.prompt_tokens,
        "batch": request.batch,
        "dtype": request.dtype,
        "statistics": simulation.statistics.to_dict(),
        "tasks": simulation.gantt.tasks,
        "memory_bytes": simulator.layout.memory_bytes(simulator.model, request, spread),
        "wall_s": {name: ns / 1e9 for name, ns in walls.phases_ns.items()} | {"Total": walls.total_ns / 1e9},
    }


def title_of(simulator: Simulator) -> str:
    """What is simulated, in a line."""
    model, request, spread = simulator.model, simulator.request, simulator.spread
    how = "precise" if simulator.evaluator.precise else "closed-form"
    return (
        f"{model.name} ({model.layers} layers, {model.attention}{', MoE' if model.moe else ''}) on "
        f"{spread.devices} x {simulator.hardware.name}, batch {request.batch}, {request.prompt_tokens} + "
        f"{request.output_tokens} tokens, {request.dtype}, {how} evaluator"
    )


def _lines(simulator: Simulator, simulation: Simulation) -> Iterator[str]:
    found = simulation.statistics
    yield title_of(simulator)
    needed = simulator.layout.memory_bytes(simulator.model, simulator.request, simulator.spread)
    yield (
        f"  TTFT {1e3 * found.ttft_s:.3f} ms, TPOT {1e3 * found.tpot_s:.3f} ms, {found.tokens_per_s:.1f} tokens/s, "
        f"{found.prompt_tokens_per_s:.0f} prompt tokens/s; memory of a device "
        f"{sum(needed.values()) / 2**30:.1f} GiB"
    )
    if found.simulated_tokens < found.output_tokens:
        yield f"  {found.simulated_tokens} of {found.output_tokens} decode steps simulated, spread evenly"
    columns = f"{'phase':<8} {'simulated':>12} {'MFU':>7} {'MBU':>7} {'bubble':>7} {'links':>7} {'exposed':>8}"
    yield f"  {columns} {'tasks':>7}"
    for name, one in found.phases.items():
        yield (
            f"  {name:<8} {1e3 * one.simulated_s:>9.3f} ms {one.mfu:>7.1%} {one.mbu:>7.1%} {one.bubble:>7.1%} "
            f"{one.communication:>7.1%} {one.exposed_communication:>8.1%} {one.tasks:>7}"
        )
    yield (
        f"  evaluator: {found.gemm_evaluations} products searched, {found.gemm_hits} answered from memory, "
        f"{found.gemm_disk_hits} from disk, {1e3 * found.gemm_search_s:.1f} ms"
    )
    if found.fallbacks:
        yield f"  WARNING: no tile fits for {found.fallbacks} products: their figures are guesses"
