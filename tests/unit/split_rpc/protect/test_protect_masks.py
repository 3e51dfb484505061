"""Masked calls: exact, uniform to the server, once each, and refused when there are none left."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perfguard_suites.split_rpc.protect import (
    HALF,
    PRIME,
    LinearGroup,
    MalformedReply,
    MaskReused,
    MasksExhausted,
    MaskStore,
    QuantisationOverflow,
    SeededEntropy,
    UnquantisableInput,
    clear_linear,
    dequantise,
    multiply,
    quantise_rows,
    quantise_weight,
    resident,
)

GroupMaker = Callable[..., LinearGroup]


def masked_linear(store: MaskStore, group: LinearGroup, x: torch.Tensor, device: str = "cpu") -> list[torch.Tensor]:
    """One whole masked call, as a client and a server do it."""
    rows = quantise_rows(group.name, x, group.activation_levels)
    mask = store.take(group.name, x.shape[0])
    message = mask.hide(rows.values).to(device)
    replies = [multiply(message, resident(w.values, device)).cpu() for w in group.weights]
    return [dequantise(p, rows.scale, w.scale) for p, w in zip(mask.reveal(replies), group.weights, strict=True)]


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 300)),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from([1e-30, 1.0, 1e30]),
    st.booleans(),
    st.integers(2, 12),
)
def test_a_masked_call_equals_the_clear_one_bit_by_bit(
    shape: tuple[int, int], outputs: list[int], seed: int, magnitude: float, spiky: bool, bits: int
) -> None:
    """Whatever shapes, magnitudes and bits: the same float32 as `clear_linear`, whose integers int64 confirms."""
    generator = torch.Generator().manual_seed(seed)

    def draw(height: int, width: int) -> torch.Tensor:
        normal = torch.randn(height, width, generator=generator)
        return (torch.sign(normal) if spiky else normal) * magnitude

    group = LinearGroup("g", tuple(quantise_weight(str(i), draw(n, shape[1]), bits) for i, n in enumerate(outputs)))
    x = draw(*shape)
    store = MaskStore(SeededEntropy(seed.to_bytes(16, "little")))
    store.prepare(group, shape[0])
    masked, clear = masked_linear(store, group, x), clear_linear(group, x)
    rows = quantise_rows("g", x, group.activation_levels)
    for got, expected, weight in zip(masked, clear, group.weights, strict=True):
        assert torch.equal(got, expected)
        in_int64 = rows.values.to(torch.int64) @ weight.values.to(torch.int64).T
        assert torch.equal(got, dequantise(in_int64.to(torch.int32), rows.scale, weight.scale))


@pytest.mark.parametrize("inputs", [2048, 8192])
def test_the_widest_sums_of_a_llama_are_exact_at_their_worst(inputs: int, entropy: SeededEntropy) -> None:
    """All weights at their largest and messages at +-HALF: the float64 product still equals Python's integers."""
    weight = quantise_weight("w", torch.ones(2, inputs))
    message = torch.full((2, inputs), HALF, dtype=torch.int32)
    message[1] = -HALF
    got = multiply(message, resident(weight.values))
    total = HALF * int(weight.values[0].to(torch.int64).sum()) % PRIME
    expected = total - PRIME if total > HALF else total
    assert got.tolist() == [[expected] * 2, [-expected] * 2]


def test_the_server_sees_uniform_values_whatever_is_hidden(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Messages of a constant activation pass a chi-square test for uniformity; so do the replies."""
    group = make_group(inputs=64, outputs=(64,))
    store = MaskStore(entropy)
    store.prepare(group, 2000)
    x = torch.ones(2000, 64)
    rows = quantise_rows(group.name, x, group.activation_levels)
    message = store.take(group.name, 2000).hide(rows.values)
    reply = multiply(message, resident(group.weights[0].values))
    for seen in (message, reply):
        cells = (seen.numpy().astype(np.int64).ravel() + HALF) * 256 // PRIME
        assert stats.chisquare(np.bincount(cells, minlength=256)).pvalue > 0.001


def test_two_calls_with_the_same_input_send_unrelated_messages(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Nothing of a repeated prompt shows: no element of the two messages agrees, and the difference is no constant."""
    group = make_group()
    store = MaskStore(entropy)
    store.prepare(group, 8)
    rows = quantise_rows(group.name, torch.ones(4, 48), group.activation_levels)
    first, second = (store.take(group.name, 4).hide(rows.values) for _ in range(2))
    assert not bool((first == second).any())
    assert len(set((first.to(torch.int64) - second).ravel().tolist())) == first.numel()


def test_masks_are_counted_and_refused_when_exhausted(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """5 of 7 rows used leave 2; asking for 3 names the group, what is left, and how many to make; it takes none."""
    group = make_group()
    store = MaskStore(entropy)
    store.prepare(group, 7)
    assert store.stored_bytes == 7 * 4 * (48 + 48)
    store.take(group.name, 5)
    assert (store.available(group.name), store.used(group.name)) == (2, 5)
    with pytest.raises(
        MasksExhausted, match=r"q_proj\+k_proj\+v_proj: 3 rows needed, 2 of 7 made are left.*make 1 more"
    ):
        store.take(group.name, 3)
    assert store.available(group.name) == 2
    store.prepare(group, 1)
    store.take(group.name, 3)
    assert (store.available(group.name), store.used(group.name), store.stored_bytes) == (0, 8, 0)


def test_an_unknown_group_has_no_masks(entropy: SeededEntropy) -> None:
    """A name that nothing was prepared for is refused like an empty one."""
    with pytest.raises(MasksExhausted, match="masks of layer 9: 1 rows needed, 0 of 0"):
        MaskStore(entropy).take("layer 9", 1)


def test_rows_taken_across_preparations_are_right_and_in_order(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """A call may span masks that were made at different times, and leave part of one for the next."""
    group, x = make_group(), torch.randn(6, 48, generator=torch.Generator().manual_seed(5))
    store = MaskStore(entropy)
    for rows in (2, 3, 4):
        store.prepare(group, rows)
    for count in (3, 6):
        for got, expected in zip(masked_linear(store, group, x[:count]), clear_linear(group, x[:count]), strict=True):
            assert torch.equal(got, expected)
    assert store.available(group.name) == 0


def test_a_mask_hides_once_and_reveals_once(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """The second use of either half raises; revealing before hiding as well; mistakes do not spend the mask."""
    group = make_group()
    store = MaskStore(entropy)
    store.prepare(group, 2)
    mask = store.take(group.name, 2)
    values = torch.zeros(2, 48, dtype=torch.int32)
    replies = [torch.zeros(2, n, dtype=torch.int32) for n in group.outputs]
    with pytest.raises(MaskReused, match="nothing is hidden yet"):
        mask.reveal(replies)
    with pytest.raises(UnquantisableInput, match=r"\(1, 48\) under a mask of \(2, 48\)"):
        mask.hide(values[:1])
    mask.hide(values)
    with pytest.raises(MaskReused, match="has hidden a message already"):
        mask.hide(values)
    with pytest.raises(MalformedReply, match="2 replies for 3 modules"):
        mask.reveal(replies[:2])
    mask.reveal(replies)
    with pytest.raises(MaskReused, match="has revealed its reply already"):
        mask.reveal(replies)


def test_hiding_and_revealing_overwrite_the_secrets(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """The message lives in the mask's memory and the products in the factor's: nothing is left to reuse."""
    group = make_group(outputs=(5,))
    store = MaskStore(entropy)
    store.prepare(group, 2)
    mask = store.take(group.name, 2)
    secret = mask._mask
    assert secret is not None
    factor = mask._factor
    assert factor is not None
    message = mask.hide(torch.ones(2, 48, dtype=torch.int32))
    assert message.data_ptr() == secret.data_ptr()
    products = mask.reveal([multiply(message, resident(group.weights[0].values))])
    assert products[0].data_ptr() == factor.data_ptr()
    assert products[0].tolist() == [group.weights[0].values.sum(dim=1).tolist()] * 2


def test_threads_never_share_a_mask(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Eight threads that take until exhaustion get each row once."""
    group = make_group(inputs=4, outputs=(2,))
    store = MaskStore(entropy)
    store.prepare(group, 400)
    zeros, taken, lock = torch.zeros(1, 4, dtype=torch.int32), [], threading.Lock()

    def take_all() -> None:
        while True:
            try:
                mask = store.take(group.name, 1)
            except MasksExhausted:
                return
            with lock:
                taken.append(tuple(mask.hide(zeros)[0].tolist()))

    threads = [threading.Thread(target=take_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(taken) == len(set(taken)) == 400


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r[:1], "1 replies for 3 modules"),
        (lambda r: [r[0][:1], *r[1:]], r"module 0: torch.int32 \(1, 32\) instead of int32 \(2, 32\)"),
        (lambda r: [r[0], r[1].float(), r[2]], "module 1: torch.float32"),
        (
            lambda r: [r[0], r[1], torch.full_like(r[2], HALF + 1)],
            "module 2: values 1073741824 to 1073741824 are outside",
        ),
        (lambda r: [r[0], r[1], torch.full_like(r[2], -(2**31))], "module 2: values -2147483648"),
    ],
)
def test_a_reply_of_the_wrong_form_is_named(spoil, message, make_group: GroupMaker, entropy: SeededEntropy) -> None:  # type: ignore[no-untyped-def]
    """Count, shape, dtype and range: each wrong one raises with the module's name."""
    group = make_group()
    store = MaskStore(entropy)
    store.prepare(group, 2)
    mask = store.take(group.name, 2)
    mask.hide(torch.zeros(2, 48, dtype=torch.int32))
    replies = [torch.zeros(2, n, dtype=torch.int32) for n in group.outputs]
    with pytest.raises(MalformedReply, match=message):
        mask.reveal(spoil(replies))


def test_two_groups_cannot_share_a_name(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """The factor of one weight must not unmask another's reply: the second group of a name is refused."""
    store = MaskStore(entropy)
    store.prepare(make_group(), 1)
    with pytest.raises(UnquantisableInput, match="another group has this name"):
        store.prepare(make_group(), 1)
    with pytest.raises(UnquantisableInput, match="-1 rows"):
        store.prepare(make_group(), -1)


def test_the_server_refuses_what_it_cannot_multiply_exactly() -> None:
    """Weights too large for float64, messages of another dtype or width: errors instead of wrong integers."""
    with pytest.raises(QuantisationOverflow, match=r"over 2\^53"):
        resident(torch.full((1, 1024), 32767, dtype=torch.int16))
    weight = resident(torch.ones(2, 4, dtype=torch.int16))
    for message in (torch.zeros(1, 5, dtype=torch.int32), torch.zeros(1, 4), torch.zeros(4, dtype=torch.int32)):
        with pytest.raises(MalformedReply, match="does not fit a weight"):
            multiply(message, weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here: the masked product on CUDA is not run")
@pytest.mark.parametrize("inputs", [64, 2048, 8192])
def test_a_cuda_server_gives_the_same_bits(inputs: int, make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """The masked call through a CUDA server, and masks prepared on one, equal the clear computation on the CPU."""
    group, x = make_group(inputs=inputs), torch.randn(16, inputs, generator=torch.Generator().manual_seed(2))
    store = MaskStore(entropy)
    store.prepare(group, 16, "cuda")
    for got, expected in zip(masked_linear(store, group, x, "cuda"), clear_linear(group, x), strict=True):
        assert torch.equal(got, expected)
