"""Nsight Systems' SQLite exports: kernels, copies, memsets, NVTX ranges and the runtime calls that launched them.

Tables are created lazily (a run without copies has no MEMCPY table) and gained columns over the years, so each is
looked up before it is read. Times are nanoseconds since the session's start. Source: the schema in Nsight Systems'
documentation, "Exporting: SQLite Schema Reference".
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perfguard.errors import TraceError
from perfguard.traces import model
from perfguard.traces.clocks import checked

FORMAT = "nsys"
SQLITE_MAGIC = b"SQLite format 3\x00"
KERNEL, MEMCPY, MEMSET, RUNTIME, NVTX = (
    "CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_MEMCPY",
    "CUPTI_ACTIVITY_KIND_MEMSET",
    "CUPTI_ACTIVITY_KIND_RUNTIME",
    "NVTX_EVENTS",
)
COPY_KINDS = {1: model.H2D, 2: model.D2H, 8: model.D2D, 10: model.PEER}
COPY_WORDS = {
    model.H2D: "Memcpy HtoD",
    model.D2H: "Memcpy DtoH",
    model.D2D: "Memcpy DtoD",
    model.PEER: "Memcpy PtoP",
    model.COPY: "Memcpy",
}
# Push/pop and start/end ranges, by the API and by text import; the other types are marks and names.
RANGE_TYPES = (59, 60, 70, 71)
DOMAIN_TYPE = 75
# A process is the upper part of a global thread id; correlation ids are 32 bits wide and per process.
PID_SHIFT, CORRELATION_BITS = 24, 32
EXPORT_ADVICE = "export it with: nsys export --type sqlite REPORT.nsys-rep"


def read(path: Path) -> model.Trace:
    """The trace in a SQLite export. Raises `TraceError` if it is none, damaged, or mixes clocks.

    A file without any CUDA table gives its ranges, and a note.
    """
    if not path.is_file():
        raise TraceError(str(path), "is no file", EXPORT_ADVICE)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            return checked(_Export(str(path), connection).trace())
    except sqlite3.Error as error:
        raise TraceError(str(path), f"cannot be read as SQLite: {error}", EXPORT_ADVICE) from error


class _Export:
    def __init__(self, source: str, connection: sqlite3.Connection) -> None:
        self.source = source
        self.connection = connection
        self.names = model.Names(source)
        self.processes = model.Names(source)
        self.backwards = model.Backwards()
        self.open_ranges = 0
        tables = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self.columns = {
            table: frozenset(str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})"))
            for table in tables
            if table in {KERNEL, MEMCPY, MEMSET, RUNTIME, NVTX, "StringIds", "TARGET_INFO_GPU"}
        }
        if not self.columns.keys() & {KERNEL, MEMCPY, MEMSET, NVTX}:
            raise TraceError(
                source, f"holds neither CUDA nor NVTX tables (found {', '.join(tables[:5]) or 'none'})", EXPORT_ADVICE
            )

    def trace(self) -> model.Trace:
        """All tables that are there."""
        activities = self._activities()
        ranges = self._ranges()
        notes = self.backwards.notes()
        if self.open_ranges:
            notes.append(f"{self.open_ranges} ranges never ended and are left out")
        if not self.columns.keys() & {KERNEL, MEMCPY, MEMSET}:
            notes.append("no CUDA tables: record with `nsys profile --trace cuda,nvtx`")
        return model.Trace(
            source=self.source,
            format=FORMAT,
            names=self.names.all(),
            activities=model.Activities(*activities.columns()),
            ranges=model.Ranges(*ranges.columns()),
            launches=model.Launches(*self._launches().columns()),
            devices=self._devices(),
            notes=tuple(notes),
        )

    def _activities(self) -> model.Table:
        table = model.Table(7, self.source)
        for start, end, device, stream, process, correlation, name in self._rows(
            KERNEL, "deviceId", "streamId", "globalPid", "correlationId", text=("demangledName", "shortName", "name")
        ):
            self._add(table, (start, end), name, model.kernel_kind(name), (device, stream, process, correlation))
        for start, end, device, stream, process, correlation, copied in self._rows(
            MEMCPY, "deviceId", "streamId", "globalPid", "correlationId", "copyKind"
        ):
            kind = COPY_KINDS.get(copied, model.COPY)
            self._add(table, (start, end), COPY_WORDS[kind], kind, (device, stream, process, correlation))
        for start, end, device, stream, process, correlation in self._rows(
            MEMSET, "deviceId", "streamId", "globalPid", "correlationId"
        ):
            self._add(table, (start, end), "Memset", model.MEMSET, (device, stream, process, correlation))
        return table

    def _add(
        self, table: model.Table, span: tuple[int, int], name: str, kind: int, place: tuple[int, int, int, int]
    ) -> None:
        device, stream, process, correlation = place
        if span[1] < span[0]:
            self.backwards.add(name)
            return
        table.add((*span, self.names.number(name), kind, device, stream, self._launch_key(process, correlation)))

    def _launch_key(self, process: int, correlation: int) -> int:
        if correlation <= 0:
            return model.NO_CORRELATION
        return (self.processes.number(process >> PID_SHIFT) << CORRELATION_BITS) + (correlation & 0xFFFFFFFF)

    def _launches(self) -> model.Table:
        table = model.Table(3, self.source)
        for start, _, thread, correlation in self._rows(RUNTIME, "globalTid", "correlationId"):
            if correlation > 0:
                table.add((start, thread, self._launch_key(thread, correlation)))
        return table

    def _ranges(self) -> model.Table:
        table = model.Table(4, self.source)
        domains = self._domains()
        rows = self._rows(NVTX, "globalTid", "domainId", "eventType", text=("text", "textId"), open_ends=True)
        for start, end, thread, domain, kind, name in rows:
            if kind not in RANGE_TYPES and "eventType" in self.columns[NVTX]:
                continue
            if end is None:
                self.open_ranges += 1
                continue
            full = f"{domains[domain]}:{name}" if domain in domains else name
            if end < start:
                self.backwards.add(full)
            else:
                table.add((start, end, self.names.number(full), thread))
        return table

    def _domains(self) -> dict[int, str]:
        if not {"domainId", "eventType"} <= self.columns.get(NVTX, frozenset()):
            return {}
        rows = self._rows(NVTX, "domainId", "eventType", text=("text", "textId"), open_ends=True)
        return {domain: name for _, _, domain, kind, name in rows if kind == DOMAIN_TYPE and domain}

    def _devices(self) -> dict[int, str]:
        if not {"id", "name"} <= self.columns.get("TARGET_INFO_GPU", frozenset()):
            return {}
        rows = self.connection.execute("SELECT id, name FROM TARGET_INFO_GPU LIMIT 64")
        return {int(one): str(name)[:200] for one, name in rows if isinstance(one, int)}

    def _rows(self, table: str, *wanted: str, text: tuple[str, ...] = (), open_ends: bool = False) -> Iterator[Any]:
        """Start, end and the integers `wanted` (0 where the column is absent or null), then a text if asked for."""
        have = self.columns.get(table)
        if have is None:
            return
        if not {"start", "end"} <= have:
            raise TraceError(self.source, f"its table {table} has no start and end", EXPORT_ADVICE)
        numbers = [f"ifnull(t.{column}, 0)" if column in have else "0" for column in wanted]
        columns = ["t.start", 't."end"', *numbers]
        joins = ""
        if text:
            columns.append(self._text(have, text))
        query = f"SELECT {', '.join(columns)} FROM {table} AS t{joins}"  # noqa: S608 - names from the schema above
        optional = 1 if open_ends else None
        for row in self.connection.execute(query):
            for place, value in enumerate(row[: 2 + len(wanted)]):
                if not isinstance(value, int) and not (value is None and place == optional):
                    column = ("start", "end", *wanted)[place]
                    raise TraceError(self.source, f"{table}.{column} holds {value!r}, no whole number", EXPORT_ADVICE)
            yield (*row[:-1], "(unnamed)" if row[-1] is None else str(row[-1])) if text else row

    def _text(self, have: frozenset[str], candidates: tuple[str, ...]) -> str:
        """SQL for the first of `candidates` that is text, or the number of one in StringIds."""
        forms = []
        for column in candidates:
            if column not in have:
                continue
            if {"id", "value"} <= self.columns.get("StringIds", frozenset()):
                forms.append(f"(SELECT s.value FROM StringIds AS s WHERE s.id = t.{column})")  # noqa: S608 - as above
            forms.append(f"CASE typeof(t.{column}) WHEN 'text' THEN t.{column} END")
        return f"coalesce({', '.join(forms)}, NULL)" if forms else "NULL"
