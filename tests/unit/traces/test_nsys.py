"""Claims about Nsight Systems' files: the schema's odd corners, and the tables of `nsys stats`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from made_traces import PID, nsys, report_csv

from perfguard.errors import MeasurementError, TraceError
from perfguard.traces import nsys_csv
from perfguard.traces.analysis import Wishes, analyse
from perfguard.traces.nsys import read
from perfguard.traces.nsys_csv import bounds, by_layer
from perfguard.traces.rows import layer_pattern

DAY_OF_1970 = 1_795_795_200_000_000_001
NAMES = "INSERT INTO StringIds VALUES (1, 'layer_0'), (2, 'gemm(float*)'), (3, 'cudaLaunchKernel'), (4, 'NCCL');"
RUN = f"""{NAMES}
INSERT INTO TARGET_INFO_GPU VALUES (0, 'NVIDIA H200');
INSERT INTO NVTX_EVENTS VALUES (100, 300, 59, NULL, NULL, {PID + 7}, NULL, 1, 0),
  (300, 400, 59, NULL, 'layer_1', {PID + 7}, NULL, NULL, 0),
  (120, 130, 60, NULL, 'allReduce', {PID + 7}, NULL, NULL, 3),
  (0, NULL, 75, NULL, NULL, {PID + 7}, NULL, 4, 3), (350, NULL, 59, NULL, 'open', {PID + 7}, NULL, NULL, 0),
  (360, NULL, 34, NULL, 'mark', {PID + 7}, NULL, NULL, 0);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (1000, 2000, 0, 1, 7, 11, {PID}, 2, 2),
  (2000, 2500, 0, 1, 7, 12, {PID}, 2, 2);
INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (1500, 2200, 0, 1, 8, 13, {PID}, 64, 1);
INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (110, 115, 0, {PID + 7}, 11, 3, 0), (310, 315, 0, {PID + 7}, 12, 3, 0),
  (120, 125, 0, {PID + 9}, 13, 3, 0), (310, 311, 0, {PID + (1 << 24) + 7}, 11, 3, 0);
"""


def test_a_run_with_ranges_kernels_and_copies(tmp_path: Path) -> None:
    """Text is in the row or in StringIds; ranges reach their kernels by process and correlation; domains are named."""
    trace = read(nsys(tmp_path / "r.sqlite", RUN))
    assert trace.devices == {0: "NVIDIA H200"}
    assert trace.notes == ("1 ranges never ended and are left out",)
    found = analyse(trace)
    assert found.lanes == {
        "copy": 7e-7,
        "compute": 1.5e-6,
        "copy h2d": 7e-7,
        "stream 7": 1.5e-6,
        "stream 8": 7e-7,
    }
    ranges = {one.row.name: one for one in found.ranges}
    assert set(ranges) == {"layer_0", "layer_1", "NCCL:allReduce"}
    assert (ranges["layer_0"].window, ranges["layer_0"].compute_s) == ("device", 1e-6)
    assert ranges["layer_1"].both_s == pytest.approx(2e-7)
    assert [(one.name, one.layer) for one in found.layers] == [("layer_*", 0), ("layer_*", 1)]


@pytest.mark.parametrize(
    ("kind", "lane"), [(1, "copy h2d"), (2, "copy d2h"), (8, "copy d2d"), (10, "copy peer"), (4, "copy other")]
)
def test_copy_kinds(kind: int, lane: str, tmp_path: Path) -> None:
    """CopyKind 1, 2, 8 and 10 are to the device, back, on it and between two; times of 64 bits stay exact."""
    script = f"""INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY
      VALUES ({DAY_OF_1970}, {DAY_OF_1970 + 6}, 0, 1, 8, 13, {PID}, 64, {kind});"""
    trace = read(nsys(tmp_path / "r.sqlite", script, without=("CUPTI_ACTIVITY_KIND_KERNEL",)))
    assert trace.activities.intervals().tolist() == [[DAY_OF_1970, DAY_OF_1970 + 6]]
    assert analyse(trace).lanes[lane] == 6e-9


def test_tables_that_were_never_created(tmp_path: Path) -> None:
    """A file without CUDA tables has ranges and a note; one without any of its tables is refused."""
    cuda = tuple(f"CUPTI_ACTIVITY_KIND_{name}" for name in ("KERNEL", "MEMCPY", "RUNTIME"))
    ranges = f"INSERT INTO NVTX_EVENTS VALUES (1, 9, 59, NULL, 'step', {PID}, NULL, NULL, 0);"
    found = analyse(read(nsys(tmp_path / "r.sqlite", ranges, without=(*cuda, "StringIds", "TARGET_INFO_GPU"))))
    assert found.notes[0].startswith("no CUDA tables")
    assert [one.row.name for one in found.ranges] == ["step"]
    with pytest.raises(TraceError, match="neither CUDA nor NVTX tables"):
        read(nsys(tmp_path / "none.sqlite", without=(*cuda, "NVTX_EVENTS")))


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("ALTER TABLE NVTX_EVENTS DROP COLUMN start", "NVTX_EVENTS has no start and end"),
        (
            "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES ('soon', 2, 0, 1, 7, 11, 0, 2, 2)",
            "CUPTI_ACTIVITY_KIND_KERNEL.start holds 'soon', no whole number",
        ),
    ],
)
def test_tables_of_another_shape_are_named(script: str, says: str, tmp_path: Path) -> None:
    """A column that is missing or holds something else is named with its table."""
    with pytest.raises(TraceError, match=says):
        read(nsys(tmp_path / "r.sqlite", script))


def test_backwards_kernels_are_left_out_and_told(tmp_path: Path) -> None:
    """A kernel that ends before it starts is no time."""
    bad = f"""{NAMES} INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL
      VALUES (9, 2, 0, 1, 7, 11, 0, 2, 2), (1, 3, 0, 1, 7, 12, 0, 2, 2);"""
    trace = read(nsys(tmp_path / "r.sqlite", bad))
    assert trace.notes == ("1 events with a negative duration are left out, the first is 'gemm(float*)'",)
    assert len(trace.activities) == 1


def test_what_is_no_database(tmp_path: Path) -> None:
    """A damaged file, and none at all, are errors that say how to export one."""
    path = tmp_path / "r.sqlite"
    whole = nsys(tmp_path / "whole.sqlite", RUN).read_bytes()
    path.write_bytes(whole[:5000])
    with pytest.raises(TraceError, match="nsys export"):
        read(path)
    path.write_bytes(b"SQLite format 3\x00" + bytes(5000))
    with pytest.raises(TraceError, match="nsys export"):
        read(path)
    with pytest.raises(TraceError, match="is no file"):
        read(tmp_path / "missing.sqlite")
    assert sqlite3.connect  # the reader makes no file where there was none
    assert not (tmp_path / "missing.sqlite").exists()


@pytest.fixture
def csvs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "nvtx.csv", tmp_path / "kern.csv"]
    for path, text in zip(paths, report_csv(), strict=True):
        path.write_text(text)
    return paths


def test_the_tables_of_a_report(csvs: list[Path]) -> None:
    """64 tokens through 8 layers: totals, means and deviations as published; first use shows in layer 0's share."""
    totals = nsys_csv.read(csvs)
    layers = by_layer(totals.ranges, layer_pattern(Wishes().layer_pattern.pattern))
    assert [(name, layer) for name, layer, _ in layers[8:10]] == [
        ("ensure_weights_layer_*", 0),
        ("ensure_weights_layer_*", 1),
    ]
    loads = [row for name, _, row in layers if name.startswith("ensure")]
    assert sum(row.total_s for row in loads) == pytest.approx(0.5661, abs=1e-4)
    assert (loads[0].count, loads[0].mean_s, loads[0].stdev_s) == pytest.approx((64, 1106e-6, 41.9e-6), rel=1e-3)
    assert layers[0][2].mean_s == pytest.approx(2352e-6, rel=1e-3)
    kernels = sum(row.total_s for row in totals.kernels)
    assert totals.kernels[0].total_s / kernels == pytest.approx(0.739, abs=5e-4)
    assert totals.kernels[1].name == "void distribution_elementwise_grid_stride_kernel<float, 4>(int, float)"


def test_totals_give_bounds_within_a_scope(csvs: list[Path]) -> None:
    """Loads against kernels of the tokens: between nothing and all of 18.6 ms, and a ceiling of 3.3 %."""
    totals = nsys_csv.read(csvs)
    found = bounds(totals, "token", {"copy": "ensure_weights_*"})
    assert (found.low_s, found.high_s) == (0, pytest.approx(0.0186))
    assert found.utilisation == pytest.approx(0.029, abs=5e-4)
    assert found.utilisation_ceiling == pytest.approx(0.033, abs=5e-4)
    with pytest.raises(MeasurementError, match="the scopes don't match"):
        bounds(totals, "token", {"copy": "*"})
    with pytest.raises(TraceError, match="has no range 'decode'"):
        bounds(totals, "decode", {})


def test_other_units_preambles_and_versions(tmp_path: Path) -> None:
    """A file of several reports with nsys' own lines between, microseconds, and the older headers."""
    path = tmp_path / "all.csv"
    path.write_text(
        "Processing [r.sqlite] with [nvtx_sum.py]... \n\n"
        "Time (%),Total Time (us),Instances,Avg (us),Min (us),Max (us),StdDev (us),Style,Range\n"
        "100.0,1500.5,3,500.2,1,1000,2,PushPop,:step\n\n"
        "Time(%),Total Time (ns),Count,Average,Minimum,Maximum,Operation\n"
        '60.0,"1,000",2,500.0,400,600,[CUDA memcpy HtoD]\n'
    )
    totals = nsys_csv.read([path])
    assert (totals.ranges[0].name, totals.ranges[0].total_s) == ("step", pytest.approx(1500.5e-6))
    assert (totals.copies[0].count, totals.copies[0].total_s) == (2, pytest.approx(1e-6))


@pytest.mark.parametrize("cell", ["", "nan", "-5", "many"])
def test_a_wrong_figure_names_file_and_line(cell: str, tmp_path: Path) -> None:
    """A total that is none is an error with its line."""
    path = tmp_path / "k.csv"
    path.write_text(f"Time (%),Total Time (ns),Instances,Avg (ns),Name\n1,{cell},1,1,gemm\n")
    with pytest.raises(TraceError, match=r"k\.csv:2"):
        nsys_csv.read([path])
    path.write_text("a,b\n1,2\n")
    with pytest.raises(TraceError, match="no report of nsys stats"):
        nsys_csv.read([path])
