"""Drawings: what stands where at which width; nothing in a name can break out of its cell."""

from __future__ import annotations

import dataclasses

import event_story
import pytest
from event_story import CASES, MODULE, Told
from hypothesis import given
from hypothesis import strategies as st

from perfguard_tui.draw.alternatives import draw_alternatives
from perfguard_tui.draw.detail import draw_left, draw_right, draw_title
from perfguard_tui.draw.help import draw_footer, draw_help
from perfguard_tui.draw.phases import phase_rows
from perfguard_tui.draw.run_bar import format_elapsed, run_bar
from perfguard_tui.draw.table import columns_for, header, row
from perfguard_tui.feed import FeedStatus
from perfguard_tui.lines import clean, crop, fit, fit_middle, line, plain, spread, width_of
from perfguard_tui.marks import bar, interval_bar, sparkline
from perfguard_tui.state import State
from perfguard_tui.store import Store
from perfguard_tui.views import CaseView, RunView, SeriesView, SpanView

SLOWER = f"{MODULE}::test_round_trip[10MiB-shm]"


def _run(cases: tuple[Told, ...] = CASES) -> RunView:
    store = Store()
    store.apply_all(event_story.events(cases))
    return store.snapshot()


@pytest.fixture(scope="module")
def run() -> RunView:
    return _run()


@pytest.fixture(scope="module")
def slower(run: RunView) -> CaseView:
    case = run.case(SLOWER)
    assert case is not None
    return case


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_screen(run: RunView, width: int) -> None:
    """Rows fill the width exactly, everything else stays within it."""
    columns = columns_for(width)
    assert width_of(header(columns)) <= width
    feed = FeedStatus("live", "", gaps=12, bad=3)
    drawn = [
        *run_bar(run, feed, 61.0, width, paused=True),
        draw_footer(width, State(filter="filter words"), following=True),
    ]
    for case in run.cases:
        assert width_of(row(case, columns)) <= width
        drawn += [draw_title(case, width), *draw_left(case, width, alone=True), *draw_right(case, width)]
    for one in drawn:
        assert width_of(one) <= width, plain([one])


def test_a_row_tells_verdict_change_and_median(slower: CaseView) -> None:
    """As glyph and word, with the interval, in human units."""
    text = plain([row(slower, columns_for(120))])
    for part in ("✓", "transport/round_trip[10MiB-shm]", "60", "2.75 ms ±", "+41% [+38, +44]", "▲ slower"):
        assert part in text


def test_eighty_columns_are_enough_for_what_matters(run: RunView) -> None:
    """Name, median, change with interval and verdict of every case."""
    text = plain([row(case, columns_for(80)) for case in run.cases])
    for part in ("▼ faster", "= same", "? noisy", "▲ slower", "+ new", "! broken", "-19% [-21, -17]"):
        assert part in text


def test_phases_close_and_unaccounted_is_always_last(slower: CaseView) -> None:
    """Shares sum to the whole; the tree has parents before children, heaviest first."""
    rows = phase_rows(slower)
    assert [r.path for r in rows][:3] == ["rpc", "rpc/copy", "rpc/wake"]
    assert rows[-1].path == "unaccounted"
    assert sum(r.share for r in rows) == pytest.approx(1.0)
    text = plain(draw_left(slower, 80, alone=False))
    assert "  copy" in text
    assert "= 96%" in text
    assert "unaccounted" in text


def test_live_phases_close_too(slower: CaseView) -> None:
    """Before the account is there, what no phase claims is the rest of the call."""
    rows = phase_rows(dataclasses.replace(slower, account=None))
    assert sum(r.self_s for r in rows) == pytest.approx(slower.live_call_s)


def test_what_no_phase_claims_is_shown_once(slower: CaseView) -> None:
    """A run's rounds carry `unaccounted` among their phases; it stays one row, the last."""
    live = (*slower.live_phases, ("unaccounted", 1e-6))
    rows = phase_rows(dataclasses.replace(slower, account=None, live_phases=live))
    assert [row.path for row in rows].count("unaccounted") == 1


def test_a_case_without_phases_says_how_to_get_them(slower: CaseView) -> None:
    """And its metrics take the room of the phases."""
    case = dataclasses.replace(slower, account=None, live_phases=())
    assert 'perfguard.phase("name")' in plain(draw_left(case, 80, alone=True))
    assert 'perfguard.phase("name")' in plain(draw_right(case, 60))
    assert "was 1.95 ms" in plain(draw_left(case, 80, alone=False))


def test_alternatives_are_drawn_on_one_scale() -> None:
    """A comparison's times, shortest first, each with its factor."""
    series = tuple(SeriesView(f"{name}_time", 3, 0, (s,), s) for name, s in (("tcp", 4e-3), ("shm", 1e-3)))
    lines = plain(draw_alternatives(CaseView("id", "s", "n", series=series), 60)).splitlines()
    assert lines[1].split()[:5] == ["shm", "1", "ms", "1", "x"]
    assert lines[2].split()[:5] == ["tcp", "4", "ms", "4", "x"]
    assert lines[2].count("█") == pytest.approx(4 * lines[1].count("█"), abs=4)
    assert draw_alternatives(CaseView("id", "s", "n", series=series[:1]), 60) == []


def test_a_span_without_its_parent_is_shown_by_its_whole_path(slower: CaseView) -> None:
    """`request/copy` and `reply/copy` are not both `copy`."""
    spans = (SpanView("request/copy", "", 0, 10), SpanView("reply", "", 10, 30), SpanView("reply/copy", "", 12, 20))
    text = plain(draw_left(dataclasses.replace(slower, spans=spans), 80, alone=False))
    assert "request/copy" in text
    assert "reply/copy" not in text
    assert "\n   copy" in text


def test_a_waterfall_has_a_lane_for_each_side(slower: CaseView) -> None:
    """Lanes in order of their first span, each span with its length."""
    text = plain(draw_left(slower, 80, alone=False))
    assert text.index("measured thread") < text.index("\n wire") < text.index("\n server")


def test_spans_out_of_order_or_of_no_length_are_drawn(slower: CaseView) -> None:
    """A waterfall never raises, whatever the times."""
    spans = (SpanView("b", "x", 50, 50), SpanView("a", "", 10, 90), SpanView("c/d", "x", 0, 10**12))
    text = plain(draw_left(dataclasses.replace(slower, spans=spans), 80, alone=False))
    assert "1000 s" in text


def test_metrics_say_what_they_were_and_against_what(slower: CaseView) -> None:
    """Figure with interval, baseline, change with interval, limit, process runs."""
    text = plain(draw_right(slower, 60))
    for part in ("time", "▲ slower", "was 1.95 ms", "+41 % [+38 %, +44 %]", "limit 10 %, 8 process runs", "n=60"):
        assert part in text


def test_the_message_of_a_broken_case_is_a_note(run: RunView) -> None:
    """Why it failed is shown once, wrapped."""
    text = plain(draw_right(run.cases[-1], 40))
    assert text.count("PeerDied") == 1


def test_the_run_bar_always_says_gaps(run: RunView) -> None:
    """Whatever else gives way at a small width."""
    for width in (60, 80, 120):
        lines = run_bar(run, FeedStatus("lost", gaps=7), 0.0, width, paused=False)
        assert "gaps 7" in plain(lines)
        assert "✗ lost" in plain(lines)
        assert "gate exit 1" in plain(lines)


def test_the_run_bar_says_how_long_it_will_take(run: RunView) -> None:
    """While the run is live, at the pace so far."""
    half = dataclasses.replace(run, done=5, exit_status=None, gate=None)
    assert "~1:00 left" in plain(run_bar(half, FeedStatus("live"), 60.0, 120, paused=False))
    assert "left" not in plain(run_bar(half, FeedStatus("replay"), 60.0, 120, paused=False))


def test_elapsed_times_are_read_as_clocks() -> None:
    """Minutes and seconds, hours when there are any."""
    assert [format_elapsed(s) for s in (0.4, 62, 3723)] == ["0:00", "1:02", "1:02:03"]


def test_the_footer_at_eighty_columns_has_help_and_quit() -> None:
    """The two keys that everything else can be found from."""
    text = plain([draw_footer(80, State(), following=False)])
    assert "? help" in text
    assert "q quit" in text
    assert "▲ slower" in plain(draw_help())


EVIL = "[red]x[/] \x1b[31mred\x1b[0m \x07\r\n\t\u202egnirts\u2066 \ud800"


def test_markup_and_controls_in_names_stay_text() -> None:
    """Brackets are shown as they are, controls as a replacement sign."""
    text = plain([row(CaseView("id", "[b]suite", EVIL), columns_for(200))])
    assert "[red]x[/]" in text
    assert not {"\x1b", "\x07", "\r", "\n", "\t", "\u202e", "\ud800"} & set(text)


@given(st.text(max_size=60), st.integers(0, 60))
def test_cells_have_exactly_their_width(text: str, width: int) -> None:
    """Whatever the text: wide, combining, controls, surrogates."""
    for cut in (fit(text, width), fit(text, width, right=True), fit_middle(text, width)):
        assert width_of([(cut, "text")]) == width
        assert cut == clean(cut)


@given(st.lists(st.text(max_size=20), max_size=6), st.integers(1, 80))
def test_lines_are_cropped_to_their_width(texts: list[str], width: int) -> None:
    """Left and right parts share the width or the right one gives way."""
    spans = line(*((text, "text") for text in texts))
    assert width_of(crop(spans, width)) <= width
    assert width_of(spread(spans, spans, width)) <= width


def test_sparklines_do_not_dramatise() -> None:
    """Steady values look flat, a jump looks like one, infinities are left out."""
    assert set(sparkline([1.0, 1.001, 0.999, 1.0], 4)) <= set("▄▅")
    assert sparkline([1, 1, 1, 5], 4) == "▁▁▁█"
    assert sparkline([float("nan"), float("inf")], 4) == ""
    assert len(sparkline(list(range(1000)), 20)) == 20


def test_bars_are_exact_to_an_eighth() -> None:
    """Something is never drawn as nothing, nothing never as something."""
    assert (bar(0.5, 4), bar(1.0, 4), bar(0, 4), bar(2.0, 3)) == ("██", "████", "", "███")
    assert bar(1 / 32, 4) == "▏"
    assert bar(1e-9, 4) == "▏"
    assert bar(float("nan"), 4) == ""


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 100))
def test_an_interval_stays_within_its_cells(a: float, b: float, width: int) -> None:
    """Its bar has at least a cell and ends within the width."""
    at, drawn = interval_bar(min(a, b), max(a, b), width)
    assert at >= 0
    assert len(drawn) >= 1
    assert at + len(drawn) <= width
