"""The feed of a recording: folded at once, or played at a pace, and scrubbed to any moment, back as well as on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from perfguard.errors import EventError
from perfguard.events import Replay
from perfguard.events.framing import LENGTH, MAGIC
from perfguard.events.rounds import Item, Rounds, decode
from perfguard.events.schema import MAX_FRAME_BYTES, Event
from perfguard_tui.feed import Feed, FeedStatus
from perfguard_tui.store import Store

PACES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
BINS = 200
_BATCH = 2000
_STEP_S = 0.05
_EVERY = 64  # frames between those whose time is read when a recording is measured


@dataclass(frozen=True, slots=True)
class Extent:
    """From when to when a recording goes, on its producer's clock; `density`: how busy it is, in `BINS` equal parts."""

    first_ns: int = 0
    last_ns: int = 0
    density: tuple[int, ...] = ()

    @property
    def length_s(self) -> float:
        """Seconds from the first event to the last."""
        return (self.last_ns - self.first_ns) / 1e9


def measure(path: Path) -> Extent:
    """The extent of a recording: its frames are walked over, every 64th and the last one read."""
    times: list[tuple[int, int]] = []
    last = b""
    with path.open("rb", buffering=1024 * 1024) as file:
        file.seek(len(MAGIC))
        count = 0
        while len(head := file.read(LENGTH.size)) == LENGTH.size:
            size = LENGTH.unpack(head)[0]
            if size > MAX_FRAME_BYTES or len(frame := file.read(size)) < size:
                break
            if count % _EVERY == 0:
                times += _times_of(frame)
            last = frame
            count += 1
    times += _times_of(last)
    if not times:
        return Extent()
    first_ns, last_ns = min(t_ns for t_ns, _ in times), max(t_ns for t_ns, _ in times)
    density = [0] * BINS
    for t_ns, events in times:
        density[min(BINS - 1, (t_ns - first_ns) * BINS // max(1, last_ns - first_ns))] += events
    return Extent(first_ns, last_ns, tuple(density))


def _times_of(frame: bytes) -> list[tuple[int, int]]:
    """When what the frame holds begins and ends, and how many events that stands for; nothing if it is not one."""
    try:
        item = decode(frame) if frame else None
    except EventError:
        return []
    if isinstance(item, Rounds):
        return [(int(item.t_ns[0]), len(item)), (int(item.t_ns[-1]), 0)]
    return [] if item is None else [(item["t_ns"], 1)]


class ReplayFeed(Feed):
    """A recording, at once, or at `pace` times the speed at which it was made; `seek` goes anywhere in it.

    `at_s`: how far it has been told, in seconds since its first event. Raises `EventError` if the file is no recording.
    """

    def __init__(self, store: Store, path: Path, speed: float | None = None) -> None:
        super().__init__(store)
        self._replay = Replay(path)
        self.path = path
        self.pace = speed or 1.0
        self.playing = speed is not None
        self.extent = Extent()
        self.at_s = 0.0
        self.status = FeedStatus("replay")
        self._items: Iterator[Item] | None = None
        self._next: Item | None = None
        self._interrupt = threading.Event()
        self._player: threading.Thread | None = None

    def _feed(self) -> None:
        self.extent = measure(self.path)
        self._work(0.0 if self.playing else None)

    @property
    def over(self) -> bool:
        """Whether nothing moves until the user wishes it."""
        return not self.is_alive() and (self._player is None or not self._player.is_alive())

    def stop(self) -> int | None:
        """End what is under way."""
        self._interrupt.set()
        if self._player is not None:
            self._player.join(10)
        return super().stop()

    def seek(self, to_s: float) -> None:
        """Tell the recording up to that moment, again from its beginning if that lies before where it is."""
        self._begin(max(0.0, to_s))

    def play(self, *, playing: bool) -> None:
        """Go on at the pace, from the beginning if it is at its end; or stand still."""
        self.playing = playing
        at_end = self._next is None and self._items is not None
        self._begin(0.0 if playing and at_end else self.at_s)

    def set_pace(self, pace: float) -> None:
        """So many times the speed at which it was made."""
        self.pace = pace
        if self.playing:
            self._begin(self.at_s)

    def _begin(self, to_s: float) -> None:
        self._interrupt.set()
        for thread in (self, self._player):
            if thread is not None and thread.is_alive() and thread is not threading.current_thread():
                thread.join(10)
        if self._stopping.is_set():
            return
        self._interrupt = threading.Event()
        self._player = threading.Thread(target=self._work, args=(to_s,), name="perfguard-replay", daemon=True)
        self._player.start()

    def _work(self, to_s: float | None) -> None:
        """Fold up to `to_s` (None: all), then play on if playing."""
        if self._items is None or (to_s is not None and to_s < self.at_s):
            self._items = self._replay.items()
            self.store.reset()
            self.at_s = 0.0
            self._next = next(self._items, None)
        self._fold(float("inf") if to_s is None else to_s)
        if to_s is not None and to_s > self.at_s:
            self.at_s = min(to_s, self.extent.length_s)
        if self.playing:
            self._play()

    def _play(self) -> None:
        begin_s, from_s = time.monotonic(), self.at_s
        while self._next is not None and not self._interrupt.is_set() and not self._stopping.is_set():
            now_s = from_s + (time.monotonic() - begin_s) * self.pace
            self._fold(now_s)
            self.at_s = min(now_s, self.extent.length_s)
            self._interrupt.wait(_STEP_S)
        if self._next is None:
            self.playing = False

    def _fold(self, to_s: float) -> None:
        assert self._items is not None
        batch: list[Item] = []
        events = 0
        limit_ns = float("inf") if to_s == float("inf") else self.extent.first_ns + to_s * 1e9
        while self._next is not None:
            now, self._next = _until(self._next, limit_ns) if limit_ns < float("inf") else (self._next, None)
            if now is not None:
                batch.append(now)
                events += len(now) if isinstance(now, Rounds) else 1
            if self._next is not None:
                break
            self._next = next(self._items, None)
            if events >= _BATCH:
                self._apply(batch)
                batch, events = [], 0
                if self._interrupt.is_set() or self._stopping.is_set():
                    return
        self._apply(batch)
        if self._next is None:
            self._say_end()

    def _apply(self, batch: list[Item]) -> None:
        if batch:
            self.store.apply_all(batch)
            last = batch[-1]
            last_ns = int(last.t_ns[-1]) if isinstance(last, Rounds) else last["t_ns"]
            self.at_s = max(0.0, (last_ns - self.extent.first_ns) / 1e9)

    def _say_end(self) -> None:
        replay = self._replay
        cut = f"the recording ends at byte {replay.end_offset}: {replay.end_reason}" if replay.end_reason else ""
        self.status = replace(self.status, message=cut, gaps=replay.gaps, bad=replay.bad)


def _until(item: Item, limit_ns: float) -> tuple[Item | None, Item | None]:
    """What of it happened until then, and what later."""
    if not isinstance(item, Rounds):
        return (item, None) if item["t_ns"] <= limit_ns else (None, item)
    if item.t_ns[-1] <= limit_ns:
        return item, None
    cut = int((item.t_ns <= limit_ns).sum())
    return item.part(0, cut) if cut else None, item.part(cut, len(item))


def find_round(path: Path, case_id: str, index: int, limit: int = 200_000) -> list[Event]:
    """The events of one round of a case, looked for in the first `limit` events of a recording."""
    found: list[Event] = []
    looked_at = 0
    for item in Replay(path).items():
        if isinstance(item, Rounds):
            looked_at += len(item)
            found += map(item.event, (item.of_case(case_id) & (item.index == index)).nonzero()[0].tolist())
        else:
            looked_at += 1
            if item.get("case") == case_id and item["kind"] in ("round", "spans"):
                found += [item] if item.get("index", item.get("round")) == index else []
            elif item["kind"] == "case_finished" and item["case"] == case_id and found:
                break
        if looked_at > limit:
            break
    return found
