"""An analysis for people: the same tables as plain text or as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perfguard.spans.overlapping import OverlapBounds
from perfguard.traces.analysis import Analysis
from perfguard.traces.figures import with_shares
from perfguard.traces.hta import Hta
from perfguard.traces.nsys_csv import Total, Totals
from perfguard.traces.rows import Row
from perfguard.units import format_value

NAME_CHARS = 60
TIMES = ("total", "share", "count", "mean", "stdev", "first", "then")


@dataclass(frozen=True, slots=True)
class Section:
    """One table. Columns named in `left` hold words; the others hold figures and are flush right."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[str] = frozenset()


def text(head: Sequence[str], sections: Sequence[Section], notes: Sequence[str]) -> str:
    """Plain tables, one below the other."""
    from perfguard.commands.table import table

    blocks = ["\n".join(head)]
    blocks += [f"{one.title}\n{table(one.headers, one.rows, frozenset(one.headers) - one.left)}" for one in sections]
    blocks.extend(f"note: {note}" for note in notes)
    return "\n\n".join(blocks)


def markdown(head: Sequence[str], sections: Sequence[Section], notes: Sequence[str]) -> str:
    """The same, for a pull request."""
    blocks = ["\n".join(f"- {_escaped(line)}" for line in head)]
    for one in sections:
        lines = [f"### {one.title}", "", f"| {' | '.join(one.headers)} |"]
        lines.append("|" + "|".join(" --- " if header in one.left else " ---: " for header in one.headers) + "|")
        lines.extend(f"| {' | '.join(map(_escaped, row))} |" for row in one.rows)
        blocks.append("\n".join(lines))
    blocks.extend(f"> note: {_escaped(note)}" for note in notes)
    return "\n\n".join(blocks)


def head_of(analysis: Analysis) -> list[str]:
    """What was read, and the figures of the whole."""
    device = "host only" if analysis.device is None else f"device {analysis.device} {analysis.device_name}".rstrip()
    lines = [
        f"{analysis.source} ({analysis.format}, {device})",
        f"span {_s(analysis.span_s)}, idle {_s(analysis.idle_s)} ({_share(analysis.idle_s, analysis.span_s)})",
    ]
    if analysis.device is not None:
        lines.append(
            f"utilisation {_percent(analysis.utilisation)} by kernels, "
            f"{_percent(analysis.utilisation_with_copies)} with copies"
        )
    if (overlap := analysis.overlap) is not None:
        lines.append(
            f"overlap of copies and kernels {_percent(overlap.overlap_efficiency)} of the shorter; "
            f"copies hidden {_percent(overlap.copy_hidden)} (at most {_percent(overlap.copy_hidden_ceiling)})"
        )
        if analysis.pipeline_layers:
            lines.append(
                f"pipeline of {overlap.layers} layers: {_percent(overlap.pipeline_efficiency)} of the ideal's speed"
            )
    return lines


def sections_of(analysis: Analysis, top: int, *, with_hta: bool) -> list[Section]:
    """The tables that have rows, each cut to `top`."""
    span = analysis.span_s
    sections = [
        Section(
            "lanes",
            ("lane", "busy", "of span"),
            tuple((name, _s(busy), _share(busy, span)) for name, busy in analysis.lanes.items()),
            frozenset({"lane"}),
        ),
        Section(
            "pairs of lanes",
            ("a", "b", "together", "of the shorter"),
            tuple((pair.a, pair.b, _s(pair.intersection_s), _percent(pair.efficiency)) for pair in analysis.pairs),
            frozenset({"a", "b"}),
        ),
        Section(
            f"ranges{_cut(len(analysis.ranges), top)}",
            ("range", *TIMES, "window", "compute", "copy", "overlap"),
            tuple(
                (
                    _name(one.row.name),
                    *_times(one.row),
                    one.window,
                    _s(one.compute_s),
                    _s(one.copy_s),
                    _percent(one.efficiency),
                )
                for one in analysis.ranges[:top]
            ),
            frozenset({"range", "window"}),
        ),
        Section(
            "layers",
            ("range", "layer", *TIMES),
            tuple((_name(one.name), str(one.layer), *_times(one.row)) for one in analysis.layers[: 8 * top]),
            frozenset({"range"}),
        ),
        *_device_sections(analysis, top),
    ]
    if with_hta and analysis.hta is not None:
        sections.append(_hta(analysis.hta))
    return [one for one in sections if one.rows]


def _device_sections(analysis: Analysis, top: int) -> list[Section]:
    return [
        Section(
            f"device activities{_cut(len(analysis.kernels), top)}",
            ("name", "kind", *TIMES[:5]),
            tuple((_name(row.name), row.kind, *_times(row)[:5]) for row in analysis.kernels[:top]),
            frozenset({"name", "kind"}),
        ),
        Section(
            f"longest idle gaps{_cut(len(analysis.gaps), top)}",
            ("at", "idle", "after", "before", "waited for"),
            tuple(
                (_s(gap.start_s), _s(gap.length_s), _name(gap.after, 40), _name(gap.before, 40), gap.waited_for)
                for gap in analysis.gaps[:top]
            ),
            frozenset({"after", "before", "waited for"}),
        ),
        Section(
            f"idle time by what preceded it{_cut(len(analysis.gaps_after), top)}",
            ("after", "gaps", "idle", "waiting for the host"),
            tuple(
                (_name(one.after), str(one.count), _s(one.total_s), _s(one.host_s)) for one in analysis.gaps_after[:top]
            ),
            frozenset({"after"}),
        ),
    ]


def head_of_totals(totals: Totals, bounds: OverlapBounds | None) -> list[str]:
    """What was read, and what totals say of an overlap."""
    lines = [f"{totals.source} (nsys-csv: totals)"]
    if bounds is not None:
        share = bounds.overlap_efficiency
        lines += [
            f"copies {_s(bounds.copy_s)}, compute {_s(bounds.compute_s)}, in {_s(bounds.wall_s)}",
            f"overlap between {_s(bounds.low_s)} and {_s(bounds.high_s)}"
            + ("" if share is None else f": {_percent(share[0])} to {_percent(share[1])} of the shorter")
            + "; totals cannot say more",
            f"utilisation {_percent(bounds.utilisation)}, at most {_percent(bounds.utilisation_ceiling)} beside copies",
        ]
    return lines


def sections_of_totals(totals: Totals, layers: Sequence[Section], top: int) -> list[Section]:
    """The tables of `nsys stats`, and those by layer."""
    left = frozenset({"name"})
    headers = ("name", "total", "share", "count", "mean", "stdev", "min", "max")
    tables = (("ranges", totals.ranges), ("kernels", totals.kernels), ("copies", totals.copies))
    sections = [
        Section(f"{title}{_cut(len(rows), top)}", headers, tuple(_total_cells(rows)[:top]), left)
        for title, rows in tables
    ]
    return [one for one in (*sections[:1], *layers, *sections[1:]) if one.rows]


def layer_sections(rows: Sequence[tuple[str, int, Total]]) -> list[Section]:
    """One table for each range that is named alike but for its layer."""
    names = dict.fromkeys(name for name, _, _ in rows)
    return [
        Section(
            f"layers: {name}",
            ("layer", "total", "count", "mean", "stdev", "max"),
            tuple(
                (str(layer), _s(row.total_s), str(row.count), _s(row.mean_s), _s(row.stdev_s), _s(row.max_s))
                for other, layer, row in rows
                if other == name
            ),
        )
        for name in names
    ]


def _total_cells(rows: tuple[Total, ...]) -> list[tuple[str, ...]]:
    return [
        (
            _name(row.name),
            _s(row.total_s),
            _percent(share),
            str(row.count),
            *(_s(value) for value in (row.mean_s, row.stdev_s, row.min_s, row.max_s)),
        )
        for row, share in with_shares(rows)
    ]


def _hta(found: Hta) -> Section:
    overlap = found.comp_comm_overlap_pctg
    rows = [
        ("comp_comm_overlap_pctg", "n/a" if overlap is None else f"{overlap:.2f} %"),
        *((name, f"{getattr(found, f'{name}_us'):.0f} µs") for name in _HTA_TIMES),
        *((name, f"{value:.0f} µs") for name, value in found.kernel_types_us.items()),
    ]
    return Section("by HTA's definitions", ("figure", "value"), tuple(rows), frozenset({"figure"}))


_HTA_TIMES = ("idle_time", "compute_time", "non_compute_time", "kernel_time")


def _times(row: Row) -> tuple[str, ...]:
    return (
        _s(row.total_s),
        _percent(row.share),
        str(row.count),
        _s(row.mean_s),
        _s(row.stdev_s),
        _s(row.first_s),
        _s(row.steady_mean_s),
    )


def _cut(rows: int, top: int) -> str:
    return f" ({top} of {rows})" if rows > top else ""


def _name(name: str, most: int = NAME_CHARS) -> str:
    plain = "".join(character if character.isprintable() else "?" for character in name)
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _s(value: float) -> str:
    return "n/a" if math.isnan(value) else format_value(value, "s")


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def _share(part: float, whole: float) -> str:
    return _percent(part / whole if whole else None)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
