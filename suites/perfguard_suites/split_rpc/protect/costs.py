"""What each protection level costs, counted from shapes: offline apart from online, so that both can be predicted.

Counts, not times: times follow from rates that the suite measures on its machine (`seconds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from perfguard_suites.split_rpc.protect.freivalds_field import check_shape

_INT32, _FLOAT64 = 4, 8


@dataclass(frozen=True, slots=True)
class Cost:
    """Work and bytes of one call, or of preparing it; add them up with `+`.

    `*_flops`: multiplications and additions of matrix products. `trusted_elements`: tensor elements that pass through
    the trusted side's elementwise steps. `random_bytes`: drawn from the entropy source (rejections not counted).
    `stored_bytes`: kept on the trusted side until used. `sent_bytes`, `received_bytes`: payload, by the client.
    """

    trusted_flops: int = 0
    server_flops: int = 0
    trusted_elements: int = 0
    random_bytes: int = 0
    stored_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Rates:
    """What the trusted side does in a second, as measured there: flops in float64, elements, random bytes."""

    flops_per_s: float
    elements_per_s: float
    random_bytes_per_s: float


def seconds(cost: Cost, rates: Rates) -> float:
    """The trusted side's predicted seconds: its flops, elements and random bytes, one after the other."""
    return (
        cost.trusted_flops / rates.flops_per_s
        + cost.trusted_elements / rates.elements_per_s
        + cost.random_bytes / rates.random_bytes_per_s
    )


def masked_offline(rows: int, inputs: int, outputs: Sequence[int]) -> Cost:
    """Making `rows` masks for modules that share `inputs`: draw r, compute r W, keep both."""
    total = sum(outputs)
    return Cost(
        trusted_flops=2 * rows * inputs * total,
        trusted_elements=rows * (inputs + total),
        random_bytes=_INT32 * rows * inputs,
        stored_bytes=_INT32 * rows * (inputs + total),
    )


def masked_online(rows: int, inputs: int, outputs: Sequence[int]) -> Cost:
    """One masked call: quantise and hide the input, reveal and dequantise the outputs; int32 both ways."""
    total = sum(outputs)
    return Cost(
        server_flops=2 * rows * inputs * total,
        trusted_elements=rows * (inputs + total),
        sent_bytes=_INT32 * rows * inputs,
        received_bytes=_INT32 * rows * total,
    )


def field_check_offline(inputs: int, outputs: Sequence[int]) -> Cost:
    """Drawing R and computing W' R for a check of masked replies; once per group, not per row."""
    columns, _bits, _limb_bits, limbs = check_shape(inputs, outputs)
    total = sum(outputs)
    return Cost(
        trusted_flops=2 * columns * inputs * total,
        trusted_elements=inputs * total,
        random_bytes=4 * columns * total,
        stored_bytes=_FLOAT64 * columns * (total + limbs * inputs),
    )


def field_check_online(rows: int, inputs: int, outputs: Sequence[int]) -> Cost:
    """Checking one call's masked replies: Y R and X (W' R), no bytes on the wire."""
    columns, _bits, _limb_bits, limbs = check_shape(inputs, outputs)
    total = sum(outputs)
    return Cost(
        trusted_flops=2 * rows * columns * (total + limbs * inputs),
        trusted_elements=rows * (inputs + total),
    )


def float_check_offline(inputs: int, outputs: Sequence[int], columns: int = 8) -> Cost:
    """Drawing normal R and computing W' R for a check of float replies; once per call site."""
    total = sum(outputs)
    return Cost(
        trusted_flops=2 * columns * inputs * total,
        trusted_elements=inputs * total,
        random_bytes=_FLOAT64 * columns * total,
        stored_bytes=_FLOAT64 * columns * (inputs + total),
    )


def float_check_online(rows: int, inputs: int, outputs: Sequence[int], columns: int = 8) -> Cost:
    """Checking one call's float replies, no bytes on the wire."""
    total = sum(outputs)
    return Cost(trusted_flops=2 * rows * columns * (inputs + total), trusted_elements=rows * (inputs + total))


def trusted_product(batch: int, rows: int, inner: int, columns: int) -> Cost:
    """`batch` products of two activations in the trusted process, the default: (rows, inner) by (inner, columns)."""
    return Cost(trusted_flops=2 * batch * rows * inner * columns)


def masked_product_online(batch: int, rows: int, inner: int, columns: int) -> Cost:
    """The same with additive masks and one server: two products of the same size stay in the trusted process.

    Never cheaper than `trusted_product`, whatever the shape; here so that the report can say by how much.
    """
    sent = batch * inner * (rows + columns)
    received = batch * rows * columns
    return Cost(
        trusted_flops=2 * 2 * batch * rows * inner * columns,
        server_flops=2 * batch * rows * inner * columns,
        trusted_elements=sent + received,
        sent_bytes=_INT32 * sent,
        received_bytes=_INT32 * received,
    )
