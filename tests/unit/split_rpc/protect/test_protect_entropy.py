"""Secrets: uniform, never repeated, and from the operating system unless a seed is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from perfguard_suites.split_rpc.protect.entropy import (
    SeededEntropy,
    SystemEntropy,
    centred_bits,
    field_elements,
    normals,
)
from perfguard_suites.split_rpc.protect.field import HALF, PRIME


class Replayed:
    """Entropy that gives these 32-bit words in turn: to reach the one draw in 2^31 that is rejected."""

    def __init__(self, *words: int) -> None:
        self.words = list(words)

    def __call__(self, size_bytes: int) -> bytes:
        count = size_bytes // 4
        given, self.words = self.words[:count], self.words[count:]
        return np.array(given, np.uint32).tobytes()


def test_field_elements_are_uniform(entropy: SeededEntropy) -> None:
    """Chi-square over 256 equal cells of the field, and over the low byte: neither is rejected at 0.1 %."""
    drawn = field_elements(entropy, (400, 1000)).numpy().ravel().astype(np.int64) + HALF
    assert drawn.min() >= 0
    assert drawn.max() < PRIME
    for cells in (drawn * 256 // PRIME, drawn % 256):
        assert stats.chisquare(np.bincount(cells, minlength=256)).pvalue > 0.001


def test_the_one_draw_that_is_no_residue_is_drawn_again() -> None:
    """31 ones would make one residue twice as likely as the others: they are rejected, repeatedly if need be."""
    source = Replayed(5, PRIME, 0xFFFFFFFF, PRIME, 7, 9)
    assert field_elements(source, (3,)).tolist() == [5 - HALF, 9 - HALF, 7 - HALF]
    assert source.words == []


def test_the_top_bit_of_a_word_does_not_matter() -> None:
    """A draw is 31 bits: the 32nd is cut off, so that int32 cannot overflow."""
    assert field_elements(Replayed(0x80000003), (1,)).tolist() == [3 - HALF]


@pytest.mark.parametrize("bits", [1, 7, 13, 16, 32])
def test_short_coefficients_take_every_value_alike(entropy: SeededEntropy, bits: int) -> None:
    """They lie in -2^(b-1) .. 2^(b-1) - 1 and fill sixteen equal cells evenly (two for one bit)."""
    drawn = centred_bits(entropy, (64_000,), bits)
    low = -(2.0 ** (bits - 1))
    assert float(drawn.min()) >= low
    assert float(drawn.max()) < -low
    cells = min(16, 2**bits)
    counts = np.bincount(((drawn.numpy() - low) * cells / 2.0**bits).astype(int), minlength=cells)
    assert stats.chisquare(counts).pvalue > 0.001


def test_normals_are_standard_normal(entropy: SeededEntropy) -> None:
    """A Kolmogorov-Smirnov test does not reject them, and none is infinite."""
    drawn = normals(entropy, (50_000,)).numpy()
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn, "norm").pvalue > 0.001


def test_normals_are_finite_at_both_ends_of_the_generator() -> None:
    """All zeros and all ones map to finite deviates, opposite to each other."""
    low, high = float(normals(Replayed(0, 0), (1,))), float(normals(Replayed(2**32 - 1, 2**32 - 1), (1,)))
    assert -9 < low < -8
    assert 8 < high < 9


def test_a_seeded_stream_repeats_across_instances_and_never_within_one() -> None:
    """Equal seeds give equal streams; successive draws differ; another seed gives another stream."""
    seed = b"0123456789abcdef"
    first, second = SeededEntropy(seed), SeededEntropy(seed)
    draws = [first(64) for _ in range(50)]
    assert draws == [second(64) for _ in range(50)]
    assert len(set(draws)) == 50
    assert SeededEntropy(b"fedcba9876543210")(64) != draws[0]


def test_a_seed_that_can_be_guessed_is_refused() -> None:
    """Fewer than 16 bytes raise."""
    with pytest.raises(ValueError, match="can be guessed"):
        SeededEntropy(b"1234")


def test_system_entropy_differs_each_time() -> None:
    """The default is the operating system's generator: two draws of 32 bytes are never the same."""
    source = SystemEntropy()
    assert source(32) != source(32)
    assert not torch.equal(field_elements(source, (16,)), field_elements(source, (16,)))
