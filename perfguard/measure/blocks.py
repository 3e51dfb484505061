"""Timed blocks: `n` calls of a function between two clock readings, for plain and async functions alike.

This is the hot centre of the measurement, so it does nothing but call: no branches per call, no
allocation by perfguard, the collector off. CUDA work is waited for inside the block when the case declares it.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfguard.errors import MeasurementError
from perfguard.measure.clock import Clock

if TYPE_CHECKING:
    import asyncio


@dataclass
class Target:
    """A function with its arguments, ready to be timed. `result` is what its last call returned."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    synchronise: Callable[[], None] | None = None
    result: Any = None
    loop: asyncio.AbstractEventLoop | None = None

    def block_ns(self, calls: int, clock: Clock) -> int:
        """Nanoseconds for `calls` calls. May be negative if the clock went backwards: the caller decides."""
        if self.loop is not None:
            return self.loop.run_until_complete(self._async_block(calls, clock))
        fn, args, kwargs, synchronise = self.fn, self.args, self.kwargs, self.synchronise
        result = None
        repeat = range(calls)
        if synchronise is not None:
            synchronise()
        start = clock()
        for _ in repeat:
            result = fn(*args, **kwargs)
        if synchronise is not None:
            synchronise()
        end = clock()
        self.result = result
        return end - start

    async def _async_block(self, calls: int, clock: Clock) -> int:
        fn, args, kwargs, synchronise = self.fn, self.args, self.kwargs, self.synchronise
        result = None
        repeat = range(calls)
        if synchronise is not None:
            synchronise()
        start = clock()
        for _ in repeat:
            result = await fn(*args, **kwargs)
        if synchronise is not None:
            synchronise()
        end = clock()
        self.result = result
        return end - start


@contextlib.contextmanager
def prepared(
    fn: Callable[..., Any] | Target,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    device: str = "cpu",
) -> Iterator[Target]:
    """A `Target` with its event loop (async functions) and device synchronisation, closed afterwards.

    A `Target` that knows more than calling `fn` is taken as it is.
    """
    if isinstance(fn, Target):
        yield fn
        return
    if not callable(fn):
        raise MeasurementError("perfguard", f"{fn!r} cannot be called", "give the function, not its result")
    target = Target(fn, args, dict(kwargs or {}), device_synchroniser(device))
    if not inspect.iscoroutinefunction(fn) and not inspect.iscoroutinefunction(getattr(fn, "__call__", None)):  # noqa: B004
        yield target
        return
    import asyncio  # only for those who await: each worker of a duet would pay for it in every restart

    target.loop = asyncio.new_event_loop()
    try:
        yield target
    finally:
        target.loop.run_until_complete(target.loop.shutdown_asyncgens())
        target.loop.close()


@contextlib.contextmanager
def all_prepared(alternatives: Mapping[str, Callable[[], Any]], device: str = "cpu") -> Iterator[dict[str, Target]]:
    """Every alternative as a `Target`, closed together."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(prepared(fn, device=device)) for name, fn in alternatives.items()}


def device_synchroniser(device: str) -> Callable[[], None] | None:
    """What waits for the device's queued work: None for the CPU, `torch.cuda.synchronize` for `cuda`.

    A case that declares a CUDA device has imported torch; the framework does not import it for others.
    """
    if device == "cpu":
        return None
    torch = sys.modules.get("torch")
    if not device.startswith("cuda"):
        raise MeasurementError("device", f"{device!r} is not a device that can be waited for", "use 'cpu' or 'cuda'")
    if torch is None or not torch.cuda.is_available():
        raise MeasurementError(
            "device", "the case declares CUDA, but torch sees none here", "skip the case, or use cpu"
        )
    return lambda: torch.cuda.synchronize(device)


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect garbage once, then keep the collector off: its pauses are not the case's doing."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def tidy_between_rounds(threshold: int = 50_000) -> bool:
    """Collect the young generations, outside the timing, once many objects have piled up; whether it was due."""
    if gc.get_count()[0] <= threshold:
        return False
    gc.collect(1)
    return True
