"""Units: which ones each kind of metric is stored in, and how figures are written for people.

Inside perfguard a kind has one base unit (seconds, bytes, something per second), so that two figures of
one kind always compare; scaling to µs or MiB happens here and only on the way to a reader.
The terminal report, the command line and the dashboard all write figures through this module.
"""

from __future__ import annotations

import math
import re

from perfguard.errors import MeasurementError, OptionError

# What a unit may be, per kind, in words: used in every message about a unit.
ALLOWED_UNITS = {
    "time": "'s'",
    "bytes": "'B'",
    "throughput": "something per second, such as 'B/s' or 'tokens/s'",
    "count": "'' or a noun, such as 'calls'",
    "ratio": "'' or a noun, such as 'x'",
    "fraction": "''",
}
# Names of measures that have a kind of their own; as the "noun" of a count they are surely a mistake.
_MEASURES = frozenset(
    {
        "s",
        "sec",
        "second",
        "seconds",
        "ms",
        "us",
        "µs",
        "ns",
        "min",
        "h",
        "B",
        "byte",
        "bytes",
        "KB",
        "MB",
        "GB",
        "KiB",
        "MiB",
        "GiB",
    }
)
_NOUN = re.compile(r"[^\W\d_][\w -]{0,31}")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*")

_TIME_SCALE = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTE_SCALE = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATE_SCALE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def check_unit(kind: str, unit: str, culprit: str = "unit") -> str:
    """`unit` itself if a metric of `kind` may have it; else `MeasurementError` naming `culprit`."""
    if kind not in ALLOWED_UNITS:
        raise MeasurementError(culprit, f"unknown kind {kind!r}", f"one of {', '.join(ALLOWED_UNITS)}")
    fits = {
        "time": unit == "s",
        "bytes": unit == "B",
        "throughput": _is_rate(unit),
        "fraction": unit == "",
    }.get(kind, unit == "" or _is_noun(unit))
    if not fits:
        raise MeasurementError(
            culprit,
            f"unit {unit!r} does not fit kind {kind!r}",
            f"the unit of a {kind} is {ALLOWED_UNITS[kind]}",
        )
    return unit


def _is_rate(unit: str) -> bool:
    noun, slash, second = unit.rpartition("/")
    return slash == "/" and second == "s" and _NOUN.fullmatch(noun) is not None


def _is_noun(unit: str) -> bool:
    return _NOUN.fullmatch(unit) is not None and unit not in _MEASURES


def parse_limit(value: object, culprit: str = "limit") -> float:
    """A practical limit as a fraction: 0.2 from `"20%"` or `0.2`.

    Raises `OptionError` naming `culprit` if it is neither, negative or not finite.
    """
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value)):
        return float(match[1]) / 100
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise OptionError(
        culprit, f"{value!r} is not a limit", 'write a percentage such as "10%", or a fraction such as 0.1'
    )


def round_measured(value: float) -> float:
    """`value` to 6 significant digits: more than a measurement is known to, few enough to read in a diff."""
    return float(f"{value:.6g}")


def format_value(value: float, unit: str, kind: str = "") -> str:
    """A figure with its unit, 3 significant digits: `412 µs`, `64 MiB`, `1.2 GB/s`, `98 calls`.

    Whole counts and bytes below 1 KiB keep all their digits. A `fraction` is written in percent.
    """
    number, shown_unit = _scaled(value, unit, kind)
    return f"{number} {shown_unit}".rstrip()


def format_interval(low: float, high: float, unit: str, kind: str = "") -> str:
    """An interval in one unit, that of its larger end: `[410, 415] µs`."""
    scale, shown_unit = _scale(max(abs(low), abs(high)), unit, kind)
    ends = ", ".join(_digits(end / scale, 4) for end in (low, high))
    return f"[{ends}] {shown_unit}".rstrip()


def format_change(ratio: float) -> str:
    """A ratio now/before as a signed change: `+4.3 %`, `-12 %`, `+0.0 %`; `n/a` if it is none."""
    if not math.isfinite(ratio):
        return "n/a"
    percent = (ratio - 1) * 100
    text = f"{percent:+.1f}" if abs(percent) < 10 else f"{percent:+.0f}"
    return ("+0.0" if text == "-0.0" else text) + " %"


def format_change_interval(interval: tuple[float, float]) -> str:
    """The interval of a ratio as signed changes: `[+3.1 %, +5.6 %]`."""
    return f"[{format_change(interval[0])}, {format_change(interval[1])}]"


def _scaled(value: float, unit: str, kind: str) -> tuple[str, str]:
    if not math.isfinite(value):
        return str(value), unit
    if unit == "B" and abs(value) < 1024 and value == int(value):
        return str(int(value)), unit
    if kind == "count" and value == int(value):
        return str(int(value)), unit
    scale, shown_unit = _scale(abs(value), unit, kind)
    return _digits(value / scale, 3), shown_unit


def _scale(magnitude: float, unit: str, kind: str) -> tuple[float, str]:
    """What to divide by and the unit to show; the scale at which 3 digits do not round up to the next."""
    if kind == "fraction" and unit == "":
        return 0.01, "%"
    if unit == "s":
        return _pick(magnitude, _TIME_SCALE)
    if unit == "B":
        return _pick(magnitude, _BYTE_SCALE)
    if unit.endswith("/s") and magnitude >= 10_000:
        factor, prefix = _pick(magnitude, _RATE_SCALE)
        return factor, f"{prefix}{unit}" if unit == "B/s" else f"{prefix} {unit}".lstrip()
    return 1.0, unit


def _pick(magnitude: float, scales: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    if magnitude == 0:
        return next((factor, name) for factor, name in scales if factor == 1.0)
    return next(((factor, name) for factor, name in scales if magnitude >= 0.9995 * factor), scales[-1])


def _digits(value: float, significant: int) -> str:
    """`value` to that many significant digits, never in exponent form, whole digits kept."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    decimals = max(0, significant - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(decimals, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
