"""Where live runs meet their viewers: a private directory of sockets, and which endpoints are safe to open.

A live run binds two sockets: the endpoint itself (PUB, live events) and its neighbour (ROUTER, snapshots):
`ipc://PATH` with `PATH.ask`, or `tcp://127.0.0.1:PORT` with PORT + 1. By default they lie in a directory that
only their user can enter, named after the process and the run.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perfguard.errors import EndpointError

ASK_SUFFIX = ".ask"
# The kernel's sockaddr_un holds 108 bytes with the closing zero (104 on macOS); the suffix must fit too.
MAX_IPC_PATH_BYTES = 103 - len(ASK_SUFFIX)
_SOCKET_NAME = re.compile(r"(?P<pid>\d{1,10})-[\w.]{1,40}\.live(\.ask)?")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Two ZeroMQ addresses of one live run; `path` is the socket file of an ipc endpoint, else None."""

    live: str
    ask: str
    path: Path | None = None

    @property
    def ask_path(self) -> Path | None:
        """The second socket file of an ipc endpoint, else None."""
        return None if self.path is None else Path(f"{self.path}{ASK_SUFFIX}")


def runtime_dir() -> Path:
    """The directory of this user's live sockets, made if need be, mode 0700.

    `$XDG_RUNTIME_DIR/perfguard`, or a directory per user under the temporary directory where there is none.
    Raises `EndpointError` if it is somebody else's, a link, or not a directory.
    """
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if base and os.access(base, os.W_OK | os.X_OK) and len(os.fsencode(base)) < 40:
        path = Path(base) / "perfguard"
    else:
        path = Path(tempfile.gettempdir()) / f"perfguard-{os.geteuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise EndpointError(str(path), f"cannot be made: {error.strerror}", "set XDG_RUNTIME_DIR") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EndpointError(
            str(path), "is not a directory of this user's own: no place for sockets", "set XDG_RUNTIME_DIR"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def default_endpoint(run_id: str) -> Endpoint:
    """A fresh private ipc endpoint for this process's run; sockets of dead processes are swept on the way."""
    directory = runtime_dir()
    _sweep(directory)
    name = re.sub(r"[^\w.]", "_", run_id, flags=re.ASCII)[:32] or "run"
    return _ipc(directory / f"{os.getpid()}-{name}.live")


def newest_endpoint() -> Endpoint | None:
    """The endpoint of this user's newest live run, or None if there is none."""
    return next(iter(live_endpoints()), None)


def live_endpoints() -> list[Endpoint]:
    """The endpoints of this user's live runs, the newest first."""
    directory = runtime_dir()
    _sweep(directory)
    found = []
    for path in directory.glob("*.live"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime_ns, path))
    return [_ipc(path) for _, path in sorted(found, reverse=True)]


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint a user named: `ipc:///path` or `tcp://127.0.0.1:PORT`; port 0 (any) is for producers.

    Raises `EndpointError` for anything else, above all for addresses that other machines can reach.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "ipc" and rest.startswith("/"):
        return _ipc(Path(rest))
    if scheme == "tcp":
        return _tcp(text, rest)
    raise EndpointError(text, "not an endpoint", "use ipc:///path or tcp://127.0.0.1:PORT")


def tcp_endpoint(host: str, port: int) -> Endpoint:
    """The pair of a host (numeric, IPv6 in brackets) and a port."""
    return Endpoint(f"tcp://{host}:{port}", f"tcp://{host}:{port + 1}")


def _ipc(path: Path) -> Endpoint:
    if len(os.fsencode(path)) > MAX_IPC_PATH_BYTES:
        raise EndpointError(
            f"ipc://{path}",
            f"longer than the {MAX_IPC_PATH_BYTES} bytes a socket's path may have",
            "use a shorter path",
        )
    return Endpoint(f"ipc://{path}", f"ipc://{path}{ASK_SUFFIX}", path)


def _tcp(text: str, rest: str) -> Endpoint:
    host, _, port_text = rest.rpartition(":")
    if not port_text.isascii() or not port_text.isdigit() or int(port_text) > 65534:
        raise EndpointError(text, "no port between 0 and 65534", "use tcp://127.0.0.1:PORT")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        loopback = address.is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise EndpointError(
            text,
            "not loopback: other machines could reach it, which would need CURVE keys, not offered yet",
            "use tcp://127.0.0.1:PORT, through an ssh tunnel if need be",
        )
    return tcp_endpoint(f"[{address}]" if address.version == 6 else str(address), int(port_text))


def is_listening(path: Path) -> bool:
    """Whether some process accepts connections on that socket file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # a full backlog: somebody owns it
            return True
        except OSError:
            return False
        return True


def _sweep(directory: Path) -> None:
    """Remove sockets whose process is gone and on which nobody listens."""
    for path in directory.iterdir():
        match = _SOCKET_NAME.fullmatch(path.name)
        if match is None or _is_alive(int(match["pid"])):
            continue
        with contextlib.suppress(OSError):  # swept by somebody else, or not ours to remove
            if stat.S_ISSOCK(path.lstat().st_mode) and not is_listening(path):
                path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
