"""A model's config.json, as Hugging Face checkpoints have it: read within bounds, each figure checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfguard.errors import PerfguardError

MAX_FILE_BYTES = 1 << 20

Error = type[PerfguardError]  # each suite raises its own


def read_config(path: Path, error: Error) -> dict[str, Any]:
    """The object in that file. Raises `error` naming the file."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise error(str(path), f"is larger than {MAX_FILE_BYTES} bytes", "give a model's config.json")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(str(path), f"cannot be read: {problem}", "give a checkpoint folder or its config.json") from problem
    except ValueError as problem:
        raise error(str(path), f"is not JSON: {problem}") from problem
    if not isinstance(raw, dict):
        raise error(str(path), "is not a JSON object")
    return raw


class Figures:
    """Figures out of a JSON object; of several keys, the first that is there counts. Raises `error` naming the key."""

    def __init__(self, raw: Mapping[str, Any], source: str, error: Error) -> None:
        self._raw = raw
        self._source = source
        self._error = error

    def integer(self, *keys: str, default: int | None = None) -> int:
        """A whole number, or `default` where no key is there."""
        for key in keys:
            value = self._raw.get(key)
            if value is None:
                continue
            if type(value) is not int:
                raise self._error(f"{self._source}: {key}", f"{value!r:.60} is not an integer")
            return value
        if default is None:
            raise self._error(f"{self._source}: {keys[0]}", "is missing", "give the figure as config.json has it")
        return default

    def number(self, key: str) -> float:
        """A positive number."""
        value = self._raw.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self._error(f"{self._source}: {key}", f"{value!r:.60} is not a positive number")
        return float(value)
