"""The simulator: what a model's inference takes on a device, from the device's figures, and where it goes."""

from perfguard_suites.simulator.calibration import calibrate, gemm_latency_s
from perfguard_suites.simulator.constants import Calibration

__all__ = ["Calibration", "calibrate", "gemm_latency_s"]
