"""A PostgreSQL server of the test's own: private data, a socket in its folder, stopped and removed afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 60
USER = "perfguard"


def binaries() -> Path | None:
    """Where initdb is: on the path, or where Debian puts it; None if PostgreSQL is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A running server; the URL of an empty database. initdb refuses root, so root lends it to `nobody`."""
    home = binaries()
    if home is None or not (home / "initdb").exists():
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    root = os.geteuid() == 0
    owner = next((name for name in ("postgres", "nobody") if root and _known(name)), None)
    if root and (owner is None or shutil.which("setpriv") is None):
        pytest.skip("root cannot run PostgreSQL, and there is no other user to lend it to")
    # Short, because a socket's path may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-of-a-test-", dir="/tmp"))
    try:
        if owner is not None:
            shutil.chown(folder, owner)
        run = _Runner(home, folder, owner)
        run("initdb", "-D", str(folder / "data"), "-U", USER, "--auth=trust", "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=40"
        options += " -c dynamic_shared_memory_type=mmap"  # nothing in /dev/shm, where other tests look for leftovers
        run("pg_ctl", "-D", str(folder / "data"), "-o", options, "-l", str(folder / "log"), "-w", "-t", "50", "start")
        try:
            yield f"postgresql+psycopg://{USER}@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "-t", "50", "stop")
    finally:
        shutil.rmtree(folder)


class _Runner:
    def __init__(self, home: Path, folder: Path, owner: str | None) -> None:
        self.home, self.folder = home, folder
        self.before = (
            [] if owner is None else ["setpriv", f"--reuid={owner}", f"--regid={_group(owner)}", "--clear-groups"]
        )

    def __call__(self, program: str, *arguments: str) -> None:
        # Its output goes to a file: the server inherits it, and a pipe would stay open as long as the server.
        log = self.folder / f"{program}.out"
        with log.open("wb") as out:
            subprocess.run(
                [*self.before, str(self.home / program), *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                timeout=TIMEOUT_S,
                check=True,
            )


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group(name: str) -> int:
    return pwd.getpwnam(name).pw_gid
