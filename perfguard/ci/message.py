"""What a gate says in Markdown: the job's summary, and the comment on the pull request."""

from __future__ import annotations

import re

from perfguard.ci.artifact import Outcome
from perfguard.ci.workflow import cut
from perfguard.document import Run

# GitHub takes 65,536 characters; a few are kept for what a proxy may add.
COMMENT_BYTES = 65_000
MOST_OF_PROBLEM = 4000


def marker(name: str) -> str:
    """The hidden line by which a comment is found again; `name` tells several gates of one repository apart."""
    return f"<!-- perfguard:{re.sub('[^A-Za-z0-9._-]', '-', name)[:80]} -->"


def body(outcome: Outcome, run: Run | None) -> str:
    """What summary and comment have in common: the run's report, or why there is none; then what was compared."""
    if run is None or outcome.problem:
        told = f"### perfguard: the gate could not decide (exit {outcome.exit_status})\n\n{fenced(outcome.problem)}"
    else:
        from perfguard.report.markdown import render

        told = render(run)
    return f"{told.rstrip()}\n\n{_footer(outcome)}\n"


def summary(outcome: Outcome, run: Run | None, notes: tuple[str, ...] = ()) -> str:
    """The job's summary, whole."""
    return body(outcome, run) + "".join(f"\n> {note}\n" for note in notes)


def comment(outcome: Outcome, run: Run | None, name: str) -> str:
    """The comment, cut to what GitHub takes, with its marker in front."""
    where = (
        f"[The job's summary]({outcome.run_url}) has all of it." if outcome.run_url else "The summary has all of it."
    )
    head = f"{marker(name)}\n"
    return head + cut(body(outcome, run), COMMENT_BYTES - len(head), where)


def fenced(text: str) -> str:
    """Text as it is, in a code block that it cannot leave."""
    shown = text.strip()[-MOST_OF_PROBLEM:] or "It said nothing."
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"


def _footer(outcome: Outcome) -> str:
    link = f" · [the job, with recording and HTML report]({outcome.run_url})" if outcome.run_url else ""
    again = f" · again: <code>pytest --perfguard --perfguard-against={outcome.base[:12]}</code>" if outcome.base else ""
    return f"<sub>{outcome.head[:9]} compared with {outcome.against}{again}{link}</sub>"
