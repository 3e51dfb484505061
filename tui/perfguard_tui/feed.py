"""Feeds: a thread that brings events into the store, from a live run or one that it starts itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from perfguard.errors import EndpointError, PerfguardError
from perfguard.events import Subscriber
from perfguard_tui.store import Store

FeedState = Literal["waiting", "live", "lost", "finished", "replay", "failed"]

_STEP_S = 0.4  # until it is looked again whether a run can be reached
_WAIT_S = 10.0  # for what comes, which ends it at once, as a wish to leave does
_GATHER_S = 0.01
_LOOK_AGAIN_S = 2.0  # a newer run may have appeared
_LEAVE_S = 10.0
_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How the feed is doing; `message` is one line for the user, empty when all is well."""

    state: FeedState = "waiting"
    message: str = ""
    gaps: int = 0
    shed: int = 0
    bad: int = 0


class Feed(threading.Thread):
    """What all feeds share: `status` is replaced as a whole, `stop` ends the thread soon."""

    def __init__(self, store: Store) -> None:
        super().__init__(name="perfguard-feed", daemon=True)
        self.store = store
        self._status = FeedStatus()
        self._stopping = threading.Event()

    @property
    def status(self) -> FeedStatus:
        """How the feed is doing."""
        return self._status

    @status.setter
    def status(self, status: FeedStatus) -> None:
        if status != self._status:
            self._status = status
            self.store.stir()

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.status.state in ("finished", "lost", "failed") or not self.is_alive()

    def stop(self) -> int | None:
        """End the thread and free what it holds. Returns the exit status of a run it started, else None."""
        self._stopping.set()
        self._wake()
        if self.is_alive():
            self.join(_LEAVE_S)
        return None

    def _wake(self) -> None:
        """Make the thread see that it is to stop, where it waits for something else."""

    def run(self) -> None:
        """Feed until the end; an error becomes the status."""
        try:
            self._feed()
        except PerfguardError as error:
            self.status = replace(self.status, state="failed", message=str(error))

    def _feed(self) -> None:
        raise NotImplementedError


class LiveFeed(Feed):
    """Attached to the run at `endpoint`, or to this user's newest; waits until there is one.

    `still_coming` tells whether waiting makes sense; when it no longer does, the feed has failed.
    """

    def __init__(
        self, store: Store, endpoint: str | None, still_coming: Callable[[], str | None] = lambda: None
    ) -> None:
        super().__init__(store)
        self._endpoint = endpoint
        self._still_coming = still_coming
        self._subscriber: Subscriber | None = None

    def _feed(self) -> None:
        where = self._endpoint or "a run: start one with pytest --perfguard --perfguard-live"
        self.status = waiting = FeedStatus("waiting", f"waiting for {where}  (q to leave)")
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                subscriber = Subscriber.attach(self._endpoint, _LOOK_AGAIN_S, self._no_use_waiting)
            except EndpointError as error:
                gone = self._still_coming()
                if gone is not None:
                    self.status = FeedStatus("failed", gone)
                    return
                refused = time.monotonic() - began_s < _LOOK_AGAIN_S  # rather than nobody there
                if not self._stopping.wait(_STEP_S if refused else 0.0):
                    self.status = FeedStatus("waiting", f"{error}  (q to leave)") if refused else waiting
                continue
            with subscriber:
                self._subscriber = subscriber
                self._follow(subscriber)
            return

    def _wake(self) -> None:
        if self._subscriber is not None:
            self._subscriber.interrupt()

    def _no_use_waiting(self) -> bool:
        return self._stopping.is_set() or self._still_coming() is not None

    def _follow(self, subscriber: Subscriber) -> None:
        self.status = FeedStatus("live")
        while not self._stopping.is_set():
            items = subscriber.take(_WAIT_S)
            if items:
                self.store.apply_all(items)
            counts = {"gaps": subscriber.gaps, "shed": subscriber.shed, "bad": subscriber.bad}
            if subscriber.over and not items:
                lost = subscriber.state == "lost"
                message = "the run is gone without having finished: killed, or its machine" if lost else ""
                self.status = FeedStatus("lost" if lost else "finished", message, **counts)
                return
            self.status = FeedStatus("live", "", **counts)
            if items and not subscriber.behind:
                # A few more at once are cheaper than each by itself, and nobody sees so short a while.
                self._stopping.wait(_GATHER_S)


class CommandFeed(LiveFeed):
    """A run that the dashboard starts itself: `command` with `--perfguard-live=ENDPOINT` appended.

    What it prints goes to `output`, to be shown when the dashboard has left the screen. `stop` interrupts it as
    Ctrl-C would, and makes sure that it ends.
    """

    def __init__(self, store: Store, command: Sequence[str], endpoint: str, output: BinaryIO) -> None:
        super().__init__(store, endpoint, self._gone)
        self._output = output
        try:
            self._child = subprocess.Popen(
                [*command, f"--perfguard-live={endpoint}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its whole family can be told to stop, and only it
            )
        except OSError as error:
            raise EndpointError(command[0], f"cannot be started: {error.strerror}") from error

    def _gone(self) -> str | None:
        status = self._child.poll()
        if status is None:
            return None
        return f"the command ended with status {status} before it went live: {self._last_words()}  (q to leave)"

    def _last_words(self) -> str:
        """The last line that the command printed."""
        size = os.fstat(self._output.fileno()).st_size
        tail = os.pread(self._output.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "no word")

    def stop(self) -> int:
        """End the thread and the command; returns its exit status, 128 + N if signal N ended it."""
        super().stop()
        if self.status.state == "finished":  # it only has its report left to write
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(_LEAVE_S)
        for how in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._child.pid, how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(_LEAVE_S)
        status = self._child.wait()
        return status if status >= 0 else 128 - status
