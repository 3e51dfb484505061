"""From the seeds' starting point to the best honest variant: what each step was to gain, and what it gained."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

from perfguard import Perfguard
from perfguard_suites.goals import note_goal
from perfguard_suites.split_rpc.conftest import THREADS_SLEEP
from perfguard_suites.split_rpc.field import Field
from perfguard_suites.split_rpc.ladder import BEST_HONEST, climb
from perfguard_suites.split_rpc.threads import child_environment
from perfguard_suites.split_rpc.variants import VARIANTS

OVERHEAD_GOAL = 0.15
SPEEDUP_GOAL = 5.0


def test_ladder(perfguard: Perfguard, field: Field, work: str) -> None:
    """Each step beside its predecessor in the same rounds; the best honest variant beside the single process."""
    if not THREADS_SLEEP:
        perfguard.note("OpenMP's threads may spin: torch was loaded before this suite could ask them not to")
    perfguard.note(f"{work} on {field.device}, {field.threads} threads in each process, {field.rounds} rounds")
    for result in climb(field, field.plan.source.config()):
        before, after = result.step.before, result.step.after
        perfguard.record(f"{before}_over_{after}", result.ratio, unit="", kind="ratio", direction="higher", gated=False)
        perfguard.note(str(result))
    best = BEST_HONEST
    overheads = [ratio - 1 for ratio in field.split_over_single(best)]
    perfguard.note(f"best honest variant: {best} ({VARIANTS[best].label})")
    note_goal(perfguard, f"split overhead of {best}", 100 * median(overheads), at_most=100 * OVERHEAD_GOAL, unit="%")
    speedups = field.speedup_over_seed(best)
    note_goal(perfguard, f"non-compute time of the seed over {best}", median(speedups), at_least=SPEEDUP_GOAL)
    perfguard.record("best_split_over_single", [1 + o for o in overheads], unit="", kind="ratio", limit=0.25)
    perfguard.record("best_speedup_over_seed", speedups, unit="", kind="ratio", direction="higher", limit=0.5)


def test_memory(perfguard: Perfguard) -> None:
    """Peak resident memory of both processes, each with nothing else in it: the client here is a process of its own."""
    command = [sys.executable, "-m", "perfguard_suites.split_rpc", "run", "--json", "--repeat", "1", "--model"]
    command.append("small" if perfguard.enabled else "tiny")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=child_environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["calls"] == found["predicted"]["calls"]
    for side in ("server", "client"):
        perfguard.record(f"{side}_peak_rss", found["peak_rss_bytes"][side], unit="B", kind="bytes", gated=False)
