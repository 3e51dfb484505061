"""Several runs in one dashboard: the list of them, switching, attaching to a live one, comparing any two."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from perfguard.errors import PerfguardError
from perfguard_tui.base import DashboardBase
from perfguard_tui.comparing import Comparison
from perfguard_tui.sources import Source, attachable, compare_sources, open_live, run_name
from perfguard_tui.views import RunView
from perfguard_tui.widgets.choice_screen import ChoiceScreen

_KEYS = "123456789abcdefghimnopqrstuvwxyz"


class RunsDashboard(DashboardBase):
    """Which of the open runs is shown, and which two are compared."""

    _comparing: Source | None = None  # the run whose comparison is being worked out

    @property
    def comparing(self) -> bool:
        """Whether a comparison is being worked out."""
        return self._comparing is not None

    def tick(self) -> None:
        """Draw; on the compare page, compare again when more cases have finished."""
        super().tick()
        source = self.source
        if self.state.page != "compare" or source.before is None or self._comparing is not None:
            return
        if source.compared != (source.before.done, source.done) and not self.state.paused:
            self._compare(source)

    def show_run(self, at: int) -> None:
        """Show that open run, as it was last looked at."""
        self.at = at % len(self.sources)
        source = self.source
        self._store, self._feed, self.state, self.run_shown = source.store, source.feed, source.state, RunView()
        self.rows, self._drawn, self._bar_drawn, self._raw = (), (), (), (None, ())
        self.lay_out()
        (self._table if self.state.page in ("live", "replay") else self._main).focus()
        self.tick()

    def attach(self, endpoint: str) -> None:
        """Open the live run there, and show it."""
        source = open_live(endpoint)
        source.feed.start()
        self.sources.append(source)
        self.show_run(len(self.sources) - 1)

    # -- actions

    def action_runs(self) -> None:
        """Ask which run to show: an open one, or a live one to attach to."""
        waiting = attachable(self.sources)
        told = [("● " if i == self.at else "  ") + source.told() for i, source in enumerate(self.sources)]
        told += [f"  attach to {run_name(endpoint)}, live" for endpoint in waiting]

        def chosen(at: int) -> None:
            if at < len(self.sources):
                self.show_run(at)
            else:
                self.attach(waiting[at - len(self.sources)])

        self._ask("runs", told, chosen)

    def action_next_run(self, step: int) -> None:
        """The next open run."""
        if len(self.sources) < 2:
            self.say("one run is open: r lists live ones to attach to, or name several files")
        else:
            self.show_run(self.at + step)

    def action_before(self) -> None:
        """Ask which run to compare the shown one with."""
        others = [source for source in self.sources if source is not self.source]
        if not others:
            self.say("one run is open: name several files, or attach to another with r")
            return
        told = [source.told() for source in others] + ["its baselines, as its own gate judged"]

        def chosen(at: int) -> None:
            self.source.before = others[at] if at < len(others) else None
            self.source.comparison, self.source.compared = None, (-1, -1)
            self.state.cursor.pop("compare", None)
            self.state.go("compare")
            self.lay_out()
            self.tick()
            self.draw()

        self._ask("compare with", told, chosen)

    def _ask(self, title: str, told: Sequence[str], chosen: object) -> None:
        keys = _KEYS[: len(told)]

        def answer(key: str | None) -> None:
            if key is not None and callable(chosen):
                chosen(keys.index(key))

        self.push_screen(ChoiceScreen(title, dict(zip(keys, told, strict=False))), answer)

    # -- comparing, beside the screen: it takes a second for some hundred metrics

    def _compare(self, source: Source) -> None:
        self._comparing = source
        self.run_worker(partial(self._work_out, source), thread=True, name="compare")

    def _work_out(self, source: Source) -> None:
        found: tuple[Comparison, tuple[int, int]] | str
        try:
            found = compare_sources(source)
        except PerfguardError as error:
            found = str(error)
        self.call_from_thread(self._worked_out, source, found)

    def _worked_out(self, source: Source, found: tuple[Comparison, tuple[int, int]] | str) -> None:
        self._comparing = None
        if isinstance(found, str):
            source.before = None
            self.say(found)
        else:
            source.comparison, source.compared = found
        self._drawn = ()
