"""The command line's options of a scenario: a flag for each field, over a TOML file, over the defaults."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from perfguard_suites.simulator.config import Parallelism, Request, Scenario, SimulationConfig, load_scenario
from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.engine import Simulator, simulator_of
from perfguard_suites.simulator.gemm import Cache
from perfguard_suites.simulator.hardware import PRESETS as HARDWARE
from perfguard_suites.simulator.models import PRESETS as MODELS

_PARTS: tuple[tuple[str, type], ...] = (
    ("config", SimulationConfig),
    ("request", Request),
    ("parallelism", Parallelism),
)
_WORDS = {"config": "how to simulate", "request": "what is asked", "parallelism": "how the model is spread"}


def add_scenario_options(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of a scenario, and the files it may come from."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a scenario in TOML; flags override it")
    parser.add_argument("--model", help=f"{', '.join(MODELS)}, or a config.json (default: {Scenario().model})")
    parser.add_argument("--hardware", help=f"{', '.join(HARDWARE)}, or a TOML file (default: {Scenario().hardware})")
    parser.add_argument("--layers", type=int, metavar="N", help="only the model's first N layers")
    parser.add_argument("--calibration", type=Path, metavar="FILE", help="a device's three constants, from `calibrate`")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the results of searches in this folder")
    for part, kind in _PARTS:
        group = parser.add_argument_group(_WORDS[part])
        for field in fields(kind):
            flag = f"--{field.name.replace('_', '-')}"
            default = getattr(kind(), field.name)
            if field.type == "bool":
                group.add_argument(
                    flag, action=argparse.BooleanOptionalAction, default=None, help=f"(default: {default})"
                )
            else:
                convert = int if field.type == "int" else str
                group.add_argument(flag, type=convert, metavar=convert.__name__.upper(), help=f"(default: {default})")


def scenario_of(options: argparse.Namespace, default: Scenario) -> Scenario:
    """The scenario that the options ask for. Raises `ConfigurationError`."""
    scenario = load_scenario(options.config) if options.config else default
    changes: dict[str, Any] = {
        name: getattr(options, name) for name in ("model", "hardware", "layers") if getattr(options, name) is not None
    }
    for part, kind in _PARTS:
        given = {field.name: getattr(options, field.name) for field in fields(kind)}
        given = {name: value for name, value in given.items() if value is not None}
        changes[part] = replace(getattr(scenario, part), **given)
    return replace(scenario, **changes)


def simulator_from(options: argparse.Namespace, default: Scenario | None = None) -> Simulator:
    """The simulator that the options ask for. Raises `SimulatorError`."""
    calibration = Calibration.load(options.calibration) if options.calibration else None
    cache = Cache(options.cache) if options.cache else None
    return simulator_of(scenario_of(options, default or Scenario()), calibration=calibration, cache=cache)
