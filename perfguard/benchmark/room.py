"""The plugin that holds the `benchmark` fixtures; registered by `hooks` once it is known who provides them.

It is part of plain pytest starts too, so what a test needs is imported when a test needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from perfguard.benchmark import marker_of
from perfguard.benchmark.hooks import BenchmarkWarning, disabled, given, measuring

if TYPE_CHECKING:
    from perfguard.benchmark.fixture import Benchmark
    from perfguard.benchmark.wishes import Wishes
    from perfguard.fixtures import Perfguard

_fixture = pytest.StashKey["Benchmark"]()


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, perfguard: Perfguard) -> Iterator[Benchmark]:
    """Measure a function, as pytest-benchmark's fixture does; see `perfguard.benchmark.fixture.Benchmark`."""
    from perfguard.benchmark.fixture import Benchmark

    found = Benchmark(request.node, None if disabled(request.config) else perfguard.case_run, _wishes(request.node))
    request.node.stash[_fixture] = found
    yield found
    if found.finish():
        request.node.warn(BenchmarkWarning(f"{request.node.nodeid}: the benchmark fixture was not used"))


@pytest.fixture
def benchmark_weave(benchmark: Benchmark) -> Callable[..., None]:
    """Measure the calls of a function inside other code: `benchmark_weave("module.function")`."""
    return benchmark.weave


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that was skipped or failed is not blamed for not using its fixture."""
    report = yield
    if not report.passed and _fixture in item.stash:
        item.stash[_fixture].excused = True
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`--benchmark-only` and `--benchmark-skip`; the first wins, as in pytest-benchmark.

    In a measuring run nothing but performance cases is left anyway.
    """
    options = given(config)
    if options.get("only"):
        mark, chosen = pytest.mark.skip(reason="not a benchmark (--benchmark-only)"), False
        if measuring(config):
            return
    elif options.get("skip"):
        mark, chosen = pytest.mark.skip(reason="a benchmark (--benchmark-skip)"), True
    else:
        return
    for item in items:
        if ("benchmark" in getattr(item, "fixturenames", ())) is chosen:
            item.add_marker(mark)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test that carries the marker and uses no measuring fixture is measured as a whole."""
    runner = pyfuncitem.config.pluginmanager.get_plugin("perfguard-runner")
    marked = marker_of(pyfuncitem) is not None and not {"benchmark", "perfguard"} & set(pyfuncitem.fixturenames)
    if runner is None or not marked or disabled(pyfuncitem.config):
        return (yield)
    from perfguard.benchmark.fixture import Benchmark

    test, whole = pyfuncitem.obj, Benchmark(pyfuncitem, runner.case_run(pyfuncitem), _wishes(pyfuncitem))

    def measured(**arguments: Any) -> None:
        whole(test, **arguments)

    pyfuncitem.obj = measured
    try:
        return (yield)
    finally:
        pyfuncitem.obj = test
        whole.finish()


def _wishes(node: Any) -> Wishes:
    from perfguard.benchmark.wishes import Wishes

    config = node.config
    marker = marker_of(node)
    fixed = bool(config.getoption("perfguard_case_seconds", None) or config.getini("perfguard_case_seconds"))
    return Wishes.of(node.nodeid, given(config), marker, budget_is_fixed=fixed)
