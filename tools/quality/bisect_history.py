"""A bisect as it is meant to be: 64 commits, one 8 % slower, one broken, one without the case, measured for real.

`python tools/quality/bisect_history.py` prints the path and whether it is right; it takes some minutes. Options after
`--` go to `perfguard bisect`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from made_history import MadeHistory

CASE = "tests/test_perf.py::test_work"


def main() -> int:
    """0 if the right commit was named, or a range that holds it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slower", type=int, default=41, help="the number of the slower commit (default: %(default)s)")
    parser.add_argument("--factor", type=float, default=1.08, help="how much slower (default: %(default)s)")
    parser.add_argument("options", nargs="*", help="for perfguard bisect")
    options = parser.parse_args()
    history = MadeHistory(64, options.slower, options.factor, broken={32}, lacking={36})
    with tempfile.TemporaryDirectory() as folder:
        top, file = Path(folder) / "project", Path(folder) / "found.json"
        history.write(top)
        command = [sys.executable, "-m", "perfguard.cli", "bisect", "c1", "main", "--json", str(file)]
        began_s = time.monotonic()
        status = subprocess.run([*command, *options.options, "--", CASE], cwd=top, check=False).returncode
        spent_s = time.monotonic() - began_s
        found = json.loads(file.read_text()) if file.exists() else {"conclusion": f"status {status}", "suspects": []}
        wanted = subprocess.run(
            ["git", "-C", str(top), "rev-parse", f"c{options.slower}"], capture_output=True, text=True, check=True
        ).stdout.strip()
    right = wanted in found["suspects"]
    print(f"{found['conclusion']} in {spent_s:.0f} s: {'right' if right else f'wrong, it is {wanted}'}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
