"""The runs that the dashboard has open: live, recorded, documents; each with a store and a view. No Textual."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfguard.document import Run
from perfguard.errors import PerfguardError
from perfguard.events.runtime_dir import live_endpoints
from perfguard_tui.comparing import Comparison, compare, read_run
from perfguard_tui.documents import DocumentFeed
from perfguard_tui.export import document_of
from perfguard_tui.feed import Feed, LiveFeed
from perfguard_tui.replaying import ReplayFeed
from perfguard_tui.state import State
from perfguard_tui.store import Store
from perfguard_tui.views import RunView


@dataclass(slots=True, eq=False)
class Source:
    """One open run. `path`: its file, None for a live one; `endpoint`: where it is live.

    `before` is the run that it is compared with, `comparison` what was found when `compared` cases of both were done.
    """

    name: str
    store: Store
    feed: Feed
    path: Path | None = None
    endpoint: str = ""
    state: State = field(default_factory=State)
    before: Source | None = None
    comparison: Comparison | None = None
    compared: tuple[int, int] = (-1, -1)
    heard: RunView = field(default_factory=RunView)  # the latest snapshot that was shown, and when it came
    heard_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if isinstance(self.feed, ReplayFeed) and self.feed.playing:
            self.state.page = "replay"

    @property
    def title(self) -> str:
        """How it is called among the others: its file, or the run's id once that is known."""
        return self.name or self.store.snapshot().run_id or "a live run"

    @property
    def done(self) -> int:
        """Cases finished so far."""
        return self.store.snapshot().done

    def hear(self, run: RunView) -> None:
        """Keep when something was last heard of the run, also while another one is shown."""
        if run is not self.heard:
            self.heard, self.heard_s = run, time.monotonic()

    def document(self) -> Run:
        """The run with all its samples from its file, else as far as it has come. Raises `PerfguardError`."""
        return document_of(self.store.snapshot()) if self.path is None else read_run(self.path)

    def told(self) -> str:
        """One line for a list of runs."""
        run = self.store.snapshot()
        found = ", ".join(f"{count} {word}" for word, count in run.tally if word != "same")
        when = run.started[5:16].replace("T", " ")
        parts = [self.feed.status.state, f"{run.done}/{len(run.cases)} cases", found, when, run.commit]
        return f"{self.title}  " + " · ".join(part for part in parts if part)


def open_file(path: Path, speed: float | None = None) -> Source:
    """A recording or a run document. Raises `PerfguardError` naming the file."""
    store = Store()
    feed: Feed = DocumentFeed(store, path) if path.suffix == ".json" else ReplayFeed(store, path, speed)
    return Source(path.name, store, feed, path=path)


def open_live(endpoint: str | None) -> Source:
    """The live run at an endpoint, or this user's newest: it may not be there yet."""
    store = Store()
    return Source("", store, LiveFeed(store, endpoint), endpoint=endpoint or "")


def attachable(sources: Sequence[Source]) -> list[str]:
    """Endpoints of this user's live runs that are not open yet, the newest first; none where they cannot be listed."""
    known = {source.endpoint for source in sources}
    ids = {re.sub(r"[^\w.]", "_", source.store.snapshot().run_id, flags=re.ASCII)[:32] for source in sources}
    try:
        found = [endpoint.live for endpoint in live_endpoints()]
    except PerfguardError:
        return []
    return [one for one in found if one not in known and run_name(one) not in ids]


def run_name(endpoint: str) -> str:
    """What an endpoint's socket says of its run: the file's name without the process and the ending."""
    return endpoint.rpartition("/")[2].removesuffix(".live").partition("-")[2] or endpoint


def compare_sources(now: Source) -> tuple[Comparison, tuple[int, int]]:
    """`now` against the run chosen as before; and how much of both there was. Raises `PerfguardError`."""
    before = now.before
    assert before is not None
    compared = (before.done, now.done)
    return compare(before.document(), now.document(), before.title, now.title), compared
