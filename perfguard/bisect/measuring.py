"""One comparison of two commits: a duet run by pytest in a worktree of the later one, as a process of its own.

The user's checkout is never written to: both commits lie in temporary worktrees, and whatever is imported from the
checkout instead of them is refused.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfguard import document
from perfguard.bisect.comparison import Outcome, Request, first_line, what_went_wrong
from perfguard.duet.side import FOREIGN_ROOT, paths_below
from perfguard.duet.worktree import Checkout, worktree
from perfguard.errors import DocumentError, OptionError
from perfguard.programs import end

COLLECT_TIMEOUT_S = 600.0
# On top of the comparison's own seconds: a case that hangs is given up by the duet itself after ten minutes.
GRACE_S = 1200.0
BUILD_TIMEOUT_S = 3600.0
OUTPUT_BYTES = 200_000

# As in the duet's workers: the measuring tool is this one, also where perfguard itself is under test.
_BOOTSTRAP = """
import sys
tool = sys.argv.pop(1)
sys.path.insert(0, tool)
import perfguard.plugin, perfguard.duet.worker
sys.path.remove(tool)
perfguard.duet.worker.die_with_parent()
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
_QUIET = ("-p", "no:cacheprovider", "--color=no", "--tb=short")


@dataclass
class Measurer:
    """Runs comparisons of commits of the repository at `top`; its GOOD worktree is kept as long as it is open.

    `folder` is where pytest is called, below `top`; `arguments` are its cases and options; `build` is a shell command
    that makes a worktree fit to be imported, "" for none.
    """

    top: Path
    folder: Path
    arguments: Sequence[str]
    build: str = ""
    kept: dict[str, Checkout] = field(default_factory=dict)

    @contextlib.contextmanager
    def keeping(self, commit: str, name: str) -> Iterator[Measurer]:
        """Keep a worktree of `commit`, which must have the cases. Raises `OptionError` naming it if it has not."""
        with self._ready(commit) as (checkout, unbuilt):
            problem = unbuilt or self._not_collected(checkout)
            if problem:
                advice = "" if self.build else "--build COMMAND makes a worktree fit to be imported"
                raise OptionError(f"{name} ({commit[:9]})", problem, advice)
            self.kept[commit] = checkout
            try:
                yield self
            finally:
                del self.kept[commit]

    def __call__(self, request: Request) -> Outcome:
        """Measure. Commits that cannot be measured are an outcome with their `problem`."""
        with contextlib.ExitStack() as stack:
            before, problem = stack.enter_context(self._ready(request.before))
            if problem:
                return Outcome(problem=f"{request.before[:9]}: {problem}")
            now, problem = stack.enter_context(self._ready(request.now))
            if problem:
                return Outcome(problem=problem)
            return self._duet(request, before, now)

    @contextlib.contextmanager
    def _ready(self, commit: str) -> Iterator[tuple[Checkout, str]]:
        """A worktree of a commit, built; and why it could not be built."""
        if commit in self.kept:
            yield self.kept[commit], ""
            return
        with worktree(self.top, commit) as checkout:
            problem = ""
            if self.build:
                status, text = run_to_end(["/bin/sh", "-c", self.build], checkout.root, os.environ, BUILD_TIMEOUT_S)
                last = first_line("\n".join(reversed(text.splitlines())))
                problem = "" if status == 0 else f"cannot be built: status {status}: {last}"
            yield checkout, problem

    def _duet(self, request: Request, before: Checkout, now: Checkout) -> Outcome:
        file = now.root.parent / "run.json"
        options = [
            "--perfguard",
            f"--perfguard-against-path={before.root}",
            f"--perfguard-json={file}",
            f"--perfguard-seconds={request.seconds:.6g}",
            f"--perfguard-alpha={request.alpha:.6g}",
            *([] if request.limit is None else [f"--perfguard-limit={request.limit:.6g}"]),
            *(f"--deselect={case}" for case in request.leave_out),
        ]
        status, text = self._pytest(now, options, request.seconds + GRACE_S)
        for commit, checkout in ((request.now, now), (request.before, before)):  # as git writes it: COMMIT:PATH
            text = text.replace(f"{checkout.root}/", f"{commit[:9]}:").replace(str(checkout.root), commit[:9])
        if status not in (0, 1):
            return Outcome(problem=what_went_wrong(status, text))
        try:
            return Outcome(document.load(file).cases)
        except DocumentError as error:
            return Outcome(problem=f"{what_went_wrong(status, text)}; {error}")
        finally:
            file.unlink(missing_ok=True)

    def _not_collected(self, checkout: Checkout) -> str:
        status, text = self._pytest(checkout, ["--collect-only", "-q"], COLLECT_TIMEOUT_S)
        return "" if status == 0 else what_went_wrong(status, text.replace(f"{checkout.root}/", ""))

    def _pytest(self, checkout: Checkout, options: Sequence[str], timeout_s: float) -> tuple[int, str]:
        below = self.folder.relative_to(self.top)
        folder = checkout.root / below if (checkout.root / below).is_dir() else checkout.root
        tool = str(Path(__file__).parents[2])
        command = [sys.executable, "-c", _BOOTSTRAP, tool, *self.arguments, *_QUIET, *options]
        return run_to_end(command, folder, self._environment(checkout.root), timeout_s)

    def _environment(self, root: Path) -> dict[str, str]:
        """The environment of ours, with the import path turned from the user's checkout to a worktree."""
        folders = [root / path.relative_to(self.top) for path in paths_below(self.top)]
        given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        strangers = [entry for entry in given if entry and not Path(entry).resolve().is_relative_to(self.top)]
        path = [str(folder) for folder in (*folders, root / "src", root) if folder.is_dir()]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys([*path, *strangers])),
            FOREIGN_ROOT: str(self.top),
            "PERFGUARD_HISTORY": "off",  # comparisons of a search are no runs of the project
        }


def run_to_end(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> tuple[int, str]:
    """Run a command and return its exit status and the end of what it printed; it does not outlive this call.

    It has a session of its own, so that Ctrl-C reaches only us and is passed on once. A command that takes longer than
    `timeout_s` is ended and counts as status -1.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        ended = ""
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status, ended = -1, f"\nERROR: still running after {timeout_s:.0f} s\n"
        finally:
            end(process)
        said.seek(max(0, said.seek(0, os.SEEK_END) - OUTPUT_BYTES))
        return status, said.read().decode(errors="replace") + ended
