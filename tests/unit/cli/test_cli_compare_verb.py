"""`perfguard compare`: the gate's own verdicts between run documents, and the phase that did it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from baseline_runs import KEY, account, bytes_metric, case, ratio_metric, run, time_metric

from perfguard import cli, document
from perfguard.document import Case, Run

Capture = pytest.CaptureFixture[str]


def _documents(folder: Path, *runs: Run) -> list[str]:
    names = []
    for index, made in enumerate(runs):
        path = folder / f"{index}.json"
        path.write_text(json.dumps(document.to_json(made)))
        names.append(str(path))
    return names


def _echo(copy_s: float, *more: Case, sent: float = 100, second: int = 0) -> Run:
    return run(
        case(time_metric(copy_s + 1e-4), bytes_metric(sent), account=account(copy=copy_s, pack=1e-4)),
        *more,
        second=second,
    )


def _compared(capsys: Capture, *arguments: str) -> dict[str, dict[str, object]]:
    assert cli.main(["compare", *arguments, "--json"]) in (0, 1)
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == "perfguard.compare/1"
    return {metric["name"]: metric for one in printed["cases"] for metric in one["metrics"]}


def test_a_slowdown_in_one_phase_is_blamed_on_it(tmp_path: Path, capsys: Capture) -> None:
    """Five times the copy: slower, and all of the change is the copy's."""
    names = _documents(tmp_path, _echo(3e-4), _echo(3.02e-4, second=1), _echo(15e-4, second=2))
    time = _compared(capsys, *names)["time"]
    assert time["verdict"] == "slower"
    assert time["before"] == {"median": pytest.approx(4.01e-4), "process_runs": 2}
    (copy,) = time["change"]["phases"]  # type: ignore[index]
    assert copy["path"] == "copy"
    assert copy["share"] == pytest.approx(1.0)
    assert cli.main(["compare", *names, "--fail-on", "slower"]) == 1
    out = capsys.readouterr().out
    assert "▲ slower" in out
    assert "copy +1.2 ms = 100% of the change" in out


def test_the_same_run_twice_is_not_slower(tmp_path: Path, capsys: Capture) -> None:
    """And the exit status is 0, whatever `--fail-on` says of slower."""
    names = _documents(tmp_path, _echo(3e-4), _echo(3e-4, second=1))
    assert cli.main(["compare", *names, "--fail-on", "slower"]) == 0
    out = capsys.readouterr().out
    assert "▲" not in out
    assert "exact" in out


def test_exact_figures_are_compared_exactly(tmp_path: Path, capsys: Capture) -> None:
    """One byte more is slower, one less is faster."""
    more = _documents(tmp_path, _echo(3e-4), _echo(3e-4, sent=101, second=1))
    assert _compared(capsys, *more)["sent"]["verdict"] == "slower"
    less = _documents(tmp_path, _echo(3e-4), _echo(3e-4, sent=99, second=1))
    assert _compared(capsys, *less)["sent"]["verdict"] == "faster"


def test_one_run_each_is_said_to_be_too_few(tmp_path: Path, capsys: Capture) -> None:
    """More runs before narrow the interval, and the caveat goes."""
    one = _documents(tmp_path, _echo(3e-4), _echo(3e-4, second=9))
    cli.main(["compare", *one])
    assert "one process run each cannot tell run-to-run noise" in capsys.readouterr().out
    wide = _compared(capsys, *one)["time"]["change"]["ci"]  # type: ignore[index]
    many = _documents(tmp_path, *[_echo(3e-4, second=second) for second in range(6)])
    cli.main(["compare", *many])
    assert "one process run each" not in capsys.readouterr().out
    narrow = _compared(capsys, *many)["time"]["change"]["ci"]  # type: ignore[index]
    assert wide[0] < narrow[0] < 1 < narrow[1] < wide[1]


def test_times_of_two_machine_classes_are_not_compared(tmp_path: Path, capsys: Capture) -> None:
    """Ratios are; and the output says which class is not."""
    theirs = run(case(time_metric(1.0), ratio_metric()), machine_class="their-class")
    names = _documents(tmp_path, theirs, run(case(time_metric(9.0), ratio_metric()), second=1))
    compared = _compared(capsys, *names)
    assert (compared["time"]["verdict"], compared["time"]["change"]) == ("new", None)
    assert compared["over_memcpy"]["change"] is not None
    cli.main(["compare", *names])
    assert "absolute figures of machine class their-class are not compared" in capsys.readouterr().out


def test_cases_that_are_gone_or_broken_are_named(tmp_path: Path, capsys: Capture) -> None:
    """A test that no longer runs must not pass for one that got no slower."""
    before = _echo(3e-4, case(time_metric(), key="m::gone"), case(time_metric(), key="m::broken"))
    broken = case(time_metric(), key="m::broken", status="failed")
    names = _documents(tmp_path, before, _echo(3e-4, broken, second=1))
    assert cli.main(["compare", *names]) == 0
    out = capsys.readouterr().out
    assert "gone: tests/m::gone" in out
    assert "! broken" in out
    assert cli.main(["compare", *names, "--fail-on", "missing"]) == 1
    assert cli.main(["compare", *names, "--fail-on", "missing", "--case", "echo"]) == 0


def test_a_metric_that_became_another_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    """Not a comparison of seconds with bytes."""
    names = _documents(tmp_path, run(case(time_metric())), run(case(bytes_metric(name="time")), second=1))
    assert cli.main(["compare", *names]) == 4
    assert "kind 'bytes' now, 'time' in the baseline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["0.json"], "give at least two"),
        (["0.json", "0.json", "--confidence", "95"], "is no probability"),
        (["0.json", "0.json", "--fail-on", "slow"], "'slow' is no verdict"),
        (["0.json", "text.json"], "text.json: cannot be read as JSON"),
        (["0.json", "other.json"], "other.json: not a perfguard.run/1 document"),
    ],
)
def test_bad_arguments_are_said_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Exit 4, no traceback."""
    _documents(tmp_path, _echo(3e-4))
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "other.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *arguments]) == 4
    assert words in capsys.readouterr().err


def test_noise_may_be_learnt_from_baselines(tmp_path: Path, capsys: Capture) -> None:
    """Where many metrics hardly vary from run to run, the interval of one run each is narrower."""
    from perfguard import baselines

    quiet = [case(time_metric(), key=f"m::test_{n}") for n in range(12)]
    for second in range(4):
        baselines.update(
            tmp_path / "b",
            run(
                *[
                    replace(one, metrics=(time_metric(4e-4 * (1 + 0.001 * (second + n))),))
                    for n, one in enumerate(quiet)
                ],
                second=second,
            ),
        )
    names = _documents(tmp_path, _echo(3e-4), _echo(3e-4, second=9))
    assumed = _compared(capsys, *names)["time"]["change"]["ci"]  # type: ignore[index]
    learnt = _compared(capsys, *names, "--dir", str(tmp_path / "b"))["time"]["change"]["ci"]  # type: ignore[index]
    assert assumed[0] < learnt[0] < 1 < learnt[1] < assumed[1]


def test_the_case_s_key_is_shown_without_its_packages(tmp_path: Path, capsys: Capture) -> None:
    """The table stays narrow; JSON has the whole key."""
    names = _documents(tmp_path, _echo(3e-4), _echo(3e-4, second=1))
    cli.main(["compare", *names])
    out = capsys.readouterr().out
    assert KEY not in out
    assert "test_rt::test_echo[shm-1MiB]" in out
