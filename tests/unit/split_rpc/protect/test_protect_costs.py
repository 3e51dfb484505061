"""Costs counted from shapes agree with what is really allocated, drawn and sent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard_suites.split_rpc import protect
from perfguard_suites.split_rpc.protect import LinearGroup, MaskStore, SeededEntropy

GroupMaker = Callable[..., LinearGroup]


class Counted:
    """Entropy that counts the bytes it gives."""

    def __init__(self, source: SeededEntropy) -> None:
        self.source, self.given = source, 0

    def __call__(self, size_bytes: int) -> bytes:
        self.given += size_bytes
        return self.source(size_bytes)


def test_masks_cost_what_is_counted(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Bytes stored, drawn, sent and received of a real masked call equal the predicted ones, exactly."""
    group, rows, source = make_group(), 5, Counted(entropy)
    store = MaskStore(source)
    store.prepare(group, rows)
    offline = protect.masked_offline(rows, group.inputs, group.outputs)
    assert (offline.stored_bytes, offline.random_bytes) == (store.stored_bytes, source.given)
    message = store.take(group.name, rows).hide(torch.zeros(rows, group.inputs, dtype=torch.int32))
    replies = [protect.multiply(message, protect.resident(w.values)) for w in group.weights]
    online = protect.masked_online(rows, group.inputs, group.outputs)
    assert online.sent_bytes == message.nbytes
    assert online.received_bytes == sum(reply.nbytes for reply in replies)
    assert (online.trusted_flops, offline.trusted_flops) == (0, online.server_flops)


def test_checks_cost_what_is_counted(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Secrets kept and drawn for both kinds of check equal the predicted bytes."""
    group, source = make_group(), Counted(entropy)
    exact = protect.field_check(group, source)
    kept = exact.digest.nbytes + sum(part.nbytes for part in exact.coefficients)
    cost = protect.field_check_offline(group.inputs, group.outputs)
    assert (cost.stored_bytes, cost.random_bytes) == (kept, source.given)
    source.given = 0
    rough = protect.float_check("c", [torch.randn(n, group.inputs) for n in group.outputs], entropy=source)
    kept = rough.digest.nbytes + sum(part.nbytes for part in rough.coefficients)
    cost = protect.float_check_offline(group.inputs, group.outputs)
    assert (cost.stored_bytes, cost.random_bytes) == (kept, source.given)


def test_a_check_is_far_cheaper_than_the_product() -> None:
    """For llama-1b's gate and up at 1024 tokens, checking takes under a hundredth of the product's operations."""
    shape = (1024, 2048, (8192, 8192))
    product = protect.masked_online(*shape).server_flops
    assert protect.field_check_online(*shape).trusted_flops * 100 < product
    assert protect.float_check_online(*shape).trusted_flops * 100 < product


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 32), st.integers(1, 2048), st.integers(1, 256), st.integers(1, 2048))
def test_masking_a_product_of_activations_never_pays(batch: int, rows: int, inner: int, columns: int) -> None:
    """With one server the trusted side would do twice the operations of the product that it hands over."""
    here, masked = (f(batch, rows, inner, columns) for f in (protect.trusted_product, protect.masked_product_online))
    assert masked.trusted_flops == 2 * here.trusted_flops
    assert (here.sent_bytes, here.received_bytes) == (0, 0)


def test_products_of_activations_are_plain_products(entropy: SeededEntropy) -> None:
    """The trusted product is torch's, batches of heads included."""
    left, right = torch.randn(2, 4, 3, 5), torch.randn(2, 4, 5, 3)
    assert torch.equal(protect.product(left, right), left @ right)


def test_costs_add_up_and_become_seconds() -> None:
    """A sum has the sum of every count; seconds are each count over its rate."""
    one = protect.masked_offline(3, 5, (7, 2))
    both = one + protect.masked_online(3, 5, (7, 2))
    assert (both.trusted_flops, both.server_flops) == (2 * 3 * 5 * 9, 2 * 3 * 5 * 9)
    assert both.trusted_elements == 2 * 3 * (5 + 9)
    rates = protect.Rates(flops_per_s=270.0, elements_per_s=42.0, random_bytes_per_s=60.0)
    assert protect.seconds(one, rates) == pytest.approx(1.0 + 1.0 + 1.0)


def test_llama_1b_at_1024_tokens_needs_what_the_docs_say() -> None:
    """The prefill's masks take 2.31 GiB; it sends 896 MiB + 8 KiB and receives 1472 MiB + 501 KiB, head included."""
    groups = [(1024, 2048, (2048, 512, 512)), (1024, 2048, (2048,)), (1024, 2048, (8192, 8192)), (1024, 8192, (2048,))]
    total = protect.Cost()
    for _ in range(16):
        for shape in groups:
            total += protect.masked_offline(*shape) + protect.masked_online(*shape)
    total += protect.masked_offline(1, 2048, (128256,)) + protect.masked_online(1, 2048, (128256,))
    assert total.stored_bytes == total.sent_bytes + total.received_bytes
    assert total.sent_bytes == 896 * 2**20 + 8 * 2**10
    assert total.received_bytes == 1472 * 2**20 + 501 * 2**10
    assert total.stored_bytes == pytest.approx(2.31 * 2**30, rel=0.002)
