"""Freivalds' check (1977) of masked replies, exactly, over the prime field: any change of any element is caught.

A reply Y should be X W' modulo the prime. With secret random columns R, Y R = X (W' R) is checked instead, and W' R is
computed once, ahead: n + limbs x k multiplications per row and column instead of n k. If a row of Y is wrong, its
difference d is nonzero modulo the prime; whatever the other coefficients are, at most one of the S values of a
coefficient that meets a nonzero d_j makes d . r vanish. So a column misses with probability at most 1/S, and c
independent columns with S^-c, which is chosen to be at most 1 / prime, 2^-31. In integers modulo 2^k this fails: a
difference of 2^(k-1) is missed by every second column, which is why the field is a prime one.

Coefficients are short (S = 2^bits) so that one float64 product with a reply is exact; more columns make up for it. One
R serves many calls: the server never sees it, and learns one bit a call (that it was not caught), so after q calls
the probability that any lie passed is at most q S^-c. After a lie is caught, R must not be used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from perfguard_suites.split_rpc.protect.entropy import Entropy, SystemEntropy, centred_bits
from perfguard_suites.split_rpc.protect.errors import MalformedReply, QuantisationOverflow, ServerLied
from perfguard_suites.split_rpc.protect.field import HALF, PRIME, centred, exact_bits, reduced
from perfguard_suites.split_rpc.protect.masks import check_replies
from perfguard_suites.split_rpc.protect.quantise import LinearGroup

_BLOCK_ELEMENTS = 1 << 20  # 8 MiB of float64 at a time: no second copy of a whole reply
_MOST_BITS = 16


@dataclass(frozen=True, slots=True)
class FieldCheck:
    """The secrets of one group's check; they never leave the trusted side.

    `coefficients`: R, float64 (outputs_i, columns) for each module. `digest`: W' R modulo the prime, cut into limbs of
    `limb_bits`, float64 (inputs, limbs x columns), lowest limb first. `bits`: of each coefficient.
    """

    group: LinearGroup
    coefficients: tuple[torch.Tensor, ...]
    digest: torch.Tensor
    bits: int
    limb_bits: int

    @property
    def columns(self) -> int:
        """Independent random columns."""
        return int(self.coefficients[0].shape[1])

    @property
    def limbs(self) -> int:
        """Limbs that the digest is cut into."""
        return int(self.digest.shape[1]) // self.columns


def field_check(group: LinearGroup, entropy: Entropy | None = None, miss: float = 1 / PRIME) -> FieldCheck:
    """Draw the secrets for a group, so that a wrong reply passes with probability at most `miss`; offline.

    `miss`: 0 < miss < 1, else ValueError.
    """
    if not 0 < miss < 1:
        raise ValueError(f"a probability of missing a lie of {miss} is none: give 0 < miss < 1")
    source = SystemEntropy() if entropy is None else entropy
    columns, bits, limb_bits, limbs = check_shape(group.inputs, group.outputs, miss)
    coefficients = tuple(centred_bits(source, (n, columns), bits) for n in group.outputs)
    digest = torch.zeros((group.inputs, columns), dtype=torch.int64)
    for weight, part in zip(group.weights, coefficients, strict=True):
        digest += _transposed_product(weight.values, part)
    return FieldCheck(group, coefficients, _cut(centred(digest), limb_bits, limbs), bits, limb_bits)


def check_shape(inputs: int, outputs: Sequence[int], miss: float = 1 / PRIME) -> tuple[int, int, int, int]:
    """Columns, bits of a coefficient, bits of a digest limb, and limbs, for a group of these shapes.

    Raises `QuantisationOverflow` beyond 2^22 inputs.
    """
    bits = min(_MOST_BITS, exact_bits(max(outputs), HALF))
    columns = 1
    while 2.0 ** (-bits * columns) > miss:
        columns += 1
    limb_bits = min(_MOST_BITS, exact_bits(inputs, HALF))
    if limb_bits < 2:
        raise QuantisationOverflow(
            f"a check of {inputs} inputs", "float64 has no room for limbs of two bits", "split the inputs"
        )
    limbs = 1
    # Balanced limbs reach (2^(b-1) - 1) (1 + 2^b + ...): the top one must cover what is left of HALF.
    while ((1 << (limb_bits - 1)) - 1) * ((1 << (limb_bits * limbs)) - 1) // ((1 << limb_bits) - 1) < HALF:
        limbs += 1
    return columns, bits, limb_bits, limbs


def miss_probability(check: FieldCheck, calls: int = 1) -> float:
    """An upper bound of the probability that any wrong reply of `calls` passes: calls x 2^(-bits x columns)."""
    return min(1.0, calls * 2.0 ** (-check.bits * check.columns))


def verify_field(check: FieldCheck, message: torch.Tensor, replies: Sequence[torch.Tensor]) -> None:
    """Raise `ServerLied`, naming the rows, unless the replies are the message times the weights modulo the prime.

    All modules and all rows in one go. `message`: int32 (rows, inputs) as sent; `replies`: int32 (rows, outputs_i)
    each, still masked. Raises `MalformedReply` as `masks.check_replies` does. Call it before revealing.
    """
    rows = int(message.shape[0])
    if message.ndim != 2 or message.shape[1] != check.group.inputs:
        raise MalformedReply(check.group.name, f"a message of {tuple(message.shape)}", "check against what was sent")
    check_replies(check.group, rows, replies)
    wrong: list[int] = []
    step = max(1, _BLOCK_ELEMENTS // max(check.group.inputs, *check.group.outputs))
    for start in range(0, rows, step):
        stop = start + step
        difference = -_expected(check, message[start:stop])
        for reply, part in zip(replies, check.coefficients, strict=True):
            difference += reduced(reply[start:stop].to(torch.float64) @ part)
        bad = (torch.remainder(difference, PRIME) != 0).any(dim=1)
        wrong += [start + int(row) for row in torch.nonzero(bad)[:, 0]]
    if wrong:
        raise ServerLied(
            f"server's reply for {check.group.name}",
            f"{len(wrong)} of {rows} rows are not the product that was asked for: {wrong[:8]}",
            "throw its results away, stop using it, and draw new secrets with field_check",
        )


def _expected(check: FieldCheck, message: torch.Tensor) -> torch.Tensor:
    """X (W' R) modulo the prime, int64 (rows, columns): one exact product with all limbs, put together by Horner."""
    parts = reduced(message.to(torch.float64) @ check.digest).to(torch.int64)
    columns = check.columns
    total = torch.zeros((message.shape[0], columns), dtype=torch.int64)
    for limb in reversed(range(check.limbs)):
        shifted = (total << check.limb_bits) + parts[:, limb * columns : (limb + 1) * columns]
        total = torch.remainder(shifted, PRIME)
    return total


def _transposed_product(values: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """values.T @ coefficients, int64 (inputs, columns), exact: 2^15 x 2^15 x outputs stays below 2^53."""
    total = torch.zeros((values.shape[1], coefficients.shape[1]), dtype=torch.int64)
    step = max(1, _BLOCK_ELEMENTS // max(1, values.shape[1]))
    for start in range(0, values.shape[0], step):
        tile = values[start : start + step].to(torch.float64)
        total += (tile.T @ coefficients[start : start + step]).to(torch.int64)
    return total


def _cut(residues: torch.Tensor, bits: int, limbs: int) -> torch.Tensor:
    """Balanced limbs of centred residues, float64 (inputs, limbs x columns), each of -2^(bits-1) .. 2^(bits-1) - 1."""
    rest, half, parts = residues.clone(), 1 << (bits - 1), []
    for _ in range(limbs):
        limb = torch.remainder(rest + half, 1 << bits) - half
        parts.append(limb.to(torch.float64))
        rest = (rest - limb) >> bits
    assert not bool(rest.any()), "check_shape gives as many limbs as a residue needs"
    return torch.cat(parts, dim=1)
