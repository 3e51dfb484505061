"""Pictures that a case hands on with its figures: what ran when on which lane, and rungs measured beside predicted.

They are data, no drawings: they stand in the run document below the case's `extra["pictures"]`, and whoever shows the
run draws them as it can. What is read comes from anywhere, and is validated and bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from perfguard.document import KINDS, Kind
from perfguard.errors import MeasurementError

KEY = "pictures"
MAX_PICTURES = 16
MAX_LANES = 64
MAX_BARS = 4000
MAX_RUNGS = 64
MAX_PARTS = 8
MAX_NAME = 120


class Bar(NamedTuple):
    """What one lane (a position in `Lanes.lanes`) did from `start_s` to `end_s`; bars of a `group` look alike."""

    lane: int
    start_s: float
    end_s: float
    name: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Lanes:
    """What ran when, on lanes that share one clock: a schedule, a timeline, a Gantt chart. Seconds."""

    title: str
    lanes: tuple[str, ...]
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder: its figure, what was predicted of it, the parts of what it lost (in `Rungs.parts_unit`)."""

    name: str
    measured: float
    predicted: float | None = None
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rungs:
    """Steps in their order. `parts_title`: what the rungs' parts are, such as "lost per token, against stage 0"."""

    title: str
    rungs: tuple[Rung, ...]
    unit: str = "s"
    kind: Kind = "time"
    parts_title: str = ""
    parts_unit: str = "s"


Picture: TypeAlias = Lanes | Rungs


def to_map(picture: Picture) -> dict[str, Any]:
    """Plain JSON values. Raises `MeasurementError` for a picture over the limits, or of figures that are none."""
    if isinstance(picture, Lanes):
        raw: dict[str, Any] = {"kind": "lanes", "title": picture.title, "lanes": list(picture.lanes)}
        raw["bars"] = [list(bar) for bar in picture.bars]
    else:
        raw = {"kind": "rungs", "title": picture.title, "unit": picture.unit, "value_kind": picture.kind}
        raw |= {"parts_title": picture.parts_title, "parts_unit": picture.parts_unit}
        raw["rungs"] = [
            {"name": rung.name, "measured": rung.measured, "predicted": rung.predicted, "parts": dict(rung.parts)}
            for rung in picture.rungs
        ]
    if from_map(raw) is None:
        limits = f"at most {MAX_LANES} lanes, {MAX_BARS} bars, {MAX_RUNGS} rungs of {MAX_PARTS} parts, finite figures"
        raise MeasurementError(f"picture {picture.title!r}", "cannot be handed on", limits)
    return raw


def read(extra: Mapping[str, Any]) -> tuple[Picture, ...]:
    """The pictures among a case's extra facts; what is none, or over the limits, is left out."""
    raw = extra.get(KEY, ())
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        return ()
    return tuple(picture for one in raw[:MAX_PICTURES] if (picture := from_map(one)) is not None)


def from_map(raw: Any) -> Picture | None:
    """The picture in a map, None if it is none."""
    try:
        if raw["kind"] == "lanes":
            return _lanes(raw)
        return _rungs(raw) if raw["kind"] == "rungs" else None
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _lanes(raw: Mapping[str, Any]) -> Lanes:
    lanes = tuple(map(_text, raw["lanes"]))
    bars = tuple(
        Bar(int(lane), _figure(start_s), _figure(end_s), _text(name), _text(group))
        for lane, start_s, end_s, name, group in raw["bars"]
    )
    if not 0 < len(lanes) <= MAX_LANES or not 0 < len(bars) <= MAX_BARS:
        raise ValueError("lanes")
    if any(not 0 <= bar.lane < len(lanes) or bar.end_s < bar.start_s for bar in bars):
        raise ValueError("bars")
    return Lanes(_text(raw["title"]), lanes, bars)


def _rungs(raw: Mapping[str, Any]) -> Rungs:
    rungs = tuple(
        Rung(
            _text(one["name"]),
            _figure(one["measured"]),
            None if one["predicted"] is None else _figure(one["predicted"]),
            {_text(name): _figure(part) for name, part in one["parts"].items()},
        )
        for one in raw["rungs"]
    )
    if not 0 < len(rungs) <= MAX_RUNGS or any(len(rung.parts) > MAX_PARTS for rung in rungs):
        raise ValueError("rungs")
    unit, parts_title, parts_unit = (_text(raw[name]) for name in ("unit", "parts_title", "parts_unit"))
    if raw["value_kind"] not in KINDS:
        raise ValueError(raw["value_kind"])
    return Rungs(_text(raw["title"]), rungs, unit, raw["value_kind"], parts_title, parts_unit)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise ValueError(value)
    return value


def _figure(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)
