"""Claims about verdicts, attribution and the gate's decision."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard.baselines import BaselineMetric, Baselines, ProcessRun
from perfguard.document import Account, Case, Direction, Kind, Metric, Phase
from perfguard.errors import BaselineError, OptionError
from perfguard.gate import Judge, Policy, decide
from perfguard.gate.attribution import attribute
from perfguard.gate.judge import BEYOND, verdict_of
from perfguard.gate.policy import parse_fail_on
from perfguard.stats import ChangeInterval

KEY = "suite.test_mod::test_case"


def metric(
    median: float,
    kind: Kind = "time",
    direction: Direction = "lower",
    *,
    limit: float = 0.1,
    gated: bool = True,
    name: str = "time",
) -> Metric:
    unit = {"time": "s", "bytes": "B", "throughput": "B/s"}.get(kind, "")
    return Metric(name, unit, direction, kind, gated, 20, median, (median * 0.999, median * 1.001), 0.95, limit=limit)


def case(*metrics: Metric, account: Account | None = None) -> Case:
    return Case("id", KEY, "suite", "passed", metrics=metrics, account=account)


def stored(m: Metric, medians: list[float], phases: dict[str, float] | None = None) -> Baselines:
    runs = tuple(ProcessRun("2026-01-01T00:00:00Z", "abc", 10, x, (x, x), phases or {}) for x in medians)
    baseline = BaselineMetric(m.name, m.unit, m.direction, m.kind, m.gated, runs, "suite.toml:3")
    return Baselines("baselines", "class", {("suite", KEY, m.name): baseline})


def judged(m: Metric, medians: list[float], policy: Policy | None = None) -> Metric:
    return Judge.for_run(stored(m, medians), policy or Policy(), [KEY]).judge(case(m), m)


STEADY = [1.0, 1.001, 0.999, 1.002, 0.998, 1.0, 1.001, 0.999, 1.0, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [
        (1.11, 1.5, "lower", "slower"),
        (1.05, 1.5, "lower", "slower"),  # changed for certain, and by more than the limit as far as can be told
        (1.05, 1.13, "lower", "noisy"),  # changed for certain, but within the limit as far as can be told
        (0.99, 1.5, "lower", "noisy"),
        (0.95, 1.05, "lower", "same"),
        (0.5, 1.05, "lower", "same"),  # perhaps faster, surely not slower
        (0.5, 0.9, "lower", "faster"),
        (0.5, 0.9, "higher", "slower"),
        (1.2, 1.5, "higher", "faster"),
        (0.95, 1.5, "higher", "same"),
        (0.5, 1.5, "higher", "noisy"),
        (0.0, BEYOND, "higher", "noisy"),
    ],
)
def test_a_verdict_needs_certainty_and_a_change_beyond_the_limit(
    low: float, high: float, direction: str, verdict: str
) -> None:
    """Slower if no change is excluded and the limit exceeded, same only within the limit, else noisy."""
    interval = ChangeInterval((low + high) / 2, low, high, 0.1, 5)
    assert verdict_of(interval, interval, direction, 0.1) == verdict


def test_an_alarm_needs_the_interval_of_the_whole_run() -> None:
    """What is beyond the limit for this metric alone, but not with all others, is no alarm; it is noisy."""
    alone, together = ChangeInterval(1.3, 1.2, 1.4, 0.1, 5), ChangeInterval(1.3, 0.9, 1.8, 0.1, 5)
    assert verdict_of(together, alone, "lower", 0.1) == "noisy"
    assert verdict_of(together, ChangeInterval(1.0, 0.95, 1.05, 0.1, 5), "lower", 0.1) == "same"


def test_a_steady_history_tells_a_doubling_from_no_change() -> None:
    """Against ten stored runs a doubled time is slower, a halved one faster, the same one same."""
    assert judged(metric(2.0, limit=0.5), STEADY).verdict == "slower"
    assert judged(metric(0.4, limit=0.5), STEADY).verdict == "faster"
    assert judged(metric(1.0, limit=0.5), STEADY).verdict == "same"


def test_one_stored_run_cannot_call_a_small_change() -> None:
    """With one stored run 20 % more is noisy: nothing is known yet of run-to-run noise."""
    result = judged(metric(1.2), [1.0])
    assert result.verdict == "noisy"
    assert result.change is not None
    assert result.change.ratio == pytest.approx(1.2)
    assert result.baseline is not None
    assert result.baseline.process_runs == 1


def test_the_error_is_shared_by_all_metrics_of_the_run() -> None:
    """The more metrics a run compares, the more an alarm needs: the whole run keeps the error."""
    m = metric(3.0)
    few, many = (
        Judge(stored(m, STEADY), Policy(), tests, Judge.for_run(stored(m, STEADY), Policy(), [KEY]).priors)
        for tests in (1, 1000)
    )
    narrow, wide = few.judge(case(m), m).change, many.judge(case(m), m).change
    assert narrow is not None
    assert wide is not None
    assert wide.ci[0] < narrow.ci[0]


@pytest.mark.parametrize(
    ("now", "before", "verdict"),
    [
        (98, [98.0], "same"),
        (99, [98.0], "slower"),
        (97, [98.0], "faster"),
        (98, [100.0, 98.0], "same"),
        (1, [0.0], "slower"),
        (0, [0.0, 0.0], "same"),
    ],
)
def test_exact_figures_are_gated_by_equality(now: float, before: list[float], verdict: str) -> None:
    """A count one off is a change, in the direction that matters; the newest stored run is the reference."""
    m = metric(now, "count", limit=0.0, name="calls")
    assert judged(m, before).verdict == verdict


def test_fractions_may_be_zero() -> None:
    """An unaccounted share of nothing is compared by points: within a limit of 20, 1 % is same and 60 % slower."""
    assert judged(metric(0.01, "fraction", limit=0.2, name="f"), [0.0] * 10).verdict == "same"
    assert judged(metric(0.6, "fraction", limit=0.2, name="f"), [0.0] * 10).verdict == "slower"


def test_a_time_of_zero_is_never_called_same() -> None:
    """A zero where ratios are needed cannot be judged: noisy, with finite figures for JSON."""
    result = judged(metric(0.0), STEADY)
    assert result.verdict == "noisy"
    assert result.change is not None
    assert result.change.ci == (0.0, BEYOND)


def test_what_changed_its_unit_is_not_compared() -> None:
    """A metric whose unit, kind or direction differs from the stored one is an error that names the file."""
    m = metric(1.0)
    judge = Judge.for_run(stored(m, STEADY), Policy(), [KEY])
    with pytest.raises(BaselineError, match=r"suite.toml:3"):
        judge.judge(case(m), replace(m, direction="higher"))


def test_without_a_baseline_a_metric_is_new_and_a_lost_one_missing() -> None:
    """A metric nobody stored is new; a stored one that a passed case no longer reports is told."""
    m, other = metric(1.0), metric(1.0, name="other")
    judge = Judge.for_run(stored(m, STEADY), Policy(), [KEY])
    assert judge.judge(case(other), other).verdict == "new"
    assert judge.missing(case(other)) == ("time",)
    assert judge.missing(replace(case(other), status="failed")) == ()


def test_the_slowed_phase_gets_the_change() -> None:
    """A time that grew in one phase names that phase with its share, unaccounted time included in the sum."""
    account = Account(4.0, 0.1, (Phase("pack", 3.0, 3.0, 1, 3.0), Phase("wire", 0.9, 0.9, 1, 0.9)), 1, 0.1)
    m = metric(4.0)
    baselines = stored(m, [2.0] * 10, {"pack": 1.0, "wire": 0.9, "unaccounted": 0.1})
    result = Judge.for_run(baselines, Policy(), [KEY]).judge(case(m, account=account), m)
    assert result.verdict == "slower"
    assert result.change is not None
    (pack,) = result.change.phases
    assert (pack.path, pack.delta_s, pack.share) == ("pack", pytest.approx(2.0), pytest.approx(1.0))


per_phase = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 10), max_size=8)


@given(per_phase, per_phase)
def test_shares_sum_to_the_whole_change(now: dict[str, float], before: dict[str, float]) -> None:
    """Whatever appears or disappears, the parts sum to the change, up to the phases too small to list."""
    changes = attribute(now, [before])
    total = sum(now.values()) - sum(before.values())
    assert sum(c.delta_s for c in changes) == pytest.approx(total, abs=1e-9)
    assert [abs(c.delta_s) for c in changes] == sorted((abs(c.delta_s) for c in changes), reverse=True)


def with_verdicts(*verdicts: str, gated: bool = True) -> Case:
    return case(*(replace(metric(1.0, gated=gated, name=str(i)), verdict=v) for i, v in enumerate(verdicts)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "fail_on", "strict", "status"),
    [
        (["same", "faster"], "slower", False, 0),
        (["same", "slower"], "slower", False, 1),
        (["noisy"], "slower", False, 0),
        (["noisy"], "slower,noisy", False, 1),
        (["new"], "slower", False, 0),
        (["new"], "slower", True, 1),
        (["new"], "missing", False, 1),
        (["slower"], "noisy", False, 0),
    ],
)
def test_the_policy_decides_what_fails(verdicts: list[str], fail_on: str, strict: bool, status: int) -> None:
    """Only the verdicts asked for fail the gate, and the reason names the case."""
    gate = decide([with_verdicts(*verdicts)], Policy(fail_on=parse_fail_on(fail_on), strict=strict))
    assert gate.exit_status == status
    assert ("id" in gate.reason) == (status == 1)


def test_a_gate_that_only_reports_never_says_that_nothing_got_slower() -> None:
    """`none` fails on nothing; what got slower is counted in the reason all the same."""
    gate = decide([with_verdicts("slower")], Policy(fail_on=parse_fail_on("none")))
    assert (gate.exit_status, gate.slower) == (0, ("id",))
    assert gate.reason == "nothing fails (1 slower, which this gate lets pass)"


def test_figures_that_are_not_gated_fail_nothing() -> None:
    """A slower metric recorded with gated=False passes."""
    assert decide([with_verdicts("slower", gated=False)], Policy()).exit_status == 0


def test_a_lost_metric_counts_as_missing() -> None:
    """A case that stopped reporting a stored metric is listed as missing, and fails where missing fails."""
    gate = decide([with_verdicts("same")], Policy(strict=True), gone=["id"])
    assert (gate.exit_status, gate.missing) == (1, ("id",))


def test_unknown_verdicts_to_fail_on_are_named() -> None:
    """A typo in --perfguard-fail-on is an error that lists the choices."""
    with pytest.raises(OptionError, match=r"'sloower'.*slower, noisy, missing"):
        parse_fail_on("slower,sloower")
