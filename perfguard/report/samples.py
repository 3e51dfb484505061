"""Every sample of a run as a row, in CSV or Parquet, for a data frame or a database."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from perfguard.document import Run
from perfguard.report.source import Source

# Column -> its type in Parquet. Values are in `unit`: seconds, bytes, something per second, or none.
COLUMNS = {
    "run": "name",
    "started": "name",
    "commit": "name",
    "machine_class": "name",
    "profile": "name",
    "suite": "name",
    "case": "name",
    "metric": "name",
    "unit": "name",
    "kind": "name",
    "direction": "name",
    "verdict": "name",
    "sample": "index",
    "value": "number",
}


def rows(run: Run) -> Iterator[tuple[Any, ...]]:
    """One row per sample, in the order of `COLUMNS`; a metric without samples gives its median as the only one."""
    facts = (run.run_id, run.started, run.commit.get("id", ""), run.machine.get("class", ""), run.profile)
    head = tuple(map(_encodable, facts))
    for case in run.cases:
        for metric in case.metrics:
            own = (case.suite, case.id, metric.name, metric.unit, metric.kind, metric.direction, metric.verdict or "")
            told = (*head, *map(_encodable, own))
            for index, value in enumerate(metric.samples or (metric.median,)):
                yield (*told, index, value)


def _encodable(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


def csv_report(source: Source) -> str:
    """The text of a CSV file as RFC 4180 has it but with bare line feeds, and with a head line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(source.run))
    return text.getvalue()


def parquet_report(source: Source) -> bytes:
    """The bytes of a Parquet file. Needs pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"name": pa.dictionary(pa.int32(), pa.string()), "index": pa.int32(), "number": pa.float64()}
    found = list(rows(source.run))
    columns = list(zip(*found, strict=True)) if found else [()] * len(COLUMNS)
    arrays = []
    for values, kind in zip(columns, COLUMNS.values(), strict=True):
        plain = pa.array(values, type=pa.string() if kind == "name" else types[kind])
        arrays.append(plain.dictionary_encode() if kind == "name" else plain)
    table = pa.Table.from_arrays(arrays, names=list(COLUMNS))
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"perfguard": "samples/1"}), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
