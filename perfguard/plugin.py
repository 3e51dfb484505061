"""The pytest plugin: options and hooks, nothing else. Imports no numpy, zmq or torch until `--perfguard` is on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from perfguard.benchmark import hooks as benchmark_hooks
from perfguard.cases import keep_cases, outcome, planned
from perfguard.errors import PerfguardError
from perfguard.options import OPTIONS, settings

if TYPE_CHECKING:
    from perfguard.case_run import CaseRun
    from perfguard.document import Run
    from perfguard.fixtures import Perfguard
    from perfguard.session import RunSession

MARKER = (
    "perfguard(limit='10%', budget_s=5, group=..., device='cpu'): a performance test; limit: change tolerated, "
    "budget_s: seconds of timed rounds, group: name of its suite, device: 'cuda' waits for the GPU"
)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the options and their ini keys; let the drop-in `benchmark` fixture in."""
    pluginmanager.register(benchmark_hooks, "perfguard-benchmark-hooks")
    group = parser.getgroup("perfguard", "perfguard: performance tests with a gate")
    for option in OPTIONS:
        option.add_to(group, parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; under `--perfguard` check the settings and open the run."""
    config.addinivalue_line("markers", MARKER)
    values = _values(config)
    if not values["perfguard"] or config.option.collectonly or config.option.help:
        return
    if hasattr(config, "workerinput") or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "perfguard: pytest-xdist runs tests side by side, and timings of tests that disturb each other mean "
            "nothing: run --perfguard without -n (or with -n 0)"
        )
    try:
        session = _open_session(config, values)
    except PerfguardError as error:
        raise pytest.UsageError(f"perfguard: {error}") from error
    config.pluginmanager.register(Runner(config, session), "perfguard-runner")


def _open_session(config: pytest.Config, values: dict[str, Any]) -> RunSession:
    from perfguard.session import RunSession

    chosen = settings(values, config.rootpath, config.invocation_params.dir)
    return RunSession(chosen, config.rootpath, lambda text: _warn(config, text))


def _warn(config: pytest.Config, text: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter.write_line(f"perfguard: {text}", yellow=True)


def _values(config: pytest.Config) -> dict[str, Any]:
    """Each option's value: the command line's, else the environment's, else the ini file's."""
    values: dict[str, Any] = {}
    for option in OPTIONS:
        given = getattr(config.option, option.ini, None)
        told = os.environ.get(option.env) if option.env and given is None else given
        values[option.ini] = config.getini(option.ini) if told is None else told
    return values


@pytest.fixture
def perfguard(request: pytest.FixtureRequest) -> Perfguard:
    """Measure a function, phases and figures; see `perfguard.fixtures.Perfguard`."""
    from perfguard.fixtures import Perfguard

    runner: Runner | None = request.config.pluginmanager.get_plugin("perfguard-runner")
    if runner is None:
        return Perfguard(None, "off")
    try:
        run = runner.case_run(request.node)
    except PerfguardError as error:
        raise pytest.UsageError(f"perfguard: {error}") from error
    return Perfguard(run, runner.profile)


class Runner:
    """The hooks of a measuring run; registered only under `--perfguard`."""

    def __init__(self, config: pytest.Config, session: RunSession) -> None:
        from perfguard.report.terminal import TerminalReport

        self.config = config
        self.session = session
        self.report = TerminalReport(lambda: config.pluginmanager.get_plugin("terminalreporter"), session)
        self.reports: dict[str, list[pytest.TestReport]] = {}

    @property
    def profile(self) -> str:
        """The profile, for the fixture."""
        return self.session.settings.profile

    def case_run(self, node: pytest.Item) -> CaseRun:
        """What the fixture of a test records into."""
        return self.session.case_run(node.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the performance cases; everything else is deselected."""
        keep_cases(config, items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Collection is done, as every other plugin left it: the run begins; a duet takes it over."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            return None
        chosen = self.session.settings
        try:
            cases = [planned(item) for item in session.items]
            self.session.start(cases)
            self.report.begin()
            if chosen.against is None and chosen.against_path is None:
                return None
            from perfguard.duet.run import run_duet

            run_duet(self.session, session, cases, self.report.case)
        except PerfguardError as error:
            raise pytest.UsageError(f"perfguard: {error}") from error
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """One case, from its set-up to its verdict."""
        self.session.start_case(item.nodeid)
        self.reports[item.nodeid] = []
        result = yield
        status, message = outcome(self.reports[item.nodeid])
        seconds = sum(report.duration for report in self.reports.pop(item.nodeid))
        try:
            case = self.session.finish_case(item.nodeid, status, seconds, message)
        except PerfguardError as error:
            raise pytest.UsageError(f"perfguard: {error}") from error
        self.report.case(case)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember how set-up, call and tear-down went."""
        if report.nodeid in self.reports:
            self.reports[report.nodeid].append(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A passed case prints its own line with figures, so pytest's dot is left out."""
        return (report.outcome, "", "") if report.passed and report.when == "call" else None

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Update baselines if asked, decide, and turn a clean exit into the gate's."""
        if not self.session.builder.started:  # nothing was run: a collection error, or nothing collected
            self.session.abort()
            return
        status = int(exitstatus)
        interrupted = status == pytest.ExitCode.INTERRUPTED
        if self.session.settings.update and not interrupted:
            try:
                self.report.written = self.session.update_baselines()
            except PerfguardError as error:
                status = session.exitstatus = self._failed(error)
        try:
            run = self.report.run = self.session.finish(status, interrupted)
        except PerfguardError as error:
            session.exitstatus = self._failed(error)
            return
        try:
            self.session.write_document(run)
        except PerfguardError as error:  # what else was asked for may lie on another disk
            status = session.exitstatus = self._failed(error)
        self.report.kept = self.session.keep(run)
        self._make_reports(run)
        if status == pytest.ExitCode.OK and run.gate is not None:
            session.exitstatus = run.gate.exit_status

    def _make_reports(self, run: Run) -> None:
        """Reports and exports. One that cannot be made is said and fails alone: the gate's exit status stands."""
        from perfguard.report.making import make_all, with_trends
        from perfguard.report.source import Source

        chosen, source = self.session.settings, Source(run, self.session.timeline, config=self.config)
        with contextlib.suppress(PerfguardError):  # a history that fails has said so when the run was stored
            source = with_trends(source, chosen.outputs, chosen.history)
        self.report.made, problems = make_all(chosen.outputs, source)
        self.report.problems += problems

    def _failed(self, error: PerfguardError) -> int:
        self.report.problems.append(str(error))
        return error.exit_status

    def pytest_terminal_summary(self) -> None:
        """The report, after pytest's own failures."""
        self.report.summary()

    def pytest_unconfigure(self) -> None:
        """Whatever happened, leave no socket and no half-written recording."""
        self.session.abort()
