"""Fits the three constants of a device to measured products, and uses them: the stable functions for other programs."""

from __future__ import annotations

from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.gemm import Gemm, GemmEvaluator
from perfguard_suites.simulator.hardware import Hardware, load_hardware


def gemm_latency_s(
    hardware: Hardware | str, m: int, n: int, k: int, dtype: str = "bf16", calibration: Calibration | None = None
) -> float:
    """Seconds of `C[m, n] = A[m, k] B[k, n]` on `hardware` (or the preset of that name). Raises `SimulatorError`."""
    device = load_hardware(hardware) if isinstance(hardware, str) else hardware
    return GemmEvaluator(device, calibration=calibration).evaluate(Gemm(1, m, n, k, dtype)).latency_s
