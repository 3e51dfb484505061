"""Which layer is read next, and which gives way: pure decisions on the known, cyclic order of the layers.

Layers are used 0, 1, .. N-1, 0, 1, ..: their next use is known, so the best choice is known too. Belady 1966 (IBM
Systems Journal 5(2), 78-101): evict what is used again last. In a cycle that is the layer used *last*, and least
recently used, the usual guess, evicts exactly what comes next: with fewer places than layers it never hits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from perfguard_suites.weight_streaming.config import PolicyName, StreamingConfig

STALL_NS = 20_000  # a wait below this is the cost of asking, not a layer that was late
CALM_PASSES = 4  # passes without a stall after which an adaptive distance tries one layer less


class Load(NamedTuple):
    """Read `layer`, whose first use is `use`; `evict` gives way to it, or a place is free (-1)."""

    layer: int
    use: int
    evict: int


@dataclass(slots=True)
class View:
    """What a decision depends on. Indices count uses from the start; layer = index mod `layers`.

    `at`: the use that comes next, or that is going on; `end`: nothing is needed from there on. `held`: the layer that
    is computed with (-1: none). `present`: layers that have a place; `loading`: those of them still being read.
    `used`: when each was used last, as an index.
    """

    layers: int
    slots: int
    at: int = 0
    end: int = 0
    held: int = -1
    present: set[int] = field(default_factory=set)
    loading: set[int] = field(default_factory=set)
    used: dict[int, int] = field(default_factory=dict)

    def next_use(self, layer: int) -> int:
        """The first use of a layer from `at` on; the one going on counts."""
        return self.at + (layer - self.at) % self.layers


Victim = Callable[[View, Iterable[int]], int]


def latest_needed(view: View, candidates: Iterable[int]) -> int:
    """Belady's choice."""
    return max(candidates, key=view.next_use)


def least_recently_used(view: View, candidates: Iterable[int]) -> int:
    """The usual choice, and the worst in a cycle."""
    return min(candidates, key=lambda layer: view.used.get(layer, -1))


class Policy:
    """One way to decide. `kept`: layers that never give way. `distance` layers ahead are read."""

    def __init__(self, config: StreamingConfig, layers: int) -> None:
        self.name: PolicyName = config.policy
        self.distance = config.prefetch_distance
        self.kept = spread(config.max_cached_layers, layers) if config.policy == "resident" else frozenset[int]()
        self._victim: Victim | None = VICTIMS.get(config.policy)
        self._most = max(1, config.most_ahead)
        self._calm = 0
        self._layers = layers

    def next_load(self, view: View) -> Load | None:
        """What to read now, if anything. A layer is never evicted for one that is needed later than itself."""
        index, ahead = view.at, 0
        while index < view.end and ahead <= self.distance:
            layer = index % view.layers
            if layer not in view.present:
                return self._room_for(view, layer, index)
            index += 1
            ahead += layer not in self.kept
            if index - view.at >= view.layers:
                return None
        return None

    def gives_way(self, layer: int) -> bool:
        """Whether a layer leaves as soon as it was computed with."""
        return self._victim is None and layer not in self.kept

    def learn(self, wait_ns: int) -> None:
        """An acquired layer was waited for that long: an adaptive distance grows by one, or shrinks in calm times."""
        if self.name != "adaptive":
            return
        if wait_ns > STALL_NS:
            self._calm = 0
            self.distance = min(self.distance + 1, self._most)
            return
        self._calm += 1
        if self._calm >= CALM_PASSES * self._layers:
            self._calm = 0
            self.distance = max(1, self.distance - 1)

    def _room_for(self, view: View, layer: int, index: int) -> Load | None:
        if len(view.present) < view.slots:
            return Load(layer, index, -1)
        if self._victim is None:
            return None
        later = [
            each
            for each in view.present - view.loading - self.kept
            if each != view.held and view.next_use(each) > index
        ]
        return Load(layer, index, self._victim(view, later)) if later else None


VICTIMS: Mapping[str, Victim] = {"belady": latest_needed, "lru": least_recently_used}


def spread(count: int, layers: int) -> frozenset[int]:
    """`count` of the layers, evenly spaced: between two that must be read, those kept give the reader time."""
    count = min(count, layers)
    return frozenset(index * layers // count for index in range(count)) if count else frozenset()


def loads_of_a_pass(config: StreamingConfig, layers: int, passes: int = 8) -> int:
    """How many layers the last of `passes` reads, if reading and computing take turns; what to expect of a policy."""
    policy, view = Policy(config, layers), View(layers, config.slots)
    view.end = passes * layers
    view.present |= policy.kept
    loads = 0
    for index in range(view.end):
        view.at = index
        while (load := policy.next_load(view)) is not None:
            view.present.discard(load.evict)
            view.present.add(load.layer)
            loads += load.use >= view.end - layers
        layer = index % layers
        view.used[layer] = index
        if policy.gives_way(layer):
            view.present.discard(layer)
    return loads
