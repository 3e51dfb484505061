"""The doctor's answer as text and as a map: can it tell, how small a change in how long, what would help."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from perfguard.doctor.findings import Finding
from perfguard.doctor.measuring import Noise
from perfguard.doctor.resolving import Answer, Reach
from perfguard.duet.engine import MOST_RESTARTS
from perfguard.units import format_change

SCHEMA = "perfguard.doctor/1"
MARKS = {"costs": "!", "untold": "?", "fine": "="}
WIDTH = 110


def lines(found: Answer, noise: Noise, what: Sequence[Finding], machine: str) -> Iterator[str]:
    """The report, line by line."""
    asked = found.question
    cases = "one case" if asked.cases == 1 else f"{asked.cases} cases"
    yield f"machine class {machine}"
    yield (
        f"measured: the reference kernel in {noise.restarts} restarts of two processes with the same code, "
        f"which differ by {found.sd:.2%} (sd) between the two, by {found.run_sd:.2%} from process to process"
    )
    yield ""
    limit, within = _share(asked.limit), found.within_budget
    yield (
        f"can it tell {limit}? {'yes' if found.resolves else 'no'}: a duet of {cases} and {asked.budget_s:.0f} s "
        f"sees {_change(within)} in 95 of 100 runs"
    )
    if found.needed is None:
        yield f"    no duet of up to {MOST_RESTARTS} restarts a side does: the noise is too large for that limit"
    else:
        needed = found.needed
        yield f"    {limit} takes {needed.restarts} restarts a side, some {needed.seconds:.0f} s"
    yield f"    duet, {cases}:       " + "   ".join(
        f"{reach.seconds:.0f} s: {_change(reach)}" for reach in found.reaches
    )
    stored = "   ".join(f"{runs} runs: {format_change(1 + change)}" for runs, change in found.stored.items())
    yield f"    stored baselines:    {stored}"
    yield f"{'':25}(before the gate's correction for the machine's speed; hours and days add their noise)"
    yield ""
    yield "what was found (! costs precision, ? not told, = fine)"
    for each in what:
        yield f"  {MARKS[each.weight]} {each.name:<19} {each.found}"
        if each.advice:
            yield from textwrap.wrap(each.advice, WIDTH, initial_indent=f"{'':24}", subsequent_indent=f"{'':24}")


def as_map(found: Answer, noise: Noise, what: Sequence[Finding], machine: str) -> dict[str, Any]:
    """`perfguard.doctor/1`. A change that no run would show is null."""
    return {
        "schema": SCHEMA,
        "machine_class": machine,
        "resolves": found.resolves,
        "question": asdict(found.question),
        "restarts": noise.restarts,
        "sd": found.sd,
        "process_run_sd": found.run_sd,
        "restart_s": found.restart_s,
        "within_budget": _map(found.within_budget),
        "needed": None if found.needed is None else _map(found.needed),
        "duet": [_map(reach) for reach in found.reaches],
        "stored_baselines": [{"process_runs": runs, "change": change} for runs, change in found.stored.items()],
        "findings": [asdict(each) for each in what],
    }


def _map(reach: Reach) -> dict[str, Any]:
    return asdict(reach) | {"change": reach.change if math.isfinite(reach.change) else None}


def _change(reach: Reach) -> str:
    return format_change(1 + reach.change) if math.isfinite(reach.change) else "nothing"


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"
