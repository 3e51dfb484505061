"""Which layer is read next, and which gives way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard_suites.weight_streaming.config import POLICIES, PolicyName, StreamingConfig
from perfguard_suites.weight_streaming.errors import StreamingConfigError
from perfguard_suites.weight_streaming.policy import STALL_NS, Policy, View, loads_of_a_pass, spread


@st.composite
def configurations(draw: st.DrawFn) -> StreamingConfig:
    """Any configuration that is allowed."""
    cached, buffers = draw(st.integers(0, 6)), draw(st.integers(1, 4))
    policy: PolicyName = draw(st.sampled_from(POLICIES))
    most = StreamingConfig(max_cached_layers=cached, buffers=buffers, policy=policy, prefetch_distance=0).most_ahead
    return StreamingConfig(
        max_cached_layers=cached, buffers=buffers, policy=policy, prefetch_distance=draw(st.integers(0, most))
    )


@given(configurations(), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_layer_is_there_when_it_is_computed_with(config: StreamingConfig, layers: int, seed: int) -> None:
    """Whatever the readers' pace, no more layers than places, none evicted while held or read, and no deadlock."""
    policy, view = Policy(config, layers), View(layers, config.slots)
    view.end = 4 * layers
    view.present |= policy.kept
    pace = seed
    for use in range(view.end):
        view.at = use
        layer = use % layers
        while True:
            while (load := policy.next_load(view)) is not None:
                assert load.evict not in view.loading | policy.kept
                view.present.discard(load.evict)
                assert load.layer not in view.present
                view.present.add(load.layer)
                view.loading.add(load.layer)
                assert len(view.present) <= config.slots
            if layer in view.present and layer not in view.loading:
                break
            assert view.loading  # else nobody brings it, ever
            view.loading.discard(sorted(view.loading)[pace % len(view.loading)])
            pace = pace * 1103515245 + 12345 & 0xFFFFFFFF
        policy.learn(pace % (3 * STALL_NS))
        view.used[layer] = use
        if policy.gives_way(layer):
            view.present.discard(layer)


def test_least_recently_used_never_hits_in_a_cycle_and_belady_does() -> None:
    """Four cached layers and two buffers of sixteen: LRU reads all of them each pass, Belady and resident fewer."""
    loads = {policy: loads_of_a_pass(StreamingConfig(policy=policy), 16) for policy in POLICIES}
    assert loads["lru"] == loads["lookahead"] == 16
    assert loads["resident"] == 12
    assert loads["belady"] < loads["lru"]


def test_nothing_is_read_when_all_layers_fit() -> None:
    """As many places as layers: after the first pass every policy that keeps anything hits always."""
    assert loads_of_a_pass(StreamingConfig(policy="lru"), 6) == 0
    assert loads_of_a_pass(StreamingConfig(policy="belady"), 6) == 0
    assert loads_of_a_pass(StreamingConfig(policy="resident", max_cached_layers=6), 6) == 0


def test_kept_layers_are_spread_over_the_pass() -> None:
    """Between two that are read, those kept give the reader time."""
    assert spread(4, 16) == {0, 4, 8, 12}
    assert spread(9, 4) == {0, 1, 2, 3}
    assert spread(0, 4) == frozenset()


def test_an_adaptive_distance_follows_the_stall() -> None:
    """It grows by one for each layer that was late, up to the room there is, and shrinks in calm times."""
    policy = Policy(StreamingConfig(policy="adaptive", prefetch_distance=1), 4)
    for _ in range(9):
        policy.learn(10 * STALL_NS)
    assert policy.distance == 5
    for _ in range(200):
        policy.learn(0)
    assert policy.distance == 1


@pytest.mark.parametrize(
    ("changes", "culprit"),
    [
        ({"prefetch_distance": 6}, "prefetch_distance"),
        ({"policy": "resident", "prefetch_distance": 3}, "prefetch_distance"),
        ({"buffers": 0}, "buffers"),
        ({"max_cached_layers": -1}, "max_cached_layers"),
        ({"max_cached_layers": True}, "max_cached_layers"),
        ({"reader_threads": 0}, "reader_threads"),
        ({"policy": "fifo"}, "policy"),
        ({"dtype": "int3"}, "dtype"),
        ({"reading": "map", "direct_io": True}, "direct_io"),
        ({"quantise": 1}, "quantise"),
        ({"stall_limit_s": float("nan")}, "stall_limit_s"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes: dict[str, object], culprit: str) -> None:
    """A prefetch larger than the cache, and other contradictions, name their field."""
    with pytest.raises(StreamingConfigError, match=culprit):
        StreamingConfig(**changes)  # type: ignore[arg-type]
