"""The dashboard in a browser: a real server, a real websocket, on this machine's loopback only."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import event_story
import pytest

from perfguard.events.framing import MAGIC, record_of
from perfguard.events.schema import pack

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("textual_serve")
TIMEOUT_S = 30


async def _first_screen(port: int) -> str:
    """What a browser is sent until the run's verdicts are there."""
    deadline_s = time.monotonic() + TIMEOUT_S
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                socket_ = await session.ws_connect(f"http://localhost:{port}/ws?width=120&height=40")
                break
            except aiohttp.ClientError:
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.1)
        async with socket_:
            sent = b""
            while "gate exit 1" not in sent.decode(errors="replace"):
                message = await socket_.receive(timeout=TIMEOUT_S)
                assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), sent[-500:]
                if message.type is aiohttp.WSMsgType.BINARY:
                    sent += message.data
    return sent.decode(errors="replace")


def test_a_browser_gets_the_dashboard(tmp_path: Path) -> None:
    """The page's socket brings the drawn screen; the port is bound to loopback; an interrupt ends it all."""
    recording = tmp_path / "a.pgrun"
    recording.write_bytes(MAGIC + b"".join(record_of(pack(event)) for event in event_story.events()))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "perfguard_tui", str(recording), "--web", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        assert "slower" in asyncio.run(_first_screen(port))
        server.send_signal(signal.SIGINT)
        server.wait(TIMEOUT_S)
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--web", "8000", "--", "pytest"], "--web"),
        (["a.pgrun", "--web", "8000", "--allow-accept"], "--web"),
    ],
)
def test_what_does_not_go_together_is_named(arguments: list[str], words: str) -> None:
    """One line and status 4, before anything is started."""
    command = [sys.executable, "-m", "perfguard_tui", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
    assert words in done.stderr
