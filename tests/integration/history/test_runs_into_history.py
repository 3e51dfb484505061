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

from perfguard.document import to_json
from perfguard.history import open_history

TIMEOUT_S = 60
TEST = """
def test_count(perfguard):
    perfguard.count("calls", 3)
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


def history(folder: Path, *words: str, status: int = 0, **environment: str) -> str:
    """What `perfguard history ...` prints."""
    done = pytest_run(folder, "-m", "perfguard.cli", "history", *words, **environment)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two commits, measured once by default settings and once against its history."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_perf.py").write_text(TEST)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git[:3], "init", "-q", "-b", "main"], check=True, timeout=TIMEOUT_S)
    subprocess.run([*git, "add", "."], check=True, timeout=TIMEOUT_S)
    for _ in range(2):
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True, timeout=TIMEOUT_S)
    return folder


MEASURE = ("-m", "pytest", "--perfguard", "-q", "-p", "no:cacheprovider")


def test_runs_are_stored_by_default_out_of_gits_sight_and_serve_as_baselines(project: Path) -> None:
    """The first run makes the history with its commit's position; the next is judged against it; git sees nothing."""
    first = pytest_run(project, *MEASURE)
    assert "history: stored in .perfguard/history.db" in first.stdout
    second = pytest_run(project, *MEASURE, "--perfguard-baselines", "history:main@last-20", "--perfguard-strict")
    assert second.returncode == 0, second.stdout
    assert "baselines: history:main@last-20: 1 gated metrics to compare" in second.stdout
    runs = json.loads(history(project, "runs", "--json"))["runs"]
    assert [(run["position"], run["branch"], run["dirty"], run["cases"]) for run in runs] == [(2, "main", False, 1)] * 2
    assert [run["verdicts"] for run in runs] == [{"new": 1}, {"same": 1}]
    clean = subprocess.run(
        ["git", "-C", str(project), "status", "--porcelain", "--ignored=no"],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )
    assert "perfguard" not in clean.stdout


def test_what_cannot_be_is_said_before_anything_runs(project: Path) -> None:
    """A range that is none, and updating what is no folder, end with status 4."""
    for options in (("history:main",), ("history:main@last-2", "--perfguard-update")):
        done = pytest_run(project, *MEASURE, "--perfguard-baselines", *options)
        assert done.returncode == 4, done.stdout
        assert "history" in done.stdout + done.stderr


def test_no_database_library_is_imported_before_a_run_is_over(project: Path) -> None:
    """While cases run, and in a start without --perfguard, neither SQLAlchemy nor Alembic is loaded."""
    (project / "conftest.py").write_text(
        "import sys\n\n\ndef pytest_runtest_teardown():\n"
        "    assert not {'sqlalchemy', 'alembic', 'psycopg'} & set(sys.modules)\n"
    )
    try:
        for options in (MEASURE, ("-m", "pytest", "-q", "-p", "no:cacheprovider")):
            done = pytest_run(project, *options)
            assert done.returncode == 0, done.stdout
    finally:
        (project / "conftest.py").unlink()


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose history has a step of 10 % at the thirtieth of forty runs."""
    folder = tmp_path_factory.mktemp("stepped")
    with open_history(folder / ".perfguard" / "history.db") as stored:
        for number in range(40):
            wobble = 1 + 0.004 * ((number * 7) % 5 - 2)
            stored.add(history_run(number, 4e-4 * wobble * (1.1 if number >= 30 else 1)))
    return folder


def test_a_change_is_told_with_the_bisect_to_go_on_with(stepped: Path) -> None:
    """`changes` names the metric, the size and the commits; `--json` has the same."""
    text = history(stepped, "changes", "--worse")
    assert "▲ test_rt::test_echo[shm-1MiB] time: +10" in text
    assert "perfguard bisect 000000000000 000000000000" in text  # made-up ids begin alike
    assert "'suites/transport/test_rt.py::test_echo[shm-1MiB]'" in text
    (change,) = json.loads(history(stepped, "changes", "--json"))["changes"]
    assert int(change["before"], 16) < 30 <= int(change["after"], 16)
    assert change["worse"] is True


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


def test_documents_are_imported_once(stepped: Path, tmp_path: Path) -> None:
    """A second import of the same document says so and changes nothing; one that is none is an error by name."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps(to_json(history_run(41))))
    assert "1 cases of 2026-02-11 stored" in history(tmp_path, "import", str(path), PERFGUARD_HISTORY="new.db")
    assert "stored already" in history(tmp_path, "import", str(path), PERFGUARD_HISTORY="new.db")
    path.write_text("{}")
    assert "run.json" in history(tmp_path, "import", str(path), status=4)


def test_what_is_asked_in_vain_is_an_error_that_says_what_to_do(stepped: Path, tmp_path: Path) -> None:
    """No history here, a case that fits nothing, a prune of everything."""
    assert "perfguard[history]" in history(tmp_path, "runs", status=4)
    assert "lists them" in history(stepped, "trend", "nothing_like_it", status=4)
    assert "--keep-last" in history(stepped, "prune", status=4)
