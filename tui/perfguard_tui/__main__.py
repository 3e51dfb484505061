"""`perfguard dashboard`: show a live run, a recording, or a run that it starts itself.

perfguard dashboard                            this user's newest live run; waits for one
perfguard dashboard --endpoint E               the run at that endpoint
perfguard dashboard FILE.pgrun [--speed X]     a recording
perfguard dashboard -- pytest --perfguard ...  starts the command, shows it, exits with its status
perfguard dashboard FILE.json                  a finished run's document
... --against RUN                              beside another run, a document or a recording
... --web 8000                                 in a browser, on this machine only
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

gc.disable()  # loading modules makes no garbage to speak of, and looking for it takes a quarter of the time

from perfguard.errors import OptionError, PerfguardError
from perfguard.events.runtime_dir import default_endpoint, parse_endpoint
from perfguard_tui.actions import keys_file, read_keys
from perfguard_tui.comparing import compare, read_run
from perfguard_tui.documents import DocumentFeed
from perfguard_tui.feed import CommandFeed, Feed, LiveFeed
from perfguard_tui.known import Known
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.settle import settle
from perfguard_tui.store import Store

gc.enable()


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
        if options.web is not None:
            return _serve(options)
        return _show_command(command, options) if command else _show(options)
    except PerfguardError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perfguard dashboard",
        description="Show a run: live, recorded, or started here with -- COMMAND.",
        epilog="after --, a command such as: pytest --perfguard suites/",
    )
    parser.add_argument("recording", nargs="?", type=Path, metavar="FILE", help="a .pgrun recording or a run document")
    parser.add_argument("--endpoint", help="the live run there (default: this user's newest; waits for one)")
    parser.add_argument("--speed", type=float, metavar="X", help="replay at X times the pace of the recording")
    parser.add_argument("--against", type=Path, metavar="RUN", help="compare with this run: a document or a recording")
    parser.add_argument(
        "--baselines",
        type=Path,
        default=Path("baselines"),
        metavar="DIR",
        help="stored process runs, for histories and case pages (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-accept",
        action="store_true",
        help="A on the compare page adds the run to the baselines; else read-only",
    )
    parser.add_argument(
        "--web", type=int, nargs="?", const=8000, metavar="PORT", help="serve it to browsers of this machine (8000)"
    )
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
    if options.against is not None and options.recording is None:
        raise OptionError("--against", "compares two finished runs", "name a FILE as well")
    if options.web is not None and (command or options.allow_accept):
        raise OptionError("--web", "is for looking: no -- COMMAND, no --allow-accept", "start the run by itself")
    in_browser = options.web is not None or "TEXTUAL_DRIVER" in os.environ
    if not in_browser and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OptionError("perfguard dashboard", "needs a terminal", "read the report of pytest --perfguard instead")
    try:
        import textual  # noqa: F401 - to say what is missing before anything is started
    except ImportError as error:
        raise OptionError("perfguard dashboard", "Textual is missing", "pip install perfguard[tui]") from error


def _show(options: argparse.Namespace) -> int:
    store = Store()
    feed: Feed
    if options.recording is None:
        feed = LiveFeed(store, options.endpoint)
    elif options.recording.suffix == ".json":
        feed = DocumentFeed(store, options.recording)
    else:
        feed = ReplayFeed(store, options.recording, options.speed)
    _run(store, feed, options)
    return 0


def _show_command(command: Sequence[str], options: argparse.Namespace) -> int:
    store = Store()
    with tempfile.TemporaryFile(prefix="perfguard-output-") as output:
        feed = CommandFeed(store, command, default_endpoint("dashboard").live, output)
        try:
            _run(store, feed, options)
        finally:
            status = feed.stop()
            output.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    return status


def _run(store: Store, feed: Feed, options: argparse.Namespace) -> None:
    keys = read_keys(keys_file())
    comparison = None
    if options.against is not None:
        before, now = read_run(options.against), read_run(options.recording)
        comparison = compare(before, now, options.against.name, options.recording.name)
    gc.disable()  # until things have settled
    from perfguard_tui.app import Dashboard

    app = Dashboard(
        store,
        feed,
        known=Known(options.baselines),
        comparison=comparison,
        keys=keys,
        accept_into=options.baselines if options.allow_accept else None,
    )
    settle()
    feed.start()
    try:
        app.run()
    finally:
        feed.stop()


def _serve(options: argparse.Namespace) -> int:
    """Serve until interrupted: each browser gets a dashboard of its own, on this machine's loopback only."""
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise OptionError("--web", "textual-serve is missing", "pip install perfguard[web]") from error
    command = [sys.executable, "-m", "perfguard_tui"]
    if options.recording is not None:
        command.append(str(options.recording.resolve()))
    for name in ("endpoint", "speed", "against", "baselines"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
    Server(shlex.join(command), host="localhost", port=options.web, title="perfguard dashboard").serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
