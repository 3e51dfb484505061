"""Claims about the whole bisect on made comparisons: no git, no measuring, every answer known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.bisect import report
from perfguard.bisect.comparison import Outcome, Request, most_slowed, what_went_wrong
from perfguard.bisect.driver import LONGER, Bisect, Plan, Result
from perfguard.bisect.history import Commit
from perfguard.bisect.search import Spending, halfway
from perfguard.document import BaselineReference, Case, Change, Direction, Metric, PhaseChange, Verdict
from perfguard.errors import OptionError

CASE = "tests/test_perf.py::test_work"


def figure(
    verdict: Verdict, ratio: float = 1.0, name: str = "time", direction: Direction = "lower", width: float = 0.01
) -> Metric:
    change = Change(ratio, (ratio * (1 - width), ratio * (1 + width)), (PhaseChange("work", ratio - 1, 1.0),))
    kind, unit = ("time", "s") if direction == "lower" else ("throughput", "B/s")
    return Metric(
        name, unit, direction, kind, True, 12, ratio, (ratio, ratio), 0.95, (), 0.03,
        BaselineReference(1.0, 12, "GOOD"), change, verdict,
    )  # fmt: skip


def case(*metrics: Metric, case_id: str = CASE, status: str = "passed", note: str = "") -> Case:
    return Case(case_id, case_id, "tests", status, metrics=metrics, notes=(note,) if note else ())  # type: ignore[arg-type]


class Machine:
    """Compares made commits: `ratios[i]` is the time of commit i; what it was asked is in `asked`."""

    def __init__(self, ratios: Sequence[float], problems: Callable[[int], str] = lambda _: "") -> None:
        self.ratios = ratios
        self.problems = problems
        self.noisy: dict[int, int] = {}  # how many comparisons of a commit stay noisy
        self.asked: list[Request] = []
        self.commits = [Commit(f"{i:040x}", f"commit {i}", (f"{i - 1:040x}",)) for i in range(len(ratios))]

    def __call__(self, request: Request) -> Outcome:
        self.asked.append(request)
        before, now = int(request.before, 16), int(request.now, 16)
        if problem := self.problems(now):
            return Outcome(problem=problem)
        ratio = self.ratios[now] / self.ratios[before]
        if self.noisy.get(now, 0) > 0:
            self.noisy[now] -= 1
            return Outcome((case(figure("noisy", ratio, width=0.2)),))
        limit = 0.03 if request.limit is None else request.limit
        return Outcome((case(figure("slower" if ratio >= 1 + limit else "same", ratio)),))

    def bisect(self, **plan: float) -> Result:
        return Bisect(self.commits, self, Plan(**plan)).run()  # type: ignore[arg-type]


def steps_of(size: int, slow: int, factor: float = 1.08) -> list[float]:
    return [factor if i >= slow else 1.0 for i in range(size + 1)]


@given(st.data())
def test_one_slow_commit_is_found_and_confirmed_against_its_parent(data: st.DataObject) -> None:
    """Wherever it lies, and whichever others cannot be built; what they hide is said as a range."""
    size = data.draw(st.integers(1, 100))
    slow = data.draw(st.integers(1, size))
    broken = data.draw(st.sets(st.integers(1, size))) - {size}
    machine = Machine(steps_of(size, slow), lambda i: "cannot be imported: SyntaxError" if i in broken else "")
    result = machine.bisect()
    numbers = [int(commit.id, 16) for commit in result.suspects]
    assert slow in numbers
    assert set(numbers) - {numbers[-1]} <= broken
    assert result.conclusion == ("found" if len(numbers) == 1 else "range")
    last = result.neighbours
    assert last is not None
    assert (int(last.commit.id, 16), int(last.against.id, 16)) == (numbers[-1], numbers[0] - 1)
    assert not result.partly


def test_the_limit_of_the_steps_comes_from_the_ends() -> None:
    """The ends are compared by the case's own limit, all else by half of the slowdown found; `--limit` rules both."""
    machine = Machine(steps_of(20, 7))
    machine.bisect()
    assert [request.limit for request in machine.asked] == [None] + [halfway(1.08)] * (len(machine.asked) - 1)
    machine = Machine(steps_of(20, 7))
    machine.bisect(limit=0.05)
    assert {request.limit for request in machine.asked} == {0.05}


def test_a_noisy_step_is_measured_longer_and_then_skipped() -> None:
    """Up to four times the seconds; still noisy, another commit is tried, and what only it hides is a range."""
    machine = Machine(steps_of(8, 4))
    machine.noisy = {4: 1}
    result = machine.bisect(seconds=10)
    assert {request.seconds for request in machine.asked} == {10 * LONGER}
    assert [(int(step.commit.id, 16), step.answer) for step in result.steps[:1]] == [(4, "skip")]
    assert [int(commit.id, 16) for commit in result.suspects] == [4, 5]
    assert result.conclusion == "range"


@given(st.data())
def test_the_error_rate_is_kept_with_skips(data: st.DataObject) -> None:
    """Whatever is skipped: the shares of all comparisons sum to at most alpha."""
    size = data.draw(st.integers(2, 64))
    machine = Machine(steps_of(size, data.draw(st.integers(1, size))))
    machine.noisy = data.draw(st.dictionaries(st.integers(1, size - 1), st.just(1)))
    machine.bisect(alpha=0.02)
    assert sum(request.alpha for request in machine.asked) <= 0.02 * (1 + 1e-9)
    assert machine.asked[0].alpha == Spending(0.02, (size - 1).bit_length()).share


def test_ends_that_do_not_differ_are_said_to_be_the_same() -> None:
    """One comparison, no search."""
    machine = Machine(steps_of(20, 99))
    result = machine.bisect()
    assert (result.conclusion, len(machine.asked), result.suspects) == ("not slower", 1, ())
    assert report.conclusion(result, "v1", "main")[0].startswith("main is not slower than v1: same")


def test_ends_that_stay_noisy_are_said_to_be_unknown() -> None:
    """The search does not begin."""
    machine = Machine(steps_of(20, 5))
    machine.noisy = {20: 1}
    result = machine.bisect()
    assert (result.conclusion, len(machine.asked)) == ("noisy", 1)
    assert "cannot tell" in report.conclusion(result, "v1", "main")[0]


def test_a_slowdown_in_parts_is_not_passed_off_as_one_commit() -> None:
    """The larger step is named and said to be not all; many small ones are `unconfirmed`."""
    result = Machine([1.0, 1.0, 1.0, 1.2, 1.2, 1.2, 1.3, 1.3]).bisect()
    assert [int(commit.id, 16) for commit in result.suspects] == [3]
    assert result.partly
    assert "not all of it" in "\n".join(report.conclusion(result, "v1", "main"))
    result = Machine([1.01**i for i in range(17)]).bisect()
    assert result.conclusion == "unconfirmed"
    assert "small parts" in "\n".join(report.conclusion(result, "v1", "main"))


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(problem="cannot be imported: ImportError: thing"), "ImportError: thing"),
        (Outcome((case(status="failed", note="broken: now: failed: assert 1 == 2"),)), "assert 1 == 2"),
        (Outcome((case(note="new: GOOD has no such case"),)), "no such case"),
        (Outcome(()), "no gated figure"),
    ],
)
def test_ends_that_cannot_be_compared_are_an_error_with_the_reason(outcome: Outcome, said: str) -> None:
    """It is no finding that BAD cannot be measured."""
    machine = Machine(steps_of(4, 2))
    with pytest.raises(OptionError, match=said):
        Bisect(machine.commits, lambda _: outcome, Plan()).run()


def test_a_metric_that_is_not_there_is_named_with_those_that_are() -> None:
    """`--metric` is checked at the ends."""
    machine = Machine(steps_of(4, 2))
    with pytest.raises(OptionError, match=r"no gated 'speed' \(one of time\)"):
        Bisect(machine.commits, machine, Plan(metric="speed")).run()


def test_the_figure_to_follow() -> None:
    """Time before all else, then the largest slowdown, whichever direction is better; none if nothing is slower."""

    def name(*metrics: Metric) -> str | None:
        from perfguard.bisect.comparison import gated

        found = most_slowed(gated([case(*metrics)]))
        return None if found is None else found[0].metric

    assert name(figure("slower", 1.5, "calls"), figure("slower", 1.1)) == "time"
    assert name(figure("slower", 0.5, "rate", "higher"), figure("slower", 1.5, "x"), figure("same")) == "rate"
    assert name(figure("same"), figure("noisy", 2.0, "x")) is None


def test_other_cases_are_left_out_of_the_steps() -> None:
    """The steps measure the followed case only."""
    machine = Machine(steps_of(4, 2))
    asked: list[Request] = []

    def measure(request: Request) -> Outcome:
        asked.append(request)
        return Outcome((*machine(request).cases, case(figure("same"), case_id="tests/test_perf.py::test_other")))

    result = Bisect(machine.commits, measure, Plan()).run()
    assert result.target is not None
    assert result.target.case_id == CASE
    assert [request.leave_out for request in asked] == [()] + [("tests/test_perf.py::test_other",)] * (len(asked) - 1)


def test_the_lines_say_what_was_compared_and_why_something_was_skipped() -> None:
    """Commit, change, interval, verdict, answer; reasons; phases of the last comparison; all of it as JSON."""
    machine = Machine(steps_of(8, 6), lambda i: "the case is missing" if i == 4 else "")
    lines: list[str] = []
    bisect = Bisect(machine.commits, machine, Plan(), lambda step, search: lines.append(report.step_line(step, search)))
    result = bisect.run()
    assert "▲ slower" in lines[0]
    assert "+8.0 % [+6.9 %, +9.1 %]" in lines[0]
    assert lines[1].endswith("commit 4: the case is missing")
    assert "= same    good" in "".join(lines)
    text = report.conclusion(result, "v1", "main")
    assert text[0] == f"first slower commit: {6:040x}"
    assert any("work +80 ms = 100% of the change" in line for line in text)
    document = report.as_map(result, Plan(), "v1", "main")
    assert (document["conclusion"], document["first_slower"]) == ("found", f"{6:040x}")
    assert [step["answer"] for step in document["steps"]][:1] == ["skip"]


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (
            2,
            "ERRORS\nE     File x\nE   SyntaxError: invalid syntax\nsummary",
            "cannot be imported: SyntaxError: invalid",
        ),
        (4, "ERROR: file or directory not found: tests/x.py\n\n", "the case is missing"),
        (4, "ERROR: not found: /tmp/x.py::test\n(no match in any of [])", "the case is missing"),
        (5, "no tests ran in 0.01s", "the case is missing"),
        (4, "ERROR: perfguard: abc: its worker did not start\nusage", "status 4: perfguard: abc: its worker did not"),
        (-1, "x\nERROR: still running after 5 s", "still running after 5 s"),
        (3, "INTERNALERROR> boom", "boom"),
        (-9, "", "status -9: without a word"),
    ],
)
def test_a_run_without_result_is_explained_in_one_line(status: int, text: str, said: str) -> None:
    """From what pytest printed: the error itself, not its traceback."""
    assert said in what_went_wrong(status, text)
