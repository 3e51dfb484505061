"""The PyTorch profiler's Chrome traces, plain or gzip: Kineto's, torch 1.8 to today, and the autograd profiler's.

Categories changed their names over the years ("Kernel" became "kernel", "Memcpy" became "gpu_memcpy"); times are
microseconds, whole at first, with nanoseconds as decimals since torch 2.3. Source: libkineto/src/output_json.cpp.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from perfguard.errors import TraceError
from perfguard.traces import model
from perfguard.traces.clocks import checked
from perfguard.traces.scan import Scanner

FORMAT = "kineto"
KERNELS = frozenset({"kernel", "Kernel"})
COPIES = frozenset({"gpu_memcpy", "Memcpy"})
MEMSETS = frozenset({"gpu_memset", "Memset"})
ANNOTATIONS = frozenset({"user_annotation", "UserAnnotation"})
RUNTIME = frozenset({"cuda_runtime", "cuda_driver", "Runtime", "privateuse1_runtime", "xpu_runtime"})
OPERATORS = frozenset({"cpu_op", "Operator"})
MAX_DIGITS = 30
LEGACY_DEVICE = "CUDA functions"

_PLAIN = re.compile(r"-?\d{1,18}(\.\d{1,3})?$")
_COPY_KINDS = (
    (re.compile(r"HtoD|HostToDevice", re.IGNORECASE), model.H2D),
    (re.compile(r"DtoH|DeviceToHost", re.IGNORECASE), model.D2H),
    (re.compile(r"DtoD|DeviceToDevice", re.IGNORECASE), model.D2D),
    (re.compile(r"PtoP|PeerToPeer", re.IGNORECASE), model.PEER),
)


def nanoseconds(microseconds: object) -> int:
    """Whole nanoseconds of a `ts` or `dur`, exact for what the file says. Raises ValueError on anything else."""
    if isinstance(microseconds, int) and not isinstance(microseconds, bool):
        return microseconds * 1000
    text = str(microseconds)
    if _PLAIN.match(text):
        whole, _, fraction = text.partition(".")
        return int(whole + (fraction + "000")[:3])
    try:
        exact = Decimal(text) * 1000
        # An exponent can ask for more digits than there is memory.
        return int(exact.to_integral_value()) if exact.adjusted() < MAX_DIGITS else _no_number(text)
    except (ArithmeticError, OverflowError, ValueError) as error:
        raise ValueError(f"no time: {text[:40]!r}") from error


def copy_kind(name: str) -> int:
    """Which way a copy goes, by its name: `Memcpy HtoD (Pinned -> Device)`, `CopyDeviceToHost`."""
    return next((kind for pattern, kind in _COPY_KINDS if pattern.search(name)), model.COPY)


def read(path: Path, *, operators: bool = False) -> model.Trace:
    """The trace in `path`; with `operators`, CPU operators count as ranges too.

    Raises `TraceError` if the file is cut off, damaged, no trace, or mixes clocks.
    """
    reader = _Reader(str(path), operators)
    scanner = Scanner(path)
    for event in scanner.events():
        reader.take(event)
    return checked(reader.trace(scanner.metadata, scanner.seen))


class _Reader:
    def __init__(self, source: str, operators: bool) -> None:
        self.source = source
        self.named = ANNOTATIONS | OPERATORS if operators else ANNOTATIONS
        self.names = model.Names(source)
        self.threads = model.Names(source)
        self.activities = model.Table(7, source)
        self.ranges = model.Table(4, source)
        self.launches = model.Table(3, source)
        self.backwards = model.Backwards()
        self.malformed = 0
        self._kinds: dict[str, int] = {}

    def take(self, event: Any) -> None:
        """Keep what is needed of one event."""
        if not isinstance(event, dict):
            self.malformed += 1
            return
        if event.get("ph") != "X":
            return
        category = event.get("cat")
        try:
            if category in self.named:
                self._range(event)
            elif category in RUNTIME:
                self._launch(event)
            elif category in KERNELS or category in COPIES or category in MEMSETS:
                self._activity(event, str(category))
            elif category is None:
                self._legacy(event)
        except (ValueError, TypeError):
            self.malformed += 1

    def _span(self, event: dict[str, Any]) -> tuple[int, int] | None:
        start, lasted = nanoseconds(event.get("ts")), nanoseconds(event.get("dur"))
        if lasted < 0:
            self.backwards.add(event.get("name"))
            return None
        return start, start + lasted

    def _thread(self, event: dict[str, Any]) -> int:
        return self.threads.number(f"{event.get('pid')}/{event.get('tid')}")

    def _range(self, event: dict[str, Any]) -> None:
        if span := self._span(event):
            self.ranges.add((*span, self.names.number(event["name"]), self._thread(event)))

    def _launch(self, event: dict[str, Any]) -> None:
        arguments = event.get("args") or {}
        correlation = arguments.get("correlation")
        if isinstance(correlation, int) and correlation > 0:
            self.launches.add((nanoseconds(event.get("ts")), self._thread(event), correlation))

    def _activity(self, event: dict[str, Any], category: str) -> None:
        span = self._span(event)
        if span is None:
            return
        name, arguments = str(event.get("name"))[: model.MAX_NAME_CHARS], event.get("args") or {}
        kind = self._kinds.get(name, -1)
        if kind < 0:
            kind = self._kinds[name] = _kind(name, category)
        if "Collective name" in arguments:
            kind = model.COMMUNICATION
        device = _whole(arguments.get("device", event.get("pid")))
        stream = _whole(arguments.get("stream", event.get("tid")))
        correlation = arguments.get("correlation")
        launch = correlation if isinstance(correlation, int) and correlation > 0 else model.NO_CORRELATION
        self.activities.add((*span, self.names.number(name), kind, device, stream, launch))

    def _legacy(self, event: dict[str, Any]) -> None:
        """The autograd profiler before Kineto: no categories, kernels under a process of their own name."""
        process, span = event.get("pid"), self._span(event)
        if span is None:
            return
        name = str(event.get("name"))
        if process == LEGACY_DEVICE:
            kind = copy_kind(name) if name.lower().startswith("memcpy") else model.kernel_kind(name)
            device = _whole(event.get("tid"))
            self.activities.add((*span, self.names.number(name), kind, device, 0, model.NO_CORRELATION))
        elif process == "CPU functions" and (self.named & OPERATORS or not name.startswith("aten::")):
            self.ranges.add((*span, self.names.number(name), self._thread(event)))

    def trace(self, metadata: dict[str, Any], seen: int) -> model.Trace:
        """All of it. `seen` is how many events the file held."""
        notes = self.backwards.notes()
        if self.malformed:
            notes.append(f"{self.malformed} of {seen} events are no trace events and are left out")
            if self.malformed == seen:
                raise TraceError(self.source, f"none of its {seen} events is one", "export it from torch.profiler")
        properties = metadata.get("deviceProperties")
        return model.Trace(
            source=self.source,
            format=FORMAT,
            names=self.names.all(),
            activities=model.Activities(*self.activities.columns()),
            ranges=model.Ranges(*self.ranges.columns()),
            launches=model.Launches(*self.launches.columns()),
            devices={
                one["id"]: str(one.get("name", ""))[:200]
                for one in (properties if isinstance(properties, list) else [])
                if isinstance(one, dict) and isinstance(one.get("id"), int)
            },
            notes=tuple(notes),
        )


def _kind(name: str, category: str) -> int:
    if category in KERNELS:
        return model.kernel_kind(name)
    return copy_kind(name) if category in COPIES else model.MEMSET


def _whole(value: object) -> int:
    """A device or stream number, which some versions write as text. Raises ValueError on anything else."""
    return int(value) if isinstance(value, int | str) else _no_number(value)


def _no_number(value: object) -> int:
    raise ValueError(f"{value!r} is no number")
