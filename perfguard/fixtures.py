"""The `perfguard` fixture: what a performance test holds in its hand.

With `--perfguard` it measures; without, it runs everything once, small and untimed, so that a performance
test is also an ordinary test.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from perfguard.document import Direction, Kind
from perfguard.errors import MeasurementError
from perfguard.spans import add_span, add_stamps, phase

if TYPE_CHECKING:
    from perfguard.case_run import CaseRun
    from perfguard.measure import Comparison
    from perfguard.pictures import Picture

T = TypeVar("T")


class Perfguard:
    """Measures one case. Call it with a function, or use `compare` and `record`.

    Attributes: `enabled` (is this a measurement, or an ordinary test run?), `profile` ("quick", "standard",
    "full", or "off"), `phase`, `add_span` and `add_stamps` (as in `perfguard.phase`, ...).
    """

    phase = staticmethod(phase)
    add_span = staticmethod(add_span)
    add_stamps = staticmethod(add_stamps)

    def __init__(self, run: CaseRun | None, profile: str) -> None:
        self._run = run
        self.profile = profile

    @property
    def case_run(self) -> CaseRun | None:
        """The recorder behind this fixture, for fixtures built on it; None in an ordinary test run."""
        return self._run

    @property
    def enabled(self) -> bool:
        """True under `--perfguard`."""
        return self._run is not None

    def __call__(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Measure `fn(*args, **kwargs)` as the metric `time` (seconds per call) and return its last result.

        Coroutine functions are awaited inside the timing, on one event loop for all rounds. What `fn` raises
        comes through, and fails the case. Once a test: a second call raises `MeasurementError`.
        """
        if self._run is None:
            return cast("T", _call_once(fn, args, kwargs))
        result: T = self._run.measure(fn, args, kwargs)
        return result

    def compare(
        self,
        alternatives: Mapping[str, Callable[[], Any]],
        *,
        reference: str | None = None,
        record: bool = True,
        gated: bool = True,
        block_s: float = 200e-6,
        settle: bool = True,
    ) -> Comparison:
        """Measure alternatives interleaved, in random order within each round, so that drift cancels.

        Records each one's time (`<name>_time`, not gated) and, unless `record=False`, the ratio of each to
        `reference` (the first by default) as `<name>_over_<reference>`, portable across machines. The returned
        `Comparison` gives any other ratio with its interval; `record_ratio` records it under a name.

        An alternative is called for `block_s` at least before the next has its turn. `settle=False` leaves out the
        untimed call before each short block: then an alternative finds the caches as the others left them.
        """
        if self._run is not None:
            return self._run.compare(alternatives, reference, record, gated, block_s=block_s, settle=settle)
        return _compare_once(alternatives)

    def record_ratio(
        self,
        comparison: Comparison,
        metric: str,
        name: str,
        reference: str,
        *,
        direction: Direction = "lower",
        gated: bool = True,
        limit: float | None = None,
    ) -> None:
        """Record the ratio name / reference of a comparison as `metric`."""
        if self._run is not None:
            self._run.figures.record_ratio(
                comparison, metric, name, reference, direction=direction, gated=gated, limit=limit
            )

    def record(
        self,
        name: str,
        value: float | Iterable[float],
        *,
        unit: str,
        direction: Direction | None = None,
        kind: Kind = "time",
        gated: bool = True,
        limit: float | None = None,
    ) -> None:
        """Record a figure that the system measured itself: one value, or its samples.

        `unit` must fit `kind` (time: "s", bytes: "B", throughput: "tokens/s", ...); `direction` says which is
        better and defaults to "higher" for throughput, else "lower"; `limit` is the change tolerated, as a
        fraction. Raises `MeasurementError` on NaN or infinite figures, a wrong unit, or a name used twice.
        """
        if self._run is not None:
            self._run.figures.record(name, value, unit=unit, kind=kind, direction=direction, gated=gated, limit=limit)

    def count(self, name: str, value: int, *, unit: str = "", gated: bool = True, limit: float | None = None) -> None:
        """Record an exact count (calls, tokens, evaluations): gated by equality unless `limit` says otherwise."""
        self.record(name, value, unit=unit, kind="count", gated=gated, limit=limit)

    def bytes(self, name: str, value: int, *, gated: bool = True, limit: float | None = None) -> None:
        """Record an exact number of bytes: gated by equality unless `limit` says otherwise."""
        self.record(name, value, unit="B", kind="bytes", gated=gated, limit=limit)

    def account(self, calls: Iterable[tuple[float, Mapping[str, float]]]) -> None:
        """Record where the time of calls went that the case timed itself: (wall seconds, seconds by phase) of each.

        For paths over several processes, stamped while they ran and put together afterwards. Paths are not nested: each
        phase's seconds are its own, and what they leave of the wall is `unaccounted`. Once a test, and not beside a
        measured function, whose account is recorded already: raises `MeasurementError` otherwise, and for times that
        are none.
        """
        if self._run is not None:
            self._run.account(calls)

    def picture(self, picture: Picture) -> None:
        """Hand on a picture (`perfguard.pictures`: lanes on one clock, a ladder measured beside predicted).

        It is data: it stands in the run document, and the dashboard draws it on its page 7. Raises `MeasurementError`
        for a picture over the limits, or of figures that are none.
        """
        if self._run is not None:
            self._run.picture(picture)

    def note(self, text: str) -> None:
        """Add a sentence to this case's report."""
        if self._run is not None:
            self._run.note(text)


def _call_once(fn: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
    if not callable(fn):
        raise MeasurementError("perfguard", f"{fn!r} cannot be called", "give the function, not its result")
    result = fn(*args, **(kwargs or {}))
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    return result


def _compare_once(alternatives: Mapping[str, Callable[[], Any]]) -> Comparison:
    """Each alternative once. Its "times" are all one second: an untimed run has ratios of 1 and says nothing."""
    import numpy as np

    from perfguard.measure import Comparison

    results = {name: _call_once(fn) for name, fn in alternatives.items()}
    return Comparison({name: np.ones(1) for name in alternatives}, results, confidence=0.0)
