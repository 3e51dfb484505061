"""An update that is killed, or that finds no room or no permission, leaves what was there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from baseline_runs import CLASS, KEY, SUITE, case, ratio_metric, run, time_metric

from perfguard import baselines
from perfguard.baselines.reader import file_of

UPDATER = Path(__file__).parents[2] / "helpers" / "baseline_updater.py"
TIMEOUT_S = 60
MOST_CHANGES = 40


def _medians(folder: Path) -> dict[str, tuple[float, ...]]:
    """The stored medians by metric, read with all checks; {} before the first update is through."""
    return {name: found.medians for (_, _, name), found in baselines.load(folder, CLASS).metrics.items()}


def _update(folder: Path, first: int, *die_at: str) -> int:
    return subprocess.run(
        [sys.executable, str(UPDATER), str(folder), str(first), "1", *die_at],
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=False,
    ).returncode


def _killed_at_every_change(folder: Path, first: int) -> list[dict[str, tuple[float, ...]]]:
    """Kill an update before its 1st, 2nd, ... change of a file until one gets through; what was left each time."""
    left = []
    for change in range(1, MOST_CHANGES):
        status = _update(folder, first, str(change))
        if status == 0:
            return left
        assert status == -signal.SIGKILL
        left.append(_medians(folder))
    pytest.fail("the update never got through")


def test_a_first_update_killed_anywhere_leaves_no_half_file(tmp_path: Path) -> None:
    """Each file is either not there or whole; the next update completes and clears up."""
    folder = tmp_path / "baselines"
    left = _killed_at_every_change(folder, 0)
    assert left[0] == {}
    assert all(
        set(medians) in (set(), {"time"}, {"time", "over_memcpy", "sent"}, {"over_memcpy", "sent"}) for medians in left
    )
    assert {name: len(medians) for name, medians in _medians(folder).items()} == {
        "time": 1,
        "over_memcpy": 1,
        "sent": 1,
    }
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [f"{SUITE}.toml"] * 2


def test_a_further_update_killed_anywhere_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    """And a run that was half stored is completed, not stored twice."""
    folder = tmp_path / "baselines"
    assert _update(folder, 0) == 0
    for medians in _killed_at_every_change(folder, 5):
        assert medians["time"] in ((1,), (1, 6))
        assert medians["over_memcpy"] in ((1,), (1, 6))
    assert _medians(folder)["time"] == _medians(folder)["over_memcpy"] == (1, 6)
    assert [path.name for path in folder.rglob("*.tmp")] == []


def test_kills_at_any_moment_leave_files_that_read(tmp_path: Path) -> None:
    """Killed from outside, whatever it is doing: what was stored stays stored."""
    folder = tmp_path / "baselines"
    stored: set[float] = set()
    for kill in range(6):
        with subprocess.Popen(
            [sys.executable, str(UPDATER), str(folder), str(kill * 50), "50"],
            stdout=subprocess.PIPE,
            text=True,
        ) as updater:
            assert updater.stdout is not None
            assert updater.stdout.readline() == "begun\n"
            wanted = len(stored) + kill + 1
            while len(_medians(folder).get("time", ())) < wanted and updater.poll() is None:
                pass
            updater.kill()
        now = set(_medians(folder)["time"])
        assert now > stored
        stored = now
    baselines.update(folder, run(case(time_metric(0.5)), second=59), keep=1000)
    assert set(_medians(folder)["time"]) == stored | {0.5}
    assert list(folder.rglob("*.tmp")) == []


SCRIPT = """\
mount -t tmpfs -o size={size} none {folder} || exit 77
cp -r {stored}/. {folder} || exit 77
{before}
exec {python} -m perfguard.cli baseline accept {document} --dir {folder}
"""


def _accept_on_a_small_disk(folder: Path, made: str, size: str, before: str) -> subprocess.CompletedProcess[str]:
    """`baseline accept` with the baselines on a file system that only this process and its children see."""
    mounted = folder / "mounted"
    mounted.mkdir()
    script = SCRIPT.format(
        size=size,
        folder=mounted,
        stored=folder / "stored",
        before=before.format(folder=mounted),
        python=sys.executable,
        document=made,
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is not installed")
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    return done


@pytest.mark.parametrize(
    ("size", "before", "words"),
    [
        ("1m", "mount -o remount,ro {folder} || exit 77", "Read-only file system"),
        # What is free after this is less than one file needs.
        ("64k", "head -c 1m /dev/zero > {folder}/full 2>/dev/null", "No space left on device"),
    ],
    ids=["read-only", "full"],
)
def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path, size: str, before: str, words: str) -> None:
    """The culprit, why, what to do; exit 4. On a real file system: permissions do not bind root."""
    import json

    from perfguard import document

    baselines.update(tmp_path / "stored", run(case(time_metric(), ratio_metric())))
    made = tmp_path / "run.json"
    made.write_text(json.dumps(document.to_json(run(case(time_metric(), ratio_metric()), second=1))))
    done = _accept_on_a_small_disk(tmp_path, str(made), size, before)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith(f"perfguard: error: {tmp_path}/mounted/")
    assert f"cannot be written: {words} (" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_update_changes_nothing(tmp_path: Path) -> None:
    """A lock that is held, and an update that waits for it, interrupted by Ctrl-C: exit by SIGINT, files untouched."""
    from perfguard.baselines import store

    baselines.update(tmp_path, run(case(time_metric())))
    before = file_of(tmp_path, CLASS, SUITE).read_bytes()
    with (
        store.locked(tmp_path),
        subprocess.Popen(
            [sys.executable, str(UPDATER), str(tmp_path), "9", "1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as updater,
    ):
        assert updater.stdout is not None
        assert updater.stdout.readline() == "begun\n"
        updater.send_signal(signal.SIGINT)
        _, problems = updater.communicate(timeout=TIMEOUT_S)
    assert "KeyboardInterrupt" in problems
    assert file_of(tmp_path, CLASS, SUITE).read_bytes() == before
    assert baselines.load(tmp_path, CLASS).case_keys(SUITE) == (KEY,)
