"""The report for a pull request, a job summary or a comment: GitHub-flavoured Markdown.

A verdict in one line, a table of what changed, the rest folded away, the machine and its noise, how to do it again.
Names of cases, metrics and phases are whatever a project made of them, so each stands in a code span, where nothing
links, pings or formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from perfguard.document import Case, Metric, Run
from perfguard.report.lines import WORST_FIRST, first_line, leading, tally, worst_verdict
from perfguard.report.source import Source
from perfguard.report.words import BASES, GLYPHS, account_line, again, evidence, figure, one_line, short_ids
from perfguard.units import format_change, format_change_interval, format_value

# GitHub refuses a comment of more than 65,536 characters; room is left for what a CI step adds.
MAX_CHARS = 60_000
MOST_ROWS = 50
MOST_PHASES = 3
MAX_NAME = 300
CHANGED = ("broken", "slower", "missing", "faster")


def report(source: Source) -> str:
    """The text of the file, for the registry of reports."""
    return render(source.run)


def render(run: Run, max_chars: int = MAX_CHARS) -> str:
    """The report, at most `max_chars` long: details go first, then rows of tables, never the verdict."""
    for rows in (MOST_ROWS * 8, MOST_ROWS, 15, 5):
        text = "\n\n".join(_sections(run, rows)) + "\n"
        if len(text) <= max_chars:
            return text
    return "\n\n".join([f"### {headline(run)}", *_changed_section(run, 5)])[: max_chars - 1] + "\n"


def headline(run: Run) -> str:
    """One line: what the gate decided and the counts of verdicts."""
    counts = ", ".join(tally(run)) or "nothing was gated"
    if run.gate is None:
        return f"{GLYPHS['broken']} perfguard: the run did not end ({counts})"
    glyph = "✅" if run.gate.exit_status == 0 else "❌"
    word = "passes" if run.gate.exit_status == 0 else "fails"
    return f"{glyph} perfguard {word}: {counts}"


def _sections(run: Run, most: int) -> Iterator[str]:
    yield f"### {headline(run)}"
    if run.gate is not None and run.gate.reason:
        yield code(run.gate.reason)
    yield from _changed_section(run, most)
    yield from _notes_section(run, most)
    yield from _rest_sections(run, most)
    yield from _accounts_section(run, most)
    yield _machine_section(run)
    yield _again_section(run)


def _changed_section(run: Run, most: int) -> Iterator[str]:
    rows = [(case, metric) for case, metric in entries(run) if metric.verdict in CHANGED]
    rows.sort(key=lambda row: CHANGED.index(row[1].verdict or "missing"))
    broken = [case for case in run.cases if worst_verdict(case) == "broken"]
    if broken:
        names = short_ids(run)
        told = [f"{code(names[case.id])}: {code(_why(case))}" for case in broken]
        yield _listed(f"{len(broken)} case{_s(broken)} did not pass:", told, most)
    missing = run.gate.missing if run.gate is not None else ()
    new = {case.id for case in run.cases for metric in case.metrics if metric.gated and metric.verdict == "new"}
    if gone := [case for case in missing if case not in new]:
        yield _listed(
            f"{len(gone)} case{_s(gone)} lost a metric that has a baseline:", [code(case) for case in gone], most
        )
    changed = [row for row in rows if row[1].verdict in ("slower", "faster")]
    if changed:
        yield changes_table(run, changed, most)


def _rest_sections(run: Run, most: int) -> Iterator[str]:
    noisy = [row for row in entries(run) if row[1].verdict == "noisy"]
    if noisy:
        yield _folded(
            f"{len(noisy)} noisy: the interval reaches beyond the limit, so it cannot be told",
            changes_table(run, noisy, most),
            unfolded=run.gate is not None and run.gate.exit_status != 0 and not run.gate.slower,
        )
    rest = [row for row in entries(run) if row[1].verdict not in ("noisy", "slower", "faster", "broken")]
    rest.sort(key=lambda row: WORST_FIRST.index(row[1].verdict or "same"))
    if rest:
        told = ", ".join(f"{n} {word}" for word in WORST_FIRST if (n := sum(m.verdict == word for _, m in rest)))
        yield _folded(told or f"{len(rest)} figures", changes_table(run, rest, most))


def _accounts_section(run: Run, most: int) -> Iterator[str]:
    with_phases = [case for case in run.cases if case.account is not None and case.account.phases]
    if with_phases:
        names = short_ids(run)
        lines = [
            f"- {code(names[case.id])}: {code(account_line(case.account))}" for case in with_phases if case.account
        ]
        yield _folded("where the time goes", "\n".join(_cut(lines, most)))


def _notes_section(run: Run, most: int) -> Iterator[str]:
    names = short_ids(run)
    told = [f"{code(names[case.id])}: {code(first_line(note))}" for case in run.cases for note in case.notes]
    notes = list(dict.fromkeys(told))
    if notes:
        yield _folded(f"{len(notes)} note{_s(notes)}", "\n".join(_cut([f"- {note}" for note in notes], most)))


def _machine_section(run: Run) -> str:
    machine, commit = run.machine, run.commit
    facts = [f"machine class {code(str(machine.get('class', 'unknown')))}", f"profile {code(run.profile)}"]
    if commit.get("id"):
        facts.append(f"commit {code(str(commit['id'])[:12])}" + (" with local changes" if commit.get("dirty") else ""))
    if run.noise is not None:
        noise = run.noise
        facts.append(
            f"other processes used {noise.others:.0%} of the CPUs (at worst {noise.others_worst:.0%}), "
            f"the hypervisor took {noise.steal:.0%} (at worst {noise.steal_worst:.0%})"
        )
    facts.append(f"run {code(run.run_id)}, {code(run.started)}")
    return _sub(" · ".join(facts))


def _again_section(run: Run) -> str:
    worth = [case for case in run.cases if worst_verdict(case) in ("broken", "slower", "noisy")]
    command = again([case.id for case in worth[:5]], (metric for case in run.cases for metric in case.metrics))
    return _folded("do it again", f"{_fence(command)}\n{command}\n{_fence(command)}")


def entries(run: Run) -> list[tuple[Case, Metric]]:
    """Every gated metric that was judged, with its case."""
    return [
        (case, metric)
        for case in run.cases
        for metric in case.metrics
        if metric.gated and metric.verdict is not None and worst_verdict(case) != "broken"
    ]


def changes_table(run: Run, rows: Sequence[tuple[Case, Metric]], most: int = MOST_ROWS) -> str:
    """A table: verdict, case, before, now, the change with its interval and limit, the phases behind it."""
    names = short_ids(run)
    lines = [
        "|  | case | before | now | change | phase |",
        "|:--|:--|--:|--:|:--|:--|",
        *(_row(names[case.id], metric) for case, metric in rows[:most]),
    ]
    if len(rows) > most:
        lines.append(f"\n… and {len(rows) - most} more.")
    return "\n".join(lines)


def _row(case_name: str, metric: Metric) -> str:
    verdict = metric.verdict or "same"
    name = code(case_name) + ("" if metric.name == "time" else f" {code(metric.name)}")
    known, change = metric.baseline, metric.change
    before = "" if known is None else format_value(known.median, metric.unit, metric.kind)
    now = format_value(metric.median, metric.unit, metric.kind) if known is not None else figure(metric)
    told, phases = "", ""
    if change is not None and known is not None:
        exact = metric.limit == 0
        told = (
            "exact"
            if exact
            else f"**{format_change(change.ratio)}** {format_change_interval(change.ci)}, limit {metric.limit:.0%}, "
            + evidence(metric).removesuffix(" in the baseline")
            + BASES.get(change.basis, "")
        )
        phases = "<br>".join(
            f"{code(phase.path)} {'+' if phase.delta_s >= 0 else '-'}{format_value(abs(phase.delta_s), 's')} "
            f"= {phase.share:.0%}"
            for phase in (leading(change.phases)[:MOST_PHASES] if verdict in ("slower", "faster") else ())
        )
    cells = (f"{GLYPHS[verdict]} {verdict}", name, before, now, told, phases)
    return f"| {' | '.join(map(cell, cells))} |"


def _why(case: Case) -> str:
    return first_line(case.notes[-1]) if case.notes else case.status


def code(text: str) -> str:
    """Foreign text as a code span, on one line, also inside a table: nothing in it is markup."""
    clean = one_line(text)
    if len(clean) > MAX_NAME:
        clean = f"{clean[: MAX_NAME - 1]}…"
    if not clean.strip():
        return "` `"
    longest = max((len(run) for run in re.findall("`+", clean)), default=0)
    ticks = "`" * (longest + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") else ""
    return f"{ticks}{pad}{clean}{pad}{ticks}"


def cell(text: str) -> str:
    """Markdown as a table's cell, which ends at a bar even inside code: a backslash before it is taken out again.

    A backslash of the text itself before a bar would take part in that, so it is kept apart.
    """
    return text.replace("\\|", "\\ |").replace("|", "\\|")


def _listed(head: str, items: Sequence[str], most: int) -> str:
    return "\n".join([head, "", *_cut([f"- {item}" for item in items], most)])


def _cut(lines: Sequence[str], most: int) -> Iterable[str]:
    yield from lines[:most]
    if len(lines) > most:
        yield f"- … and {len(lines) - most} more"


def _folded(summary: str, body: str, *, unfolded: bool = False) -> str:
    return f"<details{' open' if unfolded else ''}><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _sub(text: str) -> str:
    return f"<sub>{text}</sub>"


def _fence(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _s(things: Sequence[object]) -> str:
    return "" if len(things) == 1 else "s"
