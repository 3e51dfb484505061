"""Many rounds at once are the same as one after the other: on the way, in the store, in what is shown."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard.events.gather import Gatherer
from perfguard.events.rounds import Rounds, decode
from perfguard.events.schema import Event, pack, unpack
from perfguard_tui import reducers
from perfguard_tui.points import Points
from perfguard_tui.store import Store

_CASES = [f"t.py::test_{name}" for name in "abcdef"]
_FIGURES = st.floats(0, 1e3)


@st.composite
def _rounds(draw: st.DrawFn) -> Event:
    phases = draw(st.none() | st.dictionaries(st.sampled_from(["a", "a/b", "c"]), st.floats(-0.1, 1e3), max_size=3))
    return {
        "kind": "round",
        "case": draw(st.sampled_from(_CASES)),
        "metric": draw(st.sampled_from(["time", "bytes"])),
        "index": draw(st.integers(0, 5)),
        "iterations": draw(st.integers(1, 3)),
        "value": draw(_FIGURES | st.just(math.nan)),
        "warmup": draw(st.booleans()),
        "phases": phases,
    }


_OTHERS = st.sampled_from(_CASES).flatmap(
    lambda case: st.sampled_from(
        [
            {"kind": "case_started", "case": case},
            {"kind": "spans", "case": case, "round": 1, "spans": [["a", "", 1, 2]]},
            {"kind": "note", "case": case, "text": "so"},
            {"kind": "case_finished", "case": case, "status": "passed", "duration_s": 1.0, "message": ""},
        ]
    )
)


def _numbered(told: list[dict[str, Any]], steps: list[int]) -> list[Event]:
    """The events with envelopes; times never go back, and may stand still."""
    times = np.cumsum([steps[i % len(steps)] for i in range(len(told))]).tolist()
    return [
        {"v": 1, "run": "r", "src": "main", "seq": seq, "t_ns": t_ns, **event}
        for seq, (t_ns, event) in enumerate(zip(times, told, strict=True))
    ]


def _gathered(events: list[Event], most: int) -> list[Event | Rounds]:
    """As a producer would send them, in frames of at most `most` rounds."""
    gatherer, items = Gatherer("r", "main"), []

    def flush() -> None:
        items.extend(decode(frame) for frame, _, _ in gatherer.frames())
        gatherer.clear()

    for event in events:
        fields = {
            name: value for name, value in event.items() if name not in ("v", "run", "src", "seq", "t_ns", "kind")
        }
        if event["kind"] == "round" and gatherer.add(event["seq"], event["t_ns"], fields):
            if len(gatherer.rows) >= most:
                flush()
        else:
            flush()
            items.append(unpack(pack(event)))
    flush()
    return items


def _image(store: Store) -> dict[str, Any]:
    """All that can be seen of a store, raw records and points included; not a number is as good as another."""
    run = store.snapshot()
    shown = asdict(run)
    for case, view in zip(shown["cases"], run.cases, strict=True):
        case["points"] = [[column.tolist() for column in series.points or ()] for series in view.series]
        case["series"] = [(one.metric, one.n, one.warmup, one.recent, one.median) for one in view.series]
    raw = [store.raw(case, index) for case in _CASES for index in range(6)]
    return {"run": repr(shown), "raw": repr(raw), "stale": list(store._run.stale)}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(_rounds(), min_size=1, max_size=40) | st.lists(_OTHERS, max_size=1), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**8), min_size=1, max_size=5),
    st.sampled_from([2, 7, 256]),
    st.integers(0, 5),
)
def test_batches_fold_as_single_events_do(
    told: list[list[dict[str, Any]]], steps: list[int], most: int, looked: int
) -> None:
    """Whatever comes, however it was gathered, whenever somebody looked: the same run, points, phases and records."""
    events = _numbered([event for part in told for event in part], steps)
    one_by_one, together = Store(), Store()
    items = _gathered(events, most)
    seen = 0
    for number, item in enumerate(items):
        together.apply_all([item])
        single = list(item) if isinstance(item, Rounds) else [item]
        assert repr(single) == repr(events[seen : seen + len(single)])
        for event in single:
            one_by_one.apply(event)
        seen += len(single)
        if number == looked:
            assert _image(together) == _image(one_by_one)
    assert seen == len(events)
    assert _image(together) == _image(one_by_one)


@pytest.mark.parametrize("cases", [1, 40, 130])
def test_thousands_of_rounds_fold_the_same_in_any_pieces(cases: int) -> None:
    """Thinned points, shortened series and all: in frames of 256, of 40, or one by one."""
    rng = np.random.default_rng(cases)
    order = np.sort(rng.integers(0, cases, 6000)) if cases == 1 else rng.integers(0, cases, 6000)
    common = {"kind": "round", "metric": "time", "iterations": 1, "warmup": False}
    told = [
        {**common, "case": f"t.py::test_{number}", "index": i, "value": float(rng.normal(1, 0.1)), "phases": {"a": 0.5}}
        for i, number in enumerate(order.tolist())
    ]
    events = _numbered(told, [1000, 10**6])
    images = []
    for most in (1, 40, 256):
        store = Store()
        store.apply_all(_gathered(events, most) if most > 1 else events)
        images.append(_image(store))
    assert images[0] == images[1] == images[2]


@given(
    st.lists(st.lists(st.integers(0, 20) | st.just(math.nan), min_size=1, max_size=90), min_size=1, max_size=8),
    st.integers(4, 40),
    st.booleans(),
)
def test_points_are_kept_alike_in_any_pieces(pieces: list[list[float]], limit: int, shorter: bool) -> None:
    """In pieces or one by one the same points stay, also when fewer are allowed on the way."""
    together, one_by_one = Points(), Points()
    place = 0
    for number, piece in enumerate(pieces):
        allowed = limit // 2 + 2 if shorter and number > 2 else limit
        index = np.arange(place, place + len(piece))
        value = np.array(piece, dtype=np.float64)
        together.extend(index / 8, index, value, allowed)
        for i, one in zip(index.tolist(), value.tolist(), strict=True):
            one_by_one.add(i / 8, i, one, allowed)
        place += len(piece)
        assert len(together.value) <= allowed
        assert repr([a.tolist() for a in together.arrays()]) == repr([a.tolist() for a in one_by_one.arrays()])
    assert together.n == one_by_one.n == place


def test_the_room_of_all_series_is_bounded_and_the_old_give_way() -> None:
    """When many series come, those from before become shorter too; nothing else about them changes."""
    store, limits = Store(), set()
    common = {"kind": "round", "metric": "time", "iterations": 1, "warmup": False, "phases": None}
    told = [
        {**common, "case": f"t.py::test_{number}", "index": i, "value": float(i)}
        for number in range(300)
        for i in range(2100 if number == 0 else 3)
    ]
    for item in _gathered(_numbered(told, [1000]), 256):
        store.apply_all([item])
        limits.add(store._run.limit)
    assert len(limits) > 2
    first = store.snapshot().cases[0].series[0]
    assert first.points is not None
    assert len(first.points[0]) <= store._run.limit + 2
    assert (first.n, first.recent[-1]) == (2100, 2099.0)
    assert {0.0, 2099.0} <= set(first.points[2].tolist())
    assert reducers.MAX_SERIES == 16
