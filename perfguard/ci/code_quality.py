"""GitLab's code quality report: one entry for each annotation, shown in the merge request's widget and diff.

Source: GitLab documentation, "Code Quality", the fields that a report must have: description, check_name, fingerprint,
severity, location.path and location.lines.begin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from perfguard.ci.workflow import Annotation

SEVERITY = {"error": "major", "warning": "minor", "notice": "info"}


def as_text(annotations: Iterable[Annotation]) -> str:
    """The report as JSON, of what has a place. An entry's fingerprint is place and title: GitLab knows it again."""
    entries = [
        {
            "description": f"{each.title}\n{each.text}",
            "check_name": "perfguard",
            "fingerprint": hashlib.sha256(f"{each.file}\n{each.title}".encode()).hexdigest(),
            "severity": SEVERITY[each.level],
            "location": {"path": each.file, "lines": {"begin": each.line}},
        }
        for each in annotations
        if each.file
    ]
    return json.dumps(entries, indent=1)
