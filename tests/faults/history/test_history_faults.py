"""Claims about histories when things break: killed writers, full disks, databases that are not there."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import postgres_server
import pytest
import sqlalchemy as sa
from history_runs import history_run

from perfguard.document import load
from perfguard.errors import HistoryError
from perfguard.history import open_history, packing, schema
from perfguard.history.keeping import keep

WRITER = Path(__file__).parents[2] / "helpers" / "history_writer.py"
TIMEOUT_S = 60
TEST = """
def test_fast(perfguard):
    perfguard.count("calls", 3)
"""


@pytest.mark.parametrize("statement", ["INSERT INTO phase_time", "COMMIT"])
def test_a_writer_killed_in_the_middle_leaves_nothing_half_there(tmp_path: Path, statement: str) -> None:
    """SIGKILL after part of a run is written: the run is not there, and the next writer goes on as if nothing was."""
    _killed_writer(str(tmp_path / "history.db"), statement)


def test_a_writer_killed_leaves_nothing_in_postgresql_either() -> None:
    """The same on a real server, whose connection just ends."""
    with postgres_server.server() as url:
        _killed_writer(url, "INSERT INTO phase_time")


def _killed_writer(target: str, statement: str) -> None:
    with open_history(target) as history:
        history.add(history_run(0))
    killed = subprocess.run(
        [sys.executable, str(WRITER), target, "1", "1", statement],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (killed.returncode, killed.stderr) == (1, "")  # one process that did not end well, and said nothing
    with open_history(target) as history:
        with history.database.reading() as connection:
            for table in schema.BY_RUN:
                query = sa.select(sa.func.count()).select_from(table).where(table.c.run_id != 1)
                assert connection.execute(query).scalar() == 0, table.name
        assert [run.id for run in history.runs()] == [history_run(0).run_id]
        history.add(history_run(1))
        assert len(history.runs()) == 2


def _measure(folder: Path, history: str, *, file_limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """`pytest --perfguard` on one case in `folder`, each file it writes limited to `file_limit` bytes."""
    (folder / "test_perf.py").write_text(TEST)

    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.run(
        [sys.executable, "-m", "pytest", "--perfguard", "-p", "no:cacheprovider", "-q", "test_perf.py"],
        cwd=folder,
        env={**os.environ, "PERFGUARD_HISTORY": history, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        preexec_fn=limit,
    )


def test_a_full_disk_fails_the_store_and_not_the_run_whose_document_can_be_loaded_later(tmp_path: Path) -> None:
    """No file may grow beyond 40 kB: the run passes, says why nothing was stored, keeps the document to import."""
    done = _measure(tmp_path, "history.db", file_limit=40_000)
    assert done.returncode == 0, done.stdout
    assert "history: not stored" in done.stdout
    (kept,) = (tmp_path / ".perfguard" / "unstored").glob("*.json")
    assert f"perfguard history import {kept}" in done.stdout
    assert (tmp_path / ".perfguard" / ".gitignore").exists()
    loaded = subprocess.run(
        [
            sys.executable,
            "-m",
            "perfguard.cli",
            "history",
            "import",
            str(kept),
            "--history",
            str(tmp_path / "later.db"),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    with open_history(tmp_path / "later.db") as history:
        assert [run.id for run in history.runs()] == [json.loads(kept.read_text())["run_id"]]


def test_an_unreachable_database_fails_the_store_and_tells_no_password(tmp_path: Path) -> None:
    """Nobody listens on the port: nothing is raised, the document is kept, the message hides the password."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = free.getsockname()[1]
        kept = keep(history_run(0), f"postgresql+psycopg://ci:hunter2@127.0.0.1:{port}/perf", tmp_path, None)
    assert kept.problem.startswith(f"not stored: postgresql+psycopg://ci:***@127.0.0.1:{port}/perf: connection failed")
    assert "hunter2" not in kept.problem
    (document,) = (tmp_path / ".perfguard" / "unstored").glob("*.json")
    assert load(document).commit["position"] == 1


def test_a_document_that_is_on_disk_already_is_not_written_again(tmp_path: Path) -> None:
    """With --perfguard-json the message names that file."""
    (tmp_path / "run.json").write_text("{}")
    kept = keep(history_run(0), tmp_path, tmp_path, tmp_path / "run.json")
    assert kept.problem.endswith(f"later: perfguard history import {tmp_path / 'run.json'}")
    assert list(tmp_path.iterdir()) == [tmp_path / "run.json"]


def test_a_damaged_database_is_named_with_what_to_do(tmp_path: Path) -> None:
    """A file whose pages are overwritten is refused by name."""
    with open_history(tmp_path / "history.db") as history:
        history.add(history_run(0))
    content = bytearray((tmp_path / "history.db").read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    (tmp_path / "history.db").write_bytes(content)
    kept = keep(history_run(1), tmp_path / "history.db", tmp_path, None)
    assert "move it away" in kept.problem


def test_samples_that_promise_more_than_they_hold_are_refused() -> None:
    """A packed value that was cut, or that inflates to more than it says, is an error and no allocation."""
    packed = packing.pack([1.0, 2.0, 3.0])
    for damaged in (b"", packed[:3], packed[:-4], b"\x09" + packed[1:], packed[:1] + b"\x01\0\0\0" + packed[5:]):
        with pytest.raises(HistoryError, match="samples"):
            packing.unpack(damaged)
