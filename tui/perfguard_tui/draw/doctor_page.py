"""The doctor's page: the machine's noise, the clock's cost, dropped events, what the dashboard takes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from perfguard.doctor.findings import findings
from perfguard.doctor.machine import Facts
from perfguard.units import format_value
from perfguard_tui.doctor import Reading
from perfguard_tui.draw.page import Drawn, columns_of, joined
from perfguard_tui.draw.run_bar import NOISE_LIMIT
from perfguard_tui.feed import FeedStatus
from perfguard_tui.lines import Line, fit, line
from perfguard_tui.marks import bar, sparkline
from perfguard_tui.views import RunView

TWO_COLUMNS_FROM = 150
_MARKS = {"costs": ("!", "noisy"), "untold": ("?", "dim"), "fine": ("✓", "new")}


def draw_doctor(
    run: RunView,
    feed: FeedStatus,
    readings: Sequence[Reading],
    facts: tuple[Facts, Facts] | None,
    width: int,
    height: int,
) -> Drawn:
    """Five blocks; the machine is the one that the dashboard runs on."""
    two = width >= TWO_COLUMNS_FROM and facts is not None
    left, right = columns_of(width) if two else (width - 1, width - 1)
    blocks = _blocks(run, feed, readings, left, height)
    found = [] if facts is None else _findings(run, readings, facts, right)
    return Drawn(joined(*blocks), found) if two else Drawn(joined(blocks[0], found, *blocks[1:]))


def _findings(run: RunView, readings: Sequence[Reading], facts: tuple[Facts, Facts], width: int) -> list[Line]:
    """What adds noise and what would help, by the same judgement as `perfguard doctor`."""
    others = [reading[1] for reading in run.noise] or [0.0]
    steal = [reading[2] for reading in run.noise] + [reading.steal for reading in readings]
    lines: list[Line] = [((" what adds noise here, and what would help (as perfguard doctor)", "header"),)]
    for one in findings(*facts, others, steal):
        mark, role = _MARKS[one.weight]
        found = textwrap.wrap(one.found, max(16, width - 24)) or [""]
        lines.append(line((f" {mark} ", role), (f"{one.name:<20}", "text"), (found[0], role)))
        lines += [line((" " * 23, "text"), (part, role)) for part in found[1:]]
        advice = textwrap.wrap(one.advice, max(16, width - 28))
        lines += [
            line((" " * 23, "text"), ("  " if i else "→ ", "accent"), (part, "dim")) for i, part in enumerate(advice)
        ]
    return lines


def _blocks(run: RunView, feed: FeedStatus, readings: Sequence[Reading], width: int, height: int) -> list[list[Line]]:
    if not readings:
        return [[((" the first reading comes within a second", "dim"),)]]
    now = readings[-1]
    spark_width = max(8, min(60, width - 46))
    machine: list[Line] = [((" this machine, now", "header"),)]
    machine += [
        _figure("CPUs in use", now.busy, f"{now.busy:.0%} of {now.cpus}", [r.busy for r in readings], spark_width),
        _figure("stolen by the host", now.steal, f"{now.steal:.1%}", [r.steal for r in readings], spark_width),
        line(
            (f" {'load':<20}", "text"),
            (" ".join(f"{one:.2f}" for one in now.load), "text"),
            (f"  {now.cpus} CPUs", "dim"),
        ),
        line((f" {'frequency':<20}", "text"), (_frequency(now), "text")),
        line((f" {'throttled for heat':<20}", "text"), (_throttled(now, readings[0]), "text")),
        line((f" {'a clock reading':<20}", "text"), (format_value(now.clock_s, "s"), "text")),
    ]
    others: list[Line] = [((f" {'other processes':<28}{'pid':>8}{'CPU':>8}", "header"),)]
    for one in now.others[: max(3, height - 30)]:
        role = "noisy" if one.cpu > NOISE_LIMIT else "text"
        others.append(line((f" {fit(one.name, 28)}{one.pid:>8}{one.cpu:>8.0%} ", role), (bar(one.cpu, 20), "bar")))
    if len(others) == 1:
        others.append(((" none that takes 2 % of a CPU", "dim"),))
    lost = feed.gaps + feed.shed
    stream: list[Line] = [
        ((" this run's events", "header"),),
        line((f" {'taken in':<20}", "text"), (f"{run.events}", "text")),
        line((f" {'dropped':<20}", "text"), (f"{lost}", "broken" if lost else "text"), (_dropped(feed), "dim")),
        line(
            (f" {'not understood':<20}", "text"), (f"{feed.bad + run.bad}", "broken" if feed.bad + run.bad else "text")
        ),
        *_noise(run, spark_width),
    ]
    own: list[Line] = [
        ((" the dashboard itself", "header"),),
        line(
            (f" {'a frame, CPU':<20}", "text"),
            (format_value(now.frame_p50_s, "s"), "text"),
            ("  99 % below ", "dim"),
            (format_value(now.frame_p99_s, "s"), "text"),
        ),
        line((f" {'CPU':<20}", "text"), (f"{now.cpu:.1%} of one", "text")),
        line((f" {'memory':<20}", "text"), (format_value(now.rss_bytes, "B"), "text")),
    ]
    return [machine, stream, own, others]


def _figure(name: str, value: float, text: str, past: Sequence[float], width: int) -> Line:
    role = "noisy" if name.startswith("stolen") and value > 0.02 else "text"
    return line((f" {name:<20}", "text"), (f"{text:<14}", role), (" ", "text"), (sparkline(past, width), "spark"))


def _frequency(now: Reading) -> str:
    if not now.mhz:
        return "not told by this machine"
    most = f" of {now.mhz_most / 1000:.2f} at most" if now.mhz_most else ", its most is not told"
    return f"{now.mhz / 1000:.2f} GHz{most}"


def _throttled(now: Reading, first: Reading) -> str:
    if now.throttled is None or first.throttled is None:
        return "not told by this machine"
    return f"{now.throttled - first.throttled} times since the dashboard started, {now.throttled} in all"


def _dropped(feed: FeedStatus) -> str:
    return f"  {feed.gaps} missing by their numbers, {feed.shed} forgotten by the run before we came"


def _noise(run: RunView, width: int) -> list[Line]:
    if not run.noise:
        return [line((f" {'noise in the run':<20}", "text"), ("no reading yet", "dim"))]
    lines = []
    for name, at in (("others in the run", 1), ("stolen in the run", 2)):
        past = [reading[at] for reading in run.noise]
        disturbed = max(past) > NOISE_LIMIT
        text = f"{past[-1]:.0%}, most {max(past):.0%}"
        lines.append(
            line(
                (f" {name:<20}", "text"),
                (f"{text:<14}", "noisy" if disturbed else "text"),
                (" ", "text"),
                (sparkline(past, width), "spark"),
            )
        )
    return lines
