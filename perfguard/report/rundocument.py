"""The run document as a report: the same JSON as `--perfguard-json` writes, of a recording too."""

from __future__ import annotations

import json

from perfguard import document
from perfguard.report.source import Source


def report(source: Source) -> str:
    """The text of the file, for the registry of reports."""
    return json.dumps(document.to_json(source.run), indent=1, allow_nan=False) + "\n"
