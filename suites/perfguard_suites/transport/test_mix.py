"""The workload that transports are for: the 98 messages of a split LLaMA-1B prefill, true sizes, in order."""

from __future__ import annotations

import pytest

from perfguard import Perfguard
from perfguard_suites.goals import note_goal
from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.conftest import UNTIMED_TOKENS, Connect
from perfguard_suites.transport.diagnosis import diagnose
from perfguard_suites.transport.mix import CallRecord, payload_for, predict, run_mix, unexplained_bytes
from perfguard_suites.transport.roundtrip import Client
from perfguard_suites.transport.target import resolve

PREDICTION_GOAL = 0.15
MOST_ADVICE = 5  # `perfguard diagnose transport` prints all of it


@pytest.mark.parametrize("kind", ["naive-ipc", "naive-tcp", "multipart-ipc", "shm"])
@pytest.mark.perfguard(limit="50%", budget_s=1.5)
def test_prefill_messages(perfguard: Perfguard, connect: Connect, kind: str, tokens: int) -> None:
    """All messages of one prefill: their time by phase over both processes, and each byte explained by the shapes."""
    calls = predict(tokens=tokens if perfguard.enabled else UNTIMED_TOKENS)
    channel: Channel = connect(kind)
    client = Client(channel)
    payload = payload_for(calls)

    def prefill() -> list[CallRecord]:
        records = run_mix(client, calls, payload=payload)
        for record in records:
            spans = record.spans
            perfguard.add_stamps([span.name for span in spans], [spans[0].start_ns, *(span.end_ns for span in spans)])
        return records

    records = perfguard(prefill)
    assert len(records) == len(calls) == 98
    perfguard.count("mix_calls", len(records), unit="calls")
    perfguard.bytes("mix_bytes_sent", sum(record.sent_bytes for record in records))
    perfguard.bytes("mix_bytes_received", sum(record.received_bytes for record in records))
    perfguard.count("mix_bytes_unexplained", unexplained_bytes(records))
    assert unexplained_bytes(records) == 0


@pytest.mark.parametrize("kind", ["naive-tcp", "shm"])
@pytest.mark.perfguard(limit="15%")
def test_diagnosis(perfguard: Perfguard, kind: str, tokens: int) -> None:
    """The diagnosis of one transport: what is really in use, where the time goes, what would help, with what error."""
    rounds = {"off": 2, "quick": 3}.get(perfguard.profile, 7)
    found = diagnose(resolve(kind, {}), tokens=tokens if perfguard.enabled else UNTIMED_TOKENS, round_count=rounds)
    assert found.bytes_unexplained == 0
    perfguard.record("mix_prediction_error", found.prediction.error, unit="", kind="fraction")
    perfguard.record("echo_prediction_error", found.prediction.echo_error, unit="", kind="fraction", gated=False)
    perfguard.note(f"in use, as the kernel says: {found.in_use.carrier}")
    perfguard.note(f"copies of the payload: {found.copies.share:.0%} of the time")
    perfguard.note("where the time goes: " + ", ".join(f"{p.phase} {p.share:.0%}" for p in found.phases))
    for advice in found.advice[:MOST_ADVICE]:
        perfguard.note(str(advice))
    note_goal(
        perfguard,
        "prediction error of the mix",
        100 * found.prediction.error,
        at_most=100 * PREDICTION_GOAL,
        unit="%",
        remark=f"one 10 MiB echo would have been off by {found.prediction.echo_error:.0%}",
    )
