"""A question over everything: one key for each answer, escape for none."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.events import Click, Key
from textual.screen import ModalScreen

from perfguard_tui.lines import crop, line
from perfguard_tui.widgets.lines_view import LinesView


class ChoiceScreen(ModalScreen["str | None"]):
    """Answers with the key pressed if it is one of the choices, with None for any other."""

    CSS = """
    ChoiceScreen { align: center middle; background: $background 60%; }
    ChoiceScreen LinesView {
        width: 90; max-width: 96%; border: round $primary; background: $panel; padding: 0 1;
        border-title-color: $primary;
    }
    """

    def __init__(self, title: str, choices: Mapping[str, str]) -> None:
        super().__init__()
        self._title_text = title
        self._choices = choices

    def compose(self) -> ComposeResult:
        """One view in a frame."""
        view = LinesView(id="choice")
        view.border_title = f"{self._title_text}: esc for none"
        view.styles.height = len(self._choices) + 2
        yield view

    def on_mount(self) -> None:
        """Draw it."""
        view = self.query_one(LinesView)
        room = min(90, self.app.size.width * 96 // 100) - 4
        rows = [line((f" {key} ", "key"), (f" {text}", "text")) for key, text in self._choices.items()]
        view.show([crop(row, room) for row in rows])
        view.focus()

    def on_key(self, event: Key) -> None:
        """Answer."""
        event.stop()
        self.dismiss(event.key if event.key in self._choices else None)

    def on_click(self, event: Click) -> None:
        """The row that was clicked, or none."""
        keys = list(self._choices)
        row = event.screen_y - self.query_one(LinesView).content_region.y
        self.dismiss(keys[row] if 0 <= row < len(keys) else None)
