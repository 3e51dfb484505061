"""The help, over everything; any key closes it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.events import Click, Key
from textual.screen import ModalScreen

from perfguard_tui.actions import Action
from perfguard_tui.draw.help import draw_help
from perfguard_tui.widgets.lines_view import LinesView


class HelpScreen(ModalScreen[None]):
    """Keys and verdicts."""

    CSS = """
    HelpScreen { align: center middle; background: $background 60%; }
    HelpScreen LinesView {
        width: 78; max-width: 96%; height: 54; max-height: 96%;
        border: round $primary; background: $panel; padding: 0 2;
        border-title-color: $primary;
    }
    """

    def __init__(self, actions: Sequence[Action]) -> None:
        super().__init__()
        self._actions = actions

    def compose(self) -> ComposeResult:
        """One view in a frame."""
        view = LinesView(id="help")
        view.border_title = "perfguard dashboard"
        yield view

    def on_mount(self) -> None:
        """Draw it."""
        view = self.query_one(LinesView)
        view.show(draw_help(self._actions))
        view.focus()

    def on_key(self, event: Key) -> None:
        """Scroll, or close."""
        event.stop()
        view = self.query_one(LinesView)
        if event.key in ("j", "down"):
            view.scroll_down(animate=False)
        elif event.key in ("k", "up"):
            view.scroll_up(animate=False)
        else:
            self.dismiss()

    def on_click(self, _: Click) -> None:
        """Close."""
        self.dismiss()
