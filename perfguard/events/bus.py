"""The bus: live events out to any number of viewers, and snapshots for those who come late or fall behind.

A PUB socket pushes frames and drops them for a viewer that does not read; a ROUTER socket, answered by one
daemon thread that sleeps in poll, gives the rest to whoever asks. So a viewer costs the run little, a stalled
one a bounded amount of memory, a dead one nothing; and no viewer need miss an event.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import recv_monitor_message

from perfguard.errors import EndpointError, EventError
from perfguard.events.history import History
from perfguard.events.protocol import (
    CHUNK_BYTES,
    MAX_ASK_BYTES,
    PUSH_BYTES,
    Header,
    one_by_one,
    pack_header,
    unpack_request,
)
from perfguard.events.runtime_dir import (
    Endpoint,
    default_endpoint,
    is_listening,
    parse_endpoint,
    tcp_endpoint,
)
from perfguard.events.schema import BATCH_VERSION

if TYPE_CHECKING:
    from pathlib import Path

_IN_USE_ADVICE = "choose another endpoint, or leave it out for a private one"
PUSH_QUEUE_FRAMES = 1000  # of up to 256 rounds
LEAVE_S = 1.0  # without a viewer getting any further
LEAVE_AT_MOST_S = 10.0
_ANSWER_QUEUE = 8
_MAX_VIEWERS = 64
_PORT_TRIES = 50
_BAD_HANDSHAKE = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH
)
# Keeps the parent's contexts alive in a forked child: to destroy them there would touch the parent's sockets.
_abandoned: list[Bus] = []


class Bus:
    """An open endpoint of one producer. `publish` is called under the producer's lock.

    Raises `EndpointError` naming the endpoint if it is in use, unsafe, or cannot be bound.
    """

    def __init__(self, endpoint: str | None, run_id: str, src: str, first_seq: int = 0) -> None:
        self._history = History(first_seq)
        self._context = zmq.Context()
        try:
            self._live, ask, self._place = _bind(self._context, endpoint, run_id)
            self._answerer = _Answerer(self._context, self._live, ask, self._history, run_id, src)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._closed = False
        self._answerer.start()

    @property
    def endpoint(self) -> str:
        """What a viewer attaches to: the real address, also where any port was asked for."""
        return self._place.live

    @property
    def viewers(self) -> int:
        """How many viewers have asked and not said goodbye."""
        return self._answerer.viewers

    @property
    def garbage(self) -> int:
        """Requests and connections so far that were not a viewer's; all ignored."""
        return self._answerer.garbage

    @property
    def shed_events(self) -> int:
        """Events that a late viewer can no longer get, for the bound on memory."""
        return self._history.shed_events

    def publish(self, frame: bytes, record: bytes, kind: str, seq: int, events: int = 1) -> None:
        """Push a frame of numbers from `seq` on and keep its record. Never blocks, never raises for a viewer's sake.

        What an interrupt made the producer hand over twice is kept once.
        """
        self._history.append(record, kind, seq, events)
        if len(frame) <= PUSH_BYTES:
            with contextlib.suppress(zmq.ZMQError):
                self._live.send(frame, zmq.NOBLOCK)

    def close(self) -> None:
        """Let viewers catch up while they get further, then free sockets and files; idempotent.

        One that stalls costs `LEAVE_S`, all together cost `LEAVE_AT_MOST_S`.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._answerer.leave()
        finally:
            self._live.disable_monitor()
            self._context.destroy(linger=0)
            for path in (self._place.path, self._place.ask_path):
                if path is not None:
                    path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """In a forked child: forget the bus without touching what the parent uses."""
        self._closed = True
        _abandoned.append(self)


@dataclass(slots=True)
class _Viewer:
    """How far one of them is."""

    asked_seq: int  # the largest that it asked for
    next_seq: int  # what comes after the last page sent to it
    reads: int
    told: bool = False  # whether a page that says `closing` is on its way


class _Answerer(threading.Thread):
    """The thread behind the ROUTER socket."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        live: zmq.Socket[bytes],
        ask: zmq.Socket[bytes],
        history: History,
        run_id: str,
        src: str,
    ) -> None:
        super().__init__(name="perfguard-bus", daemon=True)
        self.garbage = 0
        self._ask = ask
        self._history = history
        self._run_id = run_id
        self._src = src
        self._viewers: dict[bytes, _Viewer] = {}  # by identity
        self._closing = False
        self._deadline_s = self._last_s = math.inf
        self._hear, self._tell = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        self._hear.bind("inproc://leave")
        self._tell.connect("inproc://leave")
        self._monitors = [socket.get_monitor_socket(_BAD_HANDSHAKE) for socket in (live, ask)]

    @property
    def viewers(self) -> int:
        """How many have asked and not said goodbye."""
        return len(self._viewers)

    def leave(self) -> None:
        """Tell viewers that the run is over, serve them to the end, stop. Called by the closing thread."""
        self._tell.send(b"")
        self.join(LEAVE_AT_MOST_S + 5.0)

    def run(self) -> None:
        poller = zmq.Poller()
        for socket in (self._hear, self._ask, *self._monitors):
            poller.register(socket, zmq.POLLIN)
        while not self._closing or (self._viewers and time.monotonic() < self._deadline_s):
            wait_ms = max(0, int((self._deadline_s - time.monotonic()) * 1000)) if self._closing else None
            ready = dict(poller.poll(wait_ms))
            if self._ask in ready:
                self._answer()
            for monitor in self._monitors:
                if monitor in ready:
                    recv_monitor_message(monitor, zmq.NOBLOCK)
                    self.garbage += 1
            if self._hear in ready:
                self._hear.recv(zmq.NOBLOCK)
                self._take_leave()
        self._ask.disable_monitor()

    def _take_leave(self) -> None:
        self._closing = True
        self._last_s = time.monotonic() + LEAVE_AT_MOST_S
        self._wait_on()
        for _ in range(_MAX_VIEWERS):  # what they asked for already tells it to them, too
            if not self._ask.poll(0):
                break
            self._answer()
        for identity, viewer in list(self._viewers.items()):
            if not viewer.told:
                self._send(identity, viewer, viewer.next_seq)

    def _wait_on(self) -> None:
        self._deadline_s = min(time.monotonic() + LEAVE_S, self._last_s)

    def _answer(self) -> None:
        identity, *parts = self._ask.recv_multipart(zmq.NOBLOCK)
        try:
            request = unpack_request(parts)
        except EventError:
            self.garbage += 1
            return
        viewer = self._viewers.pop(identity, None)
        if request.ask != "since":
            return
        if viewer is None:
            if len(self._viewers) >= _MAX_VIEWERS:
                self._viewers.pop(next(iter(self._viewers)))
            viewer = _Viewer(-1, request.seq, request.reads)
        self._viewers[identity], viewer.reads = viewer, request.reads
        if request.seq > viewer.asked_seq:
            viewer.asked_seq = request.seq
            if self._closing:
                self._wait_on()
        if not viewer.told or request.seq >= viewer.next_seq:  # else the answer is on its way
            self._send(identity, viewer, request.seq)

    def _send(self, identity: bytes, viewer: _Viewer, seq: int) -> None:
        chunk = self._history.since(seq, CHUNK_BYTES)
        blob = chunk.blob if viewer.reads >= BATCH_VERSION else one_by_one(chunk.blob)
        header = Header(self._run_id, self._src, chunk.next_seq, chunk.head, self._history.shed_events, self._closing)
        try:
            self._ask.send_multipart([identity, pack_header(header), blob], zmq.NOBLOCK)
        except zmq.Again:
            return  # it does not read: it may ask again
        except zmq.ZMQError:
            self._viewers.pop(identity, None)  # it is gone
            return
        viewer.next_seq, viewer.told = chunk.next_seq, self._closing


def _bind(
    context: zmq.Context[zmq.Socket[bytes]], text: str | None, run_id: str
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes], Endpoint]:
    """The two bound sockets and where they really are."""
    live, ask = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
    for socket in (live, ask):
        socket.linger = 0
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_ASK_BYTES)  # of what comes in
        socket.setsockopt(zmq.IPV6, 1)
    live.setsockopt(zmq.SNDHWM, PUSH_QUEUE_FRAMES)
    ask.setsockopt(zmq.SNDHWM, _ANSWER_QUEUE)
    ask.setsockopt(zmq.RCVHWM, _ANSWER_QUEUE)
    ask.setsockopt(zmq.ROUTER_MANDATORY, 1)  # so that a dead viewer is told from a slow one
    place = default_endpoint(run_id) if text is None else parse_endpoint(text)
    if place.path is not None:
        _bind_ipc(live, ask, place)
    elif place.live.endswith(":0"):
        place = _bind_any_port(live, ask, place)
    else:
        _bind_one(ask, place.ask, place)
        _bind_one(live, place.live, place)
    return live, ask, place


def _bind_one(socket: zmq.Socket[bytes], address: str, place: Endpoint) -> None:
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        what = "in use" if error.errno == zmq.EADDRINUSE else f"cannot be bound: {error.strerror}"
        who = place.live if address == place.live else f"{place.live} (its second socket, {address})"
        raise EndpointError(who, what, _IN_USE_ADVICE) from error


def _bind_ipc(live: zmq.Socket[bytes], ask: zmq.Socket[bytes], place: Endpoint) -> None:
    # ZeroMQ removes whatever lies at the path before it binds: look first what that would be.
    for path in (place.path, place.ask_path):
        assert path is not None
        _check_free(path, place)
    # The one that viewers look for comes last, so that whoever finds it finds both.
    for socket, address, path in ((ask, place.ask, place.ask_path), (live, place.live, place.path)):
        _bind_one(socket, address, place)
        assert path is not None
        path.chmod(0o600)


def _check_free(path: Path, place: Endpoint) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise EndpointError(place.live, f"cannot be bound: {os.strerror(error.errno or 0)}") from error
    if not stat.S_ISSOCK(mode):
        raise EndpointError(place.live, "a file that is not a socket lies there", "choose another endpoint")
    if is_listening(path):
        raise EndpointError(place.live, "in use", _IN_USE_ADVICE)


def _bind_any_port(live: zmq.Socket[bytes], ask: zmq.Socket[bytes], place: Endpoint) -> Endpoint:
    host = place.live.removeprefix("tcp://").rpartition(":")[0]
    for _ in range(_PORT_TRIES):
        _bind_one(live, place.live, place)
        bound = live.getsockopt_string(zmq.LAST_ENDPOINT)
        port = int(bound.rpartition(":")[2])
        found = tcp_endpoint(host, port)
        with contextlib.suppress(zmq.ZMQError):
            ask.bind(found.ask)
            return found
        live.unbind(bound)
    raise EndpointError(place.live, f"no two free ports in a row in {_PORT_TRIES} tries", "name a port")
