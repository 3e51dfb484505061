"""The run as OpenTelemetry spans and metrics, through its SDK: sent to an OTLP/HTTP endpoint, or as OTLP JSON lines.

One trace a run: the run, its cases, some calls of each, and the phases of these, in whatever process they were
stamped. Ids are derived from the run's, so that sending a run twice shows it once. Only a recording says what happened
when; of a bare run document the trace is a single span, and the metrics are whole.
Sources: https://opentelemetry.io/docs/specs/otlp/ and .../specs/otel/protocol/file-exporter/
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, Status, StatusCode

from perfguard import __version__
from perfguard.document import Case, Kind, Metric, Run
from perfguard.errors import ReportError
from perfguard.report.lines import worst_verdict
from perfguard.report.source import Source
from perfguard.report.timeline import CaseTimeline, TimedSpan, Timeline, unix_ns
from perfguard.report.words import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 10.0
SPANS_A_REQUEST = 512
SCOPE = "perfguard"
# Units as OpenTelemetry writes them (UCUM); where a kind has no unit of its own, the attribute `perfguard.unit` has it.
_UNITS: Mapping[Kind, str] = {"time": "s", "bytes": "By", "throughput": "1/s"}


class RunIds(IdGenerator):
    """Trace and span ids that follow from the run's id."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._spans = 0

    def generate_trace_id(self) -> int:
        """The same for every span of the run."""
        return self._id("", 16)

    def generate_span_id(self) -> int:
        """The next one."""
        self._spans += 1
        return self._id(f"/{self._spans}", 8)

    def _id(self, what: str, size_bytes: int) -> int:
        digest = hashlib.sha256(f"perfguard/{self._run_id}{what}".encode("utf-8", "replace")).digest()
        return int.from_bytes(digest[:size_bytes], "big") or 1  # zero is no id


def report(source: Source) -> str:
    """OTLP JSON lines: one of spans, one of metrics."""
    messages: tuple[Message, ...] = (encode_spans(spans_of(source)), encode_metrics(metrics_of(source.run)))
    return "".join(f"{json.dumps(as_json(message))}\n" for message in messages)


def send(source: Source, url: str) -> None:
    """Send both to an OTLP/HTTP endpoint, the part of its address before `/v1/traces`.

    Headers, such as a token, come from the SDK's own environment variables (OTEL_EXPORTER_OTLP_HEADERS). Raises
    `ReportError` naming the address if it is not reached within `TIMEOUT_S` or refuses.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    base = url.rstrip("/")
    spans = spans_of(source)
    heard = _Heard()
    with heard.listening():
        to_traces = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=TIMEOUT_S)
        to_metrics = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=TIMEOUT_S)
        try:
            for start in range(0, len(spans), SPANS_A_REQUEST):
                if to_traces.export(spans[start : start + SPANS_A_REQUEST]) is not SpanExportResult.SUCCESS:
                    raise ReportError(f"otlp={url}", f"did not take the spans{heard}", "is a collector listening?")
            if to_metrics.export(metrics_of(source.run)) is not otel.MetricExportResult.SUCCESS:
                raise ReportError(f"otlp={url}", f"did not take the metrics{heard}", "does it take metrics?")
        finally:
            to_traces.shutdown()  # type: ignore[no-untyped-call]  # it says nothing of what it returns
            to_metrics.shutdown()


class _Heard(logging.Handler):
    """What the exporters log, which is the only place where they say why; kept from the terminal."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last = ""
        self._logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http")

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """For as long as something is sent."""
        propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        try:
            yield
        finally:
            self._logger.removeHandler(self)
            self._logger.propagate = propagated

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the last."""
        self._last = one_line(record.getMessage())[:500]

    def __str__(self) -> str:
        return f": {self._last}" if self._last else ""


def spans_of(source: Source) -> Sequence[ReadableSpan]:
    """The run's spans, parents before children."""
    run, timeline = source.run, source.timeline
    kept = InMemorySpanExporter()
    provider = TracerProvider(
        sampler=ALWAYS_ON, resource=resource_of(run), id_generator=RunIds(run.run_id), shutdown_on_exit=False
    )
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer(SCOPE, __version__)
    started_ns = unix_ns(run.started)
    root = tracer.start_span("perfguard run", start_time=started_ns, attributes={"perfguard.profile": run.profile})
    if run.gate is not None and run.gate.exit_status != 0:
        root.set_status(Status(StatusCode.ERROR, one_line(run.gate.reason)))
    ended_ns = unix_ns(run.finished) if run.finished else started_ns
    if timeline is not None:
        ended_ns = max(ended_ns, (timeline.end_ns or 0) + timeline.epoch_ns)
        for case in timeline.cases.values():
            _add_case(tracer, root, run, timeline, case)
    root.end(max(started_ns, ended_ns))
    provider.force_flush()
    return sorted(kept.get_finished_spans(), key=lambda span: (span.start_time or 0, -(span.end_time or 0)))


def _add_case(tracer: trace.Tracer, root: Span, run: Run, timeline: Timeline, told: CaseTimeline) -> None:
    case, epoch_ns = run.case(told.id), timeline.epoch_ns
    end_ns = told.end_ns if told.end_ns is not None else timeline.end_ns or told.start_ns
    span = _start(tracer, root, one_line(told.id), told.start_ns + epoch_ns)
    if case is not None:
        verdict = worst_verdict(case)
        span.set_attributes(
            {
                "perfguard.suite": one_line(case.suite),
                "test.case.name": one_line(case.id),
                "test.case.result.status": "pass" if case.status == "passed" else "fail",
                "perfguard.verdict": verdict,
            }
        )
        if verdict in ("slower", "broken"):
            span.set_status(Status(StatusCode.ERROR, verdict))
    for stage in told.stages:
        span.add_event(one_line(stage.name), timestamp=stage.start_ns + epoch_ns)
    for call in told.calls:
        _add_call(tracer, span, call, epoch_ns)
    span.end(end_ns + epoch_ns)


def _add_call(tracer: trace.Tracer, case: Span, call: Sequence[TimedSpan], epoch_ns: int) -> None:
    call_end_ns = max(each.end_ns for each in call)
    root = _start(tracer, case, "call", min(each.start_ns for each in call) + epoch_ns)
    opened: list[tuple[TimedSpan, Span]] = []
    for each in sorted(call, key=lambda span: (span.start_ns, -span.end_ns)):
        parent = next((span for of, span in reversed(opened) if _holds(of, each)), root)
        span = _start(tracer, parent, one_line(each.path.rpartition("/")[2]) or "phase", each.start_ns + epoch_ns)
        span.set_attributes({"perfguard.phase": one_line(each.path), "perfguard.lane": one_line(each.lane)})
        opened.append((each, span))
    for each, span in opened:
        span.end(each.end_ns + epoch_ns)
    root.end(call_end_ns + epoch_ns)


def _start(tracer: trace.Tracer, parent: Span, name: str, start_ns: int) -> Span:
    return tracer.start_span(name, context=trace.set_span_in_context(parent), start_time=start_ns)


def _holds(outer: TimedSpan, inner: TimedSpan) -> bool:
    """Whether `inner` is a phase below `outer`, by its path and in time."""
    return inner.path.startswith(f"{outer.path}/") and outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns


def metrics_of(run: Run) -> otel.MetricsData:
    """Medians with their intervals, changes and phases, as gauges at the time when the run ended."""
    at_ns = unix_ns(run.finished or run.started)
    points: dict[tuple[str, str], list[otel.NumberDataPoint]] = {}
    for name, unit, attributes, value in _figures(run):
        points.setdefault((name, unit), []).append(otel.NumberDataPoint(attributes, at_ns, at_ns, value))
    metrics = [otel.Metric(name, "", unit, otel.Gauge(those)) for (name, unit), those in points.items()]
    scope = otel.ScopeMetrics(InstrumentationScope(SCOPE, __version__), metrics, "")
    return otel.MetricsData([otel.ResourceMetrics(resource_of(run), [scope], "")])


def _figures(run: Run) -> Iterator[tuple[str, str, dict[str, str | bool], float]]:
    for case in run.cases:
        if case.status != "passed":
            continue
        for metric in case.metrics:
            name, unit, attributes = f"perfguard.{metric.kind}", _UNITS.get(metric.kind, "1"), _attributes(case, metric)
            for what, value in (("", metric.median), (".low", metric.ci[0]), (".high", metric.ci[1])):
                yield f"{name}{what}", unit, attributes, value
            if metric.change is not None:
                yield "perfguard.change", "1", attributes, metric.change.ratio
        for phase in case.account.phases if case.account is not None else ():
            yield "perfguard.phase", "s", {**_of_case(case), "perfguard.phase": one_line(phase.path)}, phase.median_s


def _of_case(case: Case) -> dict[str, str | bool]:
    return {"test.case.name": one_line(case.id), "perfguard.suite": one_line(case.suite)}


def _attributes(case: Case, metric: Metric) -> dict[str, str | bool]:
    return {
        **_of_case(case),
        "perfguard.metric": one_line(metric.name),
        "perfguard.unit": one_line(metric.unit),
        "perfguard.gated": metric.gated,
        "perfguard.verdict": metric.verdict or "",
    }


def resource_of(run: Run) -> Resource:
    """Who measured: the run, its commit and its machine, by OpenTelemetry's names where it has some."""
    return Resource(
        {
            "service.name": "perfguard",
            "service.version": __version__,
            "service.instance.id": one_line(run.run_id),
            "vcs.ref.head.revision": one_line(str(run.commit.get("id", ""))),
            "vcs.ref.head.name": one_line(str(run.commit.get("branch", ""))),
            "host.arch": one_line(str(run.machine.get("architecture", ""))),
            "os.type": one_line(str(run.machine.get("os", "")).lower()),
            "perfguard.machine.class": one_line(str(run.machine.get("class", ""))),
        }
    )


def as_json(message: Message) -> dict[str, Any]:
    """A protobuf message as OTLP JSON: as protobuf's JSON, but ids in hexadecimal and enums as numbers."""
    found: dict[str, Any] = _with_hex_ids(MessageToDict(message, use_integers_for_enums=True))
    return found


def _with_hex_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_hex_ids(each) for each in value]
    if isinstance(value, dict):
        return {
            name: base64.b64decode(each).hex() if name in ("traceId", "spanId", "parentSpanId") else _with_hex_ids(each)
            for name, each in value.items()
        }
    return value
