"""`perfguard overlap` and `perfguard import` of traces: names in JSON, tables, and cases that are stored and gated."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_traces import COPY, GEMM, Kineto, nsys, report_csv, training

from perfguard import cli

CLASS = "amd-epyc-4c-16g-linux-py3.12-1a2b3c"


def written(made: Kineto, path: Path) -> str:
    return str(made.write(path))


def overlapped(late_ns: int = 0) -> Kineto:
    """A copy behind which all but its first 10 µs is computed; `late_ns` moves compute away from it."""
    made = Kineto()
    made.launched("gpu_memcpy", COPY, 0, 10_000, 110_000, stream=20)
    made.launched("kernel", GEMM, 1_000, 20_000 + late_ns, 120_000 + late_ns)
    return made


def test_json_has_the_names_that_others_rely_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Busy seconds by lane, pairs with their efficiency, kernels, ranges, idle time and span."""
    assert cli.main(["overlap", written(overlapped(), tmp_path / "t.json"), "--json", "--layers", "4"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lanes"]["compute"] == found["lanes"]["copy"] == 1e-4
    pair = next(pair for pair in found["pairs"] if {pair["a"], pair["b"]} == {"compute", "copy"})
    assert (pair["intersection_s"], pair["efficiency"]) == pytest.approx((9e-5, 0.9))
    assert {"kernels", "ranges", "layers", "gaps", "hta"} <= found.keys()
    assert (found["span_s"], found["idle_s"]) == pytest.approx((1.1e-4, 0))
    assert found["overlap"]["pipeline_efficiency"] == pytest.approx(125 / 110)


def test_text_and_markdown_hold_the_same_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure of the text is in the Markdown, whose tables have as many cells in each row as in their head."""
    path = written(training(), tmp_path / "t.json")
    assert cli.main(["overlap", path, "--hta", "--top", "3"]) == 0
    text = capsys.readouterr().out
    assert "comp_comm_overlap_pctg" in text
    assert "device activities (3 of 6)" in text
    assert cli.main(["overlap", path, "--hta", "--top", "3", "--markdown"]) == 0
    marked = capsys.readouterr().out
    figures = [word for line in text.splitlines()[5:] for word in line.split("  ") if any(c.isdigit() for c in word)]
    plain = marked.replace("\\", "")
    assert [word for word in figures if word.strip() not in plain] == []
    assert marked.count("### ") == 8
    for table in marked.split("### ")[1:]:
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") - line.count("\\|") for line in rows}) == 1


@pytest.mark.parametrize("kind", ["kineto", "nsys", "nsys-csv"])
def test_import_without_a_case_reports(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of file is read by its own reader, and `overlap` finds the kind by content, whatever its name."""
    path = tmp_path / "anything"
    if kind == "kineto":
        overlapped().write(path)
    elif kind == "nsys":
        row = "VALUES (1, 9, 0, 1, 7, 11, 0, 2, 2)"
        nsys(path, f"INSERT INTO StringIds VALUES (2, 'gemm'); INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL {row};")
    else:
        path.write_text(report_csv()[0])
    assert cli.main(["import", kind, str(path)]) == 0
    imported = capsys.readouterr().out
    assert cli.main(["overlap", str(path)]) == 0
    assert capsys.readouterr().out == imported


def test_totals_give_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSVs together, with the range that bounds them, give both ends of the overlap and no figure between."""
    paths = [tmp_path / name for name in ("nvtx.csv", "kern.csv")]
    for path, text in zip(paths, report_csv(), strict=True):
        path.write_text(text)
    asked = ["overlap", *map(str, paths), "--within", "token", "--lane", "copy=ensure_weights_*"]
    assert cli.main(asked) == 0
    assert "overlap between 0 s and 18.6 ms: 0.0 % to 100.0 % of the shorter" in capsys.readouterr().out
    assert cli.main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bounds"]["overlap_efficiency"] == [0, 1]
    assert len(found["layers"]) == 16


def test_traces_become_baselines_and_are_gated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three traces are three process runs; a fourth like them passes, one whose overlap is gone fails, and says so."""
    folder = ["--dir", str(tmp_path / "b"), "--machine-class", CLASS, "--as-case", "decode"]
    for n in range(3):
        path = written(overlapped(), tmp_path / f"{n}.json")
        os.utime(path, (1_790_000_000 + n, 1_790_000_000 + n))
        assert cli.main(["import", "kineto", path, *folder]) == 0
    assert f"b/{CLASS}/traces.toml" in capsys.readouterr().out
    stored = (tmp_path / "b" / "portable" / "traces.toml").read_text()
    assert stored.count("median = 0.9") >= 3
    same = written(overlapped(), tmp_path / "same.json")
    assert cli.main(["import", "kineto", same, *folder, "--gate"]) == 0
    late = written(overlapped(late_ns=90_000), tmp_path / "late.json")
    document = tmp_path / "run.json"
    assert cli.main(["import", "kineto", late, *folder, "--gate", "--run-json", str(document)]) == 1
    out = capsys.readouterr().out
    assert "slower  decode  overlap_efficiency" in out
    assert "1 slower: decode" in out
    (case,) = json.loads(document.read_text())["cases"]
    assert case["account"]["wall_s"] == pytest.approx(2e-4)
    assert {phase["path"] for phase in case["account"]["phases"]} == {"compute", "copy"}


def test_times_of_another_device_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A trace of a GPU that is not here gives its fractions only, until its machine class is named."""
    path = written(overlapped(), tmp_path / "t.json")
    assert cli.main(["import", "kineto", path, "--as-case", "decode", "--dir", str(tmp_path / "b")]) == 0
    assert "recorded on NVIDIA H200, which is not here: times are left out" in capsys.readouterr().out
    assert [one.parent.name for one in (tmp_path / "b").rglob("*.toml")] == ["portable"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lane", "copy"], "is no lane"),
        (["--layers", "0"], "--layers"),
        (["--layer-pattern", "("], "no regular expression"),
        (["--json", "--markdown"], "choose one"),
        (["--device", "5"], "has no device 5"),
        (["--within", "decode"], "has no range"),
    ],
)
def test_options_that_cannot_be(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each wrong option is named, with exit status 4."""
    assert cli.main(["overlap", written(overlapped(), tmp_path / "t.json"), *arguments]) == 4
    assert says in capsys.readouterr().err


def test_files_that_are_no_traces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing file, a folder, a report in nsys' own format and a cut gzip end with status 4 and their name."""
    own = tmp_path / "r.nsys-rep"
    own.write_bytes(b"\x00\x01binary")
    cut = tmp_path / "cut.json.gz"
    cut.write_bytes(b"\x1f\x8b\x08")
    unreadable = ((tmp_path / "no", "cannot be read"), (tmp_path, "cannot be read"))
    for path, says in (*unreadable, (own, "nsys export"), (cut, "cut")):
        assert cli.main(["overlap", str(path)]) == 4
        error = capsys.readouterr().err
        assert says in error
        assert str(path) in error
    trace = written(overlapped(), tmp_path / "t.json")
    assert cli.main(["import", "kineto", trace, "--gate"]) == 4
    assert cli.main(["import", "kineto", trace, "--as-case", "\n"]) == 4
