"""perfguard's own costs, measured by perfguard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from perfguard import Perfguard, phase
from perfguard.events import EventStream
from perfguard.spans import Recorder, recording
from perfguard_suites.goals import note_goal

PER_BLOCK = 1000
PHASE_GOAL_S = 1e-6
EVENT_GOAL_S = 10e-6
START_GOAL_S = 10e-3


@pytest.mark.perfguard(limit="100%")
def test_phase(perfguard: Perfguard) -> None:
    """A phase costs under a microsecond: blocks with a phase per step against the same blocks without."""

    def without() -> None:
        for _ in range(PER_BLOCK):
            pass

    def with_phases() -> None:
        with recording(Recorder()):
            for _ in range(PER_BLOCK):
                with phase("step"):
                    pass

    comparison = perfguard.compare({"without": without, "phases": with_phases}, record=False)
    cost_s = (comparison.times_s["phases"] - comparison.times_s["without"]) / PER_BLOCK
    perfguard.record("phase_cost_s", cost_s, unit="s", kind="time")
    note_goal(perfguard, "a phase", float(np.median(cost_s)), at_most=PHASE_GOAL_S, unit="s")


@pytest.fixture
def emitter(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Emits a block of events to a recording and a live socket that nobody looks at."""
    stream = EventStream("overhead")
    stream.open_recorder(tmp_path / "overhead.pgrun")
    stream.open_bus(f"ipc://{tmp_path}/live")

    def emit() -> None:
        for index in range(PER_BLOCK):
            stream.emit(
                "round",
                case="case",
                metric="time",
                index=index,
                iterations=1,
                value=1.25e-3,
                warmup=False,
                phases={"pack": 1e-4, "wire": 1e-3, "unaccounted": 1.5e-4},
            )

    try:
        yield emit
    finally:
        stream.close()


@pytest.mark.perfguard(limit="100%")
def test_event(perfguard: Perfguard, emitter: Callable[[], None]) -> None:
    """An event costs under ten microseconds while recording and live with no viewer."""

    def nothing() -> None:
        for _ in range(PER_BLOCK):
            pass

    comparison = perfguard.compare({"nothing": nothing, "events": emitter}, record=False)
    cost_s = (comparison.times_s["events"] - comparison.times_s["nothing"]) / PER_BLOCK
    perfguard.record("event_cost_s", cost_s, unit="s", kind="time")
    note_goal(perfguard, "an event", float(np.median(cost_s)), at_most=EVENT_GOAL_S, unit="s")


def test_plugin_start(perfguard: Perfguard, tmp_path: Path) -> None:
    """A pytest run without `--perfguard` pays under 10 ms for importing the plugin, and imports nothing heavy."""
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    rounds = 7 if perfguard.enabled else 1
    _plain_pytest(tmp_path)  # compiles: users have bytecode, from installing or from their first run
    costs_s, modules = zip(*[_plain_pytest(tmp_path) for _ in range(rounds)], strict=True)
    assert not {"numpy", "zmq", "torch", "scipy", "perfguard.session"} & set(modules[0])
    perfguard.record("plugin_start_s", costs_s, unit="s", kind="time", limit=1.0)
    note_goal(
        perfguard, "the plugin in a plain pytest start", float(np.median(costs_s)), at_most=START_GOAL_S, unit="s"
    )


# Runs pytest with the loading of the plugin and its hooks timed; prints the seconds and the modules loaded at the end.
_TIMED_PYTEST = """
import functools, importlib.metadata, json, sys, time
import pytest
spent = [0.0]
def timed(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[0] += time.perf_counter() - start
    return call
load = importlib.metadata.EntryPoint.load
def load_plugin(entry):
    if entry.group != "pytest11" or entry.name != "perfguard":
        return load(entry)
    plugin = timed(load)(entry)
    for hook in ("pytest_addoption", "pytest_configure"):
        setattr(plugin, hook, timed(getattr(plugin, hook)))
    return plugin
importlib.metadata.EntryPoint.load = load_plugin
status = pytest.main(sys.argv[1:])
print("\\n" + json.dumps([int(status), spent[0], sorted(sys.modules)]))
"""


def _plain_pytest(folder: Path) -> tuple[float, list[str]]:
    """Seconds that the plugin took in a pytest run of one empty test, and the modules loaded by its end."""
    command = [
        sys.executable,
        "-c",
        _TIMED_PYTEST,
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True, timeout=60, env=environment)
    status, spent_s, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert spent_s > 0
    return spent_s, modules
