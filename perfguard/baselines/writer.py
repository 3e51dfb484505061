"""Writing baselines: what one run adds to the stored process runs, and what a clean-up takes away.

Both work alike: under the folder's lock, read the files, edit their text, check that the new text says
what was meant, and replace the files together. Anything wrong raises `BaselineError` and touches nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from perfguard.baselines import edit, machine, reader, schema, store
from perfguard.baselines.model import (
    KEEP,
    PORTABLE,
    UNACCOUNTED,
    BaselineMetric,
    ProcessRun,
    home_of,
)
from perfguard.errors import BaselineError, OptionError
from perfguard.units import check_unit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from perfguard.document import Account, Case, Metric, Run

_CLASS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_SHORT_ID = 10

CaseMetric = tuple[str, str]  # case key, metric name


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
    incoming = _by_suite(run)
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


def process_run_of(case: Case, metric: Metric, run: Run) -> ProcessRun:
    """What a baseline keeps of one metric of one case, figures at the precision at which they are stored."""
    phases: dict[str, float] = {}
    if case.account is not None and metric.name == _timed_metric(case):
        phases = {
            path: edit.stored(seconds, metric.kind) for path, seconds in _phase_medians(case.account).items()
        }
    low, high = metric.ci
    return ProcessRun(
        date=_date(run.started),
        commit=short_commit(run.commit),
        n=max(1, metric.n),
        median=edit.stored(metric.median, metric.kind),
        ci=(edit.stored(low, metric.kind), edit.stored(high, metric.kind)),
        phases=phases,
    )


def short_commit(commit: Mapping[str, object]) -> str:
    """A commit as baselines name it: 10 digits of its id, `+dirty` if files had changes; "" without git."""
    short = str(commit.get("id", ""))[:_SHORT_ID]
    return f"{short}+dirty" if short and commit.get("dirty") else short


def _timed_metric(case: Case) -> str:
    """The metric whose phases the account splits: `time`, or else the case's first time."""
    times = [metric.name for metric in case.metrics if metric.kind == "time"]
    return "time" if "time" in times else next(iter(times), "")


def _phase_medians(account: Account) -> dict[str, float]:
    medians = {phase.path: phase.median_s for phase in account.phases}
    return {**medians, UNACCOUNTED: account.unaccounted_median_s}


def _date(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started.replace("Z", "+00:00"))  # Python 3.10 does not read the Z
    except ValueError as error:
        raise BaselineError("run document: started", f"{started!r} is no ISO 8601 date") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return schema.rfc3339(moment.replace(microsecond=0))


def _by_suite(run: Run) -> dict[str, dict[CaseMetric, BaselineMetric]]:
    """The metrics of passed cases as baselines of one process run each, by suite."""
    found: dict[str, dict[CaseMetric, BaselineMetric]] = {}
    for case in run.cases:
        if case.status != "passed":
            continue
        for metric in case.metrics:
            if metric.verdict == "broken":
                continue
            check_unit(metric.kind, metric.unit, f"{case.key} {metric.name}")
            found.setdefault(case.suite, {})[case.key, metric.name] = BaselineMetric(
                name=metric.name,
                unit=metric.unit,
                direction=metric.direction,
                kind=metric.kind,
                gated=metric.gated,
                process_runs=(process_run_of(case, metric, run),),
                source="this run",
                # Carried only to say whether the metric is exact; a file's limit is a person's.
                limit=metric.limit,
            )
    return found


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
    file.metrics[key] = metric
    file.layout = file.layout.with_block(edit.changed_metric(block, metric, drop, added))
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
                raise BaselineError(
                    str(file.path), f"a name cannot be written as UTF-8: {error.reason}"
                ) from error
            _verify(file, after)
        if after != file.before:
            changes.append(store.FileChange(file.path, file.before, after))
    return store.apply(changes) if changes else []


def _verify(file: _File, after: bytes) -> None:
    meant = {key: replace(metric, source="") for key, metric in file.metrics.items()}
    said = reader.parse(schema.decode(after, str(file.path)), file.path).metrics
    if {key: replace(metric, source="") for key, metric in said.items()} != meant:
        raise _layout_error(file.path, str(file.path))


def _layout_error(path: Path, source: str) -> BaselineError:
    advice = f'give each metric in {path.name} one header ["case".metric] and one array process_runs'
    return BaselineError(source, "has a layout that perfguard can read but not edit", advice)
