"""Units fit their kinds, and figures are written so that a person reads them right."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard import units
from perfguard.document import KINDS
from perfguard.errors import MeasurementError, OptionError


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        ("time", "s"),
        ("bytes", "B"),
        ("throughput", "B/s"),
        ("throughput", "tokens/s"),
        ("throughput", "round trips/s"),
        ("count", ""),
        ("count", "calls"),
        ("count", "page faults"),
        ("ratio", ""),
        ("ratio", "x"),
        ("fraction", ""),
    ],
)
def test_a_unit_that_fits_is_returned(kind: str, unit: str) -> None:
    """Every kind has at least one."""
    assert units.check_unit(kind, unit) == unit


@pytest.mark.parametrize(
    ("kind", "unit"),
    [
        ("time", "ms"),
        ("time", ""),
        ("time", "S"),
        ("bytes", "MiB"),
        ("bytes", "bytes"),
        ("throughput", "B"),
        ("throughput", "/s"),
        ("throughput", "tokens/min"),
        ("count", "ms"),
        ("count", "B"),
        ("count", "%"),
        ("count", "a" * 40),
        ("ratio", "µs"),
        ("fraction", "%"),
        ("count", "calls\n"),
        ("speed", "m/s"),
    ],
)
def test_a_unit_that_does_not_fit_is_named(kind: str, unit: str) -> None:
    """With what would fit."""
    with pytest.raises(MeasurementError, match=r"does not fit kind|unknown kind") as caught:
        units.check_unit(kind, unit, "my metric")
    assert caught.value.culprit == "my metric"
    assert caught.value.advice


def test_every_kind_says_what_units_it_takes() -> None:
    """A kind that is added must not be forgotten here."""
    assert tuple(sorted(units.ALLOWED_UNITS)) == tuple(sorted(KINDS))


@pytest.mark.parametrize(
    ("value", "unit", "kind", "text"),
    [
        (0.000412, "s", "time", "412 µs"),
        (9.996e-7, "s", "time", "1 µs"),
        (0.9996, "s", "time", "1 s"),
        (1.5e-9, "s", "time", "1.5 ns"),
        (3e-12, "s", "time", "0.003 ns"),
        (125.3, "s", "time", "125 s"),
        (0, "s", "time", "0 s"),
        (-0.002, "s", "time", "-2 ms"),
        (1023, "B", "bytes", "1023 B"),
        (64 * 2**20, "B", "bytes", "64 MiB"),
        (1.2e9, "B/s", "throughput", "1.2 GB/s"),
        (1234, "tokens/s", "throughput", "1234 tokens/s"),
        (12345, "tokens/s", "throughput", "12.3 k tokens/s"),
        (123456, "calls", "count", "123456 calls"),
        (2.5, "", "count", "2.5"),
        (1.0432, "", "ratio", "1.04"),
        (0.0432, "", "fraction", "4.32 %"),
        (math.inf, "s", "time", "inf s"),
    ],
)
def test_figures_have_three_digits_and_a_unit(value: float, unit: str, kind: str, text: str) -> None:
    """Whole counts keep theirs."""
    assert units.format_value(value, unit, kind) == text


@given(st.floats(1e-9, 1e5))
def test_a_written_time_is_within_its_last_digit(value: float) -> None:
    """Reading it back gives the time to 0.5 %: no prefix is ever wrong."""
    number, unit = units.format_value(value, "s", "time").split(" ")
    seconds = float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert seconds == pytest.approx(value, rel=5.1e-3)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.043, "+4.3 %"),
        (0.957, "-4.3 %"),
        (1.0, "+0.0 %"),
        (0.99999, "+0.0 %"),
        (1.12, "+12 %"),
        (3.2, "+220 %"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_changes_are_signed_percentages(ratio: float, text: str) -> None:
    """A change of nothing is never "-0.0"."""
    assert units.format_change(ratio) == text


def test_intervals_share_one_unit() -> None:
    """That of the larger end, so that the ends compare at a glance."""
    assert units.format_interval(0.00041, 0.000415, "s") == "[410, 415] µs"
    assert units.format_interval(0.9e-3, 1.1e-3, "s") == "[0.9, 1.1] ms"
    assert units.format_interval(0.04, 0.05, "", "fraction") == "[4, 5] %"
    assert units.format_change_interval((0.99, 1.2)) == "[-1.0 %, +20 %]"


@pytest.mark.parametrize(("text", "limit"), [("20%", 0.2), ("2.5 %", 0.025), (0.1, 0.1), (0, 0.0), (".5%", 0.005)])
def test_a_limit_is_a_percentage_or_a_fraction(text: object, limit: float) -> None:
    """As a marker and as a baseline file write it."""
    assert units.parse_limit(text) == pytest.approx(limit)


@pytest.mark.parametrize("text", ["20", "-5%", "ten", "", True, None, -0.1, math.nan, math.inf, "1e3%"])
def test_anything_else_is_no_limit(text: object) -> None:
    """In particular not `"20"`, which could mean either."""
    with pytest.raises(OptionError, match="is not a limit"):
        units.parse_limit(text, "limit")
