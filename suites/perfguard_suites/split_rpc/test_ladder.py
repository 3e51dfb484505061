"""From the seeds' starting point to the best honest variant: what each step was to gain, and what it gained."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from statistics import median

from perfguard import Perfguard
from perfguard.pictures import Rung, Rungs
from perfguard_suites.goals import note_goal
from perfguard_suites.split_rpc.conftest import THREADS_SLEEP
from perfguard_suites.split_rpc.field import Field, rounds_of
from perfguard_suites.split_rpc.ladder import BEST_HONEST, climb
from perfguard_suites.split_rpc.threads import child_environment
from perfguard_suites.split_rpc.variants import VARIANTS

OVERHEAD_GOAL = 0.15
SPEEDUP_GOAL = 5.0


def test_ladder(perfguard: Perfguard, field: Field, work: str) -> None:
    """Each step beside its predecessor in the same rounds; the best honest variant beside the single process."""
    if not THREADS_SLEEP:
        perfguard.note("OpenMP's threads may spin: torch was loaded before this suite could ask them not to")
    perfguard.note(f"{work} on {field.device}, {field.threads} threads in each process, {rounds_of(field)}")
    for line in views(field.requests):
        perfguard.note(line)
    for result in climb(field, field.plan.source.config()):
        before, after = result.step.before, result.step.after
        perfguard.record(f"{before}_over_{after}", result.ratio, unit="", kind="ratio", direction="higher", gated=False)
        perfguard.note(str(result))
    perfguard.picture(walls_beside(field))
    best = BEST_HONEST
    ratios = field.split_over_single(best)
    overhead = 1 - 1 / median(ratios)  # of the split request's wall
    perfguard.note(f"best honest variant: {best} ({VARIANTS[best].label})")
    note_goal(perfguard, f"split overhead of {best}", 100 * overhead, at_most=100 * OVERHEAD_GOAL, unit="%")
    speedups = field.speedup_over_seed(best)
    note_goal(perfguard, f"non-compute time of the seed over {best}", median(speedups), at_least=SPEEDUP_GOAL)
    if field.single_on_gpu:
        on_gpu = [each.wall_s / one.wall_s for each, one in zip(field.requests[best], field.single_on_gpu, strict=True)]
        perfguard.record("best_split_over_single_on_gpu", on_gpu, unit="", kind="ratio", gated=False)
        perfguard.note(
            f"single process on the same GPU: {1e3 * median(each.wall_s for each in field.single_on_gpu):.1f} ms"
        )
    perfguard.record("best_split_over_single", ratios, unit="", kind="ratio", limit=0.25)
    perfguard.record("best_speedup_over_seed", speedups, unit="", kind="ratio", direction="higher", limit=0.5)


def walls_beside(field: Field) -> Rungs:
    """What each variant's request took, beside what the model of the time said of it."""
    assert field.micro_model is not None
    config, plan, model = field.plan.source.config(), field.plan, field.micro_model
    said = {name: model.request_s(config, VARIANTS[name], plan.prompt, plan.steps) for name in field.requests}
    rungs = tuple(Rung(name, field.wall_s(name), said[name]) for name in field.requests)
    return Rungs("one request: prefill and decode, by variant", rungs)


def views(names: Iterable[str]) -> list[str]:
    """What the server sees, variants that show it the same together."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        variant = VARIANTS[name]
        found.setdefault((", ".join(variant.server_sees), variant.label), []).append(name)
    return [f"{', '.join(group)}: {label}; the server sees {seen}" for (seen, label), group in found.items()]


def test_memory(perfguard: Perfguard, work: str) -> None:
    """Peak resident memory of both processes, each with nothing else in it: the client here is a process of its own."""
    model = {"off": "tiny", "full": "llama-1b"}.get(perfguard.profile, "small")
    command = [sys.executable, "-m", "perfguard_suites.split_rpc", "run", "--json", "--repeat", "1", "--model", model]
    command += ["--tokens", "128", "--steps", "1"] if perfguard.profile != "off" else []
    if perfguard.profile == "full":  # as it would be served where memory counts
        command += ["--dtype", "bfloat16", "--tokens", "16", "--steps", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, env=child_environment())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    perfguard.note(f"{work}: {model} in {found['server']['dtype']}, variant {found['variant']['name']}")
    assert found["calls"] == found["predicted"]["calls"]
    for side in ("server", "client"):
        perfguard.record(f"{side}_peak_rss", found["peak_rss_bytes"][side], unit="B", kind="bytes", gated=False)
