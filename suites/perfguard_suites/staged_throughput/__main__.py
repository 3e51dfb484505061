"""`python -m perfguard_suites.staged_throughput serve|ladder`: the stack as a server, or measured stage by stage."""

from __future__ import annotations

import sys

from perfguard_suites.staged_throughput.commands import main

if __name__ == "__main__":
    sys.exit(main())
