"""What is written to a folder of baselines is what is read from it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from baseline_runs import CLASS, KEY, SUITE, account, bytes_metric, case, ratio_metric, run, time_metric
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard import baselines
from perfguard.baselines.reader import file_of, suite_of
from perfguard.baselines.summary import summarise
from perfguard.document import Case, Metric
from perfguard.errors import BaselineError, MeasurementError
from perfguard.units import round_measured

# pytest escapes control characters in ids, but a key may hold quotes, dots, brackets and any script.
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
SECONDS = st.floats(0, 1e6, allow_nan=False)


@st.composite
def metrics(draw: st.DrawFn, name: str) -> Metric:
    """Any metric that may be stored."""
    kind, unit = draw(
        st.sampled_from(
            [
                ("time", "s"),
                ("throughput", "B/s"),
                ("bytes", "B"),
                ("count", "calls"),
                ("ratio", ""),
                ("fraction", ""),
            ]
        )
    )
    figures = st.integers(0, 2**53).map(float) if kind in ("bytes", "count") else st.floats(0, 1e18)
    low, median, high = sorted(draw(st.lists(figures, min_size=3, max_size=3)))
    return Metric(
        name,
        unit,
        draw(st.sampled_from(("lower", "higher"))),
        kind,
        draw(st.booleans()),
        draw(st.integers(1, 10**9)),
        median,
        (low, high),
        0.95,
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, ...]:
    """Up to four cases with up to three metrics each, one with phases."""
    made = []
    for key in draw(st.lists(NAMES.map(lambda name: f"m.{name}::t"), unique=True, max_size=4)):
        names = draw(st.lists(NAMES, unique=True, min_size=1, max_size=3))
        phases = draw(st.dictionaries(NAMES, SECONDS, max_size=3))
        made.append(
            case(
                *[draw(metrics(name)) for name in names],
                key=key,
                account=account(**phases),
                suite=draw(st.sampled_from(["transport", "a suite/with ?", ".hidden"])),
            )
        )
    return tuple(made)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_every_metric_of_a_run_is_read_back_as_it_was(made: tuple[Case, ...]) -> None:
    """Names in any script, every kind, tiny and huge figures: all survive, rounded only where measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        baselines.update(folder, run(*made))
        stored = baselines.load(folder, CLASS)
        assert len(stored.metrics) == sum(len(one.metrics) for one in made)
        for one in made:
            for metric in one.metrics:
                found = stored.metric(one.suite, one.key, metric.name, metric.kind)
                assert found is not None
                (process_run,) = found.process_runs
                exact = metric.kind in ("bytes", "count")
                assert process_run.median == (metric.median if exact else round_measured(metric.median))
                assert process_run.n == metric.n
                assert (found.unit, found.direction, found.gated) == (
                    metric.unit,
                    metric.direction,
                    metric.gated,
                )
                assert found.mismatch(metric) == ""


@given(cases())
@settings(max_examples=30, deadline=None)
def test_storing_the_same_run_again_changes_no_byte(made: tuple[Case, ...]) -> None:
    """A run is one process run, however often it is accepted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = baselines.update(folder, run(*made))
        before = {path: path.read_bytes() for path in written}
        assert baselines.update(folder, run(*made)) == []
        assert {path: path.read_bytes() for path in written} == before


@given(st.permutations(range(12)))
@settings(max_examples=10, deadline=None)
def test_the_last_ten_process_runs_are_kept_in_the_order_they_came(order: list[int]) -> None:
    """Twelve updates leave the last ten."""
    with tempfile.TemporaryDirectory() as name:
        for second in order:
            baselines.update(Path(name), run(case(time_metric(1e-3 + second * 1e-5)), second=second))
        found = baselines.load(Path(name), CLASS).metric(SUITE, KEY, "time", "time")
        assert found is not None
        assert [round((median - 1e-3) / 1e-5) for median in found.medians] == order[2:]


def test_a_file_reads_as_promised(tmp_path: Path) -> None:
    """The layout that people review: sorted, a unit in each entry, a line per process run."""
    one = case(time_metric(0.000412123456), bytes_metric(), account=account(copy=1.23456789e-4, **{"rpc/pack": 2e-4}))
    baselines.update(tmp_path, run(one, case(ratio_metric(), key="a.b::first")))
    assert (
        file_of(tmp_path, CLASS, SUITE).read_text()
        == f"""\
schema = "perfguard.baseline/1"
suite = "transport"
machine_class = "{CLASS}"

[machine]
cpu_model = "Test CPU"
cpus = 2
memory_gib = 4

["{KEY}".time]
unit = "s"
direction = "lower"
kind = "time"
gated = true
process_runs = [
  {{ date = 2026-01-31T12:00:00Z, commit = "ab12cd3ab1", n = 120, median = 0.000412123, \
ci = [0.000408002, 0.000416245], \
phases = {{ copy = 0.000123457, "rpc/pack" = 0.0002, unaccounted = 1e-06 }} }},
]
"""
    )
    portable = file_of(tmp_path, "portable", SUITE).read_text()
    assert portable.index('["a.b::first".over_memcpy]') < portable.index(f'["{KEY}".sent]')
    assert "median = 1048576, ci = [1048576, 1048576] }," in portable


def test_phases_belong_to_the_time_that_the_account_splits(tmp_path: Path) -> None:
    """Not to a p99 beside it: its parts are not the parts of the median call."""
    p99 = time_metric(9e-4, name="p99")
    baselines.update(tmp_path, run(case(p99, time_metric(), account=account(copy=3e-4))))
    stored = baselines.load(tmp_path, CLASS)
    time, tail = (stored.metric(SUITE, KEY, name, "time") for name in ("time", "p99"))
    assert time is not None
    assert tail is not None
    assert time.process_runs[0].phases == {"copy": 3e-4, "unaccounted": 1e-6}
    assert tail.process_runs[0].phases == {}


def test_only_passed_cases_are_stored(tmp_path: Path) -> None:
    """A case that failed measured nothing that a later run should be held to."""
    failed = case(time_metric(), key="a::failed", status="failed")
    baselines.update(tmp_path, run(case(time_metric()), failed))
    assert baselines.load(tmp_path, CLASS).case_keys(SUITE) == (KEY,)


def test_a_dirty_tree_is_marked(tmp_path: Path) -> None:
    """The commit alone would claim what was measured was that commit."""
    from dataclasses import replace

    dirty = replace(run(case(time_metric())), commit={"id": "ab12cd3" * 5, "dirty": True})
    baselines.update(tmp_path, dirty)
    found = baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "time", "time")
    assert found is not None
    assert found.process_runs[0].commit == "ab12cd3ab1+dirty"


def test_an_exact_figure_that_changed_starts_afresh(tmp_path: Path) -> None:
    """A median over 100 B and 120 B is true of neither code."""
    for second, size in enumerate((100, 100, 120)):
        baselines.update(tmp_path, run(case(bytes_metric(size)), second=second))
    found = baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "sent", "bytes")
    assert found is not None
    assert found.medians == (120,)


def test_replacing_forgets_what_was_stored(tmp_path: Path) -> None:
    """After a change that was meant, this run is the new reference, whatever unit or kind it has."""
    for second in range(3):
        baselines.update(tmp_path, run(case(time_metric()), second=second))
    changed = time_metric(1.5, kind="ratio", unit="")
    baselines.update(tmp_path, run(case(changed), second=9), replace_stored=True)
    stored = baselines.load(tmp_path, CLASS)
    found = stored.metric(SUITE, KEY, "time", "ratio")
    assert found is not None
    assert found.medians == (1.5,)
    assert not file_of(tmp_path, CLASS, SUITE).exists(), "its old home has no metric left"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"unit": "", "kind": "ratio"}, "kind 'ratio' now, 'time' in the baseline"),
        ({"direction": "higher"}, "direction 'higher' now, 'lower' in the baseline"),
        ({"unit": "B/s", "kind": "throughput"}, "unit 'B/s' now, 's' in the baseline"),
    ],
)
def test_a_metric_that_became_another_is_not_mixed_in(tmp_path: Path, change: dict[str, str], words: str) -> None:
    """A changed unit, direction or kind is refused with the way out, and the file stays as it was."""
    baselines.update(tmp_path, run(case(time_metric())))
    before = file_of(tmp_path, CLASS, SUITE).read_bytes()
    with pytest.raises(BaselineError, match="accept --replace") as caught:
        baselines.update(tmp_path, run(case(time_metric(**change)), second=1))
    assert words in str(caught.value)
    assert f"{SUITE}.toml:" in caught.value.culprit
    assert file_of(tmp_path, CLASS, SUITE).read_bytes() == before


def test_asking_with_another_kind_is_no_new_metric(tmp_path: Path) -> None:
    """The gate must not read a changed kind as "no baseline yet"."""
    baselines.update(tmp_path, run(case(time_metric())))
    with pytest.raises(BaselineError, match="kind 'ratio' now, 'time' in the baseline"):
        baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "time", "ratio")


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_is_none_is_not_stored(tmp_path: Path, figure: float) -> None:
    """Nor is anything else of that run."""
    with pytest.raises(MeasurementError, match=r"test_echo.* time: the figure is"):
        baselines.update(tmp_path, run(case(bytes_metric(), time_metric(figure, ci=(0, 1)))))
    assert list(tmp_path.iterdir()) == []


def test_a_negative_time_is_not_stored(tmp_path: Path) -> None:
    """The file would not be readable afterwards."""
    with pytest.raises(BaselineError, match=r"negative: -1.0 \(nothing was written"):
        baselines.update(tmp_path, run(case(time_metric(-1.0, ci=(0.0, 1.0)))))
    assert list(tmp_path.glob("**/*.toml*")) == []


@pytest.mark.parametrize("machine_class", ["", "portable", "../elsewhere", "a/b", ".hidden"])
def test_a_machine_class_that_is_no_folder_name_is_refused(tmp_path: Path, machine_class: str) -> None:
    """A run document comes from anywhere; it must not choose where on the disk to write."""
    with pytest.raises(BaselineError, match="is no machine class"):
        baselines.update(tmp_path / "folder", run(case(time_metric()), machine_class=machine_class))
    assert list(tmp_path.iterdir()) == []


@given(NAMES)
def test_any_suite_has_a_file_of_its_own_below_its_folder(suite: str) -> None:
    """Two suites never share a file, and none leaves the folder."""
    path = file_of(Path("/x"), "portable", suite)
    assert path.parent == Path("/x/portable")
    assert not path.name.startswith(".")
    assert suite_of(path) == suite


def test_absolute_figures_of_another_machine_class_do_not_apply(tmp_path: Path) -> None:
    """Portable ones do; the other class is named, so that a report can say so."""
    baselines.update(tmp_path, run(case(time_metric(), ratio_metric(), bytes_metric()), machine_class="other-class"))
    here = baselines.load(tmp_path, CLASS)
    assert here.metric(SUITE, KEY, "time", "time") is None
    assert here.metric(SUITE, KEY, "over_memcpy", "ratio") is not None
    assert here.other_classes == ("other-class",)
    assert baselines.load(tmp_path, "other-class").other_classes == ()


def test_counts_are_of_gated_metrics_of_the_asked_cases(tmp_path: Path) -> None:
    """The gate divides its error among exactly these."""
    second = case(time_metric(), key="a::b", suite="other")
    baselines.update(tmp_path, run(case(time_metric(), bytes_metric(), ratio_metric()), second))
    stored = baselines.load(tmp_path, CLASS)
    assert stored.count() == 3
    assert stored.count({KEY}) == 2
    assert stored.count(()) == 0
    assert stored.suites() == ("other", SUITE)
    assert [metric.name for metric in stored.of_case(SUITE, KEY)] == ["over_memcpy", "sent", "time"]
    assert baselines.load(tmp_path, CLASS, suites=["other"]).count() == 1


def test_no_folder_is_no_baselines(tmp_path: Path) -> None:
    """A project's first run is not an error."""
    stored = baselines.load(tmp_path / "none", CLASS)
    assert (stored.count(), stored.other_classes) == (0, ())


def test_a_difference_below_zero_is_no_baseline() -> None:
    """Of an ungated time that may be negative no change is a ratio: it is left out, and the rest is stored."""
    added = time_metric(-1e-6, name="added_s", gated=False, ci=(-2e-6, 1e-6))
    assert set(summarise(run(case(time_metric(), added)), "here")[SUITE]) == {(KEY, "time")}
