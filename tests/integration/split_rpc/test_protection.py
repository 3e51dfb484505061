"""Protection levels over a real server: exact, unreadable, one-time, and proof against lies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from split_models import SOURCE

from perfguard_suites.split_rpc import protocol
from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.split_rpc.client import RpcClient
from perfguard_suites.split_rpc.errors import ConfigurationError
from perfguard_suites.split_rpc.guards import ClearGuard, MaskedGuard, guard_for
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.protect import MasksExhausted, ServerLied
from perfguard_suites.split_rpc.request import prompt_of, run_passes
from perfguard_suites.split_rpc.runner import SplitModel
from perfguard_suites.split_rpc.traffic import predict, traffic_of
from perfguard_suites.split_rpc.variants import VARIANTS
from perfguard_suites.split_rpc.weights import trusted_names

CONFIG = SOURCE.config()
PROMPT, STEPS = 21, 4
IDS = prompt_of(CONFIG, PROMPT + STEPS)


def split_model(client: RpcClient, name: str, guard: object = None, chunks: int = 1) -> SplitModel:
    """A split model of a protected variant."""
    weights = SOURCE.weights(trusted_names(CONFIG, embedding=True))
    variant = replace(VARIANTS[name], chunks=chunks)
    guard = guard or guard_for(CONFIG, variant, SOURCE.weights())
    return SplitModel(CONFIG, weights, variant, client, PROMPT + STEPS, guard)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["masked", "masked-verified"])
@pytest.mark.parametrize("chunks", [1, 3])
def test_masked_logits_are_those_of_the_clear_computation_bit_by_bit(
    clients: dict[str, RpcClient], name: str, chunks: int
) -> None:
    """Prefill and decode under masks equal the same quantised computation without any server, exactly."""
    split = split_model(clients["shm"], name, chunks=chunks)
    guard = split.guard
    assert isinstance(guard, MaskedGuard)
    guard.prepare(PROMPT, STEPS)
    clear = split_model(clients["shm"], name, ClearGuard(guard.groups), chunks=chunks)
    found, expected = run_passes(split, IDS, PROMPT), run_passes(clear, IDS, PROMPT)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.logits, theirs.logits)
        assert theirs.traffic.calls == 0
    assert found[0].traffic == traffic_of(predict(CONFIG, split.variant, PROMPT))
    reference = ReferenceModel(CONFIG, SOURCE.weights(), PROMPT).forward(IDS[:PROMPT])
    assert 0 < relative_error(found[0].logits, reference) < 0.05  # what quantising costs, not what masks cost


def test_the_server_is_sent_only_field_elements(clients: dict[str, RpcClient]) -> None:
    """No float crosses, neither way: every message of a masked pass is made of integers."""
    calls = predict(CONFIG, VARIANTS["masked"], PROMPT)
    assert {tensor.dtype for call in calls for tensor in (*call.request, *call.reply)} == {"int32"}
    split = split_model(clients["shm"], "masked")
    assert isinstance(split.guard, MaskedGuard)
    split.guard.prepare(PROMPT, 0)
    split.start()
    found = split.forward(IDS[:PROMPT])
    methods = {exchange.method.partition("/")[0] for exchange in found.timeline.exchanges}
    assert methods == {protocol.MASKED_LINEAR, protocol.MASKED_HEAD}


def test_masks_run_out_and_are_refused(clients: dict[str, RpcClient]) -> None:
    """Prepared for the prefill only, the first decode step is refused before anything is sent."""
    split = split_model(clients["shm"], "masked")
    assert isinstance(split.guard, MaskedGuard)
    split.guard.prepare(PROMPT, 0)
    split.start()
    split.forward(IDS[:PROMPT])
    before = split.client.calls
    with pytest.raises(MasksExhausted, match=r"1 rows needed, 0 of 21 made are left"):
        split.forward(IDS[PROMPT : PROMPT + 1])
    assert split.client.calls == before
    split.guard.prepare(PROMPT, 1)
    split.start()
    assert split.forward(IDS[:PROMPT]).logits.shape == (1, CONFIG.vocabulary)


@pytest.mark.parametrize("name", ["verified", "masked-verified"])
@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_lying_server_is_caught(clients: dict[str, RpcClient], name: str, at: int) -> None:
    """One number of one reply off by one, in the first call, in the middle, or in the head: ServerLied."""
    split = split_model(clients["shm"], name)
    if isinstance(split.guard, MaskedGuard):
        split.guard.prepare(2 * PROMPT, 2)
    split.start("lie", at)
    with pytest.raises(ServerLied):
        split.forward(IDS[:PROMPT])
    split.start()
    assert split.forward(IDS[:PROMPT]).logits.shape == (1, CONFIG.vocabulary)


def test_a_lie_goes_unnoticed_without_checks(clients: dict[str, RpcClient]) -> None:
    """What `verified` is for: the plain variant computes on with the wrong number."""
    weights = SOURCE.weights(trusted_names(CONFIG, embedding=True))
    split = SplitModel(CONFIG, weights, VARIANTS["linear-only"], clients["shm"], PROMPT)
    split.start()
    honest = split.forward(IDS[:PROMPT]).logits
    split.start("lie", 4)
    assert not torch.equal(split.forward(IDS[:PROMPT]).logits, honest)


def test_protection_and_guard_belong_together(clients: dict[str, RpcClient]) -> None:
    """A protected variant without its guard would send activations in the clear: refused."""
    weights = SOURCE.weights(trusted_names(CONFIG, embedding=True))
    with pytest.raises(ConfigurationError, match="do not match"):
        SplitModel(CONFIG, weights, VARIANTS["masked"], clients["shm"], PROMPT)
