"""A ZeroMQ connection between exactly two processes: bounded, bounded in time, and aware of the other's death.

The client's DEALER greets the server's ROUTER; from then on the ROUTER knows its peer by identity and connection,
and whoever else knocks on the endpoint is neither heard nor answered. (A PAIR would do without the identity's
frame, but lets the first stranger who opens a silent connection keep the real peer out. A REQ waits for ever
for a server that was killed.) A death is an event on the socket's monitor; it is looked at whenever a wait has
lasted `DEATH_NOTICE_S`, so that a message in time pays nothing for it and a death is noticed within twice that.
Sockets never reconnect: whoever answers later is not the peer. That is said as a wait longer than any run and not
as "never" (-1), which would make ZeroMQ drop the pipe with the connection, and what the peer sent last with it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from time import perf_counter_ns
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from perfguard_suites.transport.errors import ChannelTimeout, ChannelUnavailable, PeerDied

DEATH_NOTICE_S = 0.05
LAST_MESSAGE_MS = 200  # what was handed over before a close may still be on its way, to a peer that lives
ABSTRACT_NAMES = hasattr(os, "memfd_create")  # Linux: a name that leaves no file behind, whoever is killed
PRIVATE_PREFIX = "perfguard-channel-"
_GREETING = b"perfguard.zmq/1"
_HIGH_WATER = 32
_HANDSHAKE_MS = 2000  # a connection that says nothing is dropped after this
_OVERHEAD_BYTES = 64 * 1024  # of a message that is one frame with everything in it
_NO_RECONNECT_MS = 7 * 24 * 3600 * 1000  # ZeroMQ adds up to as much again: below 2**31
_SLICE_MS = int(DEATH_NOTICE_S * 1e3)
_UP = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_CONNECTED = int(zmq.EVENT_CONNECTED)
_DOWN = int(zmq.EVENT_DISCONNECTED)
_REFUSED = int(zmq.EVENT_CLOSED)  # of a connection attempt: there is only one


class Link:
    """One end. `await_peer` after `bind`, or `connect`; then `send` and `recv` multipart messages."""

    def __init__(self, capacity_bytes: int, *, listening: bool) -> None:
        self._context = zmq.Context()
        self.socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER if listening else zmq.DEALER)
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._envelope: list[bytes] = []  # the peer's identity, on the listening side
        self._connection: int | None = None  # the descriptor of the peer's connection
        self._dead = False
        self.endpoint = ""
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, _HIGH_WATER),
            (zmq.RCVHWM, _HIGH_WATER),
            (zmq.MAXMSGSIZE, capacity_bytes + _OVERHEAD_BYTES),
            (zmq.RECONNECT_IVL, _NO_RECONNECT_MS),
            (zmq.HANDSHAKE_IVL, _HANDSHAKE_MS),
            (zmq.RCVTIMEO, _SLICE_MS),
            (zmq.SNDTIMEO, _SLICE_MS),
        ):
            self.socket.setsockopt(option, value)
        if listening:
            self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._monitor = self.socket.get_monitor_socket(_UP | _CONNECTED | _DOWN | _REFUSED)
        self._monitor.linger = 0

    def bind(self, family: str) -> None:
        """Listen on a fresh private endpoint of `ipc` or `tcp` (loopback only)."""
        if family == "tcp":
            self.socket.bind("tcp://127.0.0.1:*")
        elif ABSTRACT_NAMES:
            self.socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
            self.socket.bind(f"ipc://@perfguard-{token_hex(8)}")
        else:
            self._directory = tempfile.TemporaryDirectory(prefix=PRIVATE_PREFIX)  # 0700
            self.socket.bind(f"ipc://{Path(self._directory.name) / 'channel'}")
        self.endpoint = self._last_endpoint()

    def await_peer(self, timeout_s: float) -> None:
        """Wait for the first to greet. Raises `ChannelUnavailable`."""
        deadline_ns = perf_counter_ns() + int(timeout_s * 1e9)
        while (left_ms := (deadline_ns - perf_counter_ns()) // 1_000_000) > 0:
            if not self.socket.poll(left_ms):
                break
            frames = self.socket.recv_multipart(copy=False)
            if len(frames) == 2 and frames[1].bytes == _GREETING:
                self._envelope = [frames[0].bytes]
                self._connection = int(frames[1].get(zmq.SRCFD))
                for _ in self._events():  # strangers' ends so far: their descriptors may be used again
                    pass
                self._dead = False
                return
        raise ChannelUnavailable(self.endpoint, f"no peer within {timeout_s} s", "is the client running?")

    def connect(self, endpoint: str, timeout_s: float) -> None:
        """Connect and greet. Raises `ChannelUnavailable`."""
        if not endpoint.startswith(("ipc://", "tcp://127.0.0.1:")):
            raise ChannelUnavailable(endpoint, "is neither ipc nor loopback", "ask the server for its endpoint")
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise ChannelUnavailable(endpoint, str(error), "ask the server for its endpoint") from error
        deadline_ns = perf_counter_ns() + int(timeout_s * 1e9)
        up = False
        while not up:
            left_ms = (deadline_ns - perf_counter_ns()) // 1_000_000
            if left_ms <= 0 or not self._monitor.poll(left_ms):
                raise ChannelUnavailable(endpoint, f"no answer within {timeout_s} s", "is the server running?")
            for event, value in self._events():
                if event == _CONNECTED:
                    self._connection = value
                if event in {_DOWN, _REFUSED}:
                    raise ChannelUnavailable(endpoint, "nobody answers there", "is the server running?")
                up |= event == _UP
        self.endpoint = self._last_endpoint()
        self.send([_GREETING], timeout_s, copy=True)

    def _last_endpoint(self) -> str:
        return bytes(self.socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def _events(self) -> Iterator[tuple[int, int]]:
        """What the monitor has seen since: (event, descriptor)."""
        while self._monitor.poll(0):
            seen = recv_monitor_message(self._monitor)
            self._dead |= seen["event"] == _DOWN and seen["value"] == self._connection
            yield int(seen["event"]), int(seen["value"])

    def await_end(self, timeout_s: float) -> bool:
        """Wait until the peer's connection is down, leaving what it sent for `recv`; False if it is up at the end."""
        deadline_ns = perf_counter_ns() + int(timeout_s * 1e9)
        while not self._dead and (left_ms := (deadline_ns - perf_counter_ns()) // 1_000_000) > 0:
            self._monitor.poll(left_ms)
            for _ in self._events():
                pass
        return self._dead

    def _missed(self, what: str, timeout_s: float, deadline_ns: int) -> None:
        for _ in self._events():
            pass
        if self._dead:
            raise self._death()
        if perf_counter_ns() >= deadline_ns:
            raise ChannelTimeout(self.endpoint, f"{what} within {timeout_s} s", "is the peer stopped or overloaded?")

    def _death(self) -> PeerDied:
        return PeerDied(self.endpoint, "the peer closed the connection or died", "start the server again")

    def send(self, frames: Sequence[Any], timeout_s: float, *, copy: bool) -> None:
        """Send one multipart message. Raises `PeerDied`, `ChannelTimeout`."""
        if self._dead:
            raise self._death()
        deadline_ns = 0
        while True:
            try:
                if len(frames) == 1 and not self._envelope:
                    self.socket.send(frames[0], copy=copy)
                else:
                    self.socket.send_multipart([*self._envelope, *frames], copy=copy)
            except zmq.Again:
                deadline_ns = deadline_ns or perf_counter_ns() + int((timeout_s - DEATH_NOTICE_S) * 1e9)
                self._missed("could not hand a message over", timeout_s, deadline_ns)
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    raise self._death() from error
                raise
            else:
                return

    def recv(self, timeout_s: float) -> list[zmq.Frame]:
        """The peer's next multipart message. Raises `PeerDied`, `ChannelTimeout`."""
        deadline_ns = 0
        while True:
            try:
                # The socket's own timeout is one slice: a shorter wait has to ask first.
                flags = 0 if timeout_s >= DEATH_NOTICE_S or self.socket.poll(int(timeout_s * 1e3)) else zmq.NOBLOCK
                frames = self.socket.recv_multipart(flags, copy=False)
            except zmq.Again:
                deadline_ns = deadline_ns or perf_counter_ns() + int((timeout_s - DEATH_NOTICE_S) * 1e9)
                try:
                    self._missed("nothing arrived", timeout_s, deadline_ns)
                except PeerDied:
                    if not self.socket.poll(0):  # its last message may have come with the news of its end
                        raise
                continue
            if not self._envelope:
                return frames
            if frames[0].bytes == self._envelope[0]:
                return frames[1:]
            deadline_ns = deadline_ns or perf_counter_ns() + int(timeout_s * 1e9)
            self._missed("only strangers spoke", timeout_s, deadline_ns)

    def close(self) -> None:
        """Close socket, monitor and context; remove the private directory; idempotent."""
        if not self.socket.closed:
            self.socket.disable_monitor()
            self._monitor.close(0)
            self.socket.close(LAST_MESSAGE_MS)
            self._context.term()
        if self._directory is not None:
            with contextlib.suppress(OSError):
                self._directory.cleanup()
