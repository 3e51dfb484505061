"""The 98 messages of the mix over real channels: every byte predicted, every reply of the predicted shape."""

from __future__ import annotations

from itertools import pairwise

import pytest

from perfguard_suites.transport.channel import Message
from perfguard_suites.transport.connect import KINDS
from perfguard_suites.transport.mix import LLAMA_1B, MixMismatch, ModelShape, predict, predict_fused, run_mix
from perfguard_suites.transport.peer import peer
from perfguard_suites.transport.roundtrip import Client

TOKENS = 16


@pytest.mark.parametrize("kind", KINDS)
def test_predicted_bytes_are_observed_bytes_for_each_message(kind):
    """For each of the 98 messages the channel's own counters moved by exactly the predicted bytes."""
    calls = predict(LLAMA_1B, TOKENS)
    with peer(kind, capacity_bytes=64 << 20) as channel:
        records = run_mix(Client(channel), calls)
        sent, received = channel.payload_bytes()
    assert [(r.sent_bytes, r.received_bytes) for r in records] == [(c.sent_bytes, c.received_bytes) for c in calls]
    assert len(records) == 98
    assert (sent, received) == (sum(c.sent_bytes for c in calls), sum(c.received_bytes for c in calls))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_width_wire_dtypes_travel(dtype):
    """The mix in fp16 and bf16 moves exactly what its shapes say."""
    calls = predict(ModelShape(dtype=dtype, layers=2), TOKENS)
    with peer("shm", capacity_bytes=64 << 20) as channel:
        records = run_mix(Client(channel), calls)
    assert sum(r.unexplained_bytes for r in records) == 0


def test_loaned_requests_and_fused_calls_are_exact_too():
    """Requests in loaned buffers and the 66-call mix move exactly what their shapes say."""
    with peer("shm", capacity_bytes=64 << 20) as channel:
        client = Client(channel)
        for records in (
            run_mix(client, predict(LLAMA_1B, TOKENS), loaned=True),
            run_mix(client, predict_fused(LLAMA_1B, TOKENS)),
        ):
            assert sum(r.unexplained_bytes for r in records) == 0


def test_spans_lie_within_the_call():
    """The critical path of each call is contiguous and no longer than the caller's own wall time."""
    with peer("multipart-ipc", capacity_bytes=64 << 20) as channel:
        records = run_mix(Client(channel), predict(LLAMA_1B, TOKENS))
    for record in records:
        assert all(a.end_ns == b.start_ns for a, b in pairwise(record.spans))
        assert record.spans[-1].end_ns - record.spans[0].start_ns <= record.wall_ns


def test_a_server_that_answers_other_shapes_is_a_mismatch():
    """A reply that is not what the shapes predict names the call and both shapes."""

    class Liar(Client):
        def call(self, message, timeout_s=10.0):
            return super().call(Message(message.method, message.tensors, {"reply": "float32:1"}), timeout_s)

    with peer("naive-ipc", capacity_bytes=64 << 20) as channel, pytest.raises(MixMismatch, match="embedding"):
        run_mix(Liar(channel), predict(LLAMA_1B, TOKENS))
