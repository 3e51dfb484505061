"""The run document, `perfguard.run/1`: what one run measured and decided, as frozen dataclasses and as JSON.

Other tools rely on the JSON names, so a field is never renamed; it may gain neighbours.
This module knows neither pytest nor events: `perfguard.events.fold` builds a `Run` from the event stream.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from perfguard.errors import DocumentError, MeasurementError

SCHEMA = "perfguard.run/1"

Direction = Literal["lower", "higher"]
Kind = Literal["time", "throughput", "bytes", "count", "ratio", "fraction"]
Verdict = Literal["faster", "same", "slower", "noisy", "new", "missing", "broken"]
Status = Literal["passed", "failed", "error", "skipped"]

DIRECTIONS: tuple[str, ...] = ("lower", "higher")
KINDS: tuple[str, ...] = ("time", "throughput", "bytes", "count", "ratio", "fraction")
VERDICTS: tuple[str, ...] = ("faster", "same", "slower", "noisy", "new", "missing", "broken")
STATUSES: tuple[str, ...] = ("passed", "failed", "error", "skipped")

# Kinds that mean the same on any machine: their baselines live under `portable/`.
PORTABLE_KINDS = frozenset({"ratio", "fraction", "count", "bytes"})
# Kinds that are exact: gated by equality unless the test says otherwise.
EXACT_KINDS = frozenset({"count", "bytes"})


@dataclass(frozen=True, slots=True)
class BaselineReference:
    """What a metric was compared with: the median over `process_runs` stored process runs, and the file.

    `medians` are those of the process runs one by one, in the metric's unit; in a duet, the other side's restarts.
    """

    median: float
    process_runs: int
    source: str
    medians: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PhaseChange:
    """One phase's part in a change: `delta_s` seconds a call, `share` of the case's whole change.

    In a duet also its own change as a ratio, now over before, with the interval over restarts, and what that says:
    `slower`, `faster`, `same` or `noisy` for this phase alone. It alarms nobody: the gate judges metrics.
    """

    path: str
    delta_s: float
    share: float
    ratio: float | None = None
    ci: tuple[float, float] | None = None
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Now over baseline: `ratio` with its interval; for times also which phases account for it.

    `basis` says which figures were compared: "median", "fastest" (round), "fastest, at one speed" where the
    reference kernel's time told how fast the machine was, or "pairs" of blocks in turn (a duet).
    """

    ratio: float
    ci: tuple[float, float]
    phases: tuple[PhaseChange, ...] = ()
    basis: str = "median"


@dataclass(frozen=True, slots=True)
class Metric:
    """A named figure of a case.

    `samples` are in `unit`; `ci` is the interval of the median at `confidence` from this process's samples.
    `limit` is the practical limit as a fraction (0.1 = 10 %), 0 for exact metrics. Times that perfguard sampled itself
    have the `fastest` round and `reference_s`, the fastest run of the reference kernel between the rounds, in seconds.
    """

    name: str
    unit: str
    direction: Direction
    kind: Kind
    gated: bool
    n: int
    median: float
    ci: tuple[float, float]
    confidence: float
    samples: tuple[float, ...] = ()
    limit: float = 0.1
    baseline: BaselineReference | None = None
    change: Change | None = None
    verdict: Verdict | None = None
    fastest: float | None = None
    reference_s: float | None = None


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of an account: `path` with `/` between nested names; seconds over all measured calls.

    `median_s` is the median self time of one call, in seconds: the figure that baselines store.
    """

    path: str
    total_s: float
    self_s: float
    count: int
    median_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Account:
    """A case's wall time split into phases plus what no phase claims; `calls` measured calls in all.

    Invariant: the sum of `self_s` over `phases`, plus `unaccounted_s`, is `wall_s`.
    """

    wall_s: float
    unaccounted_s: float
    phases: tuple[Phase, ...]
    calls: int = 1
    unaccounted_median_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    """One performance test with its parameters. `id` is pytest's node id; `key` names it in baselines.

    The key does not depend on rootdir: dotted module, `::`, test name with parameters.
    `extra` holds facts that a fixture told about the case, for exports: plain JSON values.
    """

    id: str
    key: str
    suite: str
    status: Status
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    account: Account | None = None
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's decision: exit status, the cases behind it by verdict, and the reason in one line."""

    exit_status: int
    slower: tuple[str, ...] = ()
    noisy: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Noise:
    """What else the machine did while the cases ran: shares of all its CPUs, median and worst over `readings`.

    `others` is CPU used by other processes, `steal` what a hypervisor took; there is a reading after each case.
    """

    others: float
    others_worst: float
    steal: float
    steal_worst: float
    readings: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `started` and `finished` are ISO 8601 in UTC; `machine["class"]` is the machine class."""

    run_id: str
    started: str
    finished: str | None
    profile: str
    machine: Mapping[str, Any]
    commit: Mapping[str, Any]
    cases: tuple[Case, ...]
    gate: Gate | None = None
    noise: Noise | None = None

    def case(self, key_or_id: str) -> Case | None:
        """The case with that key or node id, or None."""
        return next((case for case in self.cases if key_or_id in (case.key, case.id)), None)


def check_figure(name: str, value: float) -> float:
    """`value` as float if it is finite, else `MeasurementError` naming the metric."""
    number = float(value)
    if not math.isfinite(number):
        raise MeasurementError(name, f"the figure is {number}", "record finite numbers only")
    return number


def to_json(run: Run) -> dict[str, Any]:
    """The document as plain JSON types, names as in the architecture."""
    return {"schema": SCHEMA, **asdict(run)}


def metric_from_map(raw: Mapping[str, Any]) -> Metric:
    """A `Metric` from its JSON map. Raises KeyError, TypeError or ValueError on a wrong shape."""
    change, baseline = raw.get("change"), raw.get("baseline")
    return Metric(
        name=str(raw["name"]),
        unit=str(raw["unit"]),
        direction=cast("Direction", _one_of(raw["direction"], DIRECTIONS)),
        kind=cast("Kind", _one_of(raw["kind"], KINDS)),
        gated=bool(raw["gated"]),
        n=int(raw["n"]),
        median=float(raw["median"]),
        ci=_pair(raw["ci"]),
        confidence=float(raw["confidence"]),
        samples=tuple(float(x) for x in raw.get("samples", ())),
        limit=float(raw.get("limit", 0.1)),
        baseline=None if baseline is None else baseline_from_map(baseline),
        change=None if change is None else change_from_map(change),
        verdict=None if raw.get("verdict") is None else cast("Verdict", _one_of(raw["verdict"], VERDICTS)),
        fastest=_optional(raw.get("fastest")),
        reference_s=_optional(raw.get("reference_s")),
    )


def baseline_from_map(raw: Mapping[str, Any]) -> BaselineReference:
    """A `BaselineReference` from its JSON map."""
    return BaselineReference(
        float(raw["median"]),
        int(raw["process_runs"]),
        str(raw["source"]),
        tuple(float(x) for x in raw.get("medians", ())),
    )


def change_from_map(raw: Mapping[str, Any]) -> Change:
    """A `Change` from its JSON map."""
    phases = tuple(_phase_change_from_map(p) for p in raw.get("phases", ()))
    return Change(float(raw["ratio"]), _pair(raw["ci"]), phases, str(raw.get("basis", "median")))


def _phase_change_from_map(raw: Mapping[str, Any]) -> PhaseChange:
    ci, verdict = raw.get("ci"), raw.get("verdict")
    return PhaseChange(
        str(raw["path"]),
        float(raw["delta_s"]),
        float(raw["share"]),
        _optional(raw.get("ratio")),
        None if ci is None else _pair(ci),
        None if verdict is None else cast("Verdict", _one_of(verdict, VERDICTS)),
    )


def account_from_map(raw: Mapping[str, Any]) -> Account:
    """An `Account` from its JSON map."""
    return Account(
        wall_s=float(raw["wall_s"]),
        unaccounted_s=float(raw["unaccounted_s"]),
        phases=tuple(
            Phase(
                str(p["path"]), float(p["total_s"]), float(p["self_s"]), int(p["count"]), float(p.get("median_s", 0.0))
            )
            for p in raw["phases"]
        ),
        calls=int(raw.get("calls", 1)),
        unaccounted_median_s=float(raw.get("unaccounted_median_s", 0.0)),
    )


def noise_from_map(raw: Mapping[str, Any]) -> Noise:
    """A `Noise` from its JSON map."""
    others, others_worst, steal, steal_worst = (
        float(raw[name]) for name in ("others", "others_worst", "steal", "steal_worst")
    )
    return Noise(others, others_worst, steal, steal_worst, int(raw["readings"]))


def _case_from_map(raw: Mapping[str, Any]) -> Case:
    account = raw.get("account")
    return Case(
        id=str(raw["id"]),
        key=str(raw.get("key", raw["id"])),
        suite=str(raw["suite"]),
        status=cast("Status", _one_of(raw["status"], STATUSES)),
        params=dict(raw.get("params", {})),
        metrics=tuple(metric_from_map(m) for m in raw["metrics"]),
        account=None if account is None else account_from_map(account),
        notes=tuple(str(n) for n in raw.get("notes", ())),
        duration_s=float(raw.get("duration_s", 0.0)),
        extra=dict(raw.get("extra", {})),
    )


def from_json(raw: Any, source: str = "run document") -> Run:
    """The `Run` in a parsed JSON value. Raises `DocumentError` naming `source` and what is wrong."""
    if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
        found = raw.get("schema") if isinstance(raw, dict) else type(raw).__name__
        raise DocumentError(source, f"not a {SCHEMA} document (found {found!r})", "write it with --perfguard-json")
    try:
        gate, noise = raw.get("gate"), raw.get("noise")
        return Run(
            run_id=str(raw["run_id"]),
            started=str(raw["started"]),
            finished=None if raw.get("finished") is None else str(raw["finished"]),
            profile=str(raw["profile"]),
            machine=dict(raw["machine"]),
            commit=dict(raw["commit"]),
            cases=tuple(_case_from_map(c) for c in raw["cases"]),
            gate=None
            if gate is None
            else Gate(
                int(gate["exit_status"]),
                tuple(gate["slower"]),
                tuple(gate["noisy"]),
                tuple(gate["missing"]),
                str(gate["reason"]),
            ),
            noise=None if noise is None else noise_from_map(noise),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DocumentError(source, f"a part is missing or wrong: {error!r}") from error


def load(path: Path) -> Run:
    """Read a run document. Raises `DocumentError` naming the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DocumentError(str(path), f"cannot be read as JSON: {error}") from error
    return from_json(raw, str(path))


def with_verdict(
    metric: Metric, verdict: Verdict, change: Change | None = None, baseline: BaselineReference | None = None
) -> Metric:
    """The metric as judged."""
    return replace(metric, verdict=verdict, change=change, baseline=baseline)


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
    return str(value)


def _optional(raw: Any) -> float | None:
    return None if raw is None else float(raw)


def _pair(raw: Any) -> tuple[float, float]:
    low, high = raw
    return float(low), float(high)
