"""Print the pip options that get torch's CPU build, so that Linux pulls no CUDA packages by accident.

PyPI's torch for Linux depends on several GB of CUDA libraries. Where pip already finds a `+cpu` build (a local
wheel folder), nothing is needed; on other systems PyPI's build is the CPU one; else PyTorch's own CPU index is
added. PERFGUARD_TORCH=cuda keeps PyPI's build, on purpose.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main(constraints: str) -> str:
    """The options, as one line; empty where none are needed."""
    pinned = re.search(r"^torch==\S+", Path(constraints).read_text(encoding="utf-8"), re.MULTILINE)
    if pinned is None or sys.platform != "linux" or os.environ.get("PERFGUARD_TORCH") == "cuda":
        return ""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--no-deps",
        "--ignore-installed",
        "--quiet",
        "--disable-pip-version-check",
        "--report",
        "-",
        pinned[0].split(";")[0],
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    try:
        version = json.loads(answer.stdout)["install"][0]["metadata"]["version"]
    except (ValueError, KeyError, IndexError):
        version = ""
    return "" if version.endswith("+cpu") else f"--extra-index-url {CPU_INDEX}"


if __name__ == "__main__":
    print(main(sys.argv[1]))
