"""Claims about phases: nesting, threads, tasks, and the account that closes."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import perfguard
from perfguard.spans import Recorder, add_span, phase, recording
from perfguard.spans.account import AccountBuilder
from perfguard.spans.recorder import MAX_SPANS, RoundPhases


def test_phases_nest_into_paths() -> None:
    """A phase inside a phase is `outer/inner`; the outer's self time is without the inner's."""
    with recording(Recorder()) as recorder:
        for _ in range(3):
            with phase("rpc"), phase("serialize"):
                pass
    totals = recorder.take_round().totals
    assert set(totals) == {"rpc", "rpc/serialize"}
    assert totals["rpc"][2] == totals["rpc/serialize"][2] == 3
    assert totals["rpc"][0] - totals["rpc/serialize"][0] == totals["rpc"][1]


def test_decorated_functions_are_phases() -> None:
    """As a decorator a phase times each call, of plain and of coroutine functions, and keeps name and result."""

    @phase("plain")
    def plain(x: int) -> int:
        return x + 1

    @perfguard.phase("waiting")
    async def waiting() -> str:
        await asyncio.sleep(0)
        return "done"

    with recording(Recorder()) as recorder:
        assert plain(1) + plain(2) == 5
        assert asyncio.run(waiting()) == "done"
    totals = recorder.take_round().totals
    assert totals["plain"][2] == 2
    assert totals["waiting"][2] == 1
    assert plain.__name__ == "plain"


def test_outside_a_measurement_a_phase_does_nothing() -> None:
    """Product code keeps its phases: without a recording they count nowhere, and errors pass through."""
    with pytest.raises(KeyError), phase("nobody listens"):
        raise KeyError("x")
    add_span("neither", 1, 2)


def test_an_exception_closes_its_phases() -> None:
    """A phase left by an exception is counted, and the next one is not nested into it."""
    with recording(Recorder()) as recorder:
        with pytest.raises(ValueError, match="x"), phase("outer"), phase("inner"):
            raise ValueError("x")
        with phase("next"):
            pass
    assert set(recorder.take_round().totals) == {"outer", "outer/inner", "next"}


def test_threads_get_lanes_of_their_own() -> None:
    """A phase on another thread is drawn in that thread's lane and is not part of the measured call's account."""
    with recording(Recorder()) as recorder:

        def work() -> None:
            with phase("copy"), phase("inner"):
                pass

        for _ in range(2):
            thread = threading.Thread(target=work, name="copier")
            thread.start()
            thread.join()
    done = recorder.take_round()
    assert done.totals == {}
    assert {(span.lane, span.path) for span in done.spans} == {("copier", "copy"), ("copier", "copy/inner")}


def test_concurrent_tasks_are_noticed() -> None:
    """Tasks that overlap inside one phase have more work than wall time, and the round says so."""

    async def overlapping() -> None:
        async def child() -> None:
            with phase("child"):
                await asyncio.sleep(0.01)

        with phase("parent"):
            await asyncio.gather(child(), child())

    with recording(Recorder()) as recorder:
        asyncio.run(overlapping())
    done = recorder.take_round()
    assert done.totals["parent/child"][2] == 2
    assert done.overlapping


def test_spans_stamped_elsewhere_are_counted_where_they_belong() -> None:
    """Without a lane a foreign span is a phase below the current one; with a lane it is only drawn."""
    with recording(Recorder()) as recorder, phase("rpc"):
        add_span("server", 100, 350)
        add_span("kernel", 120, 220, lane="gpu")
    done = recorder.take_round()
    assert done.totals["rpc/server"] == (250, 250, 1)
    assert "kernel" not in str(done.totals)
    assert ("kernel", "gpu", 120, 220) in [tuple(span) for span in done.spans]


def test_stamps_out_of_causal_order_are_refused() -> None:
    """A span that ends before it starts is an error, recorded or not."""
    with pytest.raises(ValueError, match="before it starts"):
        add_span("backwards", 10, 9)


def test_a_million_phases_keep_a_bounded_number_of_spans() -> None:
    """Totals count every phase; intervals are kept for the first few thousand only."""
    with recording(Recorder()) as recorder:
        for _ in range(3 * MAX_SPANS):
            with phase("tick"):
                pass
    done = recorder.take_round()
    assert done.totals["tick"][2] == 3 * MAX_SPANS
    assert len(done.spans) == MAX_SPANS
    assert recorder.take_round() == RoundPhases({}, [], False)


trees = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**9), max_size=6)


@given(st.lists(st.tuples(trees, st.integers(0, 10**9)), min_size=1, max_size=20), st.integers(1, 100))
def test_an_account_always_closes(rounds: list[tuple[dict[str, int], int]], calls: int) -> None:
    """Whatever the phases, self times plus unaccounted are the wall, and totals add up over rounds."""
    builder = AccountBuilder()
    for phases, rest in rounds:
        wall = sum(phases.values()) + rest
        builder.add(wall, calls, RoundPhases({p: (ns, ns, 1) for p, ns in phases.items()}, [], False))
    account = builder.build()
    assert account.wall_s == pytest.approx(sum(p.self_s for p in account.phases) + account.unaccounted_s)
    assert account.unaccounted_s == pytest.approx(sum(rest for _, rest in rounds) / 1e9)
    assert account.calls == calls * len(rounds)
