"""Calibration: finds the constants it should, refuses rows that are none, and is right on shapes it has not seen."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from perfguard_suites.simulator import calibrate, gemm_latency_s
from perfguard_suites.simulator.calibration import accuracy, main, read_rows
from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.errors import CalibrationError
from perfguard_suites.simulator.hardware import load_hardware

DATA = Path(__file__).parents[4] / "shared" / "data" / "gemm"
TRUTH = Calibration(0.75, 0.85, 3e-6)
SHAPES = [(m, n, k) for m in (1, 16, 130, 700, 3000) for n, k in ((4096, 4096), (1536, 4096), (4096, 11008))]


def simulated_rows() -> list[tuple[int, int, int, float]]:
    return [(*shape, gemm_latency_s("a100", *shape, calibration=TRUTH)) for shape in SHAPES]


def test_finds_the_constants_behind_rows() -> None:
    """From times that the model itself made, the fit finds the constants they were made with."""
    found = calibrate("a100", simulated_rows())
    assert found.compute_efficiency == pytest.approx(TRUTH.compute_efficiency, rel=0.01)
    assert found.memory_efficiency == pytest.approx(TRUTH.memory_efficiency, rel=0.02)
    assert found.fixed_s == pytest.approx(TRUTH.fixed_s, rel=0.05)


def test_is_deterministic_and_shrugs_at_an_outlier() -> None:
    """The order of rows changes nothing, and one row ten times too slow hardly anything."""
    rows = simulated_rows()
    shuffled = rows[:]
    random.Random(3).shuffle(shuffled)
    found = calibrate("a100", rows)
    assert calibrate("a100", shuffled) == found
    rows[7] = (*rows[7][:3], 10 * rows[7][3])
    assert calibrate("a100", rows).compute_efficiency == pytest.approx(found.compute_efficiency, rel=0.03)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((1, 2, 3), "row 0: .*is not"),
        ((0, 2, 3, 1.0), "row 0: .*not in 1"),
        ((1.5, 2, 3, 1.0), "row 0: .*not whole"),
        ((1, 2, 3, 0.0), "row 0: .*positive"),
        ((1, 2, 3, float("nan")), "row 0: .*positive"),
    ],
)
def test_bad_rows_are_named(row: tuple[float, ...], message: str) -> None:
    """A row that is no measurement is refused by its number."""
    with pytest.raises(CalibrationError, match=message):
        calibrate("a100", [row])


def test_too_few_rows_are_refused() -> None:
    """Three constants from two rows would be a guess."""
    with pytest.raises(CalibrationError, match="2 different rows"):
        calibrate("a100", simulated_rows()[:2] * 9)


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_constants_survive_a_file(tmp_path: Path, suffix: str) -> None:
    """Written and read again, they are the same to the last bit."""
    constants = Calibration(0.7834567890123456, 1.0, 3.3e-6)
    path = tmp_path / f"h100{suffix}"
    path.write_text(constants.to_json() if suffix == ".json" else constants.to_toml())
    assert Calibration.load(path) == constants


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compute_efficiency = 1.2\nmemory_efficiency = 1.0\nfixed_s = 0.0", r"compute_efficiency: 1\.2 is not in"),
        ("compute_efficiency = 0.8\nfixed_s = 0.0", "memory_efficiency: missing"),
        ("compute_efficiency = 0.8\nmemory_efficiency = 1.0\nfixed_us = 3", "fixed_s: missing"),
        ("[[", "neither TOML nor JSON"),
    ],
)
def test_bad_constants_are_named(tmp_path: Path, text: str, message: str) -> None:
    """A file with a constant too many, too few or impossible is refused with file and key."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=rf"bad\.toml.*{message}"):
        Calibration.load(path)


def test_the_command_fits_checks_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the constants and both errors, and writes a file that loads."""
    rows = tmp_path / "rows.csv"
    rows.write_text("M,N,K,seconds\n" + "".join(f"{m},{n},{k},{s!r}\n" for m, n, k, s in simulated_rows()))
    out = tmp_path / "a100.toml"
    status = main(["--hardware", "a100", "--rows", str(rows), "--check", str(rows), "--out", str(out)])
    text = capsys.readouterr().out
    assert status == 0
    assert "15 rows: error 0." in text
    assert "not fitted to" in text
    assert Calibration.load(out) == calibrate("a100", read_rows(rows))


def test_the_command_names_a_bad_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is no measurement ends the command with file and line."""
    rows = tmp_path / "rows.csv"
    rows.write_text("M,N,K,median_ms\n1,2,3,0.5\n1,2,x,0.5\n")
    assert main(["--hardware", "a100", "--rows", str(rows)]) == 1
    assert "rows.csv:3" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a100", "h100"])
def test_is_right_on_weights_not_fitted_on(name: str) -> None:
    """Fitted to 80 measurements of half the weight shapes, the error on the other half's is within the bound."""
    path = DATA / f"{name}-bf16-llama2-7b.csv"
    if not path.exists():
        pytest.skip(f"no measurements at {path}: they are others' and are not part of this repository")
    rows = read_rows(path)
    weights = sorted({row[1:3] for row in rows})
    fitted = set(weights[::2])
    rng = random.Random(11)
    sample = rng.sample([row for row in rows if row[1:3] in fitted], 80)
    held_out = rng.sample([row for row in rows if row[1:3] not in fitted], 400)
    device = load_hardware(name)
    found = accuracy(device, held_out, calibrate(device, sample))
    assert found.mean <= 0.10, found
    assert found.p95 <= 0.25, found
    assert found.mean < found.roofline_mean / 2
