"""Writing baselines: what one run adds to the stored process runs, and what a clean-up takes away.

Both work alike: under the folder's lock, read the files, edit their text, check that the new text says
what was meant, and replace the files together. Anything wrong raises `BaselineError` and touches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from perfguard.baselines import edit, machine, reader, schema, store
from perfguard.baselines.model import KEEP, PORTABLE, BaselineMetric, home_of
from perfguard.baselines.summary import CaseMetric, summarise
from perfguard.document import Run
from perfguard.errors import BaselineError, OptionError

_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True, slots=True)
class Removed:
    """What a clean-up took from one metric; `whole` if nothing of it is left."""

    path: Path
    case_key: str
    metric: str
    process_runs: int
    whole: bool


@dataclass
class _File:
    """A file being edited: its text as blocks, and what it must say in the end."""

    path: Path
    before: bytes | None
    layout: edit.Layout
    metrics: dict[CaseMetric, BaselineMetric]
    changed: bool = False
    removed: list[Removed] = field(default_factory=list)

    def drop(self, key: CaseMetric) -> None:
        """Take a metric out."""
        self.layout = self.layout.without(key)
        gone = self.metrics.pop(key)
        self.removed.append(Removed(self.path, *key, len(gone.process_runs), whole=True))
        self.changed = True


def update(folder: Path, run: Run, keep: int = KEEP, *, replace_stored: bool = False) -> list[Path]:
    """Add this run's process runs to the baselines of each passed case; returns the files written.

    The last `keep` process runs of a metric stay. An exact metric (limit 0) whose figure changed starts
    afresh, and with `replace_stored` every metric of the run does. A run stored already is not stored twice.
    Raises `BaselineError` if a metric changed its unit, direction or kind (unless `replace_stored`), a file
    is unreadable, changed meanwhile, or cannot be written: nothing is written then.
    """
    if keep < 1:
        raise OptionError("keep", f"{keep} process runs", "keep at least one")
    machine_class = str(run.machine.get("class", ""))
    if not _CLASS.fullmatch(machine_class) or machine_class == PORTABLE:
        raise BaselineError("run document: machine.class", f"{machine_class!r} is no machine class")
    incoming = summarise(run, "this run")
    if not incoming:
        return []
    with store.locked(folder):
        files: list[_File] = []
        for suite, metrics in sorted(incoming.items()):
            homes = {home: _open(folder, home, suite, run) for home in (PORTABLE, machine_class)}
            for key, metric in sorted(metrics.items()):
                home = home_of(metric.kind, machine_class)
                other = homes[machine_class if home == PORTABLE else PORTABLE]
                _leave_other_home(other, key, metric, replace_stored=replace_stored)
                _add(homes[home], key, metric, keep, replace_stored=replace_stored)
            files.extend(homes.values())
        return _write(files)


def prune(
    folder: Path,
    *,
    keep: int | None = None,
    older_than: datetime | None = None,
    unwanted: Callable[[str, str, str], bool] | None = None,
    dry_run: bool = False,
) -> list[Removed]:
    """Take away process runs but the last `keep`, those before `older_than`, and metrics that are `unwanted`.

    `unwanted` is asked with suite, case key and metric name. A metric without process runs goes, and so
    does a file without metrics, in all machine classes. Returns what went, or with `dry_run` would go.
    """
    if keep is not None and keep < 1:
        raise OptionError("--keep", f"{keep} process runs", "keep at least one")
    if not folder.is_dir():
        raise BaselineError(str(folder), "is no folder of baselines", "name it with --dir")
    with store.locked(folder):
        files: list[_File] = []
        for home in (PORTABLE, *reader.machine_classes(folder)):
            for path in reader.baseline_files(folder, home):
                file = _read(path)
                for key in list(file.metrics):
                    if unwanted is not None and unwanted(reader.suite_of(path), *key):
                        file.drop(key)
                    else:
                        _thin(file, key, keep, older_than)
                files.append(file)
        if not dry_run:
            _write(files)
    return [removed for file in files for removed in file.removed]


def _open(folder: Path, home: str, suite: str, run: Run) -> _File:
    path = reader.file_of(folder, home, suite)
    if path.exists():
        return _read(path)
    machine_class = None if home == PORTABLE else home
    return _File(path, None, edit.new_file(suite, machine_class, machine.identity(run.machine)), {})


def _read(path: Path) -> _File:
    raw = reader.read_bytes(path)
    text = schema.decode(raw, str(path))
    return _File(path, raw, edit.split(text), dict(reader.parse(text, path).metrics))


def _leave_other_home(other: _File, key: CaseMetric, metric: BaselineMetric, *, replace_stored: bool) -> None:
    """A metric is stored once: one that changed between portable and absolute kinds leaves its old file."""
    found = other.metrics.get(key)
    if found is None:
        return
    if not replace_stored:
        found.check(metric, key[0])
    other.drop(key)


def _add(file: _File, key: CaseMetric, metric: BaselineMetric, keep: int, *, replace_stored: bool) -> None:
    """Add the one process run of `metric` to what `file` has of it."""
    stored = file.metrics.get(key)
    file.changed = True
    if stored is None:
        file.metrics[key] = replace(metric, limit=None)
        file.layout = file.layout.with_block(edit.new_metric(key[0], metric))
        return
    if not replace_stored:
        stored.check(metric, key[0])
    (new,) = metric.process_runs
    exact_changed = metric.limit == 0 and stored.process_runs[-1].median != new.median
    old = () if replace_stored or exact_changed else stored.process_runs
    added = () if new in old else (new,)
    kept = (*old, *added)[-keep:]
    dropped = len(stored.process_runs) + len(added) - len(kept)
    _set(
        file,
        key,
        replace(
            stored,
            unit=metric.unit,
            direction=metric.direction,
            kind=metric.kind,
            gated=metric.gated,
            process_runs=kept,
        ),
        frozenset(range(dropped)),
        len(added),
    )


def _thin(file: _File, key: CaseMetric, keep: int | None, older_than: datetime | None) -> None:
    """Take process runs out of one metric."""
    stored = file.metrics[key]
    runs = stored.process_runs
    drop = {
        index
        for index, run in enumerate(runs)
        if (keep is not None and index < len(runs) - keep)
        or (older_than is not None and datetime.fromisoformat(run.date.replace("Z", "+00:00")) < older_than)
    }
    if len(drop) == len(runs):
        file.drop(key)
    elif drop:
        kept = tuple(run for index, run in enumerate(runs) if index not in drop)
        _set(file, key, replace(stored, process_runs=kept), frozenset(drop), 0)
        file.removed.append(Removed(file.path, *key, len(drop), whole=False))


def _set(file: _File, key: CaseMetric, metric: BaselineMetric, drop: frozenset[int], added: int) -> None:
    block = file.layout.block(key)
    if block is None:
        raise _layout_error(file.path, metric.source)
    try:
        file.layout = file.layout.with_block(edit.changed_metric(block, metric, drop, added))
    except ValueError as error:
        raise _layout_error(file.path, metric.source) from error
    file.metrics[key] = metric
    file.changed = True


def _write(files: Iterable[_File]) -> list[Path]:
    """Replace all files that changed, once each new text has been read back and says what was meant."""
    changes = []
    for file in files:
        if not file.changed:
            continue
        after = None
        if file.metrics:
            try:
                after = file.layout.render().encode()
            except UnicodeEncodeError as error:
                raise BaselineError(str(file.path), f"a name cannot be written as UTF-8: {error.reason}") from error
            _verify(file, after)
        if after != file.before:
            changes.append(store.FileChange(file.path, file.before, after))
    return store.apply(changes) if changes else []


def _verify(file: _File, after: bytes) -> None:
    meant = {key: replace(metric, source="") for key, metric in file.metrics.items()}
    try:
        said = reader.parse(schema.decode(after, str(file.path)), file.path).metrics
    except BaselineError as error:
        advice = "nothing was written: the line is of the file as it would have become"
        raise BaselineError(error.culprit, error.problem, advice) from error
    if {key: replace(metric, source="") for key, metric in said.items()} != meant:
        raise _layout_error(file.path, str(file.path))


def _layout_error(path: Path, source: str) -> BaselineError:
    advice = f'give each metric in {path.name} one header ["case".metric] and one array process_runs'
    return BaselineError(source, "has a layout that perfguard can read but not edit", advice)
