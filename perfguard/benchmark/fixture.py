"""The object that a test gets as `benchmark`: pytest-benchmark's interface in front of perfguard's measurement.

In an ordinary test run everything happens once and untimed; numpy and the sampling are imported by a measuring
run only.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from perfguard.benchmark.plain import plain
from perfguard.benchmark.weave import weave
from perfguard.benchmark.wishes import Wishes
from perfguard.errors import MeasurementError

if TYPE_CHECKING:
    from perfguard.benchmark.rounds import Arguments, Rounds
    from perfguard.benchmark.stats import Result
    from perfguard.case_run import CaseRun


class FixtureAlreadyUsed(MeasurementError):  # noqa: N818 - that plugin's name
    """The fixture measures one function a test."""


class Benchmark:
    """Measures one function: call it, use it as a decorator, or call `pedantic`.

    `name`, `fullname`, `param` (the id of the parameters), `params`: of the test. `group` and `extra_info` may be
    changed by the test. `stats` is None until something was measured, and in an ordinary test run.
    """

    def __init__(self, node: Any, run: CaseRun | None, wishes: Wishes) -> None:
        callspec = getattr(node, "callspec", None)
        self.name: str = node.name
        self.fullname: str = node.nodeid
        self.param: str | None = None if callspec is None else callspec.id
        self.params: Mapping[str, Any] | None = None if callspec is None else callspec.params
        self.group = wishes.group
        self.extra_info: dict[str, Any] = {}
        self.stats: Result | None = None
        self.has_error = False
        self.excused = False  # the test was skipped or failed: it need not have used the fixture
        self._run = run
        self._wishes = wishes
        self._used = ""
        self._undo: list[Callable[[], None]] = []

    @property
    def enabled(self) -> bool:
        """Whether calls are measured."""
        return self._run is not None

    @property
    def disabled(self) -> bool:
        """Whether calls happen once and untimed."""
        return self._run is None

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Measure `function(*args, **kwargs)` as the metric `time` and return what its last call returned.

        Coroutine functions are awaited. Raises what the function raises, and `FixtureAlreadyUsed` the second time.
        """
        with self._use("benchmark(...)"):
            if self._run is None:
                return call(function, args, kwargs)
            return self._measure(function, args, kwargs)

    def pedantic(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        setup: Callable[..., Any] | None = None,
        teardown: Callable[..., Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        """Measure `target` in exactly so many rounds; what is around its calls is not timed.

        `setup()` may return `(args, kwargs)`; `teardown(*args, **kwargs)` follows each round. Raises ValueError for
        numbers that make no sense or `iterations` above 1 with a `setup`, TypeError for arguments given twice.
        """
        from perfguard.benchmark.rounds import Arguments, Rounds

        with self._use("benchmark.pedantic(...)"):
            how, arguments = Rounds(rounds, warmup_rounds, iterations), Arguments(tuple(args), kwargs or {}, setup)
            how.check(setup)
            if self._run is not None:
                return self._measure_rounds(target, arguments, teardown, how)
            given, named = arguments.fresh()
            result = call(target, given, named)
            if teardown is not None:
                teardown(*given, **named)
            return result

    def weave(self, target: Any, **options: Any) -> None:
        """Measure the calls that other code makes of `target`, until the test ends; see `perfguard.benchmark.weave`."""
        self._undo.append(weave(target, lambda function: partial(self, function), **options))

    patch = weave

    def finish(self) -> bool:
        """The test is over: undo weaving, tell the document; True if the fixture was there for nothing."""
        while self._undo:
            self._undo.pop()()
        run = self._full_run()
        if run is not None and self.stats is not None:
            run.describe(
                {
                    "name": self.name,
                    "group": plain(self.group),
                    "param": self.param,
                    "extra_info": plain(self.extra_info),
                    "options": plain(self.stats.options),
                }
            )
            if self.extra_info:
                run.note("extra_info: " + ", ".join(f"{name}={value}" for name, value in self.extra_info.items()))
        return not self._used and not self.excused

    @contextlib.contextmanager
    def _use(self, how: str) -> Iterator[None]:
        if self._used:
            self.has_error = True
            first = f"is used twice in one test, first as {self._used}"
            raise FixtureAlreadyUsed("benchmark", first, "parametrise, or write a second test")
        self._used = how
        try:
            yield
        except BaseException:
            self.has_error = True
            raise

    def _full_run(self) -> CaseRun | None:
        """The run, if it is one that takes wishes: a worker that measures in turn with another has its own plan."""
        if self._run is None:
            return None
        from perfguard.case_run import CaseRun

        return self._run if isinstance(self._run, CaseRun) else None

    def _measure(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        from perfguard.benchmark.rounds import Arguments, Rounds

        run = self._full_run()
        if run is None:
            return self._measure_rounds(fn, Arguments(args, kwargs), None, Rounds())
        return self._sample(run, fn, args, kwargs)

    def _measure_rounds(self, fn: Callable[..., Any], arguments: Arguments, teardown: Any, how: Rounds) -> Any:
        """By rounds of a target that knows its arguments: `how` many, or as a worker is told."""
        from perfguard.benchmark.pedantic import pedantic_target, sample_rounds

        run = self._full_run()
        _check_no_loop(fn)
        with pedantic_target(fn, arguments, teardown, "cpu" if run is None else run.device) as target:
            if run is not None:
                return self._sample(run, target, (), {}, sampler=partial(sample_rounds, how=how))
            assert self._run is not None
            with untraced():
                result = self._run.measure(target, (), {})
            self._keep(target.seconds or [0.0], 1, {})
            return result

    def _sample(self, run: CaseRun, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], **sampler: Any) -> Any:
        _check_no_loop(fn)
        run.plan = plan = self._wishes.plan(run.plan)
        run.clock = self._wishes.clock or run.clock
        with untraced():
            result = run.measure(fn, args, kwargs, **sampler)
        assert run.samples is not None
        options = {
            "disable_gc": True,
            "timer": getattr(self._wishes.timer or run.clock, "__name__", "timer"),
            "min_rounds": plan.min_rounds,
            "max_time": plan.budget_s,
            "min_time": plan.min_block_s,
            "warmup": plan.warmup_fraction > 0,
        }
        self._keep(run.samples.values_s, run.samples.iterations, options)
        return result

    def _keep(self, values_s: Sequence[float], iterations: int, options: Mapping[str, Any]) -> None:
        from perfguard.benchmark.stats import Result, Stats

        self.stats = Result(
            name=self.name,
            fullname=self.fullname,
            group=self.group,
            param=self.param,
            params=self.params,
            extra_info=self.extra_info,
            iterations=iterations,
            options=options,
            stats=Stats(values_s),
        )


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """No tracer and no profiler (coverage, debuggers): they would be most of what is measured."""
    tracer, profiler = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)


def call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """`fn(*args, **kwargs)`, awaited on a loop of its own if `fn` is a coroutine function."""
    if not is_async(fn):
        return fn(*args, **kwargs)
    import asyncio

    _check_no_loop(fn)
    return asyncio.run(fn(*args, **kwargs))


def is_async(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine by its declaration."""
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _check_no_loop(fn: Any) -> None:
    """A coroutine function needs an event loop of its own, which cannot run inside another one."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not is_async(fn):
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise MeasurementError(
        "benchmark", "a coroutine function is measured inside a running event loop", "make the test a plain `def`"
    )
