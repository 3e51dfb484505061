"""The table of cases: a header that stays, rows drawn only when they are on screen, one row selected."""

from __future__ import annotations

from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from perfguard_tui.draw.table import columns_for, header, row
from perfguard_tui.palette import chosen_style
from perfguard_tui.views import CaseView
from perfguard_tui.widgets.lines_view import Painted, refresh_rows, strip_of


class CaseTable(Painted, ScrollView, can_focus=True, inherit_bindings=False):
    """Shows cases; which one is selected is told from outside, a click asks for another."""

    DEFAULT_CSS = """
    CaseTable { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    class Chosen(Message):
        """A row was clicked."""

        def __init__(self, case_id: str) -> None:
            super().__init__()
            self.case_id = case_id

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._cases: tuple[CaseView, ...] = ()
        self._selected: str | None = None
        self._marked: str | None = None
        self._empty = ""

    def show(self, cases: tuple[CaseView, ...], selected: str | None, empty: str, marked: str | None = None) -> None:
        """Show these cases; `empty` is said when there are none; the marked one has a sign before its name."""
        old, others = self._cases, (selected, empty, marked)
        same_rows = len(old) == len(cases) and others[1:] == (self._empty, self._marked)
        moved = {self._selected, selected} if selected != self._selected else set()
        self._cases, (self._selected, self._empty, self._marked) = cases, others
        if same_rows:
            top = self.scroll_offset.y
            on_screen = range(top, min(len(cases), top + self.size.height))
            changed = [i for i in on_screen if cases[i] is not old[i] or cases[i].id in moved]
            refresh_rows(self, (i + 1 for i in changed), top)  # row 0, the header, stays
            if moved:
                self.reveal()
        else:
            self.virtual_size = Size(self.size.width, len(cases) + 1)
            self.reveal()
            self.refresh()

    def reveal(self) -> None:
        """Scroll so that the selected row is on screen."""
        index = next((i for i, case in enumerate(self._cases) if case.id == self._selected), None)
        rows = self.size.height - 1
        if index is None or rows < 1:
            return
        top = self.scroll_offset.y
        if index < top:
            self.scroll_to(y=index, animate=False)
        elif index >= top + rows:
            self.scroll_to(y=index - rows + 1, animate=False)

    def on_resize(self) -> None:
        """Keep the selected row on screen."""
        self.virtual_size = Size(self.size.width, len(self._cases) + 1)
        self.call_after_refresh(self.reveal)

    def render_line(self, y: int) -> Strip:
        """The header, a row, or nothing."""
        width = self.size.width
        columns = columns_for(width)
        if y == 0:
            return strip_of(self, header(columns), width)
        index = y - 1 + self.scroll_offset.y
        if not self._cases and y == 2:
            return strip_of(self, ((f"   {self._empty}", "dim"),), width)
        if index >= len(self._cases):
            return strip_of(self, (), width)
        case = self._cases[index]
        background = None
        if case.id == self._selected:
            background = chosen_style(self.app.current_theme, focused=self.has_focus)
        drawn = row(case, columns)
        if case.id == self._marked:
            drawn = (("◆" + drawn[0][0][1:], "accent"), *drawn[1:])
        return strip_of(self, drawn, width, background)

    def on_click(self, event: Click) -> None:
        """Ask for the row that was clicked."""
        index = event.y - 1 + self.scroll_offset.y
        if event.y > 0 and index < len(self._cases):
            self.post_message(self.Chosen(self._cases[index].id))
