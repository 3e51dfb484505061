"""Every variant is the same model: its logits, its traffic, its account, over real processes."""

from __future__ import annotations

import pytest
import torch
from split_models import SOURCE

from perfguard_suites.split_rpc.account import account_of
from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.split_rpc.client import RpcClient
from perfguard_suites.split_rpc.guards import guard_for
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.runner import SplitModel
from perfguard_suites.split_rpc.traffic import predict, traffic_of
from perfguard_suites.split_rpc.variants import VARIANTS, Variant, error_bound
from perfguard_suites.split_rpc.weights import trusted_names

PROMPT, STEPS = 45, 16  # an odd prompt, no multiple of a block of packed scores
MORE = {
    "resident-values": Variant("resident-values", "qkv_scores", "shm", loans=True, resident_values=True),
    "every-position": Variant("every-position", channel="shm", head_rows="all"),
    "every-position-in-chunks": Variant("chunks", "trusted_minimal", "shm", head_rows="all", chunks=3),
    "chunks-per-op": Variant("chunks-per-op", channel="multipart-ipc", repeat_first=False, rows=7, chunks=4),
}


UNMASKED = [name for name, variant in VARIANTS.items() if "masked" not in variant.protection]


@pytest.mark.parametrize("name", [*UNMASKED, *MORE])
def test_logits_traffic_and_account_of_a_request(clients: dict[str, RpcClient], name: str) -> None:
    """Prefill and 16 decode steps: logits within the wire's bound, bytes as predicted, and no time without a name."""
    variant = (VARIANTS | MORE)[name]
    if variant.by_handle:
        pytest.skip("needs a server on a CUDA device: test_cuda")
    config = SOURCE.config()
    reference = ReferenceModel(config, SOURCE.weights(), PROMPT + STEPS)
    weights = SOURCE.weights(trusted_names(config, embedding=variant.embedding == "client"))
    guard = guard_for(config, variant, SOURCE.weights())
    split = SplitModel(config, weights, variant, clients[variant.channel], PROMPT + STEPS, guard)
    ids = torch.randint(0, config.vocabulary, (PROMPT + STEPS,), generator=torch.Generator().manual_seed(4))
    bound = error_bound(config, variant)
    for _ in range(2):  # the second request must not see the first one's positions
        reference.reset()
        split.start()
        for begin, end in [(0, PROMPT), *((at, at + 1) for at in range(PROMPT, PROMPT + STEPS))]:
            expected = reference.forward(ids[begin:end], every_position=variant.head_rows == "all")
            found = split.forward(ids[begin:end])
            assert found.logits.shape == expected.shape
            assert relative_error(found.logits, expected) <= bound
            assert found.traffic == traffic_of(predict(config, variant, end - begin, begin))
            account = account_of(found.timeline, split.ledger(), shared_memory=variant.channel == "shm")
            assert sum(account.path.values()) + account.unaccounted_s == pytest.approx(account.wall_s)
            assert account.overlap.both_s <= account.wall_s


def test_half_precision_on_the_wire_is_really_half(clients: dict[str, RpcClient]) -> None:
    """A bf16 variant differs from fp32 in its logits: the received type follows the message, nothing stays fp32."""
    config = SOURCE.config()
    weights = SOURCE.weights(trusted_names(config, embedding=True))
    ids = torch.arange(PROMPT) * 5 % config.vocabulary
    logits, received = {}, {}
    for name in ("local-embedding", "minimal-bf16"):
        split = SplitModel(config, weights, VARIANTS[name], clients["shm"], PROMPT)
        split.start()
        found = split.forward(ids)
        logits[name], received[name] = found.logits, found.traffic.bytes_received
    assert received["minimal-bf16"] * 2 == received["local-embedding"]
    assert relative_error(logits["minimal-bf16"], logits["local-embedding"]) > 1e-5
