"""Pictures for files: Braille becomes dots inside its cells, everything else stays; and which key a click meets."""

from __future__ import annotations

import re

from perfguard_tui.lines import line
from perfguard_tui.picture_file import finished
from perfguard_tui.widgets.lines_view import key_at

SVG = (
    '<svg><text class="t-r1" x="122" y="44.4" textLength="36.6" clip-path="url(#l)">⣿&#160;⠁</text>'
    '<text class="t-r2" x="0" y="20" textLength="24.4" clip-path="url(#l)">a⠈</text>'
    '<text class="t-r3" x="0" y="20" textLength="12.2" clip-path="url(#l)">&lt;</text></svg>'
)


def test_braille_is_drawn_as_dots_in_its_cells() -> None:
    """As many dots as bits, each within its sign's cell and in its class; text without Braille is untouched."""
    drawn = finished(SVG)
    assert not re.search("[\u2800-\u28ff]", drawn)
    first, second = re.findall(r'<path class="(t-r\d)" d="([^"]*)"/>', drawn)
    dots = [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)h3v3h-3z", first[1])]
    assert (first[0], len(dots)) == ("t-r1", 9)
    assert all(122 <= x <= 134.2 - 3 for x, _ in dots[:8])
    assert 122 + 2 * 12.2 <= dots[8][0] <= 122 + 3 * 12.2 - 3
    assert len({y for _, y in dots[:8]}) == 4
    assert second[0] == "t-r2"
    assert ">a&#160;</text>" in drawn
    assert "&lt;</text>" in drawn


def test_a_click_meets_the_key_before_it() -> None:
    """The key itself, or the one whose word was clicked; nothing left of all, nothing past the end."""
    footer = line((" ", "text"), ("enter", "key"), (" open  ", "dim"), ("q", "key"), (" quit", "dim"))
    assert [key_at(footer, x) for x in (0, 1, 8, 13, 15, 40)] == ["", "enter", "enter", "q", "q", ""]
