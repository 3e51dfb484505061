"""Protection levels: `masked` hides activations from the server exactly, `verified` catches a server that lies.

Pure pieces on torch tensors, no sockets; this door only re-exports. How a client wires them in, all tensors
(rows, features) with one row per token:

At the start, both sides, for each module: `quantise_weight(name, weight)`; equal weights give equal integers. The
server keeps `resident(values, device)`. The client joins modules of one call, `LinearGroup(name, weights)`, and makes
masks, offline: `store.prepare(group, rows)` with one row for each token that the run will pass through it (the
prefill's tokens plus one per decode step; for the head, if only the last position is asked, 1 plus the decode steps).
For `verified` besides: `field_check(group)`.

Each call: `quantise_rows(group.name, x, group.activation_levels)` -> `store.take(group.name, rows)` ->
`mask.hide(values)` -> send the message, int32, 4 x rows x inputs bytes -> the server's `multiply(message, weight)`
for each module -> receive int32, 4 x rows x outputs bytes each (the same bytes as an unprotected call in float32) ->
`verify_field(check, message, replies)` -> `mask.reveal(replies)` -> `dequantise(products, rows.scale, weight.scale)`.
The result equals `clear_linear(group, x)` bit by bit. Products of two activations (Q K^T, A V) stay in the trusted
process: `product`.

`verified` without masks: `float_check(name, weights, arithmetic)` at the start, `verify_float(check, x, replies)` on
each call.

What each level costs is counted by the functions of `protect.costs`. docs/split-rpc-protection.md has the threat model,
what the server sees, the proofs, and measured costs.
"""

from __future__ import annotations

from perfguard_suites.split_rpc.protect.costs import (
    Cost,
    Rates,
    field_check_offline,
    field_check_online,
    float_check_offline,
    float_check_online,
    masked_offline,
    masked_online,
    masked_product_online,
    seconds,
    trusted_product,
)
from perfguard_suites.split_rpc.protect.entropy import Entropy, SeededEntropy, SystemEntropy
from perfguard_suites.split_rpc.protect.errors import (
    MalformedReply,
    MaskReused,
    MasksExhausted,
    ProtectionError,
    QuantisationOverflow,
    ServerLied,
    UnquantisableInput,
)
from perfguard_suites.split_rpc.protect.field import HALF, PRIME
from perfguard_suites.split_rpc.protect.freivalds_field import FieldCheck, field_check, verify_field
from perfguard_suites.split_rpc.protect.freivalds_field import miss_probability as field_miss_probability
from perfguard_suites.split_rpc.protect.freivalds_float import (
    BF16,
    BF16_WIRE,
    FP16_WIRE,
    FP32,
    TF32,
    Arithmetic,
    FloatCheck,
    float_check,
    tolerance,
    verify_float,
)
from perfguard_suites.split_rpc.protect.freivalds_float import miss_probability as float_miss_probability
from perfguard_suites.split_rpc.protect.masks import MaskStore, OneTimeMask
from perfguard_suites.split_rpc.protect.products import product
from perfguard_suites.split_rpc.protect.quantise import (
    LinearGroup,
    QuantisedRows,
    QuantisedWeight,
    clear_linear,
    dequantise,
    error_bound,
    quantise_rows,
    quantise_weight,
)
from perfguard_suites.split_rpc.protect.server_side import multiply, resident

__all__ = [
    "BF16", "BF16_WIRE", "FP16_WIRE", "FP32", "HALF", "PRIME", "TF32", "Arithmetic", "Cost", "Entropy", "FieldCheck",
    "FloatCheck", "LinearGroup", "MalformedReply", "MaskReused", "MaskStore", "MasksExhausted", "OneTimeMask",
    "ProtectionError", "QuantisationOverflow", "QuantisedRows", "QuantisedWeight", "Rates", "SeededEntropy",
    "ServerLied", "SystemEntropy", "UnquantisableInput", "clear_linear", "dequantise", "error_bound", "field_check",
    "field_check_offline", "field_check_online", "field_miss_probability", "float_check", "float_check_offline",
    "float_check_online", "float_miss_probability", "masked_offline", "masked_online", "masked_product_online",
    "multiply", "product", "quantise_rows", "quantise_weight", "resident", "seconds", "tolerance", "trusted_product",
    "verify_field", "verify_float",
]  # fmt: skip
