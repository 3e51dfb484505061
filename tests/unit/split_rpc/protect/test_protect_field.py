"""The prime field in float64 and int32 agrees with Python's integers, at the extremes too."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard_suites.split_rpc.protect.field import EXACT, HALF, PRIME, centre_, centred, exact_bits, reduced

OFFSETS = (-HALF - 1, -HALF, -1, 0, 1, HALF, HALF + 1)
MULTIPLES = (0, 1, 2**21, 2**22 - 1)
EDGES = [EXACT, EXACT - 1] + [multiple * PRIME + offset for multiple in MULTIPLES for offset in OFFSETS]


def python_centred(value: int) -> int:
    residue = value % PRIME
    return residue - PRIME if residue > HALF else residue


def test_the_modulus_is_the_prime_that_it_is_said_to_be() -> None:
    """2^31 - 1 is prime: the error probability of every check rests on it."""
    assert PRIME == 2**31 - 1
    assert all(PRIME % divisor for divisor in range(2, 46341))


def test_reduction_is_right_at_every_edge() -> None:
    """Integers up to 2^53 held in float64, near ties and multiples of the prime included, reduce to their residue."""
    edges = [sign * value for value in EDGES for sign in (1, -1)]
    got = reduced(torch.tensor(edges, dtype=torch.float64))
    assert got.dtype == torch.int32
    assert got.tolist() == [python_centred(value) for value in edges]


@settings(deadline=None)
@given(st.lists(st.integers(-EXACT, EXACT), min_size=1, max_size=40))
def test_reduction_agrees_with_python_integers(values: list[int]) -> None:
    """Whatever integers float64 can hold, their residues are Python's."""
    assert reduced(torch.tensor(values, dtype=torch.float64)).tolist() == [python_centred(v) for v in values]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-HALF, HALF), st.integers(-HALF, HALF)), min_size=1, max_size=40))
def test_sums_and_differences_of_residues_wrap_without_overflow(pairs: list[tuple[int, int]]) -> None:
    """Two residues add and subtract in int32, whatever they are."""
    left = torch.tensor([a for a, _ in pairs], dtype=torch.int32)
    right = torch.tensor([b for _, b in pairs], dtype=torch.int32)
    assert centre_(left + right).tolist() == [python_centred(a + b) for a, b in pairs]
    assert centre_(left - right).tolist() == [python_centred(a - b) for a, b in pairs]


@settings(deadline=None)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40))
def test_any_int64_has_its_centred_residue(values: list[int]) -> None:
    """The wide reduction, for precomputation, agrees as well."""
    assert centred(torch.tensor(values)).tolist() == [python_centred(v) for v in values]


@settings(deadline=None)
@given(st.integers(1, 1 << 21), st.integers(1, HALF))
def test_short_factors_are_as_long_as_exactness_allows(terms: int, largest: int) -> None:
    """With `exact_bits` the sum stays within 2^53; one bit more could leave it."""
    bits = exact_bits(terms, largest)
    assert terms * largest * 2 ** (bits - 1) <= EXACT < terms * largest * 2**bits


def test_a_sum_without_room_for_a_bit_is_a_bug_of_the_caller() -> None:
    """No silent inexactness: it raises."""
    with pytest.raises(ValueError, match="cannot be summed exactly"):
        exact_bits(1 << 30, HALF)
