"""Fixtures of the streaming cases: weights made once, arithmetic on one thread, and the work that a profile affords."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.weight_streaming.bench import RATIOS, Bench, SourceName, Speeds, one_thread
from perfguard_suites.weight_streaming.config import model_of
from perfguard_suites.weight_streaming.making import FILE, make_folder
from perfguard_suites.weight_streaming.validity import warm

# (layers, source, load : compute); what a profile measures.
QUICK = [("32MiB", "warm", "1:1"), ("32MiB", "warm", "2:1"), ("2MiB", "direct", "1:1")]
WORK: dict[str, list[tuple[str, SourceName, str]]] = {
    "off": [("tiny", "warm", "1:1")],
    "quick": QUICK,  # type: ignore[dict-item]
    "standard": [
        ("32MiB", "warm", "1:2"),
        ("32MiB", "warm", "1:1"),
        ("32MiB", "warm", "2:1"),
        ("32MiB", "direct", "1:2"),
        ("32MiB", "direct", "1:1"),
        ("32MiB", "direct", "2:1"),
        ("32MiB", "cold", "1:1"),
        ("2MiB", "direct", "1:2"),
        ("2MiB", "direct", "1:1"),
        ("2MiB", "direct", "2:1"),
    ],
}
WORK["full"] = WORK["standard"]
PASSES = {"off": 2, "quick": 1, "standard": 2, "full": 3}

OpenBench = Callable[[str, SourceName, str], Bench]


def profile_of(config: pytest.Config) -> str:
    """The profile of this run, `off` for an ordinary test run."""
    if not config.getoption("perfguard", False):
        return "off"
    return str(config.getoption("perfguard_profile", None) or config.getini("perfguard_profile"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`layers`, `source` and `ratio` run over the profile's work; `layers` alone is the size that it measures most."""
    work = WORK[profile_of(metafunc.config)]
    names = set(metafunc.fixturenames)
    if {"layers", "source", "ratio"} <= names:
        metafunc.parametrize(("layers", "source", "ratio"), work)
    elif "layers" in names:
        metafunc.parametrize("layers", [work[0][0]])


@pytest.fixture(scope="session")
def weights() -> Iterator[Callable[[str], tuple[Path, ModelConfig]]]:
    """`weights(layers)`: a folder of seeded weights in the page cache, and its model; removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="perfguard-weights-"))

    def of(layers: str) -> tuple[Path, ModelConfig]:
        folder, model = place / layers, model_of(layers)
        if not (folder / FILE).exists():
            make_folder(folder, model)
        warm(folder / FILE)
        return folder, model

    yield of
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def rows_of(weights: Callable[[str], tuple[Path, ModelConfig]]) -> Iterator[Callable[[str, SourceName, str], int]]:
    """`rows_of(layers, source, ratio)`: token rows a pass for that ratio of loading to computing."""
    with contextlib.ExitStack() as stack:
        speeds: dict[tuple[str, SourceName], Speeds] = {}

        def of(layers: str, source: SourceName, ratio: str) -> int:
            if (layers, source) not in speeds:
                speeds[layers, source] = Speeds(*weights(layers), source)
                stack.callback(speeds[layers, source].close)
            return speeds[layers, source].rows_for(RATIOS[ratio])

        yield of


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    weights: Callable[[str], tuple[Path, ModelConfig]],
    rows_of: Callable[[str, SourceName, str], int],
) -> Iterator[OpenBench]:
    """`bench(layers, source, ratio)`: everything to be timed on these weights, on one computing thread."""
    profile = profile_of(request.config)
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_thread())

        def of(layers: str, source: SourceName, ratio: str) -> Bench:
            folder, model = weights(layers)
            rows = 4 if profile == "off" else rows_of(layers, source, ratio)
            return stack.enter_context(Bench(folder, model, source, rows, PASSES[profile]))

        yield of
