"""`perfguard dashboard`: show a live run, a recording, or a run that it starts itself.

perfguard dashboard                            this user's newest live run; waits for one
perfguard dashboard --endpoint E               the run at that endpoint
perfguard dashboard FILE.pgrun [--speed X]     a recording
perfguard dashboard FILE.json                  a finished run's document
perfguard dashboard -- pytest --perfguard ...  starts the command, shows it, exits with its status
perfguard dashboard A.json B.pgrun ...         several runs at once, live ones among them: r switches, 3 compares
... --against RUN                              compared with that run, a document or a recording
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
from perfguard_tui.feed import CommandFeed
from perfguard_tui.known import Known
from perfguard_tui.past import PastReader, default_target
from perfguard_tui.settle import settle
from perfguard_tui.sources import Source, open_file, open_live
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
    options = build_parser().parse_args(arguments)
    try:
        _check(options, command)
        if options.web is not None:
            return _serve(options)
        return _show_command(command, options) if command else _show(options)
    except PerfguardError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def build_parser() -> argparse.ArgumentParser:
    """The options; `-h` tells them."""
    parser = argparse.ArgumentParser(
        prog="perfguard dashboard",
        description="Show a run: live, recorded, or started here with -- COMMAND.",
        epilog="after --, a command such as: pytest --perfguard suites/",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help=".pgrun recordings and run documents, the last shown first"
    )
    parser.add_argument(
        "--endpoint",
        action="append",
        default=[],
        help="the live run there, also several times (default without FILE: this user's newest; waits for one)",
    )
    parser.add_argument("--speed", type=float, metavar="X", help="replay at X times the pace of the recording")
    parser.add_argument("--against", type=Path, metavar="RUN", help="open this run too, and compare with it")
    parser.add_argument(
        "--baselines",
        type=Path,
        default=Path("baselines"),
        metavar="DIR",
        help="stored process runs, for histories and case pages (default: %(default)s)",
    )
    parser.add_argument(
        "--history",
        metavar="PATH|URL",
        help="the history of runs for the history page (default: .perfguard/history.db, if it is there)",
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
    if options.speed is not None and not any(path.suffix != ".json" for path in options.files):
        raise OptionError("--speed", "is for recordings", "name a FILE.pgrun")
    if options.speed is not None and not 0 < options.speed < float("inf"):
        raise OptionError("--speed", f"{options.speed} is no pace", "give a number above 0")
    for endpoint in options.endpoint:
        parse_endpoint(endpoint)
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
    _run(_opened(options), options)
    return 0


def _opened(options: argparse.Namespace, *more: Source) -> list[Source]:
    """All runs asked for, those of files first; each is compared with the one before it, or with `--against`."""
    against = None if options.against is None else open_file(options.against)
    sources = [] if against is None else [against]
    sources += [open_file(path, options.speed if path.suffix != ".json" else None) for path in options.files]
    sources += [open_live(endpoint) for endpoint in options.endpoint]
    if len(sources) == (against is not None) and not more:
        sources.append(open_live(None))
    sources += more
    if len(sources) > 1:
        for number, source in enumerate(sources):
            source.before = against or sources[number - 1 if number else 1]
        if against is not None:
            against.before = sources[1]
    return sources


def _show_command(command: Sequence[str], options: argparse.Namespace) -> int:
    store = Store()
    with tempfile.TemporaryFile(prefix="perfguard-output-") as output:
        feed = CommandFeed(store, command, default_endpoint("dashboard").live, output)
        try:
            _run(_opened(options, Source("", store, feed)), options)
        finally:
            status = feed.stop()
            output.seek(0)
            sys.stdout.flush()
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.flush()
    return status


def _run(sources: Sequence[Source], options: argparse.Namespace) -> None:
    keys = read_keys(keys_file())
    gc.disable()  # until things have settled
    from perfguard_tui.app import Dashboard

    app = Dashboard(
        sources,
        known=Known(options.baselines, past=PastReader(options.history or default_target())),
        keys=keys,
        accept_into=options.baselines if options.allow_accept else None,
    )
    settle()
    for source in sources:
        source.feed.start()
    try:
        app.run()
    finally:
        for source in app.sources:
            source.feed.stop()


def _serve(options: argparse.Namespace) -> int:
    """Serve until interrupted: each browser gets a dashboard of its own, on this machine's loopback only."""
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise OptionError("--web", "textual-serve is missing", "pip install perfguard[web]") from error
    command = [sys.executable, "-m", "perfguard_tui"]
    command += [str(path.resolve()) for path in options.files]
    for endpoint in options.endpoint:
        command += ["--endpoint", endpoint]
    for name in ("speed", "against", "baselines", "history"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name}", str(value.resolve() if isinstance(value, Path) else value)]
    Server(shlex.join(command), host="localhost", port=options.web, title="perfguard dashboard").serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
