"""Claims about what a ladder tells: the tables, the picture, the document, and who the others are that disturb it."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from perfguard.ladder import Ladder, Load, Stage, StageRun, measure
from perfguard.ladder.chart import chart
from perfguard.ladder.document import to_document
from perfguard.ladder.synthetic import VirtualClock, stages
from perfguard.ladder.tables import render
from perfguard.noise import _own_cpu_s


@pytest.fixture
def ladder() -> Ladder:
    """Three stages of 1, 1.1 and 1.2 ms a step of eight rows, the last of which may not cost so much."""
    bottom, middle, top = stages(VirtualClock(), (1e-3, 1e-4, 1e-4))
    made = [bottom, middle, Stage("<top> & co", top.component, top.run, target=0.9)]
    return measure(made, Load(requests=8, new_tokens=10), rounds=6, budget_s=0.0, meter=lambda: (0.0, 0.0))


def test_the_tables_say_what_adds_up(ladder: Ladder) -> None:
    """Speeds with ratios on one basis each, losses with their terms, the sum, and the target that was missed."""
    told = render(ladder)
    top = next(line for line in told.splitlines() if line.startswith("<top> & co"))
    for cell in ("6666.7", "0.833 [0.833, 0.833]", "0.917 [0.917, 0.917]", "+12.5 µs", "slower", ">= 0.9: missed"):
        assert cell in top
    assert "time per token of <top> & co 150 µs = stage 0 125 µs + added 25 µs + unexplained 0 s (0.00%)" in told
    assert "0 of 6 rounds were disturbed, 0 set aside" in told
    assert "Loss against stage 0 per token" in told
    assert "200.0 µs [200.0, 200.0]" in told  # outside the passes, per step


def test_markdown_has_the_same_rows_and_escapes(ladder: Ladder) -> None:
    """A page's table has the terminal's cells; a bar in a name does not open a column."""
    first, *others = ladder.stages
    renamed = replace(ladder, stages=(replace(first, component="a|b"), *others))
    told = render(renamed, markdown=True)
    assert "| stage 0 | a\\|b | 8000.0 [8000.0, 8000.0] | 1 |" in told
    widths = [line.replace("\\|", "").count("|") for line in told.splitlines() if line.startswith("|")]
    assert len(set(widths)) == 3  # speeds, losses, latencies


def test_the_chart_is_svg_with_every_stage_and_term(ladder: Ladder) -> None:
    """It parses whatever the names contain, and shows each stage's loss in numbers."""
    root = ET.fromstring(chart(ladder))
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    for word in ("<top> & co", "0.833", "+25.0", "serial gap", "forward dilation", "batch mix", "target"):
        assert word in words


def test_the_document_is_plain_json_with_the_terms(ladder: Ladder) -> None:
    """Every stage with samples, intervals, terms that sum to the loss, and the orders it ran in."""
    found = json.loads(json.dumps(to_document(ladder)))
    top = found["stages"][2]
    terms = top["terms"]
    assert terms["gap_s"] + terms["dilation_s"] + terms["mix_s"] == pytest.approx(terms["loss_s"])
    assert terms["loss_s"] == pytest.approx(25e-6)
    assert (top["target_met"], top["batch_sizes"], len(top["tokens_per_s"]["samples"])) == (False, {"8": 60}, 6)
    assert len(found["rounds"]["orders"]) == 6


def test_one_stage_alone_is_a_ladder() -> None:
    """A server by itself: its speed and nothing to compare it with."""
    alone = measure([Stage("server", "", lambda _: StageRun(2.0, 100, ()))], Load(), rounds=2, budget_s=0.0)
    told = render(alone)
    assert "50.0" in told
    assert "previous" not in told
    assert ET.fromstring(chart(alone)) is not None


def test_a_measured_process_is_no_other() -> None:
    """CPU time of a named process that nobody here started counts as the measurement's own, our own only once."""
    alone_s, beside_s = _own_cpu_s(()), _own_cpu_s((os.getppid(), os.getpid(), 2**22 + 1))
    twice_s = _own_cpu_s((os.getppid(), os.getppid()))
    assert alone_s <= beside_s <= twice_s < beside_s + max(1.0, beside_s / 2)
