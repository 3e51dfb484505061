"""Endpoints and the runtime directory: what is safe is taken, everything else is named and refused."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from perfguard.errors import EndpointError
from perfguard.events.runtime_dir import (
    MAX_IPC_PATH_BYTES,
    default_endpoint,
    newest_endpoint,
    parse_endpoint,
    runtime_dir,
)

if TYPE_CHECKING:
    from pathlib import Path

DEAD_PID = 2**22 + 1  # beyond the kernel's largest


@pytest.mark.parametrize(
    ("text", "live", "ask"),
    [
        ("ipc:///tmp/a", "ipc:///tmp/a", "ipc:///tmp/a.ask"),
        ("tcp://127.0.0.1:5000", "tcp://127.0.0.1:5000", "tcp://127.0.0.1:5001"),
        ("tcp://localhost:5000", "tcp://127.0.0.1:5000", "tcp://127.0.0.1:5001"),
        ("tcp://[::1]:0", "tcp://[::1]:0", "tcp://[::1]:1"),
    ],
)
def test_private_endpoints_are_understood(text: str, live: str, ask: str) -> None:
    """An endpoint is two addresses: the live one and its neighbour for snapshots."""
    endpoint = parse_endpoint(text)
    assert (endpoint.live, endpoint.ask) == (live, ask)


@pytest.mark.parametrize(
    "text",
    ["tcp://0.0.0.0:5000", "tcp://*:5000", "tcp://192.168.1.4:5000", "tcp://example.org:5000", "tcp://[::]:5000"],
)
def test_endpoints_that_others_can_reach_are_refused(text: str) -> None:
    """The error names the endpoint and says what opening it would need."""
    with pytest.raises(EndpointError, match="CURVE") as caught:
        parse_endpoint(text)
    assert caught.value.culprit == text


@pytest.mark.parametrize(
    "text", ["", "ipc://relative", "tcp://127.0.0.1", "tcp://127.0.0.1:x", "tcp://127.0.0.1:65535", "udp://x:1"]
)
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    """The error says which forms there are."""
    with pytest.raises(EndpointError, match="use "):
        parse_endpoint(text)


def test_a_path_too_long_for_a_socket_is_refused_before_binding() -> None:
    """ZeroMQ itself would only say ENAMETOOLONG."""
    with pytest.raises(EndpointError, match=str(MAX_IPC_PATH_BYTES)):
        parse_endpoint("ipc:///" + "x" * 120)


def test_the_runtime_directory_is_private(runtime: Path) -> None:
    """Mode 0700, whatever it was before."""
    directory = runtime_dir()
    assert directory == runtime / "perfguard"
    directory.chmod(0o755)
    assert stat.S_IMODE(runtime_dir().stat().st_mode) == 0o700


def test_a_link_in_its_place_is_refused(runtime: Path, tmp_path: Path) -> None:
    """Somebody who may create names in the parent must not choose where our sockets lie."""
    (runtime / "perfguard").symlink_to(tmp_path)
    with pytest.raises(EndpointError, match="user's own"):
        runtime_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(runtime: Path) -> None:
    """Its owner could read or replace what lies in it."""
    (runtime / "perfguard").mkdir()
    os.chown(runtime / "perfguard", 12345, 12345)
    with pytest.raises(EndpointError, match="user's own"):
        runtime_dir()


def test_sockets_of_dead_processes_are_swept(runtime: Path) -> None:
    """A killed run leaves its sockets; the next one removes them, and neither living ones nor other files."""
    directory = runtime_dir()
    stale, alive = directory / f"{DEAD_PID}-run.live", directory / f"{os.getpid()}-run.live"
    for path in (stale, alive):
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    (directory / f"{DEAD_PID}-notes.txt").write_text("mine")
    default_endpoint("x")
    assert {path.name for path in directory.iterdir()} == {alive.name, f"{DEAD_PID}-notes.txt"}


def test_a_socket_somebody_listens_on_is_not_swept(runtime: Path) -> None:
    """A process number may be unknown here (a container) and its socket alive all the same."""
    path = runtime_dir() / f"{DEAD_PID}-run.live"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        bound.listen()
        found = newest_endpoint()
    assert found is not None
    assert found.path == path


def test_names_are_made_of_safe_characters(runtime: Path) -> None:
    """A run id from outside cannot leave the directory, nor make the name too long."""
    endpoint = default_endpoint("../../etc/pässwd " + "x" * 100)
    assert endpoint.path is not None
    assert endpoint.path.parent == runtime / "perfguard"
    assert endpoint.path.name.isascii()


def test_without_a_runtime_directory_the_temporary_one_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name carries the user, so that two users do not meet."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert runtime_dir().name == f"perfguard-{os.geteuid()}"
