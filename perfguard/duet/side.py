"""One side of a duet: a revision's tree, and the worker process that measures it when it is its turn."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfguard.duet.line import Line
from perfguard.duet.worker import BATON, DESCRIPTOR, OTHER_ROOT, TOOL
from perfguard.duet.worktree import Checkout
from perfguard.errors import DuetError

STARTUP_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 5.0
COMPLAINT_BYTES = 20_000
# Where set, another tree that neither side may import from: the checkout whose history is searched.
FOREIGN_ROOT = "PERFGUARD_DUET_FOREIGN_ROOT"
_PADDING = "PERFGUARD_DUET_PADDING"

# The measuring tool is the same on both sides, even where perfguard itself is under test: it is loaded before the
# side's own folders go on the path.
_BOOTSTRAP = """
import json, os, sys
tool = os.environ["{tool}"]
sys.path.insert(0, tool)
import perfguard.duet.worker, perfguard.fixtures
sys.path.remove(tool)
sys.path[:0] = json.loads(os.environ["PERFGUARD_DUET_PATH"])
sys.exit(perfguard.duet.worker.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Invocation:
    """How pytest was called, relative to the top of the repository, so that it can be called in another tree.

    `targets` are paths (with `::` tails) below the top; `options` are passed on as they are; `path` are the folders
    below the top that were on `sys.path`; `folder` is the working directory below the top.
    """

    targets: tuple[str, ...]
    options: tuple[str, ...]
    path: tuple[str, ...]
    folder: str
    rootdir: str
    inifile: str | None

    def in_tree(self, root: Path) -> list[str]:
        """The arguments for pytest in the tree at `root`; targets that this tree does not have are left out."""
        targets = [
            str(root / file) + tail
            for file, tail in (
                (t.partition("::")[0], "::" + t.partition("::")[2] if "::" in t else "") for t in self.targets
            )
            if (root / file).exists()
        ]
        ini = ["-c", str(root / self.inifile)] if self.inifile and (root / self.inifile).exists() else []
        return [
            *self.options,
            "-p",
            "no:cacheprovider",
            f"--rootdir={root / self.rootdir}",
            *ini,
            *targets,
        ]

    def path_in_tree(self, root: Path) -> list[str]:
        """The import path of the tree at `root`: what was on the path there, a `src` layout, and the top."""
        folders = [root / folder for folder in (*self.path, "src", "")]
        return list(dict.fromkeys(str(folder) for folder in folders if folder.is_dir()))


class Side:
    """A worker of one revision. Starting and waiting are apart, so that both sides can import at once."""

    def __init__(self, checkout: Checkout, other_root: Path, invocation: Invocation, python: str) -> None:
        self.checkout = checkout
        self.other_root = other_root
        self.invocation = invocation
        self.python = python
        self.cases: dict[str, dict[str, Any]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._line: Line | None = None
        self._complaints: Any = None

    @property
    def line(self) -> Line:
        """The wire to the worker."""
        assert self._line is not None
        return self._line

    def start(self, hash_seed: int, stack_bytes: int, baton: socket.socket) -> None:
        """Start a fresh worker; `collected` waits for it. `baton` is its end of the wire to the other worker.

        Both sides of a restart get the same `hash_seed` and, by padding, arguments and environment of `stack_bytes`:
        they shift the stack, which alone can change a time by per cents (Mytkowicz et al. 2009, Producing wrong data
        without doing anything obviously wrong).
        """
        root = self.checkout.root
        ours, theirs = socket.socketpair()
        environment = self.environment() | {
            DESCRIPTOR: f"{theirs.fileno():08d}",
            BATON: f"{baton.fileno():08d}",
            "PYTHONHASHSEED": f"{hash_seed:010d}",
        }
        environment[_PADDING] = "x" * (stack_bytes - _size(environment, self._command()))
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker; `stop` closes it
        folder = root / self.invocation.folder
        with theirs, baton:
            self._process = subprocess.Popen(
                self._command(),
                cwd=folder if folder.is_dir() else root,
                env=environment,
                pass_fds=(theirs.fileno(), baton.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=self._complaints,
                stderr=subprocess.STDOUT,
            )
        self._line = Line(ours, f"the worker of {self.checkout.name}")

    def environment(self) -> dict[str, str]:
        """What the worker's environment holds, but for what differs from restart to restart.

        Bytecode is written: a fresh worktree has none, and would else be compiled in every restart on one side only.
        """
        path = self.invocation.path_in_tree(self.checkout.root)
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {
            **inherited,
            OTHER_ROOT: os.pathsep.join([str(self.other_root), *filter(None, [os.environ.get(FOREIGN_ROOT)])]),
            TOOL: str(Path(__file__).parents[2]),
            "PERFGUARD_DUET_PATH": json.dumps(path),
            "PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])]),
        }

    def stack_bytes(self) -> int:
        """Room for this side's arguments and environment, with some to spare for what `start` adds."""
        return _size(self.environment(), self._command()) + 256

    def _command(self) -> list[str]:
        return [self.python, "-c", _BOOTSTRAP.format(tool=TOOL), *self.invocation.in_tree(self.checkout.root)]

    def collected(self) -> dict[str, dict[str, Any]]:
        """The cases of this revision by key. Raises `DuetError` naming the revision, with the traceback."""
        name = self.checkout.name
        try:
            message = self.line.recv(STARTUP_TIMEOUT_S)
        except DuetError as error:
            raise DuetError(name, f"its worker did not start\n{self._said()}") from error
        if message["problems"]:
            raise DuetError(name, "cannot be imported\n" + "\n".join(message["problems"]))
        if message["foreign"]:
            raise DuetError(
                name,
                f"imported modules of another tree: {', '.join(message['foreign'])}",
                "install neither side into the environment, or give one its own with --perfguard-against-python",
            )
        self.cases = {case["key"]: case for case in message["cases"]}
        return self.cases

    def dismiss(self) -> None:
        """Close the wire: the worker finishes its session and ends by itself; `stop` waits for that."""
        if self._line is not None:
            self._line.close()

    def stop(self) -> None:
        """End the worker, which is killed if it does not end by itself."""
        self.dismiss()
        if self._process is not None:
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._complaints is not None:
            self._complaints.close()
        self._process = self._line = self._complaints = None

    def _said(self) -> str:
        self._complaints.seek(max(0, self._complaints.seek(0, os.SEEK_END) - COMPLAINT_BYTES))
        return str(self._complaints.read().decode(errors="replace"))


def invocation(
    top: Path, config_args: Sequence[str], given: Sequence[str], folder: Path, rootdir: Path, inifile: Path | None
) -> Invocation:
    """How to repeat this pytest call in another tree.

    `config_args` are pytest's resolved targets, `given` all arguments, `folder` is where it was called. Targets
    outside the repository (`--pyargs` names, absolute paths elsewhere) are refused: they have no revision.
    Raises `DuetError` naming the target.
    """
    targets = []
    for arg in config_args:
        file, separator, tail = arg.partition("::")
        path = (folder / file).resolve()
        if not path.is_relative_to(top):
            raise DuetError(arg, f"lies outside the repository {top}", "name paths below it")
        targets.append(str(path.relative_to(top)) + separator + tail)
    return Invocation(
        targets=tuple(targets),
        options=tuple(_options(given, set(config_args))),
        path=tuple(str(p.relative_to(top)) for p in paths_below(top)),
        folder=_below(folder, top),
        rootdir=_below(rootdir, top),
        inifile=None if inifile is None or not inifile.is_relative_to(top) else str(inifile.relative_to(top)),
    )


_WITH_VALUE = ("-c", "--rootdir", "--confcutdir", "-n", "--lf", "--ff", "--nf")
_DROPPED = ("-x", "--exitfirst", "--maxfail", "-q", "-v", "-s", "--capture", "--tb", "-ra", "--lf", "--ff", "--nf")


def _options(given: Sequence[str], targets: set[str]) -> list[str]:
    """The options worth repeating in a worker: not perfguard's, not those about output, stopping and places."""
    kept, skip = [], False
    for position, arg in enumerate(given):
        if skip:
            skip = False
            continue
        name = arg.partition("=")[0]
        if name in _WITH_VALUE and "=" not in arg:
            skip = not name.startswith("--") or name in ("--rootdir", "--confcutdir")
        elif name.startswith("--perfguard"):
            following = given[position + 1] if position + 1 < len(given) else "-"
            skip = "=" not in arg and name in _PERFGUARD_VALUES and not following.startswith("-")
        elif arg not in targets and name not in _DROPPED and not arg.startswith(("-v", "-q", "-r")):
            kept.append(arg)
    return kept


def _perfguard_values() -> frozenset[str]:
    from perfguard.options import OPTIONS

    return frozenset(option.flag for option in OPTIONS if option.kind in ("text", "many"))


_PERFGUARD_VALUES = _perfguard_values()


def paths_below(top: Path) -> list[Path]:
    """The folders below `top` that modules are imported from here, but for installed packages."""
    found = []
    for entry in sys.path:
        path = Path(entry or ".").resolve()
        if (
            path.is_dir()
            and path.is_relative_to(top)
            and "site-packages" not in path.parts
            and ".venv" not in path.parts
        ):
            found.append(path)
    return found


def _below(path: Path, top: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(top)) if resolved.is_relative_to(top) else "."


def _size(environment: Mapping[str, str], command: Sequence[str]) -> int:
    texts = [*command, *(f"{name}={value}" for name, value in environment.items())]
    return sum(len(os.fsencode(text)) + 1 for text in texts)
