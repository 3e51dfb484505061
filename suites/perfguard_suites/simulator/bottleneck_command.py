"""`bottleneck`: the document's 10-layer performance test, with its advice tried instead of believed."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

from perfguard_suites.simulator.bottleneck import LAYERS, ROUNDS, as_document, as_text, find
from perfguard_suites.simulator.config import Scenario
from perfguard_suites.simulator.errors import ConfigurationError
from perfguard_suites.simulator.scenario_options import add_scenario_options, simulator_from

HELP = "Say which phase and part of the simulator eats the wall time, and measure what each piece of advice gains."


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `bottleneck`."""
    add_scenario_options(parser)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help="rounds of all alternatives (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status. Raises `SimulatorError`."""
    if options.rounds < 2:
        raise ConfigurationError("--rounds", f"{options.rounds} rounds have no interval", "take 2 at least")
    found = find(simulator_from(options, replace(Scenario(), layers=LAYERS)), options.rounds)
    print(json.dumps(as_document(found), indent=2) if options.json else as_text(found))
    return 0
