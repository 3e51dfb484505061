"""Claims about the event scanner: it reads what `json` reads, in pieces of any size, and notices every missing end."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_traces import Kineto

from perfguard.errors import TraceError
from perfguard.traces import scan
from perfguard.traces.scan import Scanner

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def small(path: Path) -> Path:
    """A trace of three events, as Kineto writes it."""
    made = Kineto()
    made.launched("kernel", "gemm", 0, 5000, 9001)
    made.range("layer_0", 0, 2000)
    return made.write(path)


def read(path: Path) -> list[object]:
    return list(Scanner(path).events())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(events=st.lists(VALUES, max_size=6), before=VALUES, after=VALUES, chunk=st.integers(1, 40), bare=st.booleans())
def test_reads_what_json_reads(
    events: list[object],
    before: object,
    after: object,
    chunk: int,
    bare: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any events, under any neighbours, as an object or as a bare list, however the reads fall: floats stay text."""
    monkeypatch.setattr(scan, "CHUNK_BYTES", chunk)
    path = tmp_path / "t.json"
    whole = events if bare else {"a": before, "traceEvents": events, "deviceProperties": after}
    path.write_text(json.dumps(whole, indent=chunk % 3 or None), encoding="utf-8")
    scanner = Scanner(path)
    assert list(scanner.events()) == json.loads(json.dumps(events), parse_float=str)
    if not bare:
        assert scanner.metadata == {"deviceProperties": json.loads(json.dumps(after), parse_float=str)}


def test_a_file_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    """Whichever byte is the last, a cut file never passes for a whole one, and the error names it."""
    whole = small(tmp_path / "whole.json").read_bytes().rstrip()
    assert len(read(tmp_path / "whole.json")) == 3
    cut = tmp_path / "cut.json"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(TraceError, match=r"cut\.json"):
            read(cut)


def test_a_cut_or_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    """Gzip is known by its content, whatever the name; one without its end, or with a wrong byte, is refused."""
    packed = gzip.compress(small(tmp_path / "t.json").read_bytes())
    path = tmp_path / "packed.json"
    path.write_bytes(packed)
    assert len(read(path)) == 3
    path.write_bytes(packed[:-9])
    with pytest.raises(TraceError, match="cut off or damaged"):
        read(path)
    middle = len(packed) // 2
    path.write_bytes(packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1 :])
    with pytest.raises(TraceError, match="packed"):
        read(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "ends in the middle"),
        ("hello", "no JSON trace"),
        ("{}", "without 'traceEvents'"),
        ('{"traceEvents": 3}', "no list"),
        ('{"traceEvents": [1, 2,, 3]}', "broken after 2 events"),
        ('{"traceEvents": [1 2]}', "broken after 1 events: a comma"),
        ('{"traceEvents": [{"a" 1}]}', "broken after 0 events"),
        ('{"traceEvents" []}', "no value after 'traceEvents'"),
        ("{traceEvents: []}", "a key is missing"),
        ('{"traceEvents": []} {}', "goes on behind its end"),
        ("[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_trace_says_where(text: str, says: str, tmp_path: Path) -> None:
    """The error says what is missing and after how many events."""
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(TraceError, match=says):
        read(path)


def test_an_item_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A string that goes on beyond the bound is refused before the file's end."""
    monkeypatch.setattr(scan, "MAX_ITEM_CHARS", 10_000)
    monkeypatch.setattr(scan, "CHUNK_BYTES", 1000)
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": ["' + "x" * 10_000_000)
    scanner = Scanner(path)
    with pytest.raises(TraceError, match="larger than 10000 characters"):
        list(scanner.events())
    assert len(scanner._text) < 100_000
