"""`perfguard baseline`: what is stored is shown, a run is accepted, and a clean-up says what it takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from baseline_runs import CLASS, KEY, SUITE, account, bytes_metric, case, ratio_metric, run, time_metric

from perfguard import baselines, cli, document
from perfguard.document import Case, Run


def _document(path: Path, made: Run) -> str:
    path.write_text(json.dumps(document.to_json(made)))
    return str(path)


def _full(second: int, *more: Case) -> Run:
    return run(
        case(time_metric(4e-4 + second * 1e-5), bytes_metric(), ratio_metric(), account=account(copy=3e-4)),
        *more,
        second=second,
    )


def test_accept_then_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs accepted are three process runs shown, with their spread."""
    for second in range(3):
        name = _document(tmp_path / f"{second}.json", _full(second))
        assert cli.main(["baseline", "accept", name, "--dir", str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    assert out.count("3 metrics of 1 cases, machine class " + CLASS) == 3
    assert f"wrote {tmp_path}/b/{CLASS}/{SUITE}.toml" in out
    assert cli.main(["baseline", "show", "--dir", str(tmp_path / "b")]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if " time " in line]
    assert line.split() == [
        SUITE,
        "test_rt::test_echo[shm-1MiB]",
        "time",
        "3",
        "410",
        "µs",
        "4.9%",
        "2026-01-31",
        "ab12cd3ab1",
    ]
    assert "portable (compares on any machine)" in out
    assert "over_memcpy (not gated)" in out


def test_show_as_json_holds_every_process_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For other tools; filtered like the table."""
    baselines.update(tmp_path, _full(0))
    assert cli.main(["baseline", "show", "--dir", str(tmp_path), "--metric", "time", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["class"], entry["suite"], entry["case"], entry["metric"]) == (CLASS, SUITE, KEY, "time")
    (process_run,) = entry["process_runs"]
    assert process_run["phases"] == {"copy": 3e-4, "unaccounted": 1e-6}
    assert process_run["date"] == "2026-01-31T12:00:00Z"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--case", "other"], {"other"}),
        (["--case", "echo[shm-?MiB]"], {"echo"}),
        (["--case", "*"], {"echo", "other"}),
        (["--suite", "none"], set()),
        (["--metric", "sent"], set()),
    ],
)
def test_show_filters(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], shown: set[str]) -> None:
    """Brackets in a pattern are themselves: they are part of keys."""
    baselines.update(tmp_path, run(case(time_metric()), case(time_metric(), key="m::test_other")))
    assert cli.main(["baseline", "show", "--dir", str(tmp_path), *options]) == 0
    out = capsys.readouterr().out
    assert {name for name in ("echo", "other") if f"test_{name}" in out} == shown
    assert shown or "no baselines in" in out


def test_accept_of_chosen_cases_and_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only they are written, and `--replace` makes them the new reference."""
    folder = tmp_path / "b"
    for second in range(2):
        baselines.update(folder, _full(second, case(time_metric(), key="m::test_other")))
    name = _document(tmp_path / "run.json", _full(7, case(time_metric(9.0), key="m::test_other")))
    accept = [
        "baseline",
        "accept",
        name,
        "--dir",
        str(folder),
        "--case",
        "echo",
        "--metric",
        "time",
        "--replace",
    ]
    assert cli.main(accept) == 0
    stored = baselines.load(folder, CLASS)
    assert {(key, metric): len(found.process_runs) for (_, key, metric), found in stored.metrics.items()} == {
        (KEY, "time"): 1,
        (KEY, "sent"): 2,
        (KEY, "over_memcpy"): 2,
        ("m::test_other", "time"): 2,
    }
    assert cli.main(accept) == 0
    assert "nothing to write" in capsys.readouterr().out


def test_accepting_nothing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern with a typing error must not look like success."""
    name = _document(tmp_path / "run.json", _full(0))
    assert cli.main(["baseline", "accept", name, "--dir", str(tmp_path), "--case", "ehco"]) == 4
    assert "no passed case with a metric to accept" in capsys.readouterr().err


def test_prune_of_cases_that_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A suite that did not run and a case that failed are not gone."""
    folder = tmp_path / "b"
    others = (
        case(time_metric(), key="m::gone"),
        case(time_metric(), key="m::failed"),
        case(time_metric(), key="m::elsewhere", suite="other"),
    )
    baselines.update(folder, _full(0, *others))
    name = _document(tmp_path / "run.json", run(case(time_metric()), case(key="m::failed", status="failed"), second=1))
    prune = ["baseline", "prune", "--dir", str(folder), "--missing-from", name]
    assert cli.main([*prune, "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert cli.main(prune) == 0
    done = capsys.readouterr().out
    assert planned.replace("would remove", "removed") == done
    assert sorted(line.split(" (")[0] for line in done.splitlines()) == [
        "removed all process runs of m::gone time",
        f"removed all process runs of {KEY} over_memcpy",
        f"removed all process runs of {KEY} sent",
    ]
    assert {key for _, key, _ in baselines.load(folder, CLASS).metrics} == {KEY, "m::failed", "m::elsewhere"}
    assert cli.main(prune) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prune"], "nothing says what to take out"),
        (["prune", "--keep", "0"], "--keep: 0 process runs"),
        (["prune", "--older-than", "1e300"], "1e\\+300 days is no age"),
        (["prune", "--keep", "3", "--dir", "/none/such"], "/none/such: is no folder of baselines"),
        (["accept", "/none/such.json"], "/none/such.json: cannot be read as JSON"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`perfguard: error: culprit: problem (advice)` on stderr, exit 4, no traceback."""
    import re

    (tmp_path / "baselines").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["baseline", *arguments]) == 4
    captured = capsys.readouterr()
    assert re.fullmatch(rf"perfguard: error: .*{words}.*\n", captured.err)
    assert captured.out == ""


def test_an_unreadable_baseline_stops_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With file and line."""
    baselines.update(tmp_path, _full(0))
    path = tmp_path / CLASS / f"{SUITE}.toml"
    path.write_text(path.read_text().replace("median = ", "median = -"))
    assert cli.main(["baseline", "show", "--dir", str(tmp_path)]) == 4
    assert f"{path}:16: " in capsys.readouterr().err
