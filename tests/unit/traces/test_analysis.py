"""Claims about the analysis: equal to counting nanosecond by nanosecond, and to HTA's figures by its definitions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_traces import COPY, GEMM, Kineto, training

from perfguard.errors import OptionError, TraceError
from perfguard.spans.intervals import length_within
from perfguard.traces import kineto, model
from perfguard.traces.analysis import Analysis, Wishes, analyse
from perfguard.traces.rows import layer_pattern

ROWS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 12), st.integers(0, 7), st.integers(0, 2)), min_size=1, max_size=20
)
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), max_size=8)


def trace_of(rows: list[tuple[int, int, int, int]], ranges: list[tuple[int, int]] | None = None) -> model.Trace:
    """Activities as (start, length, kind, stream), host ranges as (start, length), all in ns."""
    start, lasted, kind, stream = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    zeros = np.zeros(len(rows), np.int64)
    host = np.array(ranges or [], np.int64).reshape(-1, 2)
    nothing = np.empty(0, np.int64)
    return model.Trace(
        "made",
        "kineto",
        ("a", "r"),
        model.Activities(start, start + lasted, zeros, kind, zeros, stream, zeros - 1),
        model.Ranges(host[:, 0], host[:, 0] + host[:, 1], np.ones(len(host), np.int64), np.zeros(len(host), np.int64)),
        model.Launches(nothing, nothing, nothing),
    )


def units(rows: list[tuple[int, int]]) -> set[int]:
    return {at for start, lasted in rows for at in range(start, start + lasted)}


@given(ROWS, SPANS)
def test_figures_equal_counting_unit_by_unit(
    rows: list[tuple[int, int, int, int]], ranges: list[tuple[int, int]]
) -> None:
    """Lanes, pairs, idle time, exposed time and ranges are those of sets of nanoseconds."""
    found = analyse(trace_of(rows, ranges))
    lanes = {name: units([row[:2] for row in rows if row[2] == k]) for k, name in enumerate(model.KIND_NAMES)}
    lanes["copy"] = units([row[:2] for row in rows if row[2] in model.COPIES])
    lanes |= {f"stream {n}": units([row[:2] for row in rows if row[3] == n]) for n in range(3)}
    busy = units([row[:2] for row in rows])
    first, last = min(row[0] for row in rows), max(row[0] + row[1] for row in rows)
    assert found.span_s == pytest.approx((last - first) / 1e9)
    assert found.idle_s == pytest.approx((last - first - len(busy)) / 1e9)
    assert sum(found.exposed.values()) + found.idle_s == pytest.approx(found.span_s)
    for name, length_s in found.lanes.items():
        assert length_s == pytest.approx(len(lanes[name]) / 1e9)
    for pair in found.pairs:
        both = len(lanes[pair.a] & lanes[pair.b])
        assert pair.intersection_s == pytest.approx(both / 1e9)
        assert pair.efficiency == pytest.approx(both / min(len(lanes[pair.a]), len(lanes[pair.b])))
    kernels, window = lanes["compute"] | lanes["communication"], units(ranges)
    for one in found.ranges:
        assert one.compute_s == pytest.approx(len(kernels & window) / 1e9)
        assert one.both_s == pytest.approx(len(kernels & lanes["copy"] & window) / 1e9)


@given(SPANS, SPANS)
def test_length_within_counts_each_window(spans: list[tuple[int, int]], windows: list[tuple[int, int]]) -> None:
    """One length per window, also for empty, equal and overlapping windows."""
    covered = units(spans)
    found = length_within([(a, a + n) for a, n in spans], [(a, a + n) for a, n in windows])
    assert found.tolist() == [len(covered & units([window])) for window in windows]


def read(made: Kineto, tmp_path: Path, wishes: Wishes | None = None) -> Analysis:
    return analyse(kineto.read(made.write(tmp_path / "t.json")), wishes)


def test_hta_by_its_definitions(tmp_path: Path) -> None:
    """What HolisticTraceAnalysis 0.5.0 printed for this very file, to the last microsecond (tools/check_hta.py)."""
    found = read(training(), tmp_path).hta
    assert found is not None
    assert found.comp_comm_overlap_pctg == 84.91
    times = (found.idle_time_us, found.compute_time_us, found.non_compute_time_us, found.kernel_time_us)
    assert times == (197, 2385, 202, 2784)
    assert found.kernel_types_us == {
        "COMPUTATION": 1282,
        "COMMUNICATION": 28,
        "MEMORY": 11,
        "COMPUTATION overlapping COMMUNICATION": 301,
        "COMPUTATION overlapping MEMORY": 28,
        "COMMUNICATION overlapping MEMORY": 163,
        "COMPUTATION overlapping COMMUNICATION overlapping MEMORY": 774,
    }


def test_kernels_by_name_with_first_and_steady(tmp_path: Path) -> None:
    """Total, share, mean, deviation of the sample; the first instance apart, in order of time, not of the file."""
    made = Kineto()
    for start, lasted in ((50_000, 2_000), (0, 10_000), (80_000, 4_000)):
        made.device("kernel", GEMM, start, start + lasted)
    made.device("gpu_memcpy", COPY, 0, 84_000)
    row = next(row for row in read(made, tmp_path).kernels if row.name == GEMM)
    assert (row.count, row.kind, row.share) == (3, "compute", 0.16)
    assert row.total_s == pytest.approx(16e-6)
    assert row.stdev_s == pytest.approx(np.std([10, 2, 4], ddof=1) * 1e-6)
    assert (row.first_s, row.min_s, row.max_s) == (10e-6, 2e-6, 10e-6)
    assert row.steady_mean_s == pytest.approx(3e-6)


def test_a_range_is_judged_by_what_it_launched(tmp_path: Path) -> None:
    """Host ranges are over before their kernels start: their window is that of their own thread's launches."""
    made = Kineto()
    made.range("layer_0", 0, 10_000)
    made.range("layer_1", 10_000, 20_000)
    made.range("other thread", 0, 20_000, thread=43)
    made.launched("kernel", "a", 1_000, 100_000, 140_000)
    made.launched("kernel", "b", 11_000, 140_000, 180_000)
    made.launched("gpu_memcpy", COPY, 2_000, 120_000, 160_000, stream=20)
    found = {one.row.name: one for one in read(made, tmp_path).ranges}
    first, second, other = found["layer_0"], found["layer_1"], found["other thread"]
    assert (first.window, second.window, other.window) == ("device", "device", "host")
    assert (first.compute_s, first.copy_s, first.both_s) == pytest.approx((60e-6, 40e-6, 40e-6))
    assert (second.compute_s, second.copy_s) == pytest.approx((40e-6, 20e-6))
    assert (other.compute_s, other.efficiency) == (0, None)


def test_idle_gaps_name_what_preceded_and_who_was_waited_for(tmp_path: Path) -> None:
    """A gap before a kernel that was launched in time waited for the device, one before a late launch for the host."""
    made = Kineto()
    made.launched("kernel", "a", 0, 10_000, 20_000)
    made.launched("kernel", "queued", 5_000, 50_000, 60_000)
    made.launched("kernel", "late", 90_000, 100_000, 110_000)
    made.device("kernel", "unknown", 111_000, 112_000)
    found = read(made, tmp_path)
    gaps = [(gap.after, gap.before, gap.waited_for, round(gap.length_s * 1e9)) for gap in found.gaps]
    assert gaps == [
        ("queued", "late", "host", 40_000),
        ("a", "queued", "device", 30_000),
        ("late", "unknown", "", 1_000),
    ]
    assert found.gaps[0].start_s == pytest.approx(50e-6)
    assert [(one.after, one.count) for one in found.gaps_after] == [("queued", 1), ("a", 1), ("late", 1)]
    assert found.gaps_after[0].host_s == pytest.approx(40e-6)


def test_layers_by_what_else_the_name_says(tmp_path: Path) -> None:
    """One table per kind of range, layers in order; a pattern of one's own has exactly one group."""
    made = Kineto()
    for layer in (10, 2):
        made.range(f"load_layer_{layer}_weights", 0, 3_000)
        made.range(f"h.{layer}", 0, 1_000)
    rows = [(one.name, one.layer, one.row.count) for one in read(made, tmp_path).layers]
    assert rows == [("load_layer_*_weights", 2, 1), ("load_layer_*_weights", 10, 1)]
    own = Wishes(layer_pattern=layer_pattern(r"^h\.(\d+)"))
    assert [(one.name, one.layer) for one in read(made, tmp_path, own).layers] == [("h.*", 2), ("h.*", 10)]
    for wrong in ("(", "layer", "(a)(b)"):
        with pytest.raises(OptionError):
            layer_pattern(wrong)


def test_one_device_at_a_time(tmp_path: Path) -> None:
    """Without a choice the busiest device is shown, with a note; a device that is not there is an error."""
    made = Kineto()
    made.device("kernel", "a", 0, 5_000, device=0)
    made.device("kernel", "b", 0, 9_000, device=1)
    found = read(made, tmp_path)
    assert (found.device, found.span_s) == (1, 9e-6)
    assert "--device chooses another: 0" in found.notes[0]
    assert read(made, tmp_path, Wishes(device=0)).span_s == 5e-6
    with pytest.raises(TraceError, match="has no device 7, only 0, 1"):
        read(made, tmp_path, Wishes(device=7))


def test_a_host_trace_has_lanes_by_pattern(tmp_path: Path) -> None:
    """Without kernels a note says so, and ranges named by patterns are lanes: also as copy and compute."""
    made = Kineto()
    made.range("weight_load", 0, 10_000, thread=43)
    made.range("layer_0", 4_000, 20_000)
    lanes = {"copy": "weight_*", "compute": "layer_?", "none": "x"}
    found = read(made, tmp_path, Wishes(lanes=lanes))
    assert found.notes[0].startswith("no kernels")
    assert found.notes[1] == "nothing matches lane none=x"
    assert found.overlap is not None
    assert found.overlap.overlap_efficiency == pytest.approx(0.6)
    assert (found.idle_s, found.utilisation) == pytest.approx((0, 0.8))
    empty = replace(kineto.read(tmp_path / "t.json"), ranges=trace_of([(0, 1, 0, 0)]).ranges)
    with pytest.raises(TraceError, match="neither device activities nor ranges"):
        analyse(empty)


def test_a_scope_leaves_warm_up_outside(tmp_path: Path) -> None:
    """Within a range only what it launched counts, cut at its edges on the device."""
    made = Kineto()
    made.range("warm-up", 0, 10_000)
    made.range("steady", 10_000, 20_000)
    made.launched("kernel", "first use", 1_000, 2_000, 900_000)
    made.launched("kernel", "a", 11_000, 900_000, 940_000)
    made.launched("gpu_memcpy", COPY, 2_000, 890_000, 910_000, stream=20)
    found = read(made, tmp_path, Wishes(within="stead?"))
    assert found.span_s == pytest.approx(40e-6)
    assert found.lanes["copy"] == pytest.approx(10e-6)
    assert [row.name for row in found.kernels] == ["a", COPY]
    with pytest.raises(TraceError, match="has no range 'nothing'"):
        read(made, tmp_path, Wishes(within="nothing"))


def test_no_graph_of_names_hides_a_pattern() -> None:
    """The default pattern finds a layer's number in the names that models and engines use."""
    pattern = layer_pattern(Wishes().layer_pattern.pattern)
    names = ("layer_3", "Layer 3", "model.layers.3.mlp", "ensure_weights_layer_3", "blocks[3]", "LAYER#3")
    assert [re.search(pattern, name)[1] for name in names] == ["3"] * len(names)  # type: ignore[index]
