"""Claims about what importing phases loads."""

from __future__ import annotations

import subprocess
import sys


def test_recording_phases_loads_no_numpy() -> None:
    """A system under test that imports the recorder pays for no array library; asking for `overlap` brings it."""
    code = (
        "import sys, perfguard.spans as s; assert s.phase; assert 'numpy' not in sys.modules;"
        "from perfguard.spans import overlap; assert callable(overlap); assert 'numpy' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
