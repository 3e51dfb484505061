"""Pictures that cases hand on: what reaches the document, and how lanes, ladders and stages are drawn."""

from __future__ import annotations

import json
from dataclasses import replace

import event_story
import pytest
from event_story import CASES

from perfguard.errors import MeasurementError
from perfguard.pictures import KEY, MAX_BARS, Bar, Lanes, Rung, Rungs, from_map, read, to_map
from perfguard_tui.draw.exhibits import draw_lanes, draw_rungs
from perfguard_tui.draw.pictures import draw_pictures
from perfguard_tui.draw.progress import draw_progress
from perfguard_tui.lines import plain, width_of
from perfguard_tui.store import Store

LANES = Lanes(
    "one request",
    ("compute", "dma"),
    (Bar(0, 0.0, 5e-3, "prefill", "a"), Bar(0, 5e-3, 8e-3, "decode", "b"), Bar(1, 0.0, 1e-3, "x", "c")),
)
RUNGS = Rungs(
    "by stage",
    (Rung("stage0", 100.0), Rung("stage1", 80.0, 90.0, {"gap": 2e-3, "dilation": -1e-4})),
    "tokens/s",
    "throughput",
    parts_title="lost per token",
)


def test_a_picture_survives_the_document() -> None:
    """As JSON and back it is the same; what is none is left out, and over the limits it is refused with its name."""
    for picture in (LANES, RUNGS):
        assert from_map(json.loads(json.dumps(to_map(picture)))) == picture
    wild = [None, 3, {}, {"kind": "lanes", "title": "x", "lanes": ["a"], "bars": [[7, 0, 1, "x", ""]]}, to_map(LANES)]
    wild += [{**to_map(RUNGS), "value_kind": []}, {**to_map(LANES), "bars": [[0, 0, float("nan"), "x", ""]]}]
    assert read({KEY: wild}) == (LANES,)
    assert read({KEY: "text"}) == ()
    with pytest.raises(MeasurementError, match="one request"):
        to_map(replace(LANES, bars=LANES.bars * MAX_BARS))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_lanes_are_as_long_as_they_took(width: int) -> None:
    """Lengths in proportion, the busy share at the right, names where there is room; never wider than the screen."""
    drawn = draw_lanes(LANES, width)
    assert max(map(width_of, drawn)) <= width
    compute = "".join(text for text, role in drawn[1] if role == "lane0")
    other = "".join(text for text, role in drawn[1] if role == "lane1")
    assert len(compute) / len(other) == pytest.approx(5 / 3, rel=0.15)
    assert "100%" in plain([drawn[1]])
    assert "12%" in plain([drawn[2]])
    assert "prefill" in compute
    assert "■ a" in plain(drawn)


@pytest.mark.parametrize("width", [60, 120])
def test_a_ladder_shows_what_was_predicted_and_what_is_lost(width: int) -> None:
    """The mark of the prediction beyond the end of the bar, by how much it missed, each part with its figure."""
    drawn = draw_rungs(RUNGS, width)
    assert max(map(width_of, drawn)) <= width
    row = plain([drawn[2]])
    assert row.index("┃") > row.index("█")
    text = plain(drawn)
    assert "0.80 x" in text
    if width > 60:
        for part in ("90 tokens/s", "+12%", "lost per token", "2 ms", "-100 µs"):
            assert part in text


def test_the_page_shows_what_a_case_handed_on() -> None:
    """Below the case's name, whatever suite it is of."""
    store = Store()
    store.apply_all(event_story.events(CASES[:2]))
    store.apply(
        {**event_story.events(CASES[:2])[-1], "kind": "extra", "case": CASES[0].id, "extra": {KEY: [to_map(LANES)]}}
    )
    text = plain(draw_pictures(store.snapshot(), 120, 40, log=False).main)
    assert "round_trip[empty-shm]" in text
    assert "prefill" in text


def test_what_runs_grows_with_the_clock() -> None:
    """Between events the bar of the running stage gets longer, the others stay; when it is over nothing moves."""
    events = event_story.events()
    last = max(i for i, event in enumerate(events) if event["kind"] == "stage" and event["case"] == CASES[3].id)
    store = Store()
    store.apply_all(events[: last + 2])
    run = store.snapshot()
    case = run.case(CASES[3].id)
    assert case is not None
    assert case.began_s is not None
    assert len(case.stages) > 1
    drawn = [draw_progress(case, case.began_s + after_s, 100) for after_s in (2.2, 4.6)]
    assert [line[2:4] for line in drawn[0][1:-1]] == [line[2:4] for line in drawn[1][1:-1]] or len(drawn[0]) == 2
    lengths = [plain([lines[-1]]).count("█") for lines in drawn]
    assert 0 < lengths[0] < lengths[1]
    assert all("▶" in plain([lines[-1]]) for lines in drawn)
    store.apply_all(events[last + 2 :])
    done = store.snapshot().case(CASES[3].id)
    assert done is not None
    assert draw_progress(done, 100.0, 100) == draw_progress(done, 200.0, 100)
