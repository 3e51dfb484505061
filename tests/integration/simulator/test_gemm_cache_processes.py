"""The cache folder under several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from perfguard_suites.simulator.gemm import Cache, Gemm, GemmEvaluator
from perfguard_suites.simulator.hardware import load_hardware

WRITER = """
import sys
from perfguard_suites.simulator.gemm import Cache, Gemm, GemmEvaluator
from perfguard_suites.simulator.hardware import load_hardware
evaluator = GemmEvaluator(load_hardware("h100"), cache=Cache(sys.argv[1]))
sys.stdin.readline()
for m in range(int(sys.argv[2]), 60, 2):
    evaluator.evaluate(Gemm(1, 1 + m, 512, 512))
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """Three processes that write at once, two of them the same, lose nothing and garble nothing."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), start], stdin=subprocess.PIPE, text=True)
        for start in ("0", "1", "1")
    ]
    try:
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.close()
        assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait(timeout=10)
    cache = Cache(tmp_path)
    reader = GemmEvaluator(load_hardware("h100"), cache=cache)
    costs = reader.evaluate_all([Gemm(1, m, 512, 512) for m in range(1, 61)])
    assert (reader.evaluations, reader.disk_hits, cache.corrupted) == (0, 60, 0)
    assert costs == GemmEvaluator(load_hardware("h100")).evaluate_all([Gemm(1, m, 512, 512) for m in range(1, 61)])
