"""What a bisect tells: a line for each comparison as it is made, the result in words, and all of it as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from perfguard.bisect.comparison import is_exact
from perfguard.bisect.driver import Plan, Result, Step
from perfguard.bisect.search import Search
from perfguard.document import Metric
from perfguard.report.words import GLYPHS, change_line, phase_change_line
from perfguard.units import format_change, format_change_interval, format_value

SCHEMA = "perfguard.bisect/1"
SUBJECT_WIDTH = 50
_ANSWERS = {"good": "good", "bad": "bad", "skip": "skipped"}
_AGAINST = {"ends": "BAD against GOOD", "step": "", "neighbours": "against the last good one"}


def beginning(commits: int, plan: Plan, steps: int) -> str:
    """What is about to be done."""
    return (
        f"{commits} commits after GOOD, some {steps} steps of up to {plan.seconds:.0f} s; "
        f"alpha {plan.alpha:.2%} for all comparisons together"
    )


def step_line(step: Step, search: Search) -> str:
    """One comparison: commit, change with interval, verdict, what it means for the search, seconds, subject."""
    subject = _cut(step.commit.subject)
    what = f"  {_AGAINST[step.role]}" if _AGAINST[step.role] else ""
    if step.metric is None:
        return f"  {step.commit.short}  {'':<34} {'':<9} skipped  {step.spent_s:>4.0f} s  {subject}: {step.reason}"
    verdict = step.metric.verdict or ""
    answer = _ANSWERS[step.answer] if step.role == "step" else ""
    left = f"  ({len(search.suspects)} left)" if step.role == "step" and step.answer != "skip" else ""
    return (
        f"  {step.commit.short}  {_change(step.metric):<34} {GLYPHS.get(verdict, ' ')} {verdict:<7} {answer:<7}  "
        f"{step.spent_s:>4.0f} s  {subject}{what}{left}"
    )


def following(ends: Metric, limit: float) -> str:
    """After the ends: how large the slowdown is, and what tells good from bad."""
    if is_exact(ends):
        return f"following {ends.name}: compared by equality"
    return (
        f"following {ends.name}: a commit is bad if it is certainly slower than GOOD, good if "
        f"{format_change(1 + limit)} or more is excluded"
    )


def conclusion(result: Result, good: str, bad: str) -> list[str]:
    """The result in words."""
    ends = result.ends.metric
    if result.conclusion == "not slower":
        return [f"{bad} is not slower than {good}: {_seen(ends)}"]
    if result.conclusion == "noisy":
        return [f"cannot tell whether {bad} is slower than {good}: {_seen(ends)}", "give more time with --seconds"]
    suspects, last = result.suspects, result.neighbours
    if len(suspects) == 1:
        lines = [f"first slower commit: {suspects[0].id}", f"    {suspects[0].subject}"]
    else:
        lines = [f"the first slower commit is one of these {len(suspects)}: the others could not be told"]
        lines += [f"    {commit.short}  {_cut(commit.subject)}{_why(result, commit.id)}" for commit in suspects]
    if last is not None:
        lines += _confirmation(result, last)
    return lines


def as_map(result: Result, plan: Plan, good: str, bad: str) -> dict[str, Any]:
    """The result as plain JSON types."""
    target, suspects = result.target, result.suspects
    return {
        "schema": SCHEMA,
        "good": {"revision": good, "id": result.commits[0].id},
        "bad": {"revision": bad, "id": result.commits[-1].id},
        "commits": len(result.commits) - 1,
        "alpha": plan.alpha,
        "case": None if target is None else target.case_id,
        "metric": None if target is None else target.metric,
        "conclusion": result.conclusion,
        "first_slower": suspects[0].id if result.conclusion == "found" else None,
        "suspects": [commit.id for commit in suspects],
        "explains_part_only": result.partly,
        "ends": _step_map(result.ends),
        "steps": [_step_map(step) for step in result.steps],
        "neighbours": None if result.neighbours is None else _step_map(result.neighbours),
    }


def _confirmation(result: Result, last: Step) -> list[str]:
    whom = "its parent" if len(result.suspects) == 1 else f"{last.against.short}, the last good one"
    if last.metric is None:
        return [f"not confirmed: compared with {whom}, {last.reason}"]
    lines = [f"    against {whom}: {change_line(last.metric)}"]
    if result.conclusion == "unconfirmed":
        lines.append(f"not confirmed: against {whom} it is {last.metric.verdict}; the slowdown may come in small parts")
        return lines
    phases = () if last.metric.change is None else last.metric.change.phases
    lines += [f"    {phase_change_line(phase)}" for phase in phases if abs(phase.share) >= 0.02]
    if result.partly:
        lines.append(f"    this is not all of it: go on with `perfguard bisect {last.commit.short} BAD`")
    return lines


def _change(metric: Metric) -> str:
    if metric.change is None:
        return ""
    if is_exact(metric):
        before = "?" if metric.baseline is None else format_value(metric.baseline.median, metric.unit, metric.kind)
        return f"{before} -> {format_value(metric.median, metric.unit, metric.kind)}"
    return f"{format_change(metric.change.ratio):>8} {format_change_interval(metric.change.ci)}"


def _seen(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.verdict}, {change_line(metric)}"


def _why(result: Result, commit: str) -> str:
    step = next((step for step in result.steps if step.commit.id == commit and step.answer == "skip"), None)
    if step is None:
        return ""
    return f": {step.reason or 'noisy'}"


def _cut(subject: str) -> str:
    return subject if len(subject) <= SUBJECT_WIDTH else f"{subject[: SUBJECT_WIDTH - 1]}…"


def _step_map(step: Step) -> dict[str, Any]:
    metric = step.metric
    return {
        "role": step.role,
        "commit": step.commit.id,
        "subject": step.commit.subject,
        "against": step.against.id,
        "answer": step.answer,
        "verdict": None if metric is None else metric.verdict,
        "change": None if metric is None or metric.change is None else asdict(metric.change),
        "process_runs": None if metric is None or metric.baseline is None else metric.baseline.process_runs,
        "reason": step.reason,
        "seconds": step.spent_s,
        "alpha": step.alpha,
        "limit": step.limit,
    }
