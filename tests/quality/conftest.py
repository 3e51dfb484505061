"""The measuring tools under `tools/quality` are scripts: here they are imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "quality"))
