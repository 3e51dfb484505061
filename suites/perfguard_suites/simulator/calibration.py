"""Fits the three constants of a device to measured products, and uses them: the stable functions for other programs."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.errors import CalibrationError, ShapeError, SimulatorError
from perfguard_suites.simulator.gemm import Gemm, GemmEvaluator, roofline_s
from perfguard_suites.simulator.gemm.plan import Floats, plan_for
from perfguard_suites.simulator.gemm.search import Parts, combine, parts_of_all, search_many
from perfguard_suites.simulator.hardware import Hardware, load_hardware

Row = tuple[int, int, int, float]
MAX_ROWS_FITTED = 400
LEAST_ROWS = 6
MAX_FILE_BYTES = 64 << 20
_EFFICIENCIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_PROPOSALS = (0.4, 0.7, 1.0)
_SWEEPS = 3


def gemm_latency_s(
    hardware: Hardware | str, m: int, n: int, k: int, dtype: str = "bf16", calibration: Calibration | None = None
) -> float:
    """Seconds of `C[m, n] = A[m, k] B[k, n]` on `hardware` (or the preset of that name), without launch.

    Results are cached for the life of the process. Raises `SimulatorError`.
    """
    device = _preset(hardware) if isinstance(hardware, str) else hardware
    return _evaluator(device, calibration).evaluate(Gemm(1, m, n, k, dtype)).latency_s


@lru_cache(maxsize=16)
def _preset(name: str) -> Hardware:
    return load_hardware(name)


@lru_cache(maxsize=16)
def _evaluator(hardware: Hardware, calibration: Calibration | None) -> GemmEvaluator:
    return GemmEvaluator(hardware, calibration=calibration)


def calibrate(hardware: Hardware | str, rows: Iterable[Sequence[float]], dtype: str = "bf16") -> Calibration:
    """The constants under which the search's latencies are nearest to `rows` of (m, n, k, seconds).

    Minimises the mean absolute logarithm of simulated over measured, which no outlier dominates. Deterministic:
    the same rows, in whatever order, give the same constants. Of more than `MAX_ROWS_FITTED` rows, evenly spaced
    ones are taken, after sorting. Raises `CalibrationError` for fewer than `LEAST_ROWS` rows and for a row that
    is none.
    """
    device = _preset(hardware) if isinstance(hardware, str) else hardware
    checked = sorted({_checked(row, f"row {index}") for index, row in enumerate(rows)})
    if len(checked) < LEAST_ROWS:
        raise CalibrationError(
            f"calibration of {device.name}", f"{len(checked)} different rows", f"three constants want {LEAST_ROWS}"
        )
    if len(checked) > MAX_ROWS_FITTED:
        places = np.linspace(0, len(checked) - 1, MAX_ROWS_FITTED).round().astype(int)
        checked = [checked[place] for place in places]
    return _Fit(device, checked, dtype).run()


def _checked(row: Sequence[float], culprit: str) -> Row:
    try:
        m, n, k, seconds = map(float, row)
        extents = int(m), int(n), int(k)
    except (TypeError, ValueError, OverflowError):
        raise CalibrationError(culprit, f"{row!r:.80} is not (m, n, k, seconds)") from None
    if any(whole != given for whole, given in zip(extents, (m, n, k), strict=True)):
        raise CalibrationError(culprit, f"{row!r:.80} has extents that are not whole")
    try:
        Gemm(1, *extents)
    except ShapeError as error:
        raise CalibrationError(f"{culprit}: {error.culprit}", error.problem) from None
    if not math.isfinite(seconds) or seconds <= 0:
        raise CalibrationError(culprit, f"{seconds!r:.40} seconds", "measured times are positive")
    return *extents, float(seconds)


class _Fit:
    """Fits over the ways that could be the cheapest, and proposes more of them until none is better.

    For each row it keeps the ways that are the cheapest at some of the constants tried; a sweep fits to the best
    of these, and adds the truly cheapest ways at the constants found.
    """

    def __init__(self, hardware: Hardware, rows: Sequence[Row], dtype: str) -> None:
        self._hardware = hardware
        self._seconds = np.array([row[3] for row in rows])
        self._fallback = plan_for(hardware, dtype).fallback
        self._all = [parts_of_all(hardware, Gemm(1, *row[:3], dtype)) for row in rows]
        self._kept: list[list[list[float]]] = [[] for _ in rows]
        for compute in _PROPOSALS:
            for memory in _PROPOSALS:
                self._propose(Calibration(compute, memory, 0.0))

    def run(self) -> Calibration:
        """The constants."""
        found = self._grid()
        for _ in range(_SWEEPS):
            found = self._descend(found)
            self._propose(found)
        return self._descend(found)

    def _propose(self, calibration: Calibration) -> None:
        for kept, parts in zip(self._kept, self._all, strict=True):
            latency, _, _ = combine(self._hardware, calibration, parts, fallback=self._fallback)
            order, pair = np.unravel_index(int(np.argmin(latency)), latency.shape)
            kept.append(_way(parts, int(order), int(pair)))
        self._ways = Parts(*(np.array(self._kept)[:, :, column] for column in range(6)))

    def _loss(self, compute: float, memory: float, fixed_s: float) -> float:
        calibration = Calibration(compute, memory, fixed_s)
        latency, _, _ = combine(self._hardware, calibration, self._ways, fallback=self._fallback)
        return float(np.mean(np.abs(np.log(latency.min(axis=1) / self._seconds))))

    def _grid(self) -> Calibration:
        least_s = float(self._seconds.min())
        _, compute, memory, fixed_s = min(
            (self._loss(compute, memory, share * least_s), compute, memory, share * least_s)
            for compute in _EFFICIENCIES
            for memory in _EFFICIENCIES
            for share in (0.0, 0.25, 0.5, 0.75, 0.95)
        )
        return Calibration(compute, memory, fixed_s)

    def _descend(self, start: Calibration) -> Calibration:
        """Pattern search: a step along each constant, and along pairs of them, halved when none is better."""
        point = (start.compute_efficiency, start.memory_efficiency, start.fixed_s)
        loss = self._loss(*point)
        unit_s = float(self._seconds.min())
        step = 0.1
        while step > 1e-4:
            tried = [
                (
                    min(max(point[0] + step * i, 0.01), 1.0),
                    min(max(point[1] + step * j, 0.01), 1.0),
                    max(point[2] + step * unit_s * h, 0.0),
                )
                for i, j, h in _STEPS
            ]
            best = min((self._loss(*each), each) for each in tried)
            if best[0] < loss:
                loss, point = best
            else:
                step /= 2
        return Calibration(*point)


_STEPS = tuple((i, j, h) for i in (-1, 0, 1) for j in (-1, 0, 1) for h in (-2, -1, 0, 1, 2) if (i, j, h) != (0, 0, 0))


def _way(parts: Parts, order: int, pair: int) -> list[float]:
    columns: tuple[Floats, ...] = (
        parts.compute_s,
        parts.fill_s[order],
        parts.after_s[order],
        parts.traffic_bytes[order],
        parts.busy_bytes_per_s,
        parts.reduction_s,
    )
    return [float(column[pair]) for column in columns]


@dataclass(frozen=True)
class Accuracy:
    """How far simulated times are from measured ones: mean and 95th percentile of |simulated / measured - 1|."""

    rows: int
    mean: float
    p95: float
    roofline_mean: float
    roofline_p95: float

    def __str__(self) -> str:
        return (
            f"{self.rows} rows: error {100 * self.mean:.1f} % on average, {100 * self.p95:.1f} % at the 95th percentile"
            f" (plain roofline {100 * self.roofline_mean:.1f} % and {100 * self.roofline_p95:.1f} %)"
        )


def accuracy(
    hardware: Hardware, rows: Iterable[Sequence[float]], calibration: Calibration, dtype: str = "bf16"
) -> Accuracy:
    """The errors on `rows` of (m, n, k, seconds), beside those of the plain roofline. Raises `CalibrationError`."""
    checked = [_checked(row, f"row {index}") for index, row in enumerate(rows)]
    if not checked:
        raise CalibrationError(f"accuracy on {hardware.name}", "no rows")
    gemms = [Gemm(1, *row[:3], dtype) for row in checked]
    measured = np.array([row[3] for row in checked])
    simulated = np.array([cost.latency_s for cost in search_many(hardware, gemms, calibration)])
    bound = np.array([roofline_s(hardware, gemm) for gemm in gemms])
    mean, p95 = _errors(simulated, measured)
    return Accuracy(len(checked), mean, p95, *_errors(bound, measured))


def _errors(simulated: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> tuple[float, float]:
    error = np.abs(simulated / measured - 1.0)
    return float(error.mean()), float(np.percentile(error, 95))


def read_rows(path: str | Path) -> list[Row]:
    """Rows of a CSV file with the columns M, N, K and `median_ms` or `seconds`. Raises `CalibrationError`."""
    try:
        if Path(path).stat().st_size > MAX_FILE_BYTES:
            raise CalibrationError(str(path), f"over {MAX_FILE_BYTES} bytes are no measurements")
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(str(path), str(error), "give a readable CSV file") from None
    reader = csv.DictReader(lines)
    names = {name.strip().lower(): name for name in reader.fieldnames or ()}
    time, scale = ("median_ms", 1e-3) if "median_ms" in names else ("seconds", 1.0)
    for name in ("m", "n", "k", time):
        if name not in names:
            raise CalibrationError(
                f"{path}:1: {name}", "no such column", "columns are M,N,K,median_ms or M,N,K,seconds"
            )
    rows = []
    for number, line in enumerate(reader, start=2):
        try:
            row = (*(int(line[names[name]]) for name in ("m", "n", "k")), scale * float(line[names[time]]))
        except (TypeError, ValueError):
            raise CalibrationError(f"{path}:{number}", f"{line!r:.80} is no measurement") from None
        rows.append(_checked(row, f"{path}:{number}"))
    return rows


def add_calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `calibrate`."""
    parser.add_argument("--hardware", required=True, help="a preset, or a TOML file")
    parser.add_argument("--rows", required=True, help="CSV: M,N,K,median_ms or M,N,K,seconds")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--check", action="append", default=[], help="another CSV, not fitted to; repeatable")
    parser.add_argument("--out", default="", help="write the constants to this .json or .toml file")


def calibrate_command(options: argparse.Namespace) -> int:
    """`calibrate`: fit, print the constants and the errors, write the file. Raises `SimulatorError`."""
    hardware = load_hardware(options.hardware)
    rows = read_rows(options.rows)
    constants = calibrate(hardware, rows, options.dtype)
    print(constants.to_toml(), end="")
    print(f"# fitted to {options.rows}: {accuracy(hardware, rows, constants, options.dtype)}")
    for path in options.check:
        print(f"# not fitted to {path}: {accuracy(hardware, read_rows(path), constants, options.dtype)}")
    if options.out:
        text = json.dumps(json.loads(constants.to_json()), indent=1) + "\n"
        Path(options.out).write_text(text if options.out.endswith(".json") else constants.to_toml(), encoding="utf-8")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command on its own, for scripts."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.simulator calibrate", description=__doc__)
    add_calibrate_arguments(parser)
    try:
        return calibrate_command(parser.parse_args(arguments))
    except SimulatorError as error:
        print(error, file=sys.stderr)
        return error.exit_status
