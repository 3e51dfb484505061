"""Exports, each read by its consumer's own parser where that installs, else by the rules it documents."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from made_reports import hostile, story

from perfguard.document import Metric
from perfguard.errors import ReportError
from perfguard.report import junit, openmetrics, perfetto, rundocument, samples, trackers
from perfguard.report.source import Source
from perfguard.report.timeline import TimedSpan, Timeline, spans_of, told, unix_ns, waterfall

SOURCES = {"story": story(), "hostile": Source(hostile())}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def test_json_is_the_run_document() -> None:
    """Word for word what --perfguard-json writes."""
    from perfguard import document

    assert document.from_json(json.loads(rundocument.report(SOURCES["story"]))) == story().run


@every_source
def test_junit_is_read_by_junitparser(source: Source) -> None:
    """Slower and broken cases and the gate fail, the rest passes; counts add up."""
    parser = pytest.importorskip("junitparser")
    found = parser.JUnitXml.fromstring(junit.report(source))
    cases = [case for suite in found for case in suite]
    assert (found.tests, found.failures, found.errors) == (len(source.run.cases) + 1, 3, 0)
    failed = [case for case in cases if case.result]
    by_kind = {case.result[0].type: case.result[0].text for case in failed}
    assert set(by_kind) == {"perfguard.slower", "perfguard.broken", "perfguard.gate"}
    assert "rpc/copy +767 µs = 96% of the change" in by_kind["perfguard.slower"]
    assert all(case.system_out for case in cases if case.name != "gate")


def test_junit_says_what_the_exit_status_says() -> None:
    """A gate that lets slower pass has no failure; a run that did not end is an error."""
    run = story().run
    assert run.gate is not None
    cases = tuple(case for case in run.cases if case.status == "passed")
    lenient = replace(run, cases=cases, gate=replace(run.gate, exit_status=0))
    root = ET.fromstring(junit.render(lenient))
    assert (root.get("failures"), root.get("errors")) == ("0", "0")
    root = ET.fromstring(junit.render(replace(lenient, gate=None)))
    assert (root.get("failures"), root.get("errors")) == ("1", "1")


@every_source
def test_csv_has_every_sample(source: Source) -> None:
    """Figures at full precision, under their names."""
    rows = list(csv.DictReader(io.StringIO(samples.csv_report(source), newline="")))
    metrics = [metric for case in source.run.cases for metric in case.metrics]
    assert [float(row["value"]) for row in rows] == [value for metric in metrics for value in metric.samples]
    assert rows[0]["unit"] == "s"
    assert [row["sample"] for row in rows[:3]] == ["0", "1", "2"]


@every_source
def test_parquet_is_read_by_pyarrow(source: Source) -> None:
    """The same rows as the CSV's."""
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow (perfguard[parquet]) is not installed")
    import pyarrow as pa

    table = pq.read_table(pa.BufferReader(samples.parquet_report(source)))
    rows = list(csv.DictReader(io.StringIO(samples.csv_report(source), newline="")))
    assert table.column_names == list(rows[0])
    assert table["value"].to_pylist() == [float(row["value"]) for row in rows]
    assert [name for name in table["case"].to_pylist() if name] == [row["case"] for row in rows if row["case"]]
    empty = samples.parquet_report(replace(source, run=replace(source.run, cases=())))
    assert pq.read_table(pa.BufferReader(empty)).num_rows == 0


@every_source
def test_openmetrics_is_read_by_both_parsers_of_prometheus_client(source: Source) -> None:
    """The strict OpenMetrics one, and the one of the older format; labels come back as they were."""
    parsers = pytest.importorskip("prometheus_client.openmetrics.parser")
    classic = pytest.importorskip("prometheus_client.parser")
    text = openmetrics.report(source)
    families = {family.name: family for family in parsers.text_string_to_metric_families(text)}
    times = {s.labels["case"]: s.value for s in families["perfguard_time_seconds"].samples if "case" in s.labels}
    for case in source.run.cases:
        metric = case.metric("time")
        if metric is not None and case.id.isprintable() and case.id:
            assert times[case.id] == metric.median
    assert families["perfguard_gate_exit_status"].samples[0].value == 1
    assert "slower" in {s.labels["verdict"] for s in families["perfguard_verdict"].samples}
    older = list(classic.text_string_to_metric_families(text))
    assert sum(len(f.samples) for f in older) == sum(len(f.samples) for f in families.values())


@every_source
def test_bencher_metric_format_keeps_bencher_s_rules(source: Source) -> None:
    """Names neither empty nor too long, numbers finite and in order; times in nanoseconds under `latency`."""
    found = json.loads(trackers.bencher(source), parse_constant=_no_constant)
    assert len(found) == sum(case.status == "passed" for case in source.run.cases)
    for name, measures in found.items():
        assert 0 < len(name.encode()) <= 1024
        for measure, figure in measures.items():
            assert 0 < len(measure.encode()) <= 64
            assert set(figure) == {"value", "lower_value", "upper_value"}
            assert figure["lower_value"] <= figure["value"] <= figure["upper_value"]
    time = source.run.cases[0].metric("time")
    assert time is not None
    assert next(iter(found.values()))["latency"]["value"] == pytest.approx(time.median * 1e9)


def test_bencher_s_names_are_cut_to_what_it_takes() -> None:
    """Whole characters, within its bytes."""
    assert trackers.cut_bytes("µ" * 600, 1024).endswith("…")
    assert len(trackers.cut_bytes("µ" * 600, 1024).encode()) <= 1024
    assert trackers.cut_bytes("", 64) == "?"


@every_source
def test_github_action_benchmark_gets_smaller_and_bigger_apart(source: Source) -> None:
    """Its fields have its types, names are unique, and each metric is in the file of its direction."""
    first = source.run.cases[0]
    rate = Metric("rate", "tokens/s", "higher", "throughput", True, 1, 5.0, (4.0, 6.0), 0.95)
    run = replace(source.run, cases=(replace(first, metrics=(*first.metrics, rate)), *source.run.cases[1:]))
    smaller = json.loads(trackers.action_smaller(Source(run)), parse_constant=_no_constant)
    (bigger,) = json.loads(trackers.action_bigger(Source(run)), parse_constant=_no_constant)
    assert (bigger["unit"], bigger["value"], bigger["range"]) == ("tokens/s", 5.0, "± 1")
    assert len({entry["name"] for entry in smaller}) == len(smaller) == 18
    for entry in smaller:
        assert [type(entry[name]) for name in ("name", "unit", "value", "range", "extra")] == [
            str,
            str,
            float,
            str,
            str,
        ]


def test_perfetto_s_slices_nest_and_lanes_are_processes() -> None:
    """In a thread any two slices are apart or one inside the other; the server's phases are in a process of its own."""
    trace = json.loads(perfetto.report(SOURCES["story"]), parse_constant=_no_constant)["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in trace if e["name"] == "process_name"}
    assert set(names.values()) == {"measuring process", "machine", "wire", "server"}
    slices = [e for e in trace if e["ph"] == "X"]
    assert {e["name"] for e in slices if names[e["pid"]] == "server"} == {"wake", "unpack"}
    assert {e["cat"] for e in slices} == {"case", "stage", "phase"}
    for thread in {(e["pid"], e["tid"]) for e in slices}:
        ends: list[float] = []
        for each in sorted((e for e in slices if (e["pid"], e["tid"]) == thread), key=lambda e: (e["ts"], -e["dur"])):
            while ends and ends[-1] <= each["ts"] + 1e-6:
                ends.pop()
            assert not ends or each["ts"] + each["dur"] <= ends[-1] + 1e-6
            ends.append(each["ts"] + each["dur"])
    assert min(e["ts"] for e in trace if "ts" in e) == 0
    assert {e["name"] for e in trace if e["ph"] == "C"} == {"CPU taken, %", "time per call, µs"}


def test_perfetto_needs_a_recording() -> None:
    """A run document does not say what happened when."""
    with pytest.raises(ReportError, match="give the recording"):
        perfetto.report(Source(story().run))


def test_crossing_spans_get_rows_of_their_own() -> None:
    """Concurrent tasks of one process."""
    spans = [
        TimedSpan("a", "", 0, 10),
        TimedSpan("b", "", 5, 15),
        TimedSpan("a/c", "", 1, 4),
        TimedSpan("d", "", 10, 20),
    ]
    assert [[span.path for span in row] for row in perfetto.rows(spans)] == [["a", "a/c", "d"], ["b"]]


def test_a_timeline_is_bounded_and_believes_nothing() -> None:
    """The first and the last calls of a case are kept, and what is no span is passed over."""
    envelope = {"v": 1, "run": "r", "src": "s", "case": "c"}
    spans = [["a", "", 1, 2], ["a", "", 2], "x", ["a", 1, 2, 3], ["a", "", 9, 4], None]
    events = [{**envelope, "kind": "case_started", "seq": 0, "t_ns": 1}]
    events += [{**envelope, "kind": "spans", "round": n, "spans": spans, "seq": n, "t_ns": n} for n in range(1, 101)]
    events += [{**envelope, "kind": "spans", "case": "unknown", "round": 1, "spans": spans, "seq": 101, "t_ns": 101}]
    case = told(events).cases["c"]
    assert len(case.calls) + case.left_out == 100
    assert len(case.calls) == 16
    assert case.calls[0] == (TimedSpan("a", "", 1, 2), TimedSpan("a", "", 9, 9))
    assert spans_of([]) == waterfall(Timeline(), "c") == ()
    assert unix_ns("yesterday") == 0


@contextmanager
def collector(status: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A real OTLP/HTTP receiver on a loopback socket: its address, and the path and body of each request."""
    taken: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/x-protobuf"
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.timeout = 20
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join(20)


@every_source
def test_otlp_arrives_at_a_collector(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDK sent, parsed by OpenTelemetry's own protobuf: nested spans of one trace, gauges with units."""
    otlp = pytest.importorskip("perfguard.report.otlp", reason="perfguard[otlp] is not installed")
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with collector() as (url, taken):
        otlp.send(source, f"{url}/")
    assert [path for path, _ in taken] == ["/v1/traces", "/v1/metrics"]
    sent = ExportTraceServiceRequest.FromString(taken[0][1])
    spans = {span.span_id: span for scope in sent.resource_spans[0].scope_spans for span in scope.spans}
    assert len({span.trace_id for span in spans.values()}) == 1
    (root,) = [span for span in spans.values() if not span.parent_span_id]
    assert root.name == "perfguard run"
    for span in spans.values():
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert not span.parent_span_id or span.parent_span_id in spans
    if source.timeline is not None:
        copies = [span for span in spans.values() if span.name == "copy"]
        assert copies
        assert {spans[span.parent_span_id].name for span in copies} == {"rpc"}
    measured = ExportMetricsServiceRequest.FromString(taken[1][1]).resource_metrics[0].scope_metrics[0].metrics
    units = {metric.name: metric.unit for metric in measured}
    assert units["perfguard.time"] == "s"
    assert len(measured[0].gauge.data_points) == sum(case.metric("time") is not None for case in source.run.cases)


def test_otlp_lines_are_otlp_json_and_ids_follow_from_the_run() -> None:
    """A line of spans and one of metrics, ids in hexadecimal; the same run gives the same ids."""
    otlp = pytest.importorskip("perfguard.report.otlp", reason="perfguard[otlp] is not installed")
    from google.protobuf.json_format import Parse
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    text = otlp.report(SOURCES["story"])
    assert text == otlp.report(SOURCES["story"])
    spans, metrics = text.splitlines()
    first = json.loads(spans)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert re.fullmatch("[0-9a-f]{32}", first["traceId"])
    assert re.fullmatch("[0-9a-f]{16}", first["spanId"])
    assert isinstance(first["kind"], int)
    as_protobuf = re.sub(
        r'"(traceId|spanId|parentSpanId)": "([0-9a-f]+)"',
        lambda found: f'"{found[1]}": "{base64.b64encode(bytes.fromhex(found[2])).decode()}"',
        spans,
    )
    assert len(Parse(as_protobuf, TracesData()).resource_spans[0].scope_spans[0].spans) > 50
    assert Parse(metrics, MetricsData()).resource_metrics


def test_a_collector_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """With what it answered; the SDK's log stays out of the terminal."""
    otlp = pytest.importorskip("perfguard.report.otlp", reason="perfguard[otlp] is not installed")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with collector(400) as (url, _), pytest.raises(ReportError, match=r"did not take the spans.*400"):
        otlp.send(SOURCES["hostile"], url)
    assert not caplog.records


def _no_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")
