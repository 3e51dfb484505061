"""`perfguard dashboard`: show a live run, a recording, or a run that it starts itself.

perfguard dashboard                            this user's newest live run; waits for one
perfguard dashboard --endpoint E               the run at that endpoint
perfguard dashboard FILE.pgrun [--speed X]     a recording
perfguard dashboard -- pytest --perfguard ...  starts the command, shows it, exits with its status
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from perfguard.errors import OptionError, PerfguardError
from perfguard.events.runtime_dir import default_endpoint, parse_endpoint
from perfguard_tui.feed import CommandFeed, Feed, LiveFeed
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.store import Store


def main(argv: Sequence[str] | None = None) -> int:
    """Show the dashboard until the user leaves it. Returns the exit status: the command's own after `--`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command: list[str] = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
        if not command:
            print("error: nothing after --: name the command to start", file=sys.stderr)
            return OptionError.exit_status
    options = _parser().parse_args(arguments)
    try:
        _check(options, command)
        return _show_command(command) if command else _show(options)
    except PerfguardError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perfguard dashboard",
        description="Show a run: live, recorded, or started here with -- COMMAND.",
        epilog="after --, a command such as: pytest --perfguard suites/",
    )
    parser.add_argument("recording", nargs="?", type=Path, metavar="FILE.pgrun", help="a recording to replay")
    parser.add_argument("--endpoint", help="the live run there (default: this user's newest; waits for one)")
    parser.add_argument("--speed", type=float, metavar="X", help="replay at X times the pace of the recording")
    return parser


def _check(options: argparse.Namespace, command: Sequence[str]) -> None:
    sources = [bool(command), options.recording is not None, options.endpoint is not None]
    if sum(sources) > 1:
        raise OptionError("perfguard dashboard", "more than one of FILE, --endpoint and -- COMMAND", "choose one")
    if options.speed is not None and options.recording is None:
        raise OptionError("--speed", "is for recordings", "name a FILE.pgrun")
    if options.speed is not None and not 0 < options.speed < float("inf"):
        raise OptionError("--speed", f"{options.speed} is no pace", "give a number above 0")
    if options.endpoint is not None:
        parse_endpoint(options.endpoint)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OptionError("perfguard dashboard", "needs a terminal", "read the report of pytest --perfguard instead")
    try:
        import textual  # noqa: F401 - to say what is missing before anything is started
    except ImportError as error:
        raise OptionError("perfguard dashboard", "Textual is missing", "pip install perfguard[tui]") from error


def _show(options: argparse.Namespace) -> int:
    store = Store()
    feed: Feed
    if options.recording is not None:
        feed = ReplayFeed(store, options.recording, options.speed)
    else:
        feed = LiveFeed(store, options.endpoint)
    _run(store, feed)
    return 0


def _show_command(command: Sequence[str]) -> int:
    store = Store()
    with tempfile.TemporaryFile(prefix="perfguard-output-") as output:
        feed = CommandFeed(store, command, default_endpoint("dashboard").live, output)
        try:
            _run(store, feed)
        finally:
            status = feed.stop()
            output.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    return status


def _run(store: Store, feed: Feed) -> None:
    from perfguard_tui.app import Dashboard

    feed.start()
    try:
        Dashboard(store, feed).run()
    finally:
        feed.stop()


if __name__ == "__main__":
    raise SystemExit(main())
