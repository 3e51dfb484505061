"""The GEMM evaluator: an exact search over core partitions, tiles and loop orders, its oracle and its cache."""

from perfguard_suites.simulator.gemm.cache import Cache
from perfguard_suites.simulator.gemm.evaluator import GemmEvaluator
from perfguard_suites.simulator.gemm.problem import Gemm, GemmCost, roofline_s

__all__ = ["Cache", "Gemm", "GemmCost", "GemmEvaluator", "roofline_s"]
