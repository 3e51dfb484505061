"""Claims about `pytest --perfguard` and its history, and about `perfguard history`, each a real process."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from history_runs import history_run

from perfguard.cli import main
from perfguard.document import to_json
from perfguard.history import open_history

TIMEOUT_S = 60
TEST = """
def test_count(perfguard):
    perfguard.count("calls", 3)
"""


# No database library is imported before a run is over.
NOTHING_LOADED = """
import sys


def pytest_runtest_teardown():
    assert not {"sqlalchemy", "alembic", "psycopg"} & set(sys.modules)
"""


def pytest_run(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key != "PERFGUARD_HISTORY"}
    return subprocess.run(
        [sys.executable, *options],
        cwd=folder,
        env={**environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two commits, measured once by default settings and once against its history."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_perf.py").write_text(TEST)
    (folder / "conftest.py").write_text(NOTHING_LOADED)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git[:3], "init", "-q", "-b", "main"], check=True, timeout=TIMEOUT_S)
    subprocess.run([*git, "add", "."], check=True, timeout=TIMEOUT_S)
    for _ in range(2):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True, timeout=TIMEOUT_S)
    return folder


def may_load(project: Path) -> None:
    """Let runs load database libraries early, in what git takes for an unchanged checkout."""
    (project / "conftest.py").write_text("")
    subprocess.run(["git", "-C", str(project), "update-index", "--assume-unchanged", "conftest.py"], check=True)


MEASURE = ("-m", "pytest", "--perfguard", "-q", "-p", "no:cacheprovider")


def test_runs_are_stored_by_default_out_of_gits_sight_and_serve_as_baselines(project: Path) -> None:
    """The first run makes the history, having loaded no database library before its end; the next is judged by it."""
    first = pytest_run(project, *MEASURE)
    assert first.returncode == 0, first.stdout
    assert "history: stored in .perfguard/history.db" in first.stdout
    may_load(project)  # baselines from the history have to be read before
    second = pytest_run(project, *MEASURE, "--perfguard-baselines", "history:main@last-20", "--perfguard-strict")
    assert second.returncode == 0, second.stdout
    assert "baselines: history:main@last-20: 1 gated metrics to compare" in second.stdout
    with open_history(project / ".perfguard" / "history.db") as stored:
        runs = stored.runs()
    assert [(run.position, run.branch, run.dirty, run.cases) for run in runs] == [(2, "main", False, 1)] * 2
    assert [run.verdicts for run in runs] == [{"new": 1}, {"same": 1}]
    clean = subprocess.run(
        ["git", "-C", str(project), "status", "--porcelain", "--ignored=no"],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    assert "perfguard" not in clean.stdout


def test_the_first_run_has_no_history_to_compare_with_and_makes_it(project: Path, tmp_path: Path) -> None:
    """The settings that a project keeps work from its first run on; without a history they are refused."""
    may_load(project)
    wanted = ("--perfguard-baselines", "history:main@last-20", "--perfguard-history")
    for verdict in ("new", "same"):
        done = pytest_run(project, *MEASURE, *wanted, str(tmp_path / "history.db"), "--perfguard-json=run.json")
        assert done.returncode == 0, done.stdout + done.stderr
        (case,) = json.loads((project / "run.json").read_text())["cases"]
        assert [metric["verdict"] for metric in case["metrics"]] == [verdict]
    refused = pytest_run(project, *MEASURE, *wanted, "off")
    assert refused.returncode == 4
    assert "history:main@last-20 needs a history" in refused.stderr


def test_a_duet_needs_no_history_for_the_baselines_that_the_project_names(project: Path) -> None:
    """A gate turns the history off on a change, whatever pytest.ini says of baselines."""
    options = ("--perfguard-baselines", "history:main@last-20", "--perfguard-history", "off")
    done = pytest_run(project, *MEASURE, *options, "--perfguard-against", "HEAD~1", "--perfguard-seconds", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs a history" not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose history has a step of 10 % at the thirtieth of forty runs."""
    folder = tmp_path_factory.mktemp("stepped")
    with open_history(folder / ".perfguard" / "history.db") as stored:
        for number in range(40):
            wobble = 1 + 0.004 * ((number * 7) % 5 - 2)
            stored.add(history_run(number, 4e-4 * wobble * (1.1 if number >= 30 else 1)))
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, stepped: Path) -> Path:
    """That folder as the working directory, with no history named in the environment."""
    monkeypatch.delenv("PERFGUARD_HISTORY", raising=False)
    monkeypatch.chdir(stepped)
    return stepped


@pytest.mark.usefixtures("here")
def test_a_change_is_told_with_the_bisect_to_go_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    """`changes` names the metric, the size and the commits; `--json` has the same."""
    assert main(["history", "changes", "--worse"]) == 0
    text = capsys.readouterr().out
    assert "▲ test_rt::test_echo[shm-1MiB] time: +10" in text
    assert "perfguard bisect 000000000000 000000000000" in text  # made-up ids begin alike
    assert "'suites/transport/test_rt.py::test_echo[shm-1MiB]'" in text
    assert main(["history", "changes", "--json"]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert int(change["before"], 16) < 30 <= int(change["after"], 16)
    assert change["worse"] is True
    assert main(["history", "changes", "--smallest", "20%"]) == 0
    assert capsys.readouterr().out == "no changes\n"


def test_a_trend_is_drawn_in_a_terminal_no_wider_than_it_is(stepped: Path) -> None:
    """On a terminal of 60 columns: braille dots, the step's mark, and no drawn line beyond the edge."""
    parent, child = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "perfguard.cli", "history", "trend", "echo"],
            cwd=stepped,
            env={**os.environ, "PERFGUARD_HISTORY": str(stepped / ".perfguard" / "history.db"), "COLUMNS": "60"},
            stdout=child,
            stderr=child,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=True,
        )
        text = os.read(parent, 100_000).decode()
    finally:
        os.close(parent)
        os.close(child)
    drawn = [line for line in text.splitlines() if "┤" in line or "│" in line or "▲" in line]
    assert any(0x2800 < ord(character) < 0x2900 for character in text)
    assert any("─▲─" in line for line in drawn)
    assert max(len(line) for line in drawn[:-1]) <= 60


@pytest.mark.usefixtures("here")
def test_documents_are_imported_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second import of the same document says so and changes nothing; one that is none is an error by name."""
    path, target = tmp_path / "run.json", str(tmp_path / "new.db")
    path.write_text(json.dumps(to_json(history_run(41))))
    for told in ("1 cases of 2026-02-11 stored", "stored already"):
        assert main(["history", "import", str(path), "--history", target]) == 0
        assert told in capsys.readouterr().out
    path.write_text("{}")
    assert main(["history", "import", str(path), "--history", target]) == 4
    assert "run.json" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_what_is_asked_in_vain_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A case that fits nothing, a prune of everything, no history here."""
    assert main(["history", "trend", "nothing_like_it"]) == 4
    assert "lists them" in capsys.readouterr().err
    assert main(["history", "prune"]) == 4
    assert "--keep-last" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["history", "runs"]) == 4
    assert "perfguard[history]" in capsys.readouterr().err
