"""A duet as the plugin starts it: which two trees, how pytest was called, and what pytest is told of each case."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from perfguard.document import Case
from perfguard.duet.engine import Duet
from perfguard.duet.pairing import A, B
from perfguard.duet.side import Side, invocation
from perfguard.duet.worktree import Checkout, top_of, worktree
from perfguard.errors import DuetError
from perfguard.options import Settings
from perfguard.session import PlannedCase, RunSession

# Seconds for each case where --perfguard-seconds does not say: what sampling until certainty may take in all.
LEAST_SECONDS = 40.0  # a handful of cases still needs its dozen restarts, each with two interpreters to start
SECONDS_PER_CASE = {"quick": 10.0, "standard": 30.0, "full": 90.0}


def run_duet(
    session: RunSession, pytest_session: pytest.Session, planned: Sequence[PlannedCase], report: Callable[[Case], None]
) -> None:
    """Compare the working tree with the other revision, case by case. Raises `DuetError`."""
    config, settings = pytest_session.config, session.settings
    items = {item.nodeid: item for item in pytest_session.items}
    given = config.invocation_params

    def done(case: Case) -> None:
        report(case)
        tell_pytest(items[case.id], case)

    # Without an ini file, pytest's rootdir is a guess that may hold the other tree too.
    place = given.dir.resolve() if config.inipath is None else config.rootpath
    with both_checkouts(settings, place) as (before, now):
        call = invocation(
            now.root,
            config.args,
            [str(arg) for arg in given.args],
            given.dir.resolve(),
            config.rootpath,
            config.inipath,
        )
        sides = {
            A: Side(before, now.root, call, settings.against_python or sys.executable),
            B: Side(now, before.root, call, sys.executable),
        }
        budget_s = settings.seconds or max(LEAST_SECONDS, SECONDS_PER_CASE[settings.profile] * len(planned))
        Duet(session, sides, budget_s, done, parallel=settings.duet == "parallel").run(planned)


@contextlib.contextmanager
def both_checkouts(settings: Settings, place: Path) -> Iterator[tuple[Checkout, Checkout]]:
    """Before and now: a worktree of the revision or the folder given, and the tree that holds `place`.

    Raises `DuetError` for a folder that is none, or one of two trees inside the other: which files are whose?
    """
    if settings.against_path is not None:
        other = settings.against_path.resolve()
        if not other.is_dir():
            raise DuetError(f"--perfguard-against-path {other}", "is no folder", "name another checkout")
        now = _tree_of(place)
        if other.is_relative_to(now) or now.is_relative_to(other):
            raise DuetError(
                f"--perfguard-against-path {other}",
                f"is not apart from this tree, {now}",
                "if it should be: write --perfguard-against-path=DIR with '=', since pytest takes a DIR that stands "
                "alone for a test folder when it looks for its ini file and rootdir",
            )
        yield Checkout(other, str(settings.against_path)), Checkout(now, "this tree")
        return
    assert settings.against is not None
    top = top_of(place)
    with worktree(top, settings.against) as before:
        yield before, Checkout(top, "the working tree")


def tell_pytest(item: pytest.Item, case: Case) -> None:
    """Report a case to pytest as a test that ran: it is counted, listed and, if it failed, shown."""
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    outcome = {"passed": "passed", "skipped": "skipped"}.get(case.status, "failed")
    message = case.notes[-1] if case.notes and outcome != "passed" else ""
    longrepr = None if outcome == "passed" else (str(item.path), 0, message) if outcome == "skipped" else message
    hook.pytest_runtest_logreport(
        report=pytest.TestReport(
            item.nodeid,
            item.location,
            {item.name: 1},
            outcome,  # type: ignore[arg-type]
            longrepr,
            "call",
            duration=case.duration_s,
        )
    )
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def _tree_of(place: Path) -> Path:
    try:
        return top_of(place)
    except DuetError:  # two plain folders can be compared too
        return place.resolve()
