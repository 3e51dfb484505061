"""Each variant of the split model: its time on both sides, its traffic, its logits, and what the model said of it."""

from __future__ import annotations

from statistics import median

import pytest

from perfguard import Perfguard
from perfguard_suites.goals import note_goal
from perfguard_suites.split_rpc.field import Field, rounds_of
from perfguard_suites.split_rpc.ladder import parts_beside
from perfguard_suites.split_rpc.traffic import predict, predict_request, traffic_of
from perfguard_suites.split_rpc.variants import VARIANTS, error_bound

UNACCOUNTED_GOAL, UNACCOUNTED_LIMIT = 0.02, 0.05
PREDICTION_GOAL = 0.15


def test_request(perfguard: Perfguard, field: Field, variant: str, work: str) -> None:
    """Prefill and decode of one request, measured in turn with all other variants and the single process."""
    if variant not in field.requests:
        pytest.skip("no CUDA device on this machine, whose memory two processes could share")
    config, plan, chosen = field.plan.source.config(), field.plan, VARIANTS[variant]
    requests = field.requests[variant]
    perfguard.record("prefill_time", [each.prefill.wall_s for each in requests], unit="s", limit=0.5)
    perfguard.record("decode_step_time", [each.decode_step_s for each in requests], unit="s", gated=False)
    perfguard.account((each.prefill.wall_s, each.prefill.path) for each in requests)

    promised = predict_request(config, chosen, plan.prompt, plan.steps)
    for each in requests:
        assert (each.calls, each.bytes_sent, each.bytes_received) == (
            promised.calls,
            promised.bytes_sent,
            promised.bytes_received,
        )
    perfguard.count("calls", promised.calls, unit="calls")
    perfguard.bytes("bytes_sent", promised.bytes_sent)
    perfguard.bytes("bytes_received", promised.bytes_received)

    error = field.logits_error[variant]
    assert error <= error_bound(config, chosen)
    perfguard.record("logits_max_rel_error", error, unit="", kind="fraction", gated=False)

    unaccounted = [each.unaccounted_fraction for each in requests]
    perfguard.record("unaccounted_fraction", unaccounted, unit="", kind="fraction", limit=1.0, gated=False)
    assert median(unaccounted) <= UNACCOUNTED_LIMIT
    note_goal(perfguard, "unaccounted", 100 * median(unaccounted), at_most=100 * UNACCOUNTED_GOAL, unit="%")

    ratios = field.split_over_single(variant)
    perfguard.record("split_over_single", ratios, unit="", kind="ratio", limit=0.3)
    perfguard.record(
        "speedup_over_seed",
        field.speedup_over_seed(variant),
        unit="",
        kind="ratio",
        direction="higher",
        gated=False,
    )
    note_prediction(perfguard, field, variant)
    overlap = [each.prefill.overlap.fraction for each in requests]
    perfguard.record("overlap", overlap, unit="", kind="fraction", direction="higher", gated=False)
    work_ratio = median(each.prefill.work_s / each.prefill.wall_s for each in requests)
    perfguard.note(rounds_of(field))
    perfguard.note(f"{work}: {chosen.label}; the server sees {', '.join(chosen.server_sees)}")
    perfguard.note(f"work of both processes: {work_ratio:.2f} of the prefill's wall; overlap {median(overlap):.0%}")
    if chosen.by_handle:
        whole = traffic_of(predict(config, chosen, plan.prompt))
        perfguard.note(
            f"messages carry no tensors; a prefill hands over {whole.bytes_sent} bytes and takes {whole.bytes_received}"
        )
    if variant in field.offline_s:
        perfguard.record("offline_time", field.offline_s[variant], unit="s", gated=False)


def note_prediction(perfguard: Perfguard, field: Field, variant: str) -> None:
    """What the model of the time said of a request beside what it took, by part."""
    config, plan, chosen = field.plan.source.config(), field.plan, VARIANTS[variant]
    assert field.micro_model is not None
    predicted_s = field.micro_model.request_s(config, chosen, plan.prompt, plan.steps)
    measured_s = field.wall_s(variant)
    missed = abs(predicted_s - measured_s) / measured_s
    perfguard.record("prediction_error", missed, unit="", kind="fraction", gated=False)
    note_goal(
        perfguard,
        "prediction error",
        100 * missed,
        at_most=100 * PREDICTION_GOAL,
        unit="%",
        remark=f"predicted {1e3 * predicted_s:.1f} ms, measured {1e3 * measured_s:.1f} ms",
    )
    perfguard.note(parts_beside(field, variant))
