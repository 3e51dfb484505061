"""`benchmark.pedantic`: exactly the rounds and calls that were asked for, with set-up and tear-down around each.

Nothing is calibrated and nothing repeated until it is certain: how often the function is called is the
suite's own decision, and side effects may depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfguard.benchmark.rounds import Arguments, Rounds
from perfguard.measure.blocks import Target, collector_off, device_synchroniser, prepared, tidy_between_rounds
from perfguard.measure.sampling import Round, Samples
from perfguard.spans import Recorder, recording
from perfguard.spans.account import AccountBuilder
from perfguard.stats.quantiles import median_interval

if TYPE_CHECKING:
    from perfguard.measure import Plan
    from perfguard.measure.clock import Clock
    from perfguard.measure.sampling import Observer


@dataclass
class PedanticTarget(Target):
    """A target whose blocks are rounds: arguments before, tear-down after, neither timed nor part of a phase.

    With a `setup` each call is a round of its own, however many are asked for at once.
    """

    arguments: Arguments = field(default_factory=Arguments)
    teardown: Callable[..., Any] | None = None
    seconds: list[float] = field(default_factory=list)  # per call, of each block so far

    def block_ns(self, calls: int, clock: Clock) -> int:
        """Nanoseconds of the calls alone."""
        if self.arguments.setup is None:
            elapsed_ns = self._round_ns(calls, clock)
        else:
            elapsed_ns = sum(self._round_ns(1, clock) for _ in range(calls))
        self.seconds.append(max(0, elapsed_ns) / calls / 1e9)
        return elapsed_ns

    def _round_ns(self, calls: int, clock: Clock) -> int:
        with recording(Recorder()):
            self.args, self.kwargs = self.arguments.fresh()
        elapsed_ns = super().block_ns(calls, clock)
        if self.teardown is not None:
            with recording(Recorder()):
                self.teardown(*self.args, **self.kwargs)
        return elapsed_ns


@contextmanager
def pedantic_target(
    fn: Callable[..., Any], arguments: Arguments, teardown: Callable[..., Any] | None, device: str
) -> Iterator[PedanticTarget]:
    """The target of one `pedantic` call; coroutine functions get an event loop, closed afterwards."""
    with prepared(fn, device=device) as plain:
        yield PedanticTarget(
            fn, synchronise=device_synchroniser(device), loop=plain.loop, arguments=arguments, teardown=teardown
        )


def sample_rounds(
    target: Target,
    plan: Plan,
    observer: Observer,
    clock: Clock,
    how: Rounds = Rounds(),  # noqa: B008 - frozen
) -> Samples:
    """Measure exactly the rounds of `how`; `plan` gives only the confidence. Raises what the function raises.

    After rounds of several calls the function runs once more, untimed, as pytest-benchmark has it.
    """
    recorder, account = Recorder(), AccountBuilder()
    calls, values, warmup = how.iterations, [], []
    with collector_off(), recording(recorder):
        observer.stage("warmup", {"rounds": float(how.warmup_rounds)})
        for index in range(how.warmup_rounds):
            warmup.append(max(0, target.block_ns(calls, clock)) / calls / 1e9)
            tidy_between_rounds()
            observer.round(Round(index, calls, warmup[-1], True, {}, ()))
        recorder.take_round()
        observer.stage("measure", {"rounds": float(how.rounds), "iterations": float(calls)})
        for index in range(how.rounds):
            block_ns = max(0, target.block_ns(calls, clock))  # a clock that went backwards saw nothing
            phases = recorder.take_round()
            tidy_between_rounds()
            values.append(block_ns / calls / 1e9)
            per_call = account.add(block_ns, calls, phases)
            observer.round(Round(index, calls, values[-1], False, per_call, tuple(phases.spans)))
        if calls > 1:
            target.block_ns(1, clock)
    interval = median_interval(values, plan.confidence)
    return Samples(tuple(values), tuple(warmup), calls, interval, account.build(), settled=True, notes=())
