"""What the user has chosen: page, case, filter, marks, window. The screen is a function of it and the run."""

from __future__ import annotations

from dataclasses import dataclass, field

from perfguard_tui.window import Window, WindowPhases

PAGES = ("live", "case", "compare", "history", "replay", "doctor", "pictures")


@dataclass(slots=True)
class State:
    """One user's view. `trail` holds the pages that `escape` goes back to; `cursor` a row for each page.

    `window`: seconds of the run that all panes are limited to, or None; `window_phases`: of the rounds in it, once they
    have been read. `opened`: on the case page, whether one sample is opened.
    """

    page: str = "live"
    trail: list[str] = field(default_factory=list)
    selected: str | None = None
    following: bool = True
    paused: bool = False
    filter: str = ""
    order: str = "run"
    backwards: bool = False
    cursor: dict[str, int] = field(default_factory=dict)
    opened: bool = False
    marked: str | None = None
    window: Window | None = None
    window_from_s: float | None = None
    window_phases: WindowPhases | None = None
    zoomed: str = ""
    log_axis: bool = False

    def go(self, page: str) -> None:
        """To a page; the way back is remembered, and cut where it would go in a circle."""
        if page == self.page:
            return
        if page in self.trail:
            del self.trail[self.trail.index(page) :]
        else:
            self.trail.append(self.page)
        self.page, self.opened, self.zoomed = page, False, ""

    def back(self) -> bool:
        """One step back: the opened sample, then the page before. False if there is nothing to go back from."""
        if self.opened:
            self.opened = False
        elif self.trail:
            self.page, self.zoomed = self.trail.pop(), ""
        elif self.page != "live":
            self.page = "live"
        else:
            return False
        return True
