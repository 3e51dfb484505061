"""Claims about how `make quality` counts: what is a false alarm, a detection, a suite, a named phase."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import live
import numpy as np
import pytest
import report
from rates import Rate
from rules import RULES


def duet_round(
    index: int, injected: dict[str, tuple[str, int]], slower: dict[str, tuple[str, float]]
) -> dict[str, Any]:
    """A duet's record of three cases; `slower` names those that alarm, with leading phase and share."""
    cases = {
        name: {
            "verdict": "slower" if name in slower else "same",
            "phases": [list(slower[name])] if name in slower else [],
            "restarts": [(0.01, 0.002)] * 20,
        }
        for name in ("json", "regex", "pipes")
    }
    return {"round": index, "method": "duet", "injected": injected, "cases": cases, "seconds": 30.0, "busy": 0.5}


def samples_round(index: int, side: str, injected: dict[str, tuple[str, int]], factor: float) -> dict[str, Any]:
    """A process run's record of one case whose samples are `factor` times as long."""
    data = (factor * (1 + 0.001 * np.arange(50))).tolist()
    cases = {"json": {"mean": float(np.mean(data)), "min": min(data), "data": data}}
    return {"round": index, "method": side, "injected": injected, "cases": cases, "seconds": 5.0, "busy": 0.5}


RECORDS = [
    duet_round(0, {}, {}),
    duet_round(1, {"json": ("work", 5), "regex": ("finish", 20)}, {"json": ("work", 0.95), "regex": ("finish", 0.8)}),
    duet_round(2, {"json": ("work", 5)}, {"pipes": ("work", 1.0)}),
    duet_round(3, {}, {"json": ("work", 1.0)}),
]


def test_alarms_are_counted_by_what_was_changed() -> None:
    """Unchanged cases give false alarms, also in rounds with changes; suites are judged only where nothing changed."""
    rates = report.rates_of(report.verdict_outcomes(RECORDS, "duet"))
    assert rates["false_alarm_case"] == Rate(2, 9)
    assert rates["false_alarm_suite"] == Rate(1, 2)
    assert rates["detect_5"] == Rate(1, 2)
    assert rates["detect_20"] == Rate(1, 1)
    assert rates["detect_3"] == Rate(0, 0)


def test_phases_are_counted_for_true_alarms_only() -> None:
    """Two true alarms: the slowed phase leads in both, with 90 % of the change in one."""
    assert report.phases_named(RECORDS, "duet") == (Rate(2, 2), Rate(1, 2))


def test_restarts_of_changed_cases_are_no_recorded_noise() -> None:
    """What is replayed as noise was measured without a change."""
    found = report.unchanged_restarts(RECORDS)
    assert {name: len(restarts) for name, restarts in found.items()} == {"json": 40, "regex": 60, "pipes": 80}


@pytest.mark.parametrize("rule", RULES)
def test_other_tools_rules_find_a_plain_slowdown_and_nothing_in_equal_samples(rule: str) -> None:
    """Twenty per cent without noise is found by all, equal samples by none: the rules are what they are called."""
    records = [samples_round(0, "base", {}, 1.0), samples_round(0, "head", {}, 1.0)]
    slowed = {"json": ("work", 20)}
    records += [samples_round(1, "base", slowed, 1.0), samples_round(1, "head", slowed, 1.2)]
    rates = report.rates_of(report.rule_outcomes(records, rule))
    assert rates["false_alarm_case"] == Rate(0, 1)
    assert rates["detect_20"] == Rate(1, 1)


def test_figures_have_the_names_that_others_read() -> None:
    """docs/quality.json: every method with every rate, its interval and n, and seconds per case."""
    figures = report.quality(RECORDS[:2])
    assert set(figures) == {"duet", "stored", *RULES, "replayed"}
    assert {"false_alarm_case", "false_alarm_suite", "detect_3", "detect_5", "detect_10", "detect_20"} < set(
        figures["duet"]
    )
    assert figures["duet"]["seconds_per_case"] == 10.0
    found = figures["duet"]["detect_5"]
    assert (found["rate"], found["hits"], found["n"]) == (1.0, 1, 1)
    assert found["interval"][0] == pytest.approx(0.025)
    json.dumps(figures, allow_nan=False)


def test_the_page_keeps_its_own_words(tmp_path: Path) -> None:
    """Only what stands between the marks is replaced, and can be replaced again."""
    page = tmp_path / "quality.md"
    page.write_text(f"before\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nafter\n")
    for _ in range(2):
        report.write(tmp_path, RECORDS[:2], {"machine": "a machine"})
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.count("| `duet` |") == 1


def test_a_round_slows_nine_of_twelve_cases_and_every_third_none() -> None:
    """The changes of a round are drawn anew, and as many as announced."""
    assert live.changes_of(3, random.Random(1)) == {}
    injected = live.changes_of(4, random.Random(1))
    assert sorted(units for _, units in injected.values()) == [3, 3, 5, 5, 5, 10, 10, 20, 20]
    assert {phase for phase, _ in injected.values()} <= set(live.PHASES)


def test_a_measurement_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """A line without its end is left out, and what was measured after it counts."""
    lines = [json.dumps(RECORDS[0]), json.dumps(RECORDS[1])[:50], json.dumps(RECORDS[2])]
    (tmp_path / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    records, facts = report.read(tmp_path)
    assert [record["round"] for record in records] == [0, 2]
    assert facts == {}
