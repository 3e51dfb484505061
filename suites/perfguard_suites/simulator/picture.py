"""The chart as a picture: the whole request, then one layer of its prefill and one of its first decode step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from perfguard.pictures import MAX_BARS, MAX_NAME, Bar, Lanes
from perfguard_suites.simulator.gantt import NO_LAYER, PHASES, Gantt, Piece
from perfguard_suites.simulator.templates import COMPUTE, RESOURCE_KINDS

WIDTH, MARGIN, LANE, GAP, HEAD = 1200, 120, 22, 6, 34
COLOURS = {"compute": "#4878a8", "dma": "#8fb7a1", "link": "#d98c4a", "host": "#9a86b8"}
PHASE_COLOURS = {"H2D": "#9a86b8", "Prefill": "#4878a8", "Decode": "#c05a5a", "D2H": "#9a86b8"}
PS_PER_S = 10**12
LETTER = 6.2  # pixels of a character, about


class Box(NamedTuple):
    """A box of a lane: from and to in picoseconds, its words and its colour."""

    lane: int
    start_ps: int
    end_ps: int
    words: str
    colour: str


class Panel(NamedTuple):
    """A part of the picture with a time axis of its own."""

    title: str
    lanes: Sequence[str]
    bars: Sequence[Box]
    start_ps: int
    end_ps: int
    legend: Sequence[tuple[str, str]] = ()

    @property
    def height(self) -> int:
        """Pixels."""
        return HEAD + len(self.lanes) * (LANE + GAP) + 18


def picture(gantt: Gantt, title: str = "") -> str:
    """SVG of the chart, with what was simulated as its `title`."""
    panels = panels_of(gantt, title)
    body: list[str] = []
    top = 10
    for panel in panels:
        body += _drawn(panel, top)
        top += panel.height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="{WIDTH}" height="{top}" fill="white"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def panels_of(gantt: Gantt, title: str = "") -> list[Panel]:
    """The whole request, one layer of its prefill, one of its first decode step."""
    layers = (_layer(gantt, PHASES.index(phase)) for phase in ("Prefill", "Decode"))
    return [_whole(gantt, title), *(found for found in layers if found is not None)]


def lanes_of(panel: Panel) -> Lanes:
    """A panel as data for a run document: its bars in seconds, alike if they have one colour."""
    kinds = {colour: name for name, colour in [*COLOURS.items(), *panel.legend]}
    bars = [
        Bar(one.lane, one.start_ps / PS_PER_S, one.end_ps / PS_PER_S, one.words, kinds[one.colour])
        for one in panel.bars
    ]
    return Lanes(panel.title[:MAX_NAME], tuple(panel.lanes), tuple(bars[:MAX_BARS]))


def _whole(gantt: Gantt, title: str) -> Panel:
    """Every stage's passes, by phase."""
    passes: dict[tuple[int, int, int, int], list[Piece]] = {}
    for piece in gantt.pieces:
        passes.setdefault((piece.stage, piece.phase, piece.token, piece.microbatch), []).append(piece)
    bars = [
        Box(
            stage,
            pieces[0].start_ps,
            pieces[-1].start_ps + pieces[-1].layers * pieces[-1].template.length_ps,
            _pass_words(PHASES[phase], token, microbatch, gantt),
            PHASE_COLOURS[PHASES[phase]],
        )
        for (stage, phase, token, microbatch), pieces in passes.items()
    ]
    stages = max(piece.stage for piece in gantt.pieces) + 1
    return Panel(
        f"{title or 'the whole request'}: {gantt.tasks} tasks", [f"stage {stage}" for stage in range(stages)], bars, 0,
        gantt.phase_ends_ps[-1], list(PHASE_COLOURS.items()),
    )  # fmt: skip


def _pass_words(phase: str, token: int, microbatch: int, gantt: Gantt) -> str:
    several = any(piece.microbatch for piece in gantt.pieces)
    which = f" token {token}" if phase == "Decode" else ""
    return f"{phase}{which}{f' #{microbatch}' if several else ''}"


def _layer(gantt: Gantt, phase: int) -> Panel | None:
    """The last layer of the first pass of a phase: of a mixture of experts, one that has them."""
    first = [piece for piece in gantt.pieces if piece.phase == phase and piece.first_layer != NO_LAYER]
    if not first:
        return None
    piece = [each for each in first if (each.token, each.microbatch) == (first[0].token, first[0].microbatch)][-1]
    template = piece.template
    kinds = sorted(set(template.kinds) | {COMPUTE})
    bars = [
        Box(kinds.index(kind), offset, offset + duration, name, COLOURS[RESOURCE_KINDS[kind]])
        for name, kind, offset, duration in zip(
            template.names, template.kinds, template.offsets_ps, template.durations_ps, strict=True
        )
    ]
    layer = piece.first_layer + piece.layers - 1
    title = f"{PHASES[phase]}: layer {layer} on stage {piece.stage} ({piece.layers} layers like it in this stage)"
    return Panel(title, [RESOURCE_KINDS[kind] for kind in kinds], bars, 0, template.length_ps)


def _drawn(panel: Panel, top: int) -> Iterator[str]:
    span = max(1, panel.end_ps - panel.start_ps)
    scale = (WIDTH - MARGIN - 20) / span
    yield f'<text x="10" y="{top + 14}" font-weight="bold">{escape(panel.title)}</text>'
    for index, (words, colour) in enumerate(panel.legend):
        left = WIDTH - 20 - 90 * (len(panel.legend) - index)
        yield f'<rect x="{left}" y="{top + 5}" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{left + 14}" y="{top + 14}">{escape(words)}</text>'
    for lane, name in enumerate(panel.lanes):
        y = top + HEAD + lane * (LANE + GAP)
        yield f'<text x="10" y="{y + 15}">{escape(name)}</text>'
        yield f'<rect x="{MARGIN}" y="{y}" width="{WIDTH - MARGIN - 20}" height="{LANE}" fill="#f2f2f2"/>'
    for bar in panel.bars:
        x, width = MARGIN + (bar.start_ps - panel.start_ps) * scale, (bar.end_ps - bar.start_ps) * scale
        y = top + HEAD + bar.lane * (LANE + GAP)
        tip = f"{bar.words}: {_time(bar.end_ps - bar.start_ps)}"
        yield (
            f'<rect x="{x:.2f}" y="{y}" width="{max(width, 0.3):.2f}" height="{LANE}" fill="{bar.colour}" '
            f'stroke="white" stroke-width="0.4"><title>{escape(tip)}</title></rect>'
        )
        words = bar.words[: int((width - 6) / LETTER)] if width < LETTER * len(bar.words) + 6 else bar.words
        if len(words) >= min(4, len(bar.words)):
            yield f'<text x="{x + 3:.2f}" y="{y + 15}" fill="white">{escape(words)}</text>'
    bottom = top + HEAD + len(panel.lanes) * (LANE + GAP)
    for tick in range(6):
        x = MARGIN + tick / 5 * (WIDTH - MARGIN - 20)
        anchor = "start" if tick == 0 else "end" if tick == 5 else "middle"
        when = _time(panel.start_ps + span * tick // 5)
        yield f'<text x="{x:.1f}" y="{bottom + 8}" text-anchor="{anchor}" fill="#666">{when}</text>'


def _time(ps: int) -> str:
    for unit, size in (("s", 10**12), ("ms", 10**9), ("µs", 10**6), ("ns", 10**3)):
        if ps >= size:
            return f"{ps / size:.3g} {unit}"
    return f"{ps} ps" if ps else "0"
