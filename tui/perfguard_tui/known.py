"""What is stored about a case: its baseline's process runs, and in what the machine differs. Free of Textual.

Baselines are imported when first asked for: the first frame shows none, and would come 50 ms later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perfguard.errors import BaselineError
from perfguard_tui.past import Past, PastReader
from perfguard_tui.views import CaseView, RunView

if TYPE_CHECKING:
    from perfguard import baselines


@dataclass(slots=True)
class Known:
    """A folder of baselines, read when first asked for a run's machine class, and a history of runs.

    `problem`: why the baselines could not be read.
    """

    folder: Path | None
    problem: str = ""
    past: PastReader = field(default_factory=lambda: PastReader(None))
    _loaded: dict[str, baselines.Baselines] = field(default_factory=dict)
    _differences: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def metric(self, run: RunView, case: CaseView, name: str, kind: str) -> baselines.BaselineMetric | None:
        """The stored process runs of a metric of a case, or None."""
        loaded = self._load(run.machine_class)
        if loaded is None:
            return None
        try:
            return loaded.metric(case.suite, case.key or case.id, name, kind)
        except BaselineError as error:
            self.problem = str(error)
            return None

    def past_of(self, run: RunView, case: CaseView) -> Past | None:
        """What the history of runs tells of a case's headline; None without one, or while it is being read."""
        metric = case.headline
        return None if metric is None else self.past.past(case.key or case.id, metric.name, run.machine_class)

    def environment(self, run: RunView) -> tuple[str, ...]:
        """In what this run's machine differs from the baselines', a sentence each."""
        if run.machine_class not in self._differences:
            self._differences[run.machine_class] = self._environment(run)
        return self._differences[run.machine_class]

    def _environment(self, run: RunView) -> tuple[str, ...]:
        from perfguard.baselines.machine import differences
        from perfguard.baselines.reader import class_differences, machine_of

        if self.folder is None or not self.folder.is_dir():
            return ("no folder of baselines here: name one with --baselines",)
        if not _is_name(run.machine_class):
            return ("the run does not say on which class of machine it ran",)
        try:
            stored = machine_of(self.folder, run.machine_class)
            if stored:
                found = differences(run.machine, stored)
                return found or (f"none: the baselines of {run.machine_class} come from a machine like this one",)
            others = class_differences(self.folder, run.machine)
        except BaselineError as error:
            return (str(error),)
        return tuple(f"{name}: {', '.join(parts) or 'does not say what it is'}" for name, parts in others.items()) or (
            f"no baselines of any machine in {self.folder}",
        )

    def _load(self, machine_class: str) -> baselines.Baselines | None:
        if self.folder is None or self.problem or not self.folder.is_dir() or not _is_name(machine_class):
            return None
        if machine_class not in self._loaded:
            from perfguard import baselines

            try:
                self._loaded[machine_class] = baselines.load(self.folder, machine_class)
            except BaselineError as error:
                self.problem = str(error)
                return None
        return self._loaded[machine_class]


def _is_name(machine_class: str) -> bool:
    """Whether it names a folder and nothing else: it came with the run's events, from wherever those came."""
    return machine_class not in ("", ".", "..") and "/" not in machine_class and "\0" not in machine_class
