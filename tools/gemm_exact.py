"""Is the GEMM search exact on whole devices? `python tools/gemm_exact.py [--shapes 500] [--hardware npu-64 ...]`.

The unit tests compare with the plain loop on devices of few cores; this does it on the presets as they are, which
takes from a quarter of a second (GPUs) to some ten seconds (npu-64) a shape. Ends with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import random
import sys
from time import perf_counter

from perfguard_suites.simulator.gemm import Gemm
from perfguard_suites.simulator.gemm.loop import search_by_loop
from perfguard_suites.simulator.gemm.search import search_all, search_many
from perfguard_suites.simulator.hardware import PRESETS, load_hardware

PRIMES = (1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191)


def random_gemm(rng: random.Random) -> Gemm:
    """M = 1, primes, extents under a tile, whole multiples, and anything else."""

    def extent() -> int:
        return rng.choice([1, rng.choice(PRIMES), rng.randint(1, 40), 64 * rng.randint(1, 128), rng.randint(1, 20000)])

    return Gemm(rng.choice([1, 1, 1, 2, 5, 32]), extent(), extent(), extent())


def main() -> int:
    """Compare, and say how much faster the search was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", type=int, default=500, help="of each device")
    parser.add_argument("--hardware", nargs="*", default=list(PRESETS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in options.hardware:
        device, rng = load_hardware(name), random.Random(options.seed)
        gemms = [random_gemm(rng) for _ in range(options.shapes)]
        begin_s = perf_counter()
        pruned = search_many(device, gemms)
        search_s, loop_s = perf_counter() - begin_s, 0.0
        for gemm, cost in zip(gemms, pruned, strict=True):
            begin_s = perf_counter()
            expected = search_by_loop(device, gemm)
            loop_s += perf_counter() - begin_s
            if not cost == expected == search_all(device, gemm):
                print(f"{name}: {gemm}: loop {expected}, search {cost}, all {search_all(device, gemm)}")
                return 1
        print(
            f"{name}: {len(gemms)} shapes equal, bit for bit; loop {1e3 * loop_s / len(gemms):.0f} ms a shape, "
            f"search {1e3 * search_s / len(gemms):.2f} ms, {loop_s / search_s:.0f} times faster",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
