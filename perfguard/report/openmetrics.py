"""The run in the OpenMetrics text format, for Prometheus and what reads its format.

A family per kind of metric, so that what a project names becomes labels and never a family of its own. Samples have no
timestamps: node_exporter's text-file collector and the push gateway refuse them. The same text is valid in Prometheus'
older format, in which `# UNIT` and `# EOF` are comments; that is why all families are gauges.
Source: OpenMetrics 1.0, https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from perfguard.document import Case, Kind, Metric, Run
from perfguard.report.source import Source
from perfguard.report.timeline import unix_ns

# Kind -> (family without its unit, unit, help). A throughput's unit is in its label `per`.
_FAMILIES: Mapping[Kind, tuple[str, str, str]] = {
    "time": ("perfguard_time", "seconds", "Median time of a case"),
    "throughput": ("perfguard_throughput", "", "Median of what a case did per second, of the unit in its label"),
    "bytes": ("perfguard_size", "bytes", "Median size"),
    "count": ("perfguard_amount", "", "Count of what its unit says"),
    "ratio": ("perfguard_relation", "ratio", "Median of one figure over another"),
    "fraction": ("perfguard_share", "ratio", "Median of a part of a whole"),
}
_BOUNDS = ("low", "high")


def report(source: Source) -> str:
    """The text of the file, for the registry of exports."""
    return render(source.run)


def render(run: Run) -> str:
    """The exposition, from the run's facts to `# EOF`."""
    return "".join(f"{line}\n" for line in _lines(run)) + "# EOF\n"


def _lines(run: Run) -> Iterator[str]:
    figures = [(case, metric) for case in run.cases if case.status == "passed" for metric in case.metrics]
    yield from _run_lines(run)
    for kind, (name, unit, text) in _FAMILIES.items():
        of_kind = [(case, metric) for case, metric in figures if metric.kind == kind]
        if not of_kind:
            continue
        yield from _family(name, unit, text, ((_labels(c, m), m.median) for c, m in of_kind))
        for bound in _BOUNDS:
            ends = ((_labels(c, m), m.ci[bound == "high"]) for c, m in of_kind)
            yield from _family(f"{name}_{bound}", unit, f"{text}: its interval's {bound} end", ends)
    judged = [(case, metric) for case, metric in figures if metric.verdict is not None]
    yield from _change_lines(judged)
    yield from _phase_lines(run)


def _run_lines(run: Run) -> Iterator[str]:
    facts = {
        "run": run.run_id,
        "profile": run.profile,
        "machine_class": str(run.machine.get("class", "")),
        "commit": str(run.commit.get("id", "")),
        "branch": str(run.commit.get("branch", "")),
    }
    yield from _family("perfguard_run_info", "", "The run that the other samples are of", [(facts, 1)])
    yield from _family("perfguard_run_started", "seconds", "Unix time", [({}, unix_ns(run.started) / 1e9)])
    if run.gate is not None:
        yield from _family("perfguard_gate_exit_status", "", "0: the gate passes", [({}, run.gate.exit_status)])
    if run.noise is not None:
        shares = [({"whose": "others"}, run.noise.others), ({"whose": "hypervisor"}, run.noise.steal)]
        yield from _family("perfguard_noise", "ratio", "CPU taken meanwhile, of all CPUs, median", shares)


def _change_lines(judged: list[tuple[Case, Metric]]) -> Iterator[str]:
    changed = [(_labels(c, m), m.change) for c, m in judged if m.change is not None]
    if changed:
        name, text = "perfguard_change", "Now over the baseline"
        yield from _family(name, "ratio", text, ((labels, change.ratio) for labels, change in changed))
        for bound in _BOUNDS:
            ends = ((labels, change.ci[bound == "high"]) for labels, change in changed)
            yield from _family(f"{name}_{bound}", "ratio", f"{text}: its interval's {bound} end", ends)
    if judged:
        verdicts = (({**_labels(c, m), "verdict": m.verdict or ""}, 1) for c, m in judged)
        yield from _family("perfguard_verdict", "", "What the gate says of a metric is in its label", verdicts)


def _phase_lines(run: Run) -> Iterator[str]:
    phases = [
        ({"suite": case.suite, "case": case.id, "phase": path}, seconds)
        for case in run.cases
        if case.account is not None
        for path, seconds in (
            *((phase.path, phase.median_s) for phase in case.account.phases),
            ("unaccounted", case.account.unaccounted_median_s),
        )
    ]
    if phases:
        yield from _family("perfguard_phase", "seconds", "Median self time of a phase in a call", phases)


def _family(name: str, unit: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    full = f"{name}_{unit}" if unit else name
    yield f"# TYPE {full} gauge"
    if unit:
        yield f"# UNIT {full} {unit}"
    yield f"# HELP {full} {text}"
    seen = set()
    for labels, value in samples:
        braces = _braces(labels)
        if braces not in seen:  # names that differ only in what a label cannot hold: a sample may be there once
            seen.add(braces)
            yield f"{full}{braces} {float(value)!r}"


def _labels(case: Case, metric: Metric) -> dict[str, str]:
    return {
        "suite": case.suite,
        "case": case.id,
        "metric": metric.name,
        "unit": metric.unit,
        "gated": str(metric.gated).lower(),
    }


def _braces(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items() if value)
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    clean = "".join("\ufffd" if c in "\x00\r" or "\ud800" <= c <= "\udfff" else c for c in text)
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
