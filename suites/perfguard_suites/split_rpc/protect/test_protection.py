"""What each level costs beside a plain float32 product, all timed in turn: docs/split-rpc-protection.md has a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from perfguard import Perfguard
from perfguard_suites.split_rpc import protect

Shape = tuple[int, int, tuple[int, ...]]

UNTIMED = (4, 64, (160, 160))
SHAPES: dict[str, Shape] = {
    "small-qkv": (128, 768, (768, 192, 192)),
    "small-gate-up": (128, 768, (2048, 2048)),
    "1b-gate-up": (128, 2048, (8192, 8192)),
}


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.perfguard(limit="50%", budget_s=1.5, group="split_rpc")
def test_protection(perfguard: Perfguard, shape: str) -> None:
    """Server and client of a masked call, making its masks, and both checks, each over the plain product."""
    if perfguard.enabled and perfguard.profile != "full" and shape.startswith("1b"):
        pytest.skip("takes a gigabyte and some seconds: measured in the full profile")
    rows, inputs, outputs = SHAPES[shape] if perfguard.enabled else UNTIMED
    comparison = perfguard.compare(alternatives(rows, inputs, outputs), reference="fp32", gated=False)
    perfguard.note(f"{rows} rows, {inputs} inputs, {outputs} outputs; n={comparison.rounds} rounds")
    online = protect.masked_online(rows, inputs, outputs)
    perfguard.bytes("masked_bytes_sent", online.sent_bytes)
    perfguard.bytes("masked_bytes_received", online.received_bytes)
    perfguard.bytes("mask_bytes_stored", protect.masked_offline(rows, inputs, outputs).stored_bytes)


def alternatives(rows: int, inputs: int, outputs: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """Each step of a protected call on its own; tensors are made once, masks live in memory that is written again.

    Only here may a mask's memory serve twice: nothing is sent, and what is timed is the arithmetic.
    """
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(n, inputs, generator=generator) * 0.02 for n in outputs]
    x = torch.randn(rows, inputs, generator=generator)
    group = protect.LinearGroup("group", tuple(protect.quantise_weight(f"{i}", w) for i, w in enumerate(weights)))
    residents = [protect.resident(weight.values) for weight in group.weights]
    mask, factor = torch.zeros(rows, inputs, dtype=torch.int32), torch.zeros(rows, sum(outputs), dtype=torch.int32)
    message = protect.quantise_rows("group", x, group.activation_levels).values
    replies, plain = [protect.multiply(message, r) for r in residents], [x @ w.T for w in weights]
    exact, rough = protect.field_check(group), protect.float_check("group", weights)

    def client() -> list[torch.Tensor]:
        quantised = protect.quantise_rows("group", x, group.activation_levels)
        one_time = protect.OneTimeMask(group, mask, factor)
        one_time.hide(quantised.values)
        products = one_time.reveal(replies)
        return [protect.dequantise(p, quantised.scale, w.scale) for p, w in zip(products, group.weights, strict=True)]

    return {
        "fp32": lambda: [x @ w.T for w in weights],
        "masked_server": lambda: [protect.multiply(message, r) for r in residents],
        "masked_client": client,
        "masked_offline": lambda: protect.MaskStore().prepare(group, rows),
        "field_check": lambda: protect.verify_field(exact, message, replies),
        "float_check": lambda: protect.verify_float(rough, x, plain),
    }
