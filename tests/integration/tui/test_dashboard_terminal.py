"""The dashboard as a process in a terminal: options, keys, exit status, colours."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import event_story
import pytest
from event_fixtures import HELPERS

from perfguard.events.framing import MAGIC, record_of
from perfguard.events.schema import pack

TIMEOUT_S = 30


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.pgrun"
    path.write_bytes(MAGIC + b"".join(record_of(pack(event)) for event in event_story.events()))
    return path


def _in_terminal(arguments: list[str], until: str, **environ: str) -> tuple[int, str]:
    """Start the dashboard in a terminal of 120 x 40, wait for a text, press q: exit status and all output."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "perfguard_tui", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={
            **os.environ,
            "COLUMNS": "120",  # whatever the size of the terminal that pytest was started in
            "LINES": "40",
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            **environ,
        },
        start_new_session=True,
    )
    os.close(slave)
    output, pressed = b"", False
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < deadline_s:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    chunk = os.read(master, 65536)
                except OSError:  # the other side is closed
                    break
                if not chunk:
                    break
                output += chunk
            if not pressed and until in _text(output):
                pressed = True
                os.write(master, b"q")
        assert pressed, _text(output)[-2000:]
        return process.wait(TIMEOUT_S), output.decode(errors="replace")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(master)


def _text(output: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?<>=]*[a-zA-Z]", "", output.decode(errors="replace"))


def test_a_recording_in_a_terminal(recording: Path) -> None:
    """Shown, left with q, status 0, and the terminal's own screen comes back."""
    status, output = _in_terminal([str(recording)], "▲ slower")
    assert status == 0
    assert "\x1b[?1049h" in output
    assert output.rindex("\x1b[?1049l") > output.rindex("\x1b[?1049h")


def test_no_color_is_respected(recording: Path) -> None:
    """With NO_COLOR only shades of grey are sent; the words are all there."""
    hues = re.compile(r"[34]8;2;(\d+);(\d+);(\d+)")
    _, coloured = _in_terminal([str(recording)], "▲ slower")
    assert any(len(set(rgb)) > 1 for rgb in hues.findall(coloured))
    status, output = _in_terminal([str(recording)], "▲ slower", NO_COLOR="1")
    assert status == 0
    assert all(len(set(rgb)) == 1 for rgb in hues.findall(output))


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_of_sixteen_colours_is_sent_no_others(recording: Path, no_color: bool) -> None:
    """Its own sixteen, brighter ones for what matters; the chosen row is turned round, with NO_COLOR as well."""
    environ = {"TERM": "xterm", "COLORTERM": ""} | ({"NO_COLOR": "1"} if no_color else {})
    status, output = _in_terminal([str(recording)], "1 ▲ slower", **environ)
    assert status == 0
    assert not re.search(r"[34]8;[25];", output)
    slower = re.search(r"\x1b\[([0-9;]*)m *1 ▲ slower", output)
    assert slower is not None
    assert ("93" in slower[1].split(";")) == (not no_color)
    assert re.search(r"\x1b\[(?:[0-9]+;)*7;[0-9;]*m[^\x1b]*round_trip", output)


def test_a_command_behind_dashes(runtime: Path) -> None:
    """Started, shown; after q its report is printed and its status is the dashboard's."""
    command = [sys.executable, str(HELPERS / "story_command.py"), "3"]
    status, output = _in_terminal(["--", *command], "finished")
    assert status == 3
    assert output.rindex("report of the run") > output.rindex("\x1b[?1049l")


def test_waiting_for_a_run_is_said_and_left(runtime: Path) -> None:
    """No run anywhere: it says what to start, and q leaves with status 0."""
    status, _ = _in_terminal([], "pytest --perfguard --perfguard-live")
    assert status == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.pgrun"], "nothing.pgrun"),
        (["--endpoint", "tcp://10.0.0.1:5000"], "CURVE"),
        (["--speed", "2"], "--speed"),
        (["a.pgrun", "--speed", "0"], "--speed"),
        (["a.json", "--speed", "2"], "--speed"),
        (["--"], "nothing after --"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], words: str) -> None:
    """One line, status 4, no screen; without a terminal that is said too."""
    command = [sys.executable, "-m", "perfguard_tui", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert words in done.stderr or "needs a terminal" in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
