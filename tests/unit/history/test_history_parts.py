"""Claims about the parts of a history that need no database."""

from __future__ import annotations

import argparse
import datetime as dt
import math
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.cli import build_parser
from perfguard.errors import OptionError
from perfguard.history import ChangePoint, Trend, TrendPoint, changes, graph, packing
from perfguard.history.bisecting import bisect_command
from perfguard.history.order import Place, in_commit_order
from perfguard.history.plot import plot, sparkline
from perfguard.history.ranges import HistoryRange, parse_range
from perfguard.options import OPTIONS, settings
from perfguard.units import parse_limit

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)


def change(magnitude: float = 1.08, **fields: object) -> ChangePoint:
    known = {"case": "m::t[a b]", "case_id": "tests/m.py::t[a b]", "metric": "time", "machine_class": "c"}
    places = {"before": "a" * 40, "after": "b" * 40, "at_run": "r5"}
    sizes = {"magnitude": magnitude, "low": magnitude - 0.01, "high": magnitude + 0.01, "confidence": 0.999}
    return ChangePoint(**{**known, **places, **sizes, **fields})  # type: ignore[arg-type]


@given(st.lists(st.floats(allow_nan=False), max_size=50))
def test_samples_come_back_bit_by_bit(samples: list[float]) -> None:
    """Packing loses nothing, whatever the samples."""
    assert packing.unpack(packing.pack(samples)).tobytes() == np.array(samples, "<f8").tobytes()


def test_commits_go_by_position_and_those_without_one_by_time() -> None:
    """A rebased commit with an odd date keeps its position; one of a shallow clone goes where its time says."""
    places = {
        "third, dated wrong": Place(3, DAY, DAY),
        "first": Place(1, DAY + dt.timedelta(days=1), DAY),
        "second": Place(2, DAY + dt.timedelta(days=2), DAY),
        "shallow, of the second day": Place(None, DAY + dt.timedelta(days=2, hours=1), DAY),
        "before all": Place(None, DAY - dt.timedelta(days=9), DAY),
    }
    assert in_commit_order(list(places), places.__getitem__) == [
        "before all",
        "first",
        "second",
        "third, dated wrong",
        "shallow, of the second day",
    ]


def test_the_bisect_that_is_offered_is_one_that_the_command_line_takes() -> None:
    """Its words parse, with the case whole, and its limit is below the change that it is to find."""
    command = bisect_command(change(metric="p99"))
    options = build_parser().parse_args(shlex.split(command)[1:])
    assert isinstance(options, argparse.Namespace)
    assert (options.good, options.bad, options.metric) == ("a" * 12, "b" * 12, "p99")
    assert options.arguments == ["tests/m.py::t[a b]"]
    assert 0 < parse_limit(options.limit) < 0.08


@pytest.mark.parametrize(("magnitude", "limit"), [(3.99, 1.0), (1.08, 0.039), (1.0001, 0.00005), (900.0, 29.0)])
def test_the_limit_of_a_bisect_is_one_whatever_the_change(magnitude: float, limit: float) -> None:
    """A percentage without an exponent, of half the change."""
    words = shlex.split(bisect_command(change(magnitude)))
    assert parse_limit(words[words.index("--limit") + 1]) == pytest.approx(limit)


def test_no_bisect_is_offered_where_it_could_find_nothing() -> None:
    """What got better, or lies between no two commits, is no bisect's business."""
    assert bisect_command(change(0.9)) == ""
    assert bisect_command(change(better="higher")) == ""
    assert bisect_command(change(before="")) == ""
    assert bisect_command(change(after="a" * 40)) == ""


@pytest.mark.parametrize("text", ["history:main", "history:main@last-0", "history:main@last-x", "history:a b@last-2"])
def test_a_range_that_is_none_says_how_one_is_written(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(OptionError, match="history:main@last-20"):
        parse_range(text)


def test_a_range_names_a_branch_with_slashes_or_the_main_line() -> None:
    """Branches have any name; none means the main line."""
    assert parse_range("history:release/1.2@last-20") == HistoryRange("release/1.2", 20)
    assert parse_range("history:@last-3") == HistoryRange("", 3)


def test_a_pull_request_is_never_taken_for_the_branch_it_is_named_after() -> None:
    """A fork's pull request from a branch called main does not count as main."""
    fork = {"GITHUB_REF": "refs/pull/12/merge", "GITHUB_HEAD_REF": "main", "GITHUB_REF_NAME": "12/merge"}
    assert graph.branch_of({"branch": "main"}, fork) == "pull/12"
    push = {"GITHUB_REF": "refs/heads/main", "GITHUB_REF_TYPE": "branch", "GITHUB_REF_NAME": "main"}
    assert graph.branch_of({"branch": ""}, push) == "main"
    assert graph.branch_of({"branch": ""}, {"CI_COMMIT_BRANCH": "dev"}) == "dev"


def trend_of(values: list[float]) -> Trend:
    points = tuple(
        TrendPoint(f"r{i}", f"{i:040x}", DAY.isoformat(), value, value, value, 3) for i, value in enumerate(values)
    )
    return Trend("m::t", "time", "s", "lower", "c", points)


def test_a_plot_has_a_dot_per_point_and_marks_the_step_where_it_is() -> None:
    """As many braille dots as points where each has a column, the mark below the step, nothing wider than asked."""
    values = [0.010 + 0.00001 * (i % 5) for i in range(60)] + [0.011 + 0.00001 * (i % 5) for i in range(60)]
    text = plot(trend_of(values), [change(1.1, at_run="r60")], 100)
    assert sum(f"{ord(c) - 0x2800:b}".count("1") for c in text if 0x2800 < ord(c) < 0x2900) == 120
    assert max(map(len, text.splitlines())) <= 100
    *rows, axis, label = text.splitlines()
    start = rows[0].index("┤") + 1
    assert abs((axis.index("▲") - start) / (len(axis) - start) - 0.5) < 0.03
    assert label.strip() == "+10 %"
    assert "11" in rows[0]
    assert rows[-1].strip().startswith("10 ms")
    assert plot(trend_of(values), [], 100, ascii_only=True).isascii()


def test_one_outlier_does_not_flatten_a_plot() -> None:
    """A point a thousand times too high is drawn at the edge; the axis stays with the others."""
    text = plot(trend_of([0.010, 0.0101] * 30 + [10.0]), [], 80)
    assert " s┤" not in text
    assert plot(trend_of([]), [], 80) == ""
    assert plot(trend_of([0.01]), [], 80).count("⠁") == 1
    assert sparkline([1, 1, 8, 8], 4) == "▁▁██"


def test_of_many_changes_those_stay_that_keep_false_ones_below_the_share() -> None:
    """Benjamini and Hochberg's rule, on chances for which it is known: two of four among ten series."""
    found = [change(confidence=1 - chance) for chance in (0.04, 0.001, 0.009, 0.03)]
    kept = changes.most_certain(found, 10, 0.05)
    assert sorted(round(1 - c.confidence, 3) for c in kept) == [0.001, 0.009]


def test_times_are_followed_at_one_speed_of_the_machine() -> None:
    """Where the reference kernel slowed down with the case, the machine did it: what is left does not move."""
    rng = np.random.default_rng(3)
    speed = np.where(np.arange(100) < 50, 1.0, 1.3)
    noise = np.exp(rng.normal(0, 0.005, (2, 100)))
    fastest, reference = 1e-3 * speed * noise[0], 2e-4 * speed * noise[1]
    values, divisor = changes.levels("time", fastest * 1.1, fastest, reference)
    assert divisor == 0
    assert abs(values[50:].mean() - values[:50].mean()) < math.log(1.3) / 5
    shares, divisor = changes.levels("fraction", np.array([0.1, 0.2]), -np.ones(2), -np.ones(2))
    assert (list(shares), divisor) == ([0.1, 0.2], 1.0)


def test_baselines_from_history_are_not_updated_by_hand() -> None:
    """Asked for both, the options are refused before anything runs."""
    values = {option.ini: None for option in OPTIONS} | {"perfguard_export": ()}
    wanted = {
        "perfguard_baselines": "history:main@last-2",
        "perfguard_history": "off",
        "perfguard_history_samples": "on",
    }
    with pytest.raises(OptionError, match="cannot be updated"):
        settings({**values, **wanted, "perfguard_update": True}, Path.cwd(), Path.cwd())
    chosen = settings({**values, **wanted}, Path.cwd(), Path.cwd())
    assert (chosen.history, chosen.history_baselines) == (None, HistoryRange("main", 2))
    assert chosen.baselines == Path.cwd() / "baselines"
