"""The command line as a process of its own: start-up, pipes, terminals that know no µ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from baseline_runs import case, run, time_metric

from perfguard import baselines, document

COMMAND = [sys.executable, "-m", "perfguard.cli"]
TIMEOUT_S = 60


def test_help_imports_nothing_heavy() -> None:
    """Whoever types `perfguard --help` waits for argparse only."""
    probe = (
        "import sys\nfrom perfguard import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'scipy', 'zmq', 'msgpack', 'tomlkit', 'psutil', 'pytest', 'torch', 'textual'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert done.stderr == "[]\n"


def test_reading_baselines_imports_no_writer(tmp_path: Path) -> None:
    """A gated run that only compares pays for no tomlkit."""
    baselines.update(tmp_path, run(case(time_metric())))
    probe = (
        "import sys\nfrom pathlib import Path\nfrom perfguard import baselines\n"
        f"assert baselines.load(Path({str(tmp_path)!r}), 'test-2c-4g-linux-py3.11-abc123').count() == 1\n"
        "print(sorted({'tomlkit', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert done.stdout == "[]\n"


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    """`perfguard baseline show | head -1`."""
    for second in range(3):
        cases = [case(time_metric(), key=f"m::test_{n}[{'x' * 200}]") for n in range(600)]
        baselines.update(tmp_path, run(*cases, second=second))
    show = subprocess.Popen(
        [*COMMAND, "baseline", "show", "--dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert show.stdout is not None
    assert show.stderr is not None
    assert show.stdout.readline() != ""
    show.stdout.close()
    problems = show.stderr.read()
    show.stderr.close()
    assert show.wait(TIMEOUT_S) == 141
    assert problems == ""


def test_a_terminal_without_unicode_gets_question_marks(tmp_path: Path) -> None:
    """Not a UnicodeEncodeError."""
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document.to_json(run(case(time_metric())))))
    done = subprocess.run(
        [*COMMAND, "compare", str(path), str(path)],
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert b"400 ?s" in done.stdout
    assert done.stderr == b""
