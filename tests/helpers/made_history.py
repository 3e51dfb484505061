"""Makes git repositories of many commits, one of which is slower: for tests of the bisect and for trying it by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

LIBRARY = '''\
"""A library; {note}."""

CALLS = {calls}


def prepare():
    return list(range(50))


def work():
    total = 0
    for i in range({units}):
        total += i * i % 7
    return total
'''

TIMED = """\
import thing


def test_work(perfguard):
    def request():
        with perfguard.phase("prepare"):
            thing.prepare()
        with perfguard.phase("work"):
            thing.work()

    perfguard(request)
"""

# Exact figures are decided by one restart of each side: a search of many steps in seconds, and the same every time.
COUNTED = """\
import thing


def test_calls(perfguard):
    perfguard.count("calls", thing.CALLS)
"""

UNITS = 20_000


@dataclass(frozen=True)
class MadeHistory:
    """`commits` commits on `main` of a `src/` layout, numbered from 1 and tagged `c1`, `c2`, ...

    From `slower` on, the work is `factor` times as much and one more call is made. `broken` ones cannot be imported,
    `lacking` ones have no test; all others differ in a comment.
    """

    commits: int
    slower: int
    factor: float = 1.08
    broken: Collection[int] = ()
    lacking: Collection[int] = ()
    tests: str = TIMED

    def write(self, top: Path) -> None:
        """Make the repository at `top`, by one `git fast-import`, and check `main` out."""
        top.mkdir(parents=True)
        _git(top, "init", "-q", "-b", "main")
        stream = "".join(self._commit(number) for number in range(1, self.commits + 1))
        _git(top, "fast-import", "--quiet", "--done", input_text=stream + "done\n")
        _git(top, "checkout", "-q", "-f", "main")

    def _commit(self, number: int) -> str:
        slow = number >= self.slower
        library = LIBRARY.format(
            note=f"note {number}", calls=7 + slow, units=round(UNITS * (self.factor if slow else 1.0))
        )
        files = {
            "src/thing/__init__.py": library if number not in self.broken else library + "def broken(:\n",
            "tests/test_perf.py": self.tests if number not in self.lacking else "",
            "pytest.ini": "[pytest]\ntestpaths = tests\n",
            ".gitignore": "__pycache__\n.pytest_cache\n",
        }
        message = "Do more" if number == self.slower else f"Reword note {number}"
        lines = [
            "commit refs/heads/main",
            f"mark :{number}",
            f"committer t <t@example.org> {1_700_000_000 + 60 * number} +0000",
            f"data {len(message.encode())}\n{message}",
            *([f"from :{number - 1}"] if number > 1 else []),
        ]
        lines += [f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}" for path, text in files.items()]
        lines += ["", f"reset refs/tags/c{number}", f"from :{number}", "", ""]
        return "\n".join(lines)


def _git(folder: Path, *arguments: str, input_text: str | None = None) -> None:
    command = ["git", "-C", str(folder), *arguments]
    subprocess.run(command, input=input_text, text=True, check=True, timeout=60, capture_output=True)
