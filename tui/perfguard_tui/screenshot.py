"""A picture of the dashboard from a recording: `python -m perfguard_tui.screenshot FILE.pgrun OUT.svg`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from textual.pilot import Pilot

from perfguard.errors import PerfguardError
from perfguard_tui.app import Dashboard
from perfguard_tui.known import Known
from perfguard_tui.palette import THEMES
from perfguard_tui.past import PastReader
from perfguard_tui.picture_file import finished
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.sources import open_file

REST_S = 60.0
READINGS = 4  # a second apart: the first says nothing of shares


async def take(
    paths: Sequence[Path],
    size: tuple[int, int],
    keys: Sequence[str],
    *,
    theme: str = THEMES[0].name,
    against: Path | None = None,
    baselines: Path | None = None,
    history: str | None = None,
    speed: float | None = None,
) -> str:
    """The SVG of the dashboard at `size` (columns, rows) after the whole of the files and then `keys`."""
    sources = [open_file(path, speed) for path in paths]
    if against is not None:
        sources.insert(0, open_file(against))
    for number, source in enumerate(sources):
        source.before = sources[number - 1] if len(sources) > 1 else None
        source.feed.start()
        if speed is None:
            source.feed.join()
    app = Dashboard(sources, known=Known(baselines, past=PastReader(history)))
    app.theme = theme
    async with app.run_test(size=size) as pilot:
        await _rest(app, pilot)
        for key in keys:
            await pilot.press(key)
            await _rest(app, pilot)
        for _ in range(READINGS if app.state.page == "doctor" else 0):
            await pilot.pause(1.05)
        await _rest(app, pilot)
        svg = app.export_screenshot(title="perfguard dashboard")
    return finished(svg)


async def _rest(app: Dashboard, pilot: Pilot[None]) -> None:
    """Until nothing moves but a replay at its pace: files read, runs compared, everything drawn for its size."""
    deadline_s = time.monotonic() + REST_S
    for _ in range(2):
        app.tick()
        await pilot.pause(0.02)
        while time.monotonic() < deadline_s:
            feed = app.source.feed
            reading = isinstance(feed, ReplayFeed) and not feed.over and not feed.playing
            if app.fits and not reading and not app.comparing and not app.known.past.reading:
                break
            await pilot.pause(0.02)
            app.tick()


def main(argv: Sequence[str]) -> int:
    """Write the picture; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_tui.screenshot", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="recordings or run documents")
    parser.add_argument("output", type=Path, help="an SVG file")
    parser.add_argument("--size", default="120x40", help="columns x rows (default: 120x40)")
    parser.add_argument("--keys", default="", help="keys to press first, such as 'j,j,enter'")
    parser.add_argument("--against", type=Path, metavar="RUN", help="compare with this run: JSON or a recording")
    parser.add_argument("--baselines", type=Path, metavar="DIR", help="a folder of baselines")
    parser.add_argument("--history", metavar="PATH|URL", help="a history of runs")
    parser.add_argument("--speed", type=float, metavar="X", help="replay at X times the pace, picture it under way")
    parser.add_argument("--theme", default=THEMES[0].name, choices=[theme.name for theme in THEMES])
    options = parser.parse_args(argv)
    columns, _, rows = options.size.partition("x")
    if not (columns.isdigit() and rows.isdigit()):
        parser.error(f"--size {options.size!r}: write it as 120x40")
    keys = [key for key in options.keys.split(",") if key]
    how = {name: getattr(options, name) for name in ("theme", "against", "baselines", "history", "speed")}
    try:
        svg = asyncio.run(take(options.files, (int(columns), int(rows)), keys, **how))
    except PerfguardError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    options.output.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
