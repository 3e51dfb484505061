"""A view of drawn lines: formats what is on screen, turns roles into colours, reads no markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.app import RenderResult
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from perfguard_tui.lines import Line
from perfguard_tui.palette import chosen_style, styles


class Painted(Widget):
    """Works its own style out when that may have changed, not for every line: it is most of what a line costs."""

    _base: Style | None = None
    _base_of: tuple[str, bool] = ("", False)

    @property
    def base(self) -> Style:
        """What every cell has that says nothing else."""
        of = (self.app.theme, self.has_focus)
        if self._base is None or of != self._base_of:
            self._base, self._base_of = self.rich_style, of
        return self._base

    def notify_style_update(self) -> None:
        """A rule of the style sheet applies that did not, or the other way round."""
        super().notify_style_update()
        self._base = None


def strip_of(widget: Painted, line: Line, width: int, background: Style | None = None) -> Strip:
    """One drawn line as `width` cells in the colours of the app's theme."""
    base = widget.base
    if background is not None:
        base += background
    roles = styles(widget.app.theme)
    segments = [Segment(text, base + roles[role]) for text, role in line]
    if background is not None:  # a selected row keeps its own background under every role
        segments = [Segment(text, (style or base) + background) for text, style, _ in segments]
    return Strip(segments).adjust_cell_length(width, base)


def refresh_rows(widget: Widget, rows: Iterable[int], scrolled: int) -> None:
    """Have those of the rows drawn again that are on screen: a tick that changes one line costs one line."""
    width, height = widget.size
    regions = [Region(0, row - scrolled, width, 1) for row in rows if 0 <= row - scrolled < height]
    if regions:
        widget.refresh(*regions)


def key_at(line: Line, x: int) -> str:
    """The text of the last span of the role `key` that begins at or before cell `x` of a line, "" if there is none."""
    at, found = 0, ""
    for text, role in line:
        if at > x:
            break
        found = text.strip() if role == "key" else found
        at += cell_len(text)
    return found if x < at else ""


class LinesView(Painted, ScrollView, can_focus=True, inherit_bindings=False):
    """Drawn lines that scroll; a click on one is told."""

    class Clicked(Message):
        """A line was clicked."""

        def __init__(self, view: LinesView, row: int) -> None:
            super().__init__()
            self.view, self.row = view, row

    def on_click(self, event: Click) -> None:
        """Tell it."""
        self.post_message(self.Clicked(self, event.y + self.scroll_offset.y))

    DEFAULT_CSS = """
    LinesView { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()
        self._chosen: int | None = None

    def show(self, lines: Sequence[Line], chosen: int | None = None) -> None:
        """Show these lines, the chosen one marked and on screen; nothing is drawn again if they are the same."""
        old, new = self._lines, tuple(lines)
        if chosen != self._chosen:
            before, self._chosen = self._chosen, chosen
            refresh_rows(self, (row for row in (before, chosen) if row is not None), self.scroll_offset.y)
            if chosen is not None:
                self._reveal(chosen, len(new))
        if new == old:
            return
        self._lines = new
        if len(new) != len(old):
            self.virtual_size = Size(self.size.width, len(new))
            self.refresh()
        else:
            refresh_rows(self, (i for i, line in enumerate(new) if line != old[i]), self.scroll_offset.y)

    def show_head(self, lines: Sequence[Line]) -> None:
        """Show these lines in the place of as many at the top; the others stay."""
        self.show((*lines, *self._lines[len(lines) :]), self._chosen)

    def _reveal(self, row: int, rows: int) -> None:
        top, height = self.scroll_offset.y, self.size.height
        if self.virtual_size.height != rows:
            self.virtual_size = Size(self.size.width, rows)
        if row < top or row >= top + height:
            self.scroll_to(y=max(0, row - height // 2), animate=False)

    def render_line(self, y: int) -> Strip:
        """One line of what is on screen."""
        index = y + self.scroll_offset.y
        line = self._lines[index] if index < len(self._lines) else ()
        background = None
        if index == self._chosen:
            background = chosen_style(self.app.current_theme)
        return strip_of(self, line, self.size.width, background)


class LineBar(Painted):
    """A few drawn lines that do not scroll and take no focus; a click on them is told, with where it was."""

    class Clicked(Message):
        """Line `y` was clicked at cell `x`; `key`: the key that stands there, or before what stands there."""

        def __init__(self, bar: LineBar, x: int, y: int, key: str) -> None:
            super().__init__()
            self.bar, self.x, self.y, self.key = bar, x, y, key

    def on_click(self, event: Click) -> None:
        """Tell it."""
        line = self._lines[event.y] if event.y < len(self._lines) else ()
        self.post_message(self.Clicked(self, event.x, event.y, key_at(line, event.x)))

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's own name for it
        super().__init__(id=id)
        self._lines: tuple[Line, ...] = ()

    def show(self, lines: Sequence[Line]) -> None:
        """Show these lines; the bar becomes as high as they are many."""
        old, new = self._lines, tuple(lines)
        if new != old:
            self._lines = new
            if len(new) != len(old):
                self.styles.height = len(new)
                self.refresh()
            else:
                refresh_rows(self, (i for i, line in enumerate(new) if line != old[i]), 0)

    def render(self) -> RenderResult:
        """Nothing: it is drawn line by line."""
        return ""

    def render_line(self, y: int) -> Strip:
        """One line of what is on screen."""
        line = self._lines[y] if y < len(self._lines) else ()
        return strip_of(self, line, self.size.width)
