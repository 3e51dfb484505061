"""Claims about latencies: from the intended beginning, per token that was counted, with their n; and about goodput."""

from __future__ import annotations

import pytest

from perfguard.ladder import Forward, Limits, RequestTimes, StageRun
from perfguard.ladder.figures import client_line
from perfguard.ladder.latency import batch_sizes, good_share, goodput_per_s, latency_of, quantiles, speed_of


def test_latency_counts_from_when_a_request_was_meant_to_begin() -> None:
    """A request that the client sent two seconds late is two seconds later, in the whole and to its first token."""
    run = StageRun(4.0, 3, (RequestTimes(10.0, 12.0, (12.5, 13.0, 14.0)),))
    found = latency_of([run])
    assert found.ttft is not None
    assert found.end_to_end is not None
    assert (found.ttft.p50, found.end_to_end.p50, found.ttft.n) == (2.5, 4.0, 1)


def test_time_per_token_counts_tokens_and_not_events() -> None:
    """Twenty-one tokens in three events over one second are 50 ms a token; one event alone tells nothing."""
    merged = RequestTimes(0.0, 0.0, (1.0, 1.5, 2.0), tokens=21)
    alone = RequestTimes(0.0, 0.0, (1.0,), tokens=8)
    found = latency_of([StageRun(2.0, 29, (merged, alone))])
    assert found.tpot is not None
    assert found.inter_token is not None
    assert (found.tpot.n, found.tpot.p50) == (1, pytest.approx(0.05))
    assert (found.inter_token.n, found.inter_token.p50) == (2, 0.5)
    assert found.queue is None


def test_quantiles_of_a_hundred_values() -> None:
    """p50, p90 and p99 of 0..100 are 50, 90 and 99, and n is said."""
    found = quantiles([float(value) for value in range(101)])
    assert found is not None
    assert (found.n, found.p50, found.p90, found.p99) == (101, 50, 90, 99)
    assert quantiles([]) is None


def test_goodput_counts_requests_that_kept_every_limit() -> None:
    """One is late with its first token, one slow per token, one refused; one of four is good."""
    good = RequestTimes(0.0, 0.0, (0.1, 0.2, 0.3))
    late = RequestTimes(0.0, 0.0, (0.9, 1.0, 1.1))
    slow = RequestTimes(0.0, 0.0, (0.1, 0.9, 1.7))
    run = StageRun(2.0, 9, (good, late, slow), refused=1)
    limits = Limits(ttft_s=0.5, tpot_s=0.2)
    assert goodput_per_s(run, limits) == 0.5
    assert good_share([run], limits) == 0.25
    assert str(limits) == "first token <= 500 ms, per token <= 200 ms"


def test_batch_sizes_and_speeds_are_of_the_passes() -> None:
    """Prefill and decode apart; a batch size is how many sequences a decoding pass had."""
    passes = (
        Forward(0.0, 1.0, 8, 256, "prefill"),
        Forward(1.0, 1.5, 8, 8, "decode"),
        Forward(2.0, 2.5, 4, 4, "decode"),
    )
    run = StageRun(3.0, 20, (), passes)
    assert batch_sizes([run]) == {4: 1, 8: 1}
    assert (speed_of([run], "prefill"), speed_of([run], "decode"), speed_of([run], "mixed")) == (256, 12, None)


@pytest.mark.parametrize(("cpu_s", "said"), [(0.0, None), (0.01, False), (0.05, True), (0.9, True)])
def test_a_client_that_was_the_bottleneck_says_so(cpu_s: float, said: bool | None) -> None:
    """Above 2 % of a core per 100 tokens/s, or most of a core, the figures are the client's."""
    line = client_line([StageRun(1.0, 100, (), client_cpu_s=cpu_s)])
    assert (line == "") if said is None else (("bottleneck" in line) is said)
