"""The run bar: which run this is, how far it has come, what it found, and whether it is still talking to us."""

from __future__ import annotations

from perfguard.units import format_value
from perfguard_tui.feed import FeedStatus
from perfguard_tui.lines import Line, Span, spread, width_of
from perfguard_tui.marks import FEED_MARKS, verdict_mark
from perfguard_tui.views import RunView

NOISE_LIMIT = 0.15


def run_bar(
    run: RunView, feed: FeedStatus, elapsed_s: float, width: int, *, paused: bool, which: str = ""
) -> list[Line]:
    """Two lines, and a third with the gate's decision or the feed's message; `which` of several runs it is, `2/3`."""
    lines = [_identity(run, feed, width, which, paused=paused), _progress(run, feed, elapsed_s, width)]
    if feed.message:
        lines.append(spread([(f" {feed.message}", "noisy")], [], width))
    elif run.gate is not None:
        lines.append(_gate(run, width))
    return lines


def _identity(run: RunView, feed: FeedStatus, width: int, which: str, *, paused: bool) -> Line:
    mark, role = FEED_MARKS[feed.state]
    left: list[Span] = [(" perfguard ", "brand"), (" ", "text")]
    if run.run_id:
        left.append((run.run_id, "bold"))
        left += [(f" · {part}", "dim") for part in (run.profile, run.machine_class, run.commit) if part]
    right: list[Span] = [(f"run {which}  ", "accent")] if which else []
    right += [("‖ paused  ", "noisy")] if paused else []
    return spread(left, [*right, (f"{mark} ", role)], width)


def _progress(run: RunView, feed: FeedStatus, elapsed_s: float, width: int) -> Line:
    """The fullest of a few forms that fits: words give way to glyphs, then the rate goes; gaps stay."""
    head = _cases(run, elapsed_s, width)
    left = _left(run, elapsed_s) if feed.state == "live" else []
    rate: list[Span] = []
    if feed.state == "live":
        rate = [(f"  {format_value(run.events_per_s, 'ev/s')}", "dim")]
    noise, losses = _noise(run), _losses(run, feed)
    forms = [
        ([*head, *left, *_tally(run, words=True)], [*noise, *rate, *losses]),
        ([*head, *left, *_tally(run, words=False)], [*noise, *rate, *losses]),
        ([*head, *_tally(run, words=False)], [*noise, *rate, *losses]),
        ([*head, *_tally(run, words=False)], [*noise, *losses]),
        (head, losses),
    ]
    fitting = (form for form in forms if width_of(form[0]) + width_of(form[1]) + 2 <= width)
    return spread(*next(fitting, forms[-1]), width)


def _cases(run: RunView, elapsed_s: float, width: int) -> list[Span]:
    total = len(run.cases)
    bar_width = max(8, min(24, width // 6))
    filled = round(bar_width * run.done / total) if total else 0
    return [
        (" ", "text"),
        ("━" * filled, "accent"),
        ("━" * (bar_width - filled), "rule"),
        (f" {run.done}/{total} cases", "bold"),
        (f"  {format_elapsed(elapsed_s)}", "text"),
    ]


def _left(run: RunView, elapsed_s: float) -> list[Span]:
    """What the cases to come will take if they are like those before."""
    total = len(run.cases)
    if run.exit_status is not None or not 0 < run.done < total:
        return []
    return [(f"  ~{format_elapsed(elapsed_s / run.done * (total - run.done))} left", "dim")]


def _tally(run: RunView, *, words: bool) -> list[Span]:
    marks = [(verdict_mark(word), count, word) for word, count in run.tally if word != "same"]
    return [(f"  {count} {mark}" if words else f"  {mark[0]}{count}", role) for mark, count, role in marks]


def _noise(run: RunView) -> list[Span]:
    if run.others is None:
        return []
    others = run.others + (run.steal or 0.0)
    if others > NOISE_LIMIT:
        return [(f"! disturbed {others:.0%}", "noisy")]
    return [(f"○ quiet {others:.0%}", "dim")]


def _losses(run: RunView, feed: FeedStatus) -> list[Span]:
    lost, bad = feed.gaps + feed.shed, feed.bad + run.bad
    spans: list[Span] = [(f"  gaps {lost} ", "broken" if lost else "dim")]
    return [*spans, (f" bad {bad} ", "broken")] if bad else spans


def _gate(run: RunView, width: int) -> Line:
    assert run.gate is not None
    passed = run.gate.exit_status == 0
    verdict = ("✓ gate passed" if passed else f"✗ gate exit {run.gate.exit_status}", "new" if passed else "slower")
    return spread([(" ", "text"), verdict, (f": {run.gate.reason}" if run.gate.reason else "", "text")], [], width)


def format_elapsed(seconds: float) -> str:
    """`0:42`, `12:03`, `1:02:03`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
