"""`perfguard diagnose transport`: which transport is really in use, where its time goes, and what would help.

The words and the progress are here; what is found, and how, is in `diagnosis`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from perfguard_suites.transport.connect import KINDS
from perfguard_suites.transport.diagnosis import DEFAULT_ROUNDS, DEFAULT_TOKENS, MAX_TOKENS, Diagnosis
from perfguard_suites.transport.diagnosis import diagnose as diagnose_target
from perfguard_suites.transport.diagnosis_report import as_document, as_text
from perfguard_suites.transport.target import DEFAULT_ENDPOINT, ENVIRONMENT, resolve

PROGRAM = "perfguard diagnose transport"
_USAGE_ERROR = 4


class _Parser(argparse.ArgumentParser):
    """argparse with pytest's exit status for a usage error."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_USAGE_ERROR, f"{self.prog}: error: {message}\n")


def main(argv: list[str]) -> int:
    """Diagnose and print; 0 when a diagnosis was made.

    Raises `OptionError` and the channel's errors, which the command line turns into exit statuses.
    """
    options = build_parser().parse_args(argv)
    diagnosis = diagnose(
        options.endpoint,
        tokens=options.tokens,
        rounds=options.rounds,
        timeout_s=options.timeout,
        progress=_show if sys.stderr.isatty() else _silent,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(json.dumps(as_document(diagnosis), indent=2) if options.json else as_text(diagnosis), end="")
    if options.json:
        print()
    return 0


def diagnose(
    endpoint: str | None = None,
    *,
    tokens: int = DEFAULT_TOKENS,
    rounds: int = DEFAULT_ROUNDS,
    timeout_s: float = 5.0,
    environment: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda _text: None,
) -> Diagnosis:
    """The diagnosis of an endpoint (a kind, or `kind+address` of a running server) on this machine now.

    `environment` stands for `os.environ`, whose variables may override `endpoint`. Raises `OptionError` for
    impossible options, `ChannelError` when the endpoint cannot be reached within `timeout_s`.
    """
    target = resolve(endpoint, os.environ if environment is None else environment)
    return diagnose_target(target, tokens=tokens, round_count=rounds, timeout_s=timeout_s, progress=progress)


def build_parser() -> argparse.ArgumentParser:
    """The options; `-h` tells them."""
    parser = _Parser(
        prog=PROGRAM,
        description="Which transport is really in use, where its time goes, what would help.",
        epilog=f"{' and '.join(ENVIRONMENT)} override the endpoint; the report says when one does.",
    )
    parser.add_argument(
        "--endpoint",
        metavar="E",
        default=None,
        help=f"a kind ({', '.join(KINDS)}), or the kind+address that a running server printed"
        f" (default {DEFAULT_ENDPOINT})",
    )
    parser.add_argument(
        "--tokens",
        metavar="N",
        type=int,
        default=DEFAULT_TOKENS,
        help=f"prompt length of the workload mix, at most {MAX_TOKENS} (default {DEFAULT_TOKENS};"
        " 1024 move 7 GB a pass)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=int,
        default=DEFAULT_ROUNDS,
        help=f"measured rounds, each in its own random order (default {DEFAULT_ROUNDS})",
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=5.0,
        help="seconds that a running server may take to answer (default 5)",
    )
    parser.add_argument("--json", action="store_true", help="print the diagnosis as a JSON document")
    return parser


def _show(text: str) -> None:
    print(f"\r\x1b[K{text} ...", end="", file=sys.stderr, flush=True)


def _silent(_text: str) -> None:
    """Standard error is no terminal: nobody watches."""
