"""A stack of nested layers that really call each other, on a clock that is real or made up: what a ladder is tried on.

Layer 0 is the backend: its step is a forward pass. Every layer above costs its own time around each step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from perfguard.ladder.model import Forward, Load, RequestTimes, Stage, StageRun

# A small model's step and a serving stack's layers.
COSTS_S = (4e-3, 10e-6, 20e-6, 40e-6, 80e-6)


class Clock(Protocol):
    """Tells the time and spends it."""

    def read(self) -> float:
        """Seconds."""

    def spend(self, seconds: float) -> None:
        """Let so many seconds pass."""


class VirtualClock:
    """Time passes when it is spent, and not otherwise. `rate`: how much slower the machine is just now."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.rate = 1.0

    def read(self) -> float:
        """Seconds that were spent so far."""
        return self.now_s

    def spend(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now_s += self.rate * seconds


class RealClock:
    """Time is spent by keeping a core busy."""

    def read(self) -> float:
        """`time.perf_counter`."""
        return perf_counter()

    def spend(self, seconds: float) -> None:
        """Keep the core busy for so long."""
        end_s = perf_counter() + seconds
        while perf_counter() < end_s:
            pass


class Stack:
    """The layers up to `top`. `costs_s[k]`: seconds of layer k a step; `bypass`: a layer that is left out."""

    def __init__(self, clock: Clock, costs_s: Sequence[float], top: int, bypass: int | None = None) -> None:
        self.clock, self.costs_s, self.top, self.bypass = clock, costs_s, top, bypass
        self.calls: Counter[str] = Counter()
        self.forwards: list[Forward] = []

    def step(self, layer: int, rows: int) -> None:
        """One step of a layer, and of all those below in it."""
        if layer == self.bypass:
            self.step(layer - 1, rows)
            return
        self.calls[f"Layer{layer}"] += 1
        if layer == 0:
            begin_s = self.clock.read()
            self.clock.spend(self.costs_s[0])
            self.forwards.append(Forward(begin_s, self.clock.read(), rows, rows, "decode"))
            return
        self.clock.spend(self.costs_s[layer] / 2)
        self.step(layer - 1, rows)
        self.clock.spend(self.costs_s[layer] / 2)

    def run(self, load: Load) -> StageRun:
        """Batches of `load.concurrency` requests, each step a token for every one of them."""
        begin_s = self.clock.read()
        requests: list[RequestTimes] = []
        for _ in range(max(1, load.requests // load.concurrency)):
            batch_s = self.clock.read()
            token_s = []
            for _ in range(load.new_tokens):
                self.step(self.top, load.concurrency)
                token_s.append(self.clock.read())
            requests += [RequestTimes(batch_s, batch_s, tuple(token_s))] * load.concurrency
        wall_s = self.clock.read() - begin_s
        tokens = sum(len(request.token_s) for request in requests)
        return StageRun(wall_s, tokens, tuple(requests), tuple(self.forwards), dict(self.calls))


def stages(
    clock: Clock,
    costs_s: Sequence[float] = COSTS_S,
    *,
    delayed: int | None = None,
    delay_s: float = 0.0,
    bypass: tuple[int, int] | None = None,
) -> list[Stage]:
    """One stage for each layer, `stage K`; `delay_s` a step more in layer `delayed`.

    `bypass`: (stage, layer) of one that leaves a layer out.
    """
    costs = [cost + (delay_s if layer == delayed else 0.0) for layer, cost in enumerate(costs_s)]

    def runner(top: int) -> Callable[[Load], StageRun]:
        left_out = bypass[1] if bypass is not None and bypass[0] == top else None
        return lambda load: Stack(clock, costs, top, left_out).run(load)

    return [Stage(f"stage {top}", f"Layer{top}", runner(top)) for top in range(len(costs_s))]


def delayed_stages(
    clock: Clock, costs_s: Sequence[float] = COSTS_S, delay_s: float = 1e-3
) -> Callable[[str], list[Stage]]:
    """What `perfguard.ladder.blame` asks for: the stages with a delay in the layer of the stage that it names."""

    def stages_with(name: str) -> list[Stage]:
        return stages(clock, costs_s, delayed=int(name.removeprefix("stage ")) if name else None, delay_s=delay_s)

    return stages_with
