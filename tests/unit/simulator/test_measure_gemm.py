"""Measuring products on a GPU: rows that a calibration takes, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfguard_suites.simulator.calibration import accuracy, calibrate, read_rows
from perfguard_suites.simulator.hardware import load_hardware
from perfguard_suites.simulator.measure_gemm import main, measure_shapes

torch = pytest.importorskip("torch", reason="torch is in the extra `suites`")


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No CUDA device: the command ends with 1, names the reason, and writes nothing."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    out = tmp_path / "rows.csv"
    assert main(["--out", str(out)]) == 1
    assert "no CUDA device" in capsys.readouterr().err
    assert not out.exists()


def test_a_gpus_rows_calibrate() -> None:
    """Rows measured on a GPU are positive times to which three constants fit."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    shapes = [(m, n, 4096) for m in (1, 64, 256, 1024, 4096) for n in (4096, 11008)]
    rows = list(measure_shapes(shapes, rounds=5))
    device = load_hardware("h100")
    assert accuracy(device, rows, calibrate(device, rows)).mean < 1


def test_rows_read_back(tmp_path: Path) -> None:
    """Both spellings of the time column are read, milliseconds as seconds."""
    path = tmp_path / "rows.csv"
    path.write_text("M,N,K,median_ms\n1,2,3,0.5\n")
    assert read_rows(path) == [(1, 2, 3, 0.5e-3)]
    path.write_text("M,N,K,seconds\n1,2,3,0.5\n")
    assert read_rows(path) == [(1, 2, 3, 0.5)]
