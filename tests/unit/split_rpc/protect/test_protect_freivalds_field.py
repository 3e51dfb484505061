"""The exact check: every kind of lie is caught, honest servers never are, and the error bound is what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perfguard_suites.split_rpc.protect import (
    HALF,
    PRIME,
    LinearGroup,
    MalformedReply,
    MaskStore,
    QuantisationOverflow,
    SeededEntropy,
    ServerLied,
    field_check,
    field_miss_probability,
    multiply,
    quantise_rows,
    quantise_weight,
    resident,
    verify_field,
)
from perfguard_suites.split_rpc.protect.entropy import field_elements
from perfguard_suites.split_rpc.protect.field import EXACT
from perfguard_suites.split_rpc.protect.freivalds_field import check_shape

GroupMaker = Callable[..., LinearGroup]
Replies = list[torch.Tensor]


def served(group: LinearGroup, message: torch.Tensor) -> Replies:
    """What an honest server answers."""
    return [multiply(message, resident(weight.values)) for weight in group.weights]


def one_element(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    replies[0][3, 5] += 1 if replies[0][3, 5] < HALF else -1
    return replies


def rows_swapped(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    replies[1][[0, 1]] = replies[1][[1, 0]]
    return replies


def columns_swapped(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    replies[0][:, [0, 1]] = replies[0][:, [1, 0]]
    return replies


def modules_swapped(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    return [replies[0], replies[2], replies[1]]


def stale(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    old = field_elements(SeededEntropy(b"another call's message"), tuple(message.shape))
    return [multiply(old, weight) for weight in weights]


def scaled(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    return [multiply(message, 2 * weight) for weight in weights]


def negated(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    return [-reply for reply in replies]


def zeros(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    return [torch.zeros_like(reply) for reply in replies]


def another_weight(replies: Replies, message: torch.Tensor, weights: Replies) -> Replies:
    weights[2][0, 0] += 1
    return [multiply(message, weight) for weight in weights]


LIES = (one_element, rows_swapped, columns_swapped, modules_swapped, stale, scaled, negated, zeros, another_weight)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 200)),
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from([0.4, 1e-3, 1 / PRIME, 1e-15]),
)
def test_an_honest_server_always_passes(shape: tuple[int, int], outputs: list[int], seed: int, miss: float) -> None:
    """Whatever shapes and error bound, messages at the field's edges included: no false alarm, ever."""
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(n, shape[1], generator=generator) for n in outputs]
    group = LinearGroup("g", tuple(quantise_weight(str(i), w) for i, w in enumerate(weights)))
    source = SeededEntropy(seed.to_bytes(16, "little"))
    message = field_elements(source, shape)
    message[0] = HALF
    verify_field(field_check(group, source, miss), message, served(group, message))


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_every_lie_is_caught(
    lie: Callable[[Replies, torch.Tensor, Replies], Replies], make_group: GroupMaker, entropy: SeededEntropy
) -> None:
    """Each injected fault raises `ServerLied` with the group's name, and says what to do."""
    group = make_group()
    message = field_elements(entropy, (6, 48))
    check = field_check(group, entropy)
    honest = served(group, message)
    verify_field(check, message, honest)
    lied = lie([reply.clone() for reply in honest], message, [resident(w.values) for w in group.weights])
    with pytest.raises(ServerLied, match=r"layer 3 q_proj\+k_proj\+v_proj.*stop using it"):
        verify_field(check, message, lied)


def test_the_rows_at_fault_are_named(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Of many rows, checked in several blocks, exactly the two that were changed by one unit are named."""
    group = make_group(inputs=64, outputs=(4096,))
    message = field_elements(entropy, (600, 64))
    replies = served(group, message)
    for row in (7, 599):
        replies[0][row, 11] = 0 if replies[0][row, 11] else 1
    with pytest.raises(ServerLied, match=r"2 of 600 rows.*\[7, 599\]"):
        verify_field(field_check(group, entropy), message, replies)


def test_a_reply_moved_by_the_prime_is_refused(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Equal modulo the prime, so the check alone would pass it, but it would unmask wrongly: refused by its range."""
    group = make_group()
    message = field_elements(entropy, (2, 48))
    replies = served(group, message)
    replies[0][0, 0] += PRIME if replies[0][0, 0] < 0 else -PRIME
    with pytest.raises(MalformedReply, match="outside"):
        verify_field(field_check(group, entropy), message, replies)


def test_a_lie_is_caught_before_it_is_revealed(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """In a real masked call: masks are spent, the check raises, and no result comes out."""
    group, x = make_group(), torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    store = MaskStore(entropy)
    store.prepare(group, 3)
    rows = quantise_rows(group.name, x, group.activation_levels)
    mask = store.take(group.name, 3)
    message = mask.hide(rows.values)
    replies = served(group, message)
    replies[2][2, 7] ^= 1
    with pytest.raises(ServerLied, match=r"1 of 3 rows.*\[2\]"):
        verify_field(field_check(group, entropy), message, replies)
    assert store.available(group.name) == 0


@pytest.mark.parametrize("difference", [1, 1 << 29, HALF])
def test_the_share_of_lies_missed_is_the_one_stated(difference: int, entropy: SeededEntropy) -> None:
    """With one-bit-in-effect checks (miss <= 1/4), lies of one element pass about as often as their bound, not more.

    1000 independent secrets, binomial bound at six sigma. A difference of a power of two is no harder: in integers
    modulo 2^k it would be.
    """
    group = LinearGroup("g", (quantise_weight("w", torch.ones(3, 4)),))
    message = torch.zeros(1, 4, dtype=torch.int32)
    lie = [torch.tensor([[difference, -difference, 0]], dtype=torch.int32)]
    trials, passed = 1000, 0
    for _ in range(trials):
        check = _short_check(group, entropy)
        try:
            verify_field(check, message, lie)
        except ServerLied:
            continue
        passed += 1
    assert field_miss_probability(check) == 0.25
    assert abs(passed / trials - 0.25) < 6 * (0.25 * 0.75 / trials) ** 0.5


def _short_check(group: LinearGroup, entropy: SeededEntropy):  # type: ignore[no-untyped-def]
    """One column of two bits: a check weak enough for its misses to be counted."""
    from dataclasses import replace

    from perfguard_suites.split_rpc.protect.entropy import centred_bits

    check = field_check(group, entropy, miss=0.9)
    coefficients = centred_bits(entropy, (3, 1), 2)
    digest = group.weights[0].values.to(torch.float64).T @ coefficients
    return replace(check, coefficients=(coefficients,), digest=digest, bits=2)


def test_the_default_error_is_at_most_one_in_the_field(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """One call is missed with at most 1 / PRIME, q calls with at most q times that; asking for less adds columns."""
    group = make_group()
    check = field_check(group, entropy)
    assert field_miss_probability(check) <= 1 / PRIME
    assert field_miss_probability(check, 1000) == 1000 * field_miss_probability(check)
    assert field_miss_probability(field_check(group, entropy, 1e-30)) <= 1e-30
    for nonsense in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="0 < miss < 1"):
            field_check(group, entropy, nonsense)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [(2048, (2048, 512, 512)), (2048, (8192, 8192)), (8192, (2048,)), (2048, (128256,)), (1, (1,))],
)
def test_every_llama_shape_has_an_exact_check(inputs: int, outputs: tuple[int, ...]) -> None:
    """Sums stay below 2^53 for the largest reply and digest, limbs cover the field, and few columns are enough."""
    columns, bits, limb_bits, limbs = check_shape(inputs, outputs)
    assert max(outputs) * HALF * 2 ** (bits - 1) <= EXACT
    assert inputs * HALF * 2 ** (limb_bits - 1) <= EXACT
    assert 2.0 ** -(bits * columns) <= 1 / PRIME
    assert sum((2 ** (limb_bits - 1) - 1) << (limb_bits * i) for i in range(limbs)) >= HALF
    assert columns <= 5
    assert limbs <= 4


def test_a_width_that_no_limb_fits_is_refused() -> None:
    """Beyond 2^22 inputs there is an error, not an endless search."""
    with pytest.raises(QuantisationOverflow, match="split the inputs"):
        check_shape(1 << 23, (4,))


def test_a_message_that_was_not_sent_is_refused(make_group: GroupMaker, entropy: SeededEntropy) -> None:
    """Checking against a message of another width is the caller's mistake and says so."""
    group = make_group()
    with pytest.raises(MalformedReply, match="check against what was sent"):
        verify_field(field_check(group, entropy), torch.zeros(1, 5, dtype=torch.int32), [])
