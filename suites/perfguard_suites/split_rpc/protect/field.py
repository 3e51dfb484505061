"""Arithmetic modulo the Mersenne prime 2^31 - 1, on centred residues in int32 and exactly in float64 matrix products.

Centred residues, -HALF to HALF, are what travels and what masks are: sum and difference of two fit int32, so masking
needs no wider type. A product of residues and small integers is exact in float64 as long as no partial sum can reach
2^53, in whatever order (and with whatever fused multiply-adds) the library sums: integers below 2^53 are exact.
"""

from __future__ import annotations

import torch

PRIME = (1 << 31) - 1
HALF = PRIME >> 1
EXACT = 1 << 53  # all integers up to here, and their sums while they stay below, are exact in float64


def centre_(values: torch.Tensor) -> torch.Tensor:
    """Wrap int32 sums or differences of two residues to -HALF .. HALF, in place; returns the same tensor.

    `values`: int32, any shape, within -2 HALF .. 2 HALF.
    """
    # 1, 0 or -1 primes too many: the quotient by 2^30, rounded towards zero. Comparisons took four times as long.
    excess = values.bitwise_right_shift(31).bitwise_and_(HALF).add_(values).bitwise_right_shift_(30)
    return values.sub_(excess, alpha=PRIME)


def reduced(products: torch.Tensor) -> torch.Tensor:
    """Centred residues, int32, of integers held in float64 (any shape, magnitude at most 2^53); overwrites `products`.

    The quotient of at most 2^22 is rounded to the nearest integer, and may miss by one where it is a near tie; the
    product with the prime and the difference are exact, and the last wrap mends the miss.
    """
    quotients = products.div(PRIME).round_()
    return centre_(products.sub_(quotients, alpha=PRIME).to(torch.int32))


def centred(integers: torch.Tensor) -> torch.Tensor:
    """Centred residues, int64, of any int64 integers; any shape."""
    residues = torch.remainder(integers, PRIME)
    return residues - PRIME * (residues > HALF)


def exact_bits(terms: int, largest: int) -> int:
    """Bits of a centred factor (-2^(b-1) .. 2^(b-1) - 1) whose `terms` products with `largest` sum below 2^53.

    Raises ValueError if there is not even one bit: a caller's bug, since `terms` x `largest` is bounded before.
    """
    bits = (EXACT // (max(terms, 1) * max(largest, 1))).bit_length()
    if bits < 1:
        raise ValueError(f"{terms} products with {largest} cannot be summed exactly in float64")
    return bits
