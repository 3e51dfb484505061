"""The run as JUnit XML, for CI servers that show test results: verdicts as test outcomes.

The layout is what Jenkins' xunit plugin checks (`junit-10.xsd`): suites, cases, and in a case at most one `failure`,
`error` or `skipped`, then `system-out`. Figures are text in `system-out`, since properties of a case are not in that
schema. A last case, `gate`, fails exactly if the gate does, so that the file says what the exit status says.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable

from perfguard.document import Case, Metric, Run
from perfguard.report.lines import leading
from perfguard.report.source import Source
from perfguard.report.words import GLYPHS, account_line, change_line, figure, phase_change_line

# What XML 1.0 cannot hold, not even escaped (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
GATE = "gate"


def report(source: Source) -> bytes:
    """The bytes of the file, for the registry of reports."""
    return render(source.run)


def render(run: Run) -> bytes:
    """The document in UTF-8."""
    root = ET.Element("testsuites", name="perfguard")
    suites: dict[str, list[Case]] = {}
    for case in run.cases:
        suites.setdefault(case.suite, []).append(case)
    for name, cases in suites.items():
        _add_suite(root, run, name, [_test_case(case, run) for case in cases])
    _add_suite(root, run, "perfguard", [_gate_case(run)])
    for what in ("tests", "failures", "errors"):
        root.set(what, str(sum(int(suite.get(what, "0")) for suite in root)))
    root.set("time", f"{sum(case.duration_s for case in run.cases):.3f}")
    ET.indent(root, " ")
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_suite(root: ET.Element, run: Run, name: str, cases: list[ET.Element]) -> None:
    suite = ET.SubElement(root, "testsuite", name=xml_text(name) or "perfguard")
    for case in cases:
        suite.append(case)
    suite.set("tests", str(len(cases)))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
    suite.set("timestamp", xml_text(run.started.partition(".")[0].partition("+")[0].removesuffix("Z")))
    suite.set("hostname", xml_text(str(run.machine.get("class", ""))))


def _test_case(case: Case, run: Run) -> ET.Element:
    place, _, test = case.key.partition("::")
    element = ET.Element(
        "testcase",
        classname=xml_text(place) or "perfguard",
        name=xml_text(test) or "case",
        time=f"{case.duration_s:.3f}",
    )
    slower = [m for m in case.metrics if m.gated and m.verdict == "slower"]
    if case.status in ("failed", "error"):
        tag = "failure" if case.status == "failed" else "error"
        _told(element, tag, case.notes[-1] if case.notes else case.status, "perfguard.broken")
    elif case.status == "skipped":
        ET.SubElement(element, "skipped")
    elif slower and (run.gate is None or run.gate.exit_status != 0):
        _told(element, "failure", "\n".join(line for metric in slower for line in _alarm(metric)), "perfguard.slower")
    ET.SubElement(element, "system-out").text = xml_text("\n".join(_figures(case)))
    return element


def _gate_case(run: Run) -> ET.Element:
    element = ET.Element("testcase", classname="perfguard", name=GATE, time="0.000")
    if run.gate is None:
        _told(element, "error", "the run did not end", "perfguard.gate")
    elif run.gate.exit_status != 0:
        _told(element, "failure", run.gate.reason, "perfguard.gate")
    return element


def _told(element: ET.Element, tag: str, text: str, kind: str) -> None:
    clean = xml_text(text)
    message = next(iter(clean.splitlines()), "")
    ET.SubElement(element, tag, message=message, type=kind).text = clean


def _alarm(metric: Metric) -> Iterable[str]:
    yield f"slower: {change_line(metric)}"
    if metric.change is not None:
        yield from (phase_change_line(phase) for phase in leading(metric.change.phases))


def _figures(case: Case) -> Iterable[str]:
    for metric in case.metrics:
        verdict = metric.verdict or ""
        yield f"{GLYPHS.get(verdict, ' ')} {verdict:<7} {metric.name} {figure(metric)}"
        if metric.change is not None:
            yield f"          {change_line(metric)}"
    if case.account is not None and case.account.phases:
        yield account_line(case.account)
    yield from case.notes


def xml_text(text: str) -> str:
    """The text without the characters that XML cannot hold, each replaced by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)
