"""`python -m perfguard_suites.split_rpc serve|run`: the untrusted server alone, or a whole split request."""

from __future__ import annotations

import sys

from perfguard_suites.split_rpc.commands import main

if __name__ == "__main__":
    sys.exit(main())
