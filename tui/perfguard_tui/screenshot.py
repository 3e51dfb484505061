"""A picture of the dashboard from a recording: `python -m perfguard_tui.screenshot FILE.pgrun OUT.svg`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from perfguard.errors import PerfguardError
from perfguard_tui.app import Dashboard
from perfguard_tui.comparing import comparison_of
from perfguard_tui.known import Known
from perfguard_tui.palette import THEMES
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.store import Store

READINGS = 4  # a second apart: the first says nothing of shares


async def take(
    path: Path,
    size: tuple[int, int],
    keys: Sequence[str],
    *,
    light: bool = False,
    against: Path | None = None,
    baselines: Path | None = None,
) -> str:
    """The SVG of the dashboard at `size` (columns, rows) after the whole recording and then `keys`."""
    store = Store()
    feed = ReplayFeed(store, path)
    feed.start()
    feed.join()
    app = Dashboard(store, feed, known=Known(baselines), comparison=comparison_of(path, against))
    app.theme = THEMES[1 if light else 0].name
    async with app.run_test(size=size) as pilot:
        app.tick()
        await pilot.pause()
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        while isinstance(feed, ReplayFeed) and not feed.over and not feed.playing:
            await pilot.pause(0.02)
        for _ in range(READINGS if app.state.page == "doctor" else 0):
            await pilot.pause(1.05)
            app.tick()
        app.tick()
        await pilot.pause()
        svg = app.export_screenshot(title="perfguard dashboard")
    # Some renderers (librsvg) trim even the no-break spaces that cells are padded with unless told not to.
    return svg.replace("<text ", '<text xml:space="preserve" ')


def main(argv: Sequence[str]) -> int:
    """Write the picture; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_tui.screenshot", description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("output", type=Path, help="an SVG file")
    parser.add_argument("--size", default="120x40", help="columns x rows (default: 120x40)")
    parser.add_argument("--keys", default="", help="keys to press first, such as 'j,j,enter'")
    parser.add_argument("--against", type=Path, metavar="RUN", help="compare with this run: JSON or a recording")
    parser.add_argument("--baselines", type=Path, metavar="DIR", help="a folder of baselines")
    parser.add_argument("--light", action="store_true", help="the light theme")
    options = parser.parse_args(argv)
    columns, _, rows = options.size.partition("x")
    if not (columns.isdigit() and rows.isdigit()):
        parser.error(f"--size {options.size!r}: write it as 120x40")
    keys = [key for key in options.keys.split(",") if key]
    how = {"light": options.light, "against": options.against, "baselines": options.baselines}
    try:
        svg = asyncio.run(take(options.recording, (int(columns), int(rows)), keys, **how))
    except PerfguardError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    options.output.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
