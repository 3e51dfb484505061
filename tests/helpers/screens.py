"""The dashboard's screen in tests: its text, and waiting until it has become what it is going to be."""

from __future__ import annotations

import time

from textual.pilot import Pilot

from perfguard_tui.app import Dashboard

TIMEOUT_S = 30.0


def screen_of(app: Dashboard) -> str:
    """The text on the screen, line by line; it fills the terminal exactly."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    assert [strip.cell_length for strip in strips] == [width] * height
    return "\n".join(strip.text.rstrip() for strip in strips)


async def settle(app: Dashboard, pilot: Pilot[None]) -> None:
    """Wait until the store's events are shown, for the terminal's present size, and nothing is under way.

    Textual's own `pause` takes a process that gets no CPU for an idle one: on a busy machine it returns at once.
    """
    deadline_s = time.monotonic() + TIMEOUT_S
    rests = 0
    while rests < 2:
        assert time.monotonic() < deadline_s, f"the screen does not come to rest:\n{screen_of(app)}"
        await pilot.pause(0)
        if not app.is_running:
            return
        app.tick()
        rests = rests + 1 if _rests(app) else 0


async def press(app: Dashboard, pilot: Pilot[None], *keys: str) -> str:
    """The screen's text after these keys, each one's work done before the next is pressed."""
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)
    return screen_of(app)


def _rests(app: Dashboard) -> bool:
    screen = app.screen
    pumps = [app, *screen.walk_children(with_self=True)]
    resizing = app._resize_timer is not None or screen.outer_size != app.size
    drawing = screen._layout_required or screen._repaint_required or screen._scroll_required or screen._dirty_widgets
    waiting = screen._callbacks or any(pump.message_queue_size or pump._next_callbacks for pump in pumps)
    return app.fits and not (resizing or drawing or waiting)
