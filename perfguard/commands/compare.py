"""`perfguard compare BEFORE.json ... NOW.json`: what changed between runs, by the gate's own judgement.

The runs before are put together as if they were baselines, so verdicts, intervals and phases mean here
exactly what they mean in a gated run.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.commands.table import matches, short_key, table
from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.baselines import Baselines
    from perfguard.baselines.model import MetricKey
    from perfguard.document import Case, Gate, Metric, Run
    from perfguard.gate import Judge

HELP = "compare run documents: what changed, by how much, and which phase did it"
DESCRIPTION = """\
Compare the last run document with the ones before it, metric by metric.

A process run is the sampling unit: with one run before, run-to-run noise cannot be told from a change and is
assumed (or learnt from the baselines in --dir). Give more runs before, and the intervals narrow.
"""
EXAMPLES = """\
examples:
  perfguard compare before.json now.json
  perfguard compare main-1.json main-2.json main-3.json branch.json --fail-on slower
"""
SCHEMA = "perfguard.compare/1"
_SEVERITY = ("slower", "broken", "missing", "faster", "noisy", "new", "same", None)


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "compare",
        help=HELP,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "documents",
        type=Path,
        nargs="+",
        metavar="RUN.json",
        help="run documents, two or more: the last one is judged against the others",
    )
    parser.add_argument("--case", metavar="PATTERN", help="only cases whose key contains PATTERN (* and ? are wild)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="learn run-to-run noise from the baselines in DIR")
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="P",
        help="of each metric's interval (default: %(default)s)",
    )
    parser.add_argument(
        "--fail-on",
        default="",
        metavar="VERDICTS",
        help="exit 1 if a gated metric is one of these: slower,noisy,missing",
    )
    parser.add_argument("--json", action="store_true", help=f"print JSON ({SCHEMA})")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the comparison; 1 if `--fail-on` says so, else 0."""
    from perfguard import document
    from perfguard.gate import Policy, decide
    from perfguard.gate.policy import parse_fail_on

    if len(options.documents) < 2:
        raise OptionError("perfguard compare", "one run document", "give at least two: BEFORE.json NOW.json")
    if not 0 < options.confidence < 1:
        raise OptionError("--confidence", f"{options.confidence} is no probability", "between 0 and 1, such as 0.95")
    policy = Policy(alpha=1 - options.confidence, fail_on=parse_fail_on(options.fail_on))
    runs = [_trimmed(document.load(path), options.case) for path in options.documents]
    before, now = runs[:-1], runs[-1]
    notes = _notes(before, now, options.dir is not None)
    judge = _judge(before, now, policy, options.dir)
    cases = [_judged(case, judge) for case in now.cases]
    keys_now = {case.key for case in now.cases}
    gone = tuple(dict.fromkeys(case.id for other in before for case in other.cases if case.key not in keys_now))
    lost = [case.id for case in cases if judge.missing(case)]
    decision = decide(cases, policy, [*gone, *lost])
    names = [str(path) for path in options.documents]
    if options.json:
        print(json.dumps(_as_map(names, cases, gone, notes, decision), indent=1))
    else:
        print(_as_text(names, cases, gone, notes))
        if policy.fail_on:
            print(decision.reason)
    return decision.exit_status


def judged(before: list[Run], now: Run, alpha: float) -> tuple[list[Case], tuple[str, ...], list[str]]:
    """The cases of `now` judged against the runs before, ids of those that it lacks, and what to know when reading it.

    `alpha` is for all metrics together: the intervals of what changed hold at once.
    """
    from perfguard.gate import Judge, Policy

    stored = _as_baselines(before, now, str(now.machine.get("class", "")))
    keys_now = {case.key for case in now.cases}
    judge = Judge.for_run(stored, Policy(alpha=alpha), keys_now)
    gone = tuple(dict.fromkeys(case.id for other in before for case in other.cases if case.key not in keys_now))
    return [_judged(case, judge) for case in now.cases], gone, _notes(before, now, learnt=False)


def _trimmed(run: Run, pattern: str | None) -> Run:
    return replace(run, cases=tuple(case for case in run.cases if matches(pattern, case.key)))


def _judge(before: list[Run], now: Run, policy: Any, noise_dir: Path | None) -> Judge:
    """The gate's judge, with the runs before as its baselines, each metric at the asked confidence by itself."""
    from perfguard import baselines
    from perfguard.gate import Judge

    machine_class = str(now.machine.get("class", ""))
    stored = _as_baselines(before, now, machine_class)
    judge = Judge.for_run(stored, policy, ())
    if noise_dir is None:
        return judge
    known = baselines.load(noise_dir, machine_class)
    return replace(judge, priors=Judge.for_run(known, policy, ()).priors)


def _as_baselines(before: list[Run], now: Run, machine_class: str) -> Baselines:
    """The runs before, as baselines of their metrics: those that compare with the machine of `now`."""
    from perfguard.baselines import BaselineMetric, Baselines
    from perfguard.baselines.summary import summarise
    from perfguard.document import PORTABLE_KINDS

    metrics: dict[MetricKey, BaselineMetric] = {}
    for run in before:
        same_machine = run.machine.get("class") == now.machine.get("class")
        for suite, found in summarise(run, f"run {run.run_id}").items():
            for (case_key, name), metric in found.items():
                if not same_machine and metric.kind not in PORTABLE_KINDS:
                    continue
                key = (suite, case_key, name)
                known = metrics.get(key)
                # The limit is the run's that is judged, not one that a person wrote into a baseline.
                runs = metric.process_runs if known is None else (*known.process_runs, *metric.process_runs)
                metrics[key] = replace(metric, process_runs=runs, limit=None)
    return Baselines("", machine_class, metrics)


def _judged(case: Case, judge: Judge) -> Case:
    from perfguard.document import with_verdict

    if case.status == "passed":
        return replace(case, metrics=tuple(judge.judge(case, metric) for metric in case.metrics))
    return replace(case, metrics=tuple(with_verdict(metric, "broken") for metric in case.metrics))


def _notes(before: list[Run], now: Run, learnt: bool) -> list[str]:
    notes = []
    if len(before) == 1:
        source = "learnt from the baselines" if learnt else "assumed"
        notes.append(
            "one process run each cannot tell run-to-run noise from a change: the noise in these "
            f"intervals is {source}; give more runs before to narrow them"
        )
    strangers = sorted({str(run.machine.get("class", "")) for run in before} - {str(now.machine.get("class", ""))})
    if strangers:
        notes.append(
            f"absolute figures of machine class {', '.join(strangers)} are not compared with those of "
            f"{now.machine.get('class', '')}: only ratios, fractions, counts and bytes are"
        )
    return notes


def _as_text(names: list[str], cases: list[Case], gone: tuple[str, ...], notes: list[str]) -> str:
    from perfguard.report.words import GLYPHS, phase_change_line
    from perfguard.units import format_change, format_change_interval, format_value

    entries = [(case, metric) for case in cases for metric in case.metrics]
    entries.sort(key=lambda entry: _SEVERITY.index(entry[1].verdict))
    rows = []
    for case, metric in entries:
        verdict = metric.verdict or "same"
        known, change = metric.baseline, metric.change
        exact = known is not None and metric.limit == 0
        rows.append(
            (
                f"{GLYPHS[verdict]} {verdict}",
                short_key(case.key),
                metric.name + ("" if metric.gated else " (not gated)"),
                "" if known is None else format_value(known.median, metric.unit, metric.kind),
                format_value(metric.median, metric.unit, metric.kind),
                "" if change is None or exact else format_change(change.ratio),
                "exact" if exact else "" if change is None else format_change_interval(change.ci),
            )
        )
    headers = ("verdict", "case", "metric", "before", "now", "change", "interval")
    lines = [
        f"before: {', '.join(names[:-1])}",
        f"now:    {names[-1]}",
        *(f"note: {note}" for note in notes),
        "",
    ]
    lines.append(table(headers, rows, frozenset({"before", "now", "change"})) if rows else "no metrics to compare")
    for case, metric in entries:
        if metric.verdict in ("slower", "faster") and metric.change is not None and metric.change.phases:
            lines.append(f"\n{metric.verdict}: {case.key} {metric.name}")
            lines.extend(f"  {phase_change_line(phase)}" for phase in metric.change.phases)
    lines.extend(f"gone: {case_id}" for case_id in gone)
    return "\n".join(lines)


def _as_map(
    names: list[str], cases: list[Case], gone: tuple[str, ...], notes: list[str], decision: Gate
) -> dict[str, Any]:
    from dataclasses import asdict

    def metric_map(metric: Metric) -> dict[str, Any]:
        known = metric.baseline
        return {
            "name": metric.name,
            "unit": metric.unit,
            "direction": metric.direction,
            "kind": metric.kind,
            "gated": metric.gated,
            "limit": metric.limit,
            "verdict": metric.verdict,
            "before": None if known is None else {"median": known.median, "process_runs": known.process_runs},
            "now": {"median": metric.median, "ci": list(metric.ci), "n": metric.n},
            "change": None if metric.change is None else asdict(metric.change),
        }

    return {
        "schema": SCHEMA,
        "before": names[:-1],
        "now": names[-1],
        "notes": notes,
        "gone": list(gone),
        "cases": [
            {
                "id": case.id,
                "key": case.key,
                "suite": case.suite,
                "status": case.status,
                "metrics": [metric_map(metric) for metric in case.metrics],
            }
            for case in cases
        ],
        "gate": asdict(decision),
    }
