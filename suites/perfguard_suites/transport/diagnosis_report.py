"""A diagnosis for people (text) and for programs (a JSON document). Pure: a `Diagnosis` in, text or plain types out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from perfguard.stats import Interval
from perfguard_suites.transport.diagnosis import Diagnosis
from perfguard_suites.transport.latency_model import KIB, MIB, SizePoint

_DISTURBED = 0.1
SCHEMA = "perfguard.transport-diagnosis/1"


def as_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything found, as plain JSON types; seconds and bytes as the names say."""
    return {"schema": SCHEMA, **asdict(diagnosis)}


def as_text(diagnosis: Diagnosis) -> str:
    """The report for a terminal."""
    sections = (_head, _in_use, _sizes, _phases, _prediction, _advice, _cpu, _notes)
    return "\n".join("\n".join(section(diagnosis)) for section in sections).rstrip() + "\n"


def headline(d: Diagnosis) -> str:
    """The finding in one line: the shares of copying, moving and waking, and the best measured advice."""
    share = {found.phase: found.share for found in d.phases}
    finding = f"copies {d.copies.share:.0%} of the time, wire {share['wire']:.0%}, waking {share['wake-up']:.0%}"
    best = d.advice[0] if d.advice and d.advice[0].effect == "saves" else None
    return f"{finding}; {best}" if best else f"{finding}; nothing measured here would save time"


def _head(d: Diagnosis) -> Iterator[str]:
    yield f"Transport diagnosis of {d.target.effective}: {headline(d)}"
    yield (
        f"  {d.calls} calls for {d.tokens} tokens, {d.sent_bytes / MIB:.2f} MiB sent and"
        f" {d.received_bytes / MIB:.2f} received a pass, {d.rounds} rounds;"
        f" other processes used {d.others_cpu:.0%} of the CPUs meanwhile"
        + (": disturbed, repeat it when they are quiet" if d.others_cpu > _DISTURBED else "")
    )
    for warning in d.warnings:
        yield f"  WARNING: {warning}"
    yield ""


def _in_use(d: Diagnosis) -> Iterator[str]:
    yield "In use, as the kernel and the socket say"
    yield f"  carrier: {d.in_use.carrier}; endpoint asked from the socket: {d.endpoint}"
    for fact in d.in_use.evidence:
        yield f"  - {fact}"
    if d.resident_bytes:
        yield "  resident memory: " + ", ".join(f"{who} {n / MIB:.0f} MiB" for who, n in d.resident_bytes.items())
    yield ""


def _sizes(d: Diagnosis) -> Iterator[str]:
    yield "Time of a round trip by size, median (n each: " + f"{min(len(p.seconds) for p in d.sizes)}), amid the mix"
    points = {(point.sent_bytes, point.received_bytes): point for point in d.sizes}
    yield f"  {'payload':>10} {'sent':>12} {'received':>12} {'both ways':>12}"
    for size in sorted({max(pair) for pair in points}):
        cells = [points.get(pair) for pair in ((size, 0), (0, size), (size, size))]
        yield f"  {_size(size):>10} " + " ".join(f"{_cell(cell):>12}" for cell in cells)
    yield ""


def _phases(d: Diagnosis) -> Iterator[str]:
    exact = "exactly as the shapes predict" if not d.bytes_unexplained else f"{d.bytes_unexplained} UNEXPLAINED"
    yield f"Where the time of the mix goes: {_interval(d.mix_s)} a pass; payload bytes {exact}"
    naive = d.target.kind.startswith("naive")
    for share in d.phases:
        yield f"  {share.phase:<12} {share.share:>6.1%}  {_interval(share.seconds)}"
    yield (
        f"  copies of the payload: {d.copies.share:.1%}, {_interval(d.copies.seconds)}"
        + (" (copy, and packing and unpacking beyond an empty message's)" if naive else "")
    )
    yield (
        f"  for scale: one memcpy of the same bytes {_ms(d.memcpy_s.estimate)}, an empty round trip"
        f" {d.empty_s.estimate * 1e6:.0f} µs"
    )
    if d.target.kind != "shm":
        yield "  wake-up is what an empty message takes between packed and arrived, wire is the rest of that stretch"
    if naive:
        yield "  wire holds further copies: ZeroMQ's own, into the kernel, and out of it"
    yield ""


def _prediction(d: Diagnosis) -> Iterator[str]:
    p = d.prediction
    yield "The mix foretold from the sizes above"
    yield (
        f"  fit ({p.model}; {p.held_out_error:.1%} off on sizes left out): {_ms(p.predicted_s)},"
        f" measured {_ms(p.measured_s)} (sum of each call's median): {p.error:.1%} off"
    )
    yield (
        f"  one 10 MiB echo ({_ms(p.echo_s)} a round trip) would promise {_ms(p.echo_estimate_s)}:"
        f" {p.echo_error:.0%} off"
    )
    yield ""


def _advice(d: Diagnosis) -> Iterator[str]:
    confidence = d.advice[0].saving_s.confidence if d.advice else 0.0
    yield (
        f"Advice, each line measured in the same {d.rounds} rounds (paired differences, median ±"
        f" half the {confidence:.0%} interval)"
    )
    for number, advice in enumerate(d.advice, 1):
        yield f"  {number}. {advice}"
    yield ""


def _cpu(d: Diagnosis) -> Iterator[str]:
    yield "CPU a pass of the mix, median"
    yield f"  {'':<14} {'wall':>10} {'client CPU':>11} {'server CPU':>11} {'CPUs busy':>10}"
    for cost in d.cpu:
        busy = (cost.client_cpu_s + cost.server_cpu_s) / cost.wall_s
        yield (
            f"  {cost.name:<14} {_ms(cost.wall_s):>10} {_ms(cost.client_cpu_s):>11} {_ms(cost.server_cpu_s):>11}"
            f" {busy:>10.2f}"
        )
    yield ""


def _notes(d: Diagnosis) -> Iterator[str]:
    for note in d.notes:
        yield f"note: {note}"


def _cell(point: SizePoint | None) -> str:
    return "" if point is None else _ms(point.median_s)


def _size(size_bytes: int) -> str:
    if size_bytes < KIB:
        return "empty" if size_bytes == 0 else f"{size_bytes} B"
    if size_bytes < MIB:
        return f"{size_bytes / KIB:.4g} KiB"
    return f"{size_bytes / MIB:.4g} MiB"


def _interval(interval: Interval) -> str:
    return f"{_ms(interval.estimate)} [{_ms(interval.low)}, {_ms(interval.high)}]"


def _ms(seconds: float) -> str:
    ms = seconds * 1e3
    return f"{ms:.0f} ms" if abs(ms) >= 100 else f"{ms:.1f} ms" if abs(ms) >= 10 else f"{ms:.2f} ms"
