"""`python -m perfguard_suites.simulator run|bottleneck|calibrate|measure-gemm`."""

from __future__ import annotations

import sys

from perfguard_suites.simulator.commands import main

if __name__ == "__main__":
    sys.exit(main())
