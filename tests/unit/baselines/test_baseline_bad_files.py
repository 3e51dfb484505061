"""A file that breaks the schema is named with file, line and key, and never read as "no baseline"."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from baseline_runs import CLASS

from perfguard import baselines
from perfguard.errors import BaselineError

GOOD = f"""\
schema = "perfguard.baseline/1"
suite = "transport"
machine_class = "{CLASS}"

[machine]
cpus = 2

# the round trip
["m::test_echo[1]".time]
unit = "s"
direction = "lower"
kind = "time"
gated = true
limit = "20%"
process_runs = [
  {{ date = 2026-01-31T12:00:00Z, commit = "ab12cd3", n = 120, median = 0.5, ci = [0.4, 0.6] }},
  {{ date = 2026-01-31T12:00:01Z, commit = "", n = 3, median = 0.5, ci = [0.4, 0.6], phases = {{ copy = 0.5 }} }},
]

["m::test_echo[1]".tokens]
unit = "tokens/s"
direction = "higher"
kind = "throughput"
gated = false
process_runs = [{{ date = 2026-01-31T12:00:00Z, commit = "", n = 1, median = 5, ci = [5, 5] }}]
"""
METRIC = '"m::test_echo[1]".time'
RUN = f"{METRIC}.process_runs"

# what to replace, by what, and then: line, key, words of the message
BAD = {
    "another schema": (
        "baseline/1",
        "baseline/2",
        1,
        "schema",
        "this perfguard reads 'perfguard.baseline/1'",
    ),
    "no schema": ('schema = "perfguard.baseline/1"\n', "", 1, "schema", "None"),
    "another suite": (
        'suite = "transport"',
        'suite = "rpc"',
        2,
        "suite",
        "'rpc' in a file named transport.toml",
    ),
    "no suite": ('suite = "transport"\n', "", 1, "suite", "missing"),
    "another class": (f'"{CLASS}"', '"other"', 3, "machine_class", "'other' in a file under"),
    "empty class": (f'"{CLASS}"', '""', 3, "machine_class", "empty"),
    "machine no table": ("[machine]\ncpus = 2", "machine = 3", 5, "machine", "an? integer, not a table"),
    "stray key": ("[machine]", 'colour = "red"\n[machine]', 5, "colour", "unknown key .*known: schema"),
    "metric no table": (
        f"[{METRIC}]\nunit",
        '["m::x"]\ntime = 3\nunit',
        10,
        '"m::x".time',
        "an? integer, not a table of",
    ),
    "misspelt key": ("limit", "limt", 14, f"{METRIC}.limt", "did you mean 'limit'"),
    "bad limit": ('"20%"', '"-20%"', 14, f"{METRIC}.limit", "is not a limit"),
    "negative limit": ('"20%"', "-0.2", 14, f"{METRIC}.limit", "is not a limit"),
    "unknown unit": ('unit = "s"', 'unit = "ms"', 10, f"{METRIC}.unit", "'ms' does not fit kind 'time'"),
    "unit of bytes": ('"tokens/s"', '"tokens"', 21, '"m::test_echo[1]".tokens.unit', "something per second"),
    "unit no text": ('unit = "s"', "unit = 3", 10, f"{METRIC}.unit", "an? integer, not text"),
    "no unit": ('unit = "s"\n', "", 9, f"{METRIC}.unit", "missing"),
    "unknown kind": ('kind = "time"', 'kind = "speed"', 12, f"{METRIC}.kind", "'speed' .*one of time"),
    "no kind": ('kind = "time"\n', "", 9, f"{METRIC}.kind", "missing"),
    "kind of elsewhere": (
        'unit = "s"\ndirection = "lower"\nkind = "time"',
        'unit = ""\ndirection = "lower"\nkind = "count"',
        12,
        f"{METRIC}.kind",
        "does not belong in this file",
    ),
    "unknown direction": ('"lower"', '"down"', 11, f"{METRIC}.direction", "one of lower, higher"),
    "gated no boolean": (
        "gated = true",
        'gated = "yes"',
        13,
        f"{METRIC}.gated",
        "a string, not true or false",
    ),
    "runs no array": (
        "process_runs = [{",
        'process_runs = "x" #',
        25,
        '"m::test_echo[1]".tokens.process_runs',
        "not an array",
    ),
    "no runs": (
        '[{ date = 2026-01-31T12:00:00Z, commit = "", n = 1, median = 5, ci = [5, 5] }]',
        "[]",
        25,
        '"m::test_echo[1]".tokens.process_runs',
        "empty",
    ),
    "run no table": (
        '  { date = 2026-01-31T12:00:00Z, commit = "ab12cd3", n = 120, median = 0.5, ci = [0.4, 0.6] },',
        "  7,",
        16,
        f"{RUN}[0]",
        "an? integer, not a table",
    ),
    "unknown run key": ("n = 3,", "n = 3, mean = 1,", 17, f"{RUN}[1].mean", "unknown key"),
    "no samples": ("n = 120", "n = 0", 16, f"{RUN}[0].n", "0 samples"),
    "n no integer": ("n = 3", "n = 3.5", 17, f"{RUN}[1].n", "a float, not an integer"),
    "n a boolean": ("n = 3", "n = true", 17, f"{RUN}[1].n", "a boolean, not an integer"),
    "negative time": (
        "n = 120, median = 0.5",
        "n = 120, median = -0.5",
        16,
        f"{RUN}[0].median",
        "negative: -0.5",
    ),
    "NaN": ("n = 3, median = 0.5", "n = 3, median = nan", 17, f"{RUN}[1].median", "the figure is nan"),
    "infinity": ("n = 3, median = 0.5", "n = 3, median = 1e999", 17, f"{RUN}[1].median", "the figure is inf"),
    "huge integer": (
        "n = 3, median = 0.5",
        f"n = 3, median = {10**400}",
        17,
        f"{RUN}[1].median",
        "the figure is inf",
    ),
    "median no number": (
        "n = 3, median = 0.5",
        'n = 3, median = "fast"',
        17,
        f"{RUN}[1].median",
        "a string, not a number",
    ),
    "no median": ("n = 3, median = 0.5", "n = 3", 17, f"{RUN}[1].median", "missing"),
    "interval of one": (
        "ci = [0.4, 0.6] }",
        "ci = [0.4] }",
        16,
        f"{RUN}[0].ci",
        "not an array of two numbers",
    ),
    "interval upside down": (
        "ci = [0.4, 0.6] }",
        "ci = [0.6, 0.4] }",
        16,
        f"{RUN}[0].ci",
        "0.6 is above the upper end 0.4",
    ),
    "date no date": ("2026-01-31T12:00:01Z", '"yesterday"', 17, f"{RUN}[1].date", "a string, not a date"),
    "date without offset": (
        "2026-01-31T12:00:01Z",
        "2026-01-31T12:00:01",
        17,
        f"{RUN}[1].date",
        "has no offset",
    ),
    "date out of range": (
        "2026-01-31T12:00:01Z",
        "0001-01-01T00:00:00+14:00",
        17,
        f"{RUN}[1].date",
        "no date in UTC",
    ),
    "commit no text": ('commit = "ab12cd3"', "commit = 7", 16, f"{RUN}[0].commit", "an? integer, not text"),
    "endless commit": ('"ab12cd3"', f'"{"a" * 3000}"', 16, f"{RUN}[0].commit", "3000 characters"),
    "phases no table": ("{ copy = 0.5 }", "[1]", 17, f"{RUN}[1].phases", "an array, not a table"),
    "negative phase": ("copy = 0.5", '"rpc/copy" = -0.5', 17, f'{RUN}[1].phases."rpc/copy"', "negative"),
    "phases of a rate": (
        "median = 5,",
        "median = 5, phases = { a = 1.0 },",
        25,
        '"m::test_echo[1]".tokens.process_runs[0].phases',
        "has no phases",
    ),
}


def _write(folder: Path, text: str | bytes) -> Path:
    path = folder / CLASS / "transport.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_good_file_is_good(tmp_path: Path) -> None:
    """What the bad ones below are variations of; a person's limit is read."""
    _write(tmp_path, GOOD)
    stored = baselines.load(tmp_path, CLASS)
    time = stored.metric("transport", "m::test_echo[1]", "time", "time")
    assert time is not None
    assert time.limit == 0.2
    assert time.medians == (0.5, 0.5)
    assert time.source.endswith("transport.toml:9")
    assert stored.count() == 1


@pytest.mark.parametrize("what", BAD)
def test_bad_content_is_named_by_file_line_and_key(tmp_path: Path, what: str) -> None:
    """The message leads to the place, and the exit status is that of an unreadable baseline."""
    old, new, line, key, words = BAD[what]
    assert old in GOOD
    path = _write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(BaselineError, match=words) as caught:
        baselines.load(tmp_path, CLASS)
    assert caught.value.culprit == f"{path}:{line}: {key}"
    assert caught.value.exit_status == 4


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD[: GOOD.index("n = 3,")], 17, "not TOML"),
        (GOOD.replace('unit = "s"', "unit = s"), 10, "not TOML"),
        (GOOD + '["m::test_echo[1]".time]\n', 26, "not TOML"),
        (GOOD.encode() + b"# caf\xe9\n", 26, "not UTF-8"),
        (b"\x00\x01\x02", 1, "not TOML"),
        (b"\xff\xfe" + GOOD.encode("utf-16-le"), 1, "not UTF-8"),
        ("x = " + "[" * 100_000, 1, "not TOML"),
        ("x = " + "9" * 10_000, 1, "not TOML"),
        (b"", 1, "None, this perfguard reads"),
    ],
    ids=["truncated", "bare word", "twice", "latin-1", "binary", "utf-16", "deep", "long integer", "empty"],
)
def test_bytes_that_are_no_toml_are_named_by_file_and_line(
    tmp_path: Path, text: str | bytes, line: int, words: str
) -> None:
    """Truncated, garbled or hostile: a message, not a traceback."""
    path = _write(tmp_path, text)
    with pytest.raises(BaselineError, match=words) as caught:
        baselines.load(tmp_path, CLASS)
    assert caught.value.culprit.startswith(f"{path}:{line}")


def test_a_file_cut_anywhere_is_bad_or_says_less(tmp_path: Path) -> None:
    """Every prefix of a good file raises `BaselineError`, or reads as its whole tables so far."""
    for end in range(len(GOOD)):
        _write(tmp_path, GOOD[:end])
        try:
            metrics = baselines.load(tmp_path, CLASS).metrics
        except BaselineError:
            continue
        assert set(metrics) <= {("transport", "m::test_echo[1]", name) for name in ("time", "tokens")}


def test_a_bad_file_is_not_passed_over_by_an_update(tmp_path: Path) -> None:
    """Nor overwritten: a person will want to see what is in it."""
    from baseline_runs import case, run, time_metric

    path = _write(tmp_path, GOOD.replace("n = 120", "n = many"))
    with pytest.raises(BaselineError, match="not TOML"):
        baselines.update(tmp_path, run(case(time_metric())))
    assert "n = many" in path.read_text()


def test_a_portable_file_names_no_machine_class(tmp_path: Path) -> None:
    """And an absolute one must."""
    path = tmp_path / "portable" / "transport.toml"
    path.parent.mkdir()
    path.write_text(f'schema = "perfguard.baseline/1"\nsuite = "transport"\nmachine_class = "{CLASS}"\n')
    with pytest.raises(BaselineError, match="in a file under portable/") as caught:
        baselines.load(tmp_path, CLASS)
    assert caught.value.culprit == f"{path}:3: machine_class"
    path.rename(_write(tmp_path, "").parent / "transport.toml")
    (tmp_path / CLASS / "transport.toml").write_text('schema = "perfguard.baseline/1"\nsuite = "transport"\n')
    with pytest.raises(BaselineError, match="no machine class in a file under test-"):
        baselines.load(tmp_path, CLASS)


def test_a_metric_stored_as_portable_and_absolute_is_ambiguous(tmp_path: Path) -> None:
    """Which one holds? A person must say."""
    _write(tmp_path, GOOD)
    portable = tmp_path / "portable" / "transport.toml"
    portable.parent.mkdir()
    text = GOOD.replace(f'machine_class = "{CLASS}"\n', "")[: GOOD.index('["m::test_echo[1]".tokens]') - 60]
    text = (
        text[: text.index("process_runs")] + 'process_runs = [{ date = 2026-01-31T12:00:00Z, commit = "", n = 1, '
        "median = 5, ci = [5, 5] }]\n"
    )
    portable.write_text(text.replace('unit = "s"', 'unit = ""').replace('kind = "time"', 'kind = "ratio"'))
    with pytest.raises(BaselineError, match="stored twice, also at"):
        baselines.load(tmp_path, CLASS)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    """Opening a FIFO would block for ever."""
    path = _write(tmp_path, "")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BaselineError, match="no regular file"):
        baselines.load(tmp_path, CLASS)


def test_a_folder_that_is_a_file_is_said_so(tmp_path: Path) -> None:
    """Not read as "no baselines"."""
    (tmp_path / "baselines").write_text("")
    with pytest.raises(BaselineError, match="cannot be listed: Not a directory"):
        baselines.load(tmp_path / "baselines", CLASS)


def test_files_of_other_kinds_are_left_alone(tmp_path: Path) -> None:
    """A README or an editor's backup beside the baselines is nobody's business."""
    _write(tmp_path, GOOD)
    for name in ("README.md", ".transport.toml.swp", "transport.toml~", ".hidden.toml"):
        (tmp_path / CLASS / name).write_text("not a baseline")
    assert baselines.load(tmp_path, CLASS).count() == 1
