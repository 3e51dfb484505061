"""The ladder as one picture (SVG): each stage's speed over stage 0's with its interval, and what its loss is of."""

from __future__ import annotations

from html import escape

from perfguard.ladder.result import Ladder

WIDTH = 860
LEFT = 190
PLOT = 290
GAP = 80
ROW = 34
TOP = 64
LABEL = 40
# Distinct in print and for the colour-blind (Okabe & Ito 2008).
GAP_COLOUR, DILATION_COLOUR, MIX_COLOUR = "#0072b2", "#e69f00", "#009e73"
STYLE = "font-family: system-ui, sans-serif; font-size: 13px"


def chart(ladder: Ladder) -> str:
    """The SVG document."""
    names = ladder.names
    known = any(ladder.terms(name) is not None for name in names[1:])
    height = TOP + ROW * len(names) + (56 if known else 16)
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" style="{STYLE}"'
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(_summary(ladder))}">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 24, f"speed over {names[0]}", bold=True),
        *_speed_rows(ladder),
    ]
    if known:
        title = _text(LEFT + PLOT + GAP, 24, f"loss against {names[0]}, µs per token", bold=True)
        body += [title, *_loss_rows(ladder), *_legend(height - 18)]
    body.append("</svg>")
    return "\n".join(body) + "\n"


def _summary(ladder: Ladder) -> str:
    top = ladder.over_stage0(ladder.names[-1])
    return f"{ladder.names[-1]} runs at {top.estimate:.3f} of the speed of {ladder.names[0]}"


def _speed_rows(ladder: Ladder) -> list[str]:
    found = {name: ladder.over_stage0(name) for name in ladder.names}
    least = min(interval.low for interval in found.values())
    most = max(1.0, *(interval.high for interval in found.values()))
    begin = max(0.0, least - 0.15 * (most - least) - 0.005)

    def x(value: float) -> float:
        return LEFT + PLOT * (value - begin) / (most - begin)

    parts = [_line(x(1.0), TOP - 8, x(1.0), TOP + ROW * len(found), "#cccccc"), _text(x(1.0), TOP - 14, "1", "middle")]
    if x(1.0) - LEFT > LABEL:
        parts.append(_text(LEFT, TOP - 14, f"{begin:.2f}"))
    for index, (name, interval) in enumerate(found.items()):
        y = TOP + ROW * index + ROW / 2
        target = next(stage.target for stage in ladder.stages if stage.name == name)
        parts += [
            _text(LEFT - 12, y + 4, name[:24], "end"),
            _line(LEFT, y, LEFT + PLOT, y, "#eeeeee"),
            _line(x(interval.low), y, x(interval.high), y, "black"),
            *(_line(x(end), y - 5, x(end), y + 5, "black") for end in (interval.low, interval.high)),
            f'<circle cx="{x(interval.estimate):.1f}" cy="{y:.1f}" r="4"/>',
            _text(LEFT + PLOT + 12, y + 4, f"{interval.estimate:.3f}"),
        ]
        if target is not None and begin <= target <= most:
            parts.append(_line(x(target), y - 11, x(target), y + 11, "#d55e00"))
    return parts


def _loss_rows(ladder: Ladder) -> list[str]:
    found = {name: ladder.terms(name) for name in ladder.names}
    sums = [
        (sum(min(0.0, part) for part in parts), sum(max(0.0, part) for part in parts))
        for terms in found.values()
        if terms is not None
        for parts in [(terms.terms.gap_s, terms.terms.dilation_s, terms.terms.mix_s)]
    ]
    least, most = min([0.0, *(low for low, _ in sums)]), max([1e-12, *(high for _, high in sums)])
    left = LEFT + PLOT + GAP
    scale = (PLOT - 60) / (most - least)
    zero = left - scale * least
    parts = [_line(zero, TOP - 8, zero, TOP + ROW * len(found), "#cccccc")]
    for index, terms in enumerate(found.values()):
        y = TOP + ROW * index + ROW / 2
        if terms is None:
            parts.append(_text(zero + 6, y + 4, "not known", fill="#666666"))
            continue
        right, below = zero, zero
        pieces = zip(
            (terms.terms.gap_s, terms.terms.dilation_s, terms.terms.mix_s),
            (GAP_COLOUR, DILATION_COLOUR, MIX_COLOUR),
            strict=True,
        )
        for seconds, colour in pieces:
            width = abs(seconds) * scale
            if seconds < 0:
                below -= width
            parts.append(_bar(right if seconds >= 0 else below, y - 7, width, 14, colour))
            right += width if seconds > 0 else 0.0
        parts.append(_text(right + 6, y + 4, f"{1e6 * terms.loss_s:+.1f}"))
    return parts


def _legend(y: float) -> list[str]:
    parts, x = [], float(LEFT)
    words = (("serial gap", GAP_COLOUR), ("forward dilation", DILATION_COLOUR), ("batch mix", MIX_COLOUR))
    for word, colour in (*words, ("target", "#d55e00")):
        parts += [_bar(x, y - 10, 12, 12, colour), _text(x + 18, y, word)]
        x += 150
    return parts


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height}" fill="{colour}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", *, bold: bool = False, fill: str = "black") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}"{weight}>{escape(words)}</text>'
