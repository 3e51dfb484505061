"""The cache on disk: what was computed once is not computed again, and what is garbled is."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from perfguard_suites.simulator.constants import Calibration
from perfguard_suites.simulator.errors import CacheError
from perfguard_suites.simulator.gemm import Cache, Gemm, GemmEvaluator
from perfguard_suites.simulator.hardware import load_hardware

DEVICE = load_hardware("h100")
GEMMS = [Gemm(1, m, 4096, 4096) for m in (1, 7, 128)]


def run(folder: Path, **options: object) -> tuple[GemmEvaluator, Cache, list[object]]:
    cache = Cache(folder)
    evaluator = GemmEvaluator(DEVICE, cache=cache, **options)  # type: ignore[arg-type]
    return evaluator, cache, list(evaluator.evaluate_all(GEMMS))


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    """Results come back from the disk bit for bit, and are counted as that."""
    first, _, costs = run(tmp_path)
    second, cache, again = run(tmp_path)
    assert (first.evaluations, first.disk_hits) == (3, 0)
    assert (second.evaluations, second.hits, second.disk_hits, cache.corrupted) == (0, 3, 3, 0)
    assert again == costs


def test_other_device_or_constants_share_nothing(tmp_path: Path) -> None:
    """One figure of the device, the constants or the kind of evaluation changed, and all is computed anew."""
    run(tmp_path)
    assert run(tmp_path, calibration=Calibration(0.8, 0.9, 1e-6))[0].evaluations == 3
    assert run(tmp_path, precise=False)[0].evaluations == 3
    other = GemmEvaluator(replace(DEVICE, l2_bytes=1), cache=Cache(tmp_path))
    other.evaluate_all(GEMMS)
    assert other.evaluations == 3


@pytest.mark.parametrize(
    "garble",
    [
        lambda content: content[:-20],
        lambda content: content.replace(b"4096", b"4097", 1),
        lambda content: b"\x00\xff garbage\n" + content.split(b"\n", 1)[1],
        lambda content: content.replace(b'"mnk"', b'"nkm"', 1) if b'"mnk"' in content else content[5:],
    ],
)
def test_corrupted_entries_are_said_and_recomputed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, garble: object
) -> None:
    """A torn or altered line is skipped with a warning; its product is computed again; the others are used."""
    _, _, costs = run(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(garble(path.read_bytes()))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        evaluator, cache, again = run(tmp_path)
    assert again == costs
    assert (evaluator.evaluations, evaluator.disk_hits, cache.corrupted) == (1, 2, 1)
    assert "1 corrupted entries" in caplog.text
    assert run(tmp_path)[0].evaluations == 0  # what was computed again has been stored


def test_memory_is_bounded() -> None:
    """The oldest results go where there are more than are kept."""
    cache = Cache(max_entries=2)
    evaluator = GemmEvaluator(DEVICE, cache=cache)
    for gemm in (*GEMMS, GEMMS[2], GEMMS[0]):
        evaluator.evaluate(gemm)
    assert (evaluator.evaluations, evaluator.hits) == (4, 1)


def test_a_file_for_a_folder_is_refused(tmp_path: Path) -> None:
    """A path that cannot be a folder is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="file"):
        Cache(tmp_path / "file")
