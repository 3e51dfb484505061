"""Cases of some milliseconds and many kinds, each able to be slower by an exact share of its work in one phase.

Written for the `benchmark` fixture, so that the same file runs under perfguard and under pytest-benchmark. A case is
100 equal units of work: 30 in the phase `prepare`, 50 in `work`, 20 in `finish`. `injected.json` beside this file,
`{"hashing": ["work", 5]}`, adds five units to a phase: a slowdown of 5 % that is real work, not sleep.
"""

import hashlib
import json
import os
import pathlib
import re
import zlib

import numpy as np
import pytest

import perfguard

UNITS = {"prepare": 30, "work": 50, "finish": 20}
INJECTED = pathlib.Path(__file__).with_name("injected.json")

TEXT = " ".join(f"word{i % 97} value={i * 31 % 1009}" for i in range(120))
RECORD = {"id": 7, "tokens": list(range(40)), "text": TEXT[:200], "nested": {"a": [1.5, 2.5], "b": None}}
BYTES = bytes(range(256)) * 64
VECTOR = np.linspace(0.0, 1.0, 4096)
MATRIX = np.linspace(0.0, 1.0, 80 * 80, dtype=np.float32).reshape(80, 80)
BIG = np.zeros(8 * 1024 * 1024, dtype=np.uint8)  # more than a core's own caches hold
COPY = np.empty(64 * 1024, dtype=np.uint8)
PATTERN = re.compile(r"value=(\d+)")
WORDS = TEXT.split()


def _arithmetic() -> None:
    total = 0
    for i in range(300):
        total += i * i % 7


def _dictionaries() -> None:
    table = {f"k{i}": i for i in range(90)}
    sum(table.values())


def _strings() -> None:
    "-".join(word.upper() for word in WORDS)


def _copying(start: list[int] = [0]) -> None:  # noqa: B006 - where the last copy ended
    for _ in range(4):
        offset = start[0] = (start[0] + 1_048_576 + 4096) % (BIG.size - COPY.size)
        np.copyto(COPY, BIG[offset : offset + COPY.size])


def _pipe(ends: tuple[int, int] = os.pipe()) -> None:
    for _ in range(12):
        os.write(ends[1], b"x" * 64)
        os.read(ends[0], 64)


KINDS = {
    "arithmetic": _arithmetic,
    "dictionaries": _dictionaries,
    "strings": _strings,
    "json": lambda: json.loads(json.dumps(RECORD)),
    "sorting": lambda: sorted(WORDS, key=str.lower),
    "regex": lambda: PATTERN.findall(TEXT),
    "hashing": lambda: hashlib.sha256(BYTES).digest(),
    "compressing": lambda: zlib.compress(BYTES[:2048], 6),
    "vectors": lambda: np.sqrt(VECTOR * VECTOR + 1.0).sum(),
    "matrices": lambda: MATRIX @ MATRIX,
    "copying": _copying,
    "pipes": _pipe,
}


def _units(kind: str) -> dict[str, int]:
    injected = json.loads(INJECTED.read_text()) if INJECTED.exists() else {}
    phase, extra = injected.get(kind, ("work", 0))
    return {name: units + (extra if name == phase else 0) for name, units in UNITS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_workload(benchmark, kind):
    """One kind of work, in three phases."""
    unit, units = KINDS[kind], _units(kind)

    def call() -> None:
        for phase, count in units.items():
            with perfguard.phase(phase):
                for _ in range(count):
                    unit()

    benchmark(call)
