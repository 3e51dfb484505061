"""The three constants of a device, fitted to measurements, and their files."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from perfguard_suites.simulator.errors import CalibrationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE_BYTES = 1 << 16


@dataclass(frozen=True)
class Calibration:
    """How much of the peak a device's matrix units and memory reach, and what each product costs beside.

    Efficiencies are in (0, 1]: a device that beats its own figures has wrong figures. `fixed_s` is in seconds.
    Raises `CalibrationError`.
    """

    compute_efficiency: float = 1.0
    memory_efficiency: float = 1.0
    fixed_s: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise CalibrationError(f"calibration: {field.name}", f"{value!r:.40} is no number")
            if field.name != "fixed_s" and not 0 < value <= 1:
                raise CalibrationError(f"calibration: {field.name}", f"{value!r} is not in (0, 1]")
        if self.fixed_s < 0:
            raise CalibrationError("calibration: fixed_s", f"{self.fixed_s!r} is negative")

    @property
    def digest(self) -> str:
        """A short name of the three figures."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """One JSON object with the three figures; floats come back exactly."""
        return json.dumps(asdict(self))

    def to_toml(self) -> str:
        """Three lines of TOML; floats come back exactly."""
        return "".join(f"{key} = {float(value)!r}\n" for key, value in asdict(self).items())

    @classmethod
    def parse(cls, raw: Mapping[str, Any], source: str) -> Calibration:
        """From a parsed file called `source`. Raises `CalibrationError` naming it and the key."""
        known = [field.name for field in fields(cls)]
        for key in known:
            if key not in raw:
                raise CalibrationError(f"{source}: {key}", "missing", f"a calibration has {', '.join(known)}")
        for key in raw:
            if key not in known:
                raise CalibrationError(f"{source}: {key}", "no such key", f"a calibration has {', '.join(known)}")
        try:
            return cls(**raw)
        except CalibrationError as error:
            raise CalibrationError(f"{source}: {error.culprit}", error.problem, error.advice) from None

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """From a .json or .toml file. Raises `CalibrationError`."""
        try:
            content = Path(path).read_bytes()[: MAX_FILE_BYTES + 1]
        except OSError as error:
            raise CalibrationError(str(path), error.strerror or str(error)) from None
        if len(content) > MAX_FILE_BYTES:
            raise CalibrationError(str(path), f"over {MAX_FILE_BYTES} bytes are no calibration")
        try:
            raw = json.loads(content) if Path(path).suffix == ".json" else tomllib.loads(content.decode())
        except ValueError as error:
            raise CalibrationError(str(path), f"neither TOML nor JSON: {error}") from None
        if not isinstance(raw, dict):
            raise CalibrationError(str(path), "is no table of three constants")
        return cls.parse(raw, str(path))


NO_CALIBRATION = Calibration()
