"""extra_info holds what a test likes; documents hold plain values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from perfguard.benchmark.plain import MAX_ITEMS, MAX_TEXT, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (2**70, str(2**70)),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        ("x", "x"),
        ((1, {2: "a"}), [1, {"2": "a"}]),
        (len, "len"),
        ({"s": {1}}, {"s": [1]}),
    ],
)
def test_values_become_plain(value: Any, expected: Any) -> None:
    """What JSON has stays; the rest becomes text."""
    assert plain(value) == expected
    json.dumps(plain(value), allow_nan=False)


def test_size_and_depth_are_bounded() -> None:
    """A list that holds itself ends, and long ones are cut."""
    loop: list[Any] = []
    loop.append(loop)
    assert len(json.dumps(plain(loop))) < 200
    assert len(plain("x" * 2 * MAX_TEXT)) == MAX_TEXT
    assert len(plain(list(range(2 * MAX_ITEMS)))) == MAX_ITEMS
