"""`python -m perfguard_suites.split_rpc serve|run`: the untrusted server alone, or a whole split request."""

from __future__ import annotations

import sys

from perfguard_suites.split_rpc.threads import let_idle_threads_sleep

if __name__ == "__main__":
    let_idle_threads_sleep()  # before anything imports torch
    from perfguard_suites.split_rpc.commands import main

    sys.exit(main())
