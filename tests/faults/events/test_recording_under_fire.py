"""Recordings when things go wrong: a full disk, a kill, an interrupt, a fork."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from event_fixtures import HELPERS

from perfguard.events import Replay

_PRELUDE = f"""
import sys
sys.path.insert(0, {str(HELPERS)!r})
from pathlib import Path
from event_story import tell
from perfguard.events import EventStream
problems = []
stream = EventStream("r1", on_problem=problems.append)
stream.open_recorder(Path(sys.argv[1]))
"""
_ROUNDS = """
import os, signal, time
common = {"case": "c", "metric": "time", "iterations": 1, "warmup": False}
def rounds(count):
    for index in range(count):
        stream.emit("round", **common, index=index, value=1e-3, phases={"a": 1e-4})
"""


def _run(body: str, path: Path, status: int = 0) -> str:
    command = [sys.executable, "-c", _PRELUDE + body, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path: Path) -> None:
    """The file cannot grow: one problem is reported, all events emitted, what was written is whole."""
    path = tmp_path / "a.pgrun"
    output = _run(
        """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
count = tell(stream)
stream.close()
print(stream.emitted == count, len(problems), len(stream.problems), problems[0])
""",
        path,
    )
    assert output.startswith("True 1 1 ")
    assert str(path) in output
    replay = Replay(path)
    assert sum(1 for _ in replay) > 50
    assert (replay.end_reason, replay.gaps) == ("", 0)


def test_a_kill_leaves_all_up_to_the_last_step(tmp_path: Path) -> None:
    """SIGKILL right after a case: its end is in the recording."""
    path = tmp_path / "a.pgrun"
    _run("tell(stream)\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", path, -signal.SIGKILL)
    replay = Replay(path)
    assert [event["kind"] for event in replay][-1] == "run_finished"
    assert (replay.end_reason, replay.gaps) == ("", 0)


def test_an_interrupt_at_any_moment_leaves_a_readable_recording(tmp_path: Path) -> None:
    """SIGINT by a fast timer, again and again, in the middle of emitting: whole frames, no number twice."""
    path = tmp_path / "a.pgrun"
    output = _run(
        """
import signal, time
hits = 0
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
while hits < 200:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        while True:
            stream.emit("case_started", case="c" * 50)
    except KeyboardInterrupt:
        hits += 1
stream.close()
print(stream.emitted)
""",
        path,
    )
    replay = Replay(path)
    count = sum(1 for _ in replay)
    assert (replay.end_reason, replay.bad, replay.duplicates) == ("", 0, 0)
    assert 0 <= int(output) - count <= 200


def test_a_forked_child_leaves_the_parents_recording_and_viewers_alone(tmp_path: Path) -> None:
    """A child that emits, exits cleanly and flushes adds nothing; the parent goes on, live and recorded."""
    path = tmp_path / "a.pgrun"
    output = _run(
        """
import os
endpoint = stream.open_bus(f"ipc://{sys.argv[1]}.live")
stream.emit("case_started", case="parent")
stream.emit("round", case="parent", metric="time", index=0, iterations=1, value=1.0, warmup=False, phases=None)
pid = os.fork()
if pid == 0:
    stream.emit("case_started", case="child")
    stream.close()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
stream.emit("case_started", case="parent")
from perfguard.events import Subscriber
with Subscriber.attach(endpoint) as subscriber:
    print(len(subscriber.poll(10)))
    stream.close()
""",
        path,
    )
    assert output == "3\n"
    assert [event["case"] for event in Replay(path)] == ["parent"] * 3


def test_a_kill_in_the_middle_of_fast_rounds_leaves_a_whole_beginning(tmp_path: Path) -> None:
    """SIGKILL while rounds are gathered: all up to the last step is there, then a beginning without a gap."""
    path = tmp_path / "a.pgrun"
    _run(
        _ROUNDS
        + """
rounds(5000)
stream.emit("case_finished", case="c", status="passed", duration_s=1.0, message="")
rounds(700)
os.kill(os.getpid(), signal.SIGKILL)
""",
        path,
        -signal.SIGKILL,
    )
    replay = Replay(path)
    numbers = [event["seq"] for event in replay]
    assert numbers == list(range(len(numbers)))
    assert 5001 <= len(numbers) <= 5701
    assert (replay.end_reason, replay.bad) == ("", 0)


def test_rounds_that_no_event_follows_are_written_all_the_same(tmp_path: Path) -> None:
    """A run that falls silent has its last rounds in the file soon: a kill then loses nothing."""
    path = tmp_path / "a.pgrun"
    _run(
        _ROUNDS
        + """
from perfguard.events import Replay
rounds(700)
deadline_s = time.monotonic() + 20
while sum(1 for _ in Replay(Path(sys.argv[1]))) < 700:
    assert time.monotonic() < deadline_s
os.kill(os.getpid(), signal.SIGKILL)
""",
        path,
        -signal.SIGKILL,
    )
    assert sum(1 for _ in Replay(path)) == 700


def test_an_interrupt_while_rounds_are_gathered_loses_no_other_round(tmp_path: Path) -> None:
    """SIGINT by a fast timer, again and again: of each emitted round at most the one interrupted is missing."""
    path = tmp_path / "a.pgrun"
    output = _run(
        _ROUNDS
        + """
hits = 0
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
while hits < 200:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0007)
        rounds(10**9)
    except KeyboardInterrupt:
        hits += 1
stream.close()
print(stream.emitted)
""",
        path,
    )
    replay = Replay(path)
    numbers = [event["seq"] for event in replay]
    assert (replay.end_reason, replay.bad) == ("", 0)
    assert numbers == sorted(set(numbers))
    assert 0 <= int(output) - len(numbers) <= 200
