"""Measures matrix products on a CUDA device with torch and writes the rows that `calibrate` reads.

Each shape runs on a ring of weight matrices larger than the L2, so that none is found there from the round before,
and is timed by events on the device's stream: no launch is in the figure. The median over rounds is kept.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from perfguard_suites.simulator.errors import CalibrationError, SimulatorError

WEIGHTS = (
    (12288, 4096), (4096, 4096), (22016, 4096), (4096, 11008),
    (6144, 4096), (4096, 2048), (10240, 8192), (8192, 1024),
)  # fmt: skip
ROWS = (1, 8, 32, 64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1536, 2048, 3072, 4096)
COLD_BYTES = 256 << 20
_WARM_UP = 3


def measure_shapes(
    shapes: Sequence[tuple[int, int, int]], *, rounds: int = 20, dtype: str = "bf16"
) -> Iterator[tuple[int, int, int, float]]:
    """(m, n, k, median seconds) of each (m, n, k). Raises `CalibrationError` where there is no CUDA device."""
    try:
        import torch
    except ImportError:
        raise CalibrationError("torch", "is not installed", "pip install 'perfguard[suites]'") from None
    if not torch.cuda.is_available():
        raise CalibrationError("measure-gemm", "no CUDA device is visible here", "run it on the machine with the GPU")
    types = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if dtype not in types:
        raise CalibrationError(f"measure-gemm: dtype {dtype!r:.20}", "cannot be measured", f"take {', '.join(types)}")
    for m, n, k in shapes:
        yield m, n, k, _median_s(torch, types[dtype], (m, n, k), rounds)


def _median_s(torch: Any, dtype: Any, shape: tuple[int, int, int], rounds: int) -> float:
    m, n, k = shape
    copies = max(2, -(-COLD_BYTES // (2 * n * k)))
    left = torch.randn(m, k, device="cuda", dtype=dtype)
    weights = [torch.randn(n, k, device="cuda", dtype=dtype) for _ in range(copies)]
    result = torch.empty(m, n, device="cuda", dtype=dtype)
    times_s = []
    # Work ahead of the first event keeps the host's launches off the device's clock.
    ahead = torch.empty(64 << 20, device="cuda", dtype=torch.uint8)
    for number, weight in zip(range(_WARM_UP + rounds), cycle(weights), strict=False):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        ahead.zero_()
        begin.record()
        torch.matmul(left, weight.t(), out=result)
        end.record()
        end.synchronize()
        if number >= _WARM_UP:
            times_s.append(begin.elapsed_time(end) / 1e3)
    return float(median(times_s))


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `measure-gemm`."""
    parser.add_argument("--out", required=True, help="CSV to write: M,N,K,seconds")
    parser.add_argument("--rounds", type=int, default=20, help="timed rounds of each shape")
    parser.add_argument("--dtype", default="bf16", help="bf16 or fp16")


def measure_command(options: argparse.Namespace) -> int:
    """`measure-gemm`: measure the shapes of a few models' weights and write the rows. Raises `SimulatorError`."""
    shapes = [(m, n, k) for n, k in WEIGHTS for m in ROWS]
    rows = list(measure_shapes(shapes, rounds=max(1, options.rounds), dtype=options.dtype))
    with Path(options.out).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("M", "N", "K", "seconds"))
        writer.writerows(rows)
    print(f"{len(rows)} shapes written to {options.out}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command on its own, for scripts."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.simulator measure-gemm", description=__doc__)
    add_measure_arguments(parser)
    try:
        return measure_command(parser.parse_args(arguments))
    except SimulatorError as error:
        print(error, file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
