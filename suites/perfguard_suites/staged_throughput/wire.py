"""What engine and front end say to each other when they are two processes: msgpack arrays on a stream socket.

To the engine: requests and cancellations. To the front end: a step's tokens in one message, with the ids of its
sequences only where they are others than in the message before. Both ends are this program; what arrives is bounded and
checked all the same.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgpack

from perfguard_suites.staged_throughput.errors import ChannelBroken

REQUEST, CANCEL, REPORT, READY, BYE = "request", "cancel", "report", "ready", "bye"
STEP, ASK = "step", "ask"
MOST_BYTES = 64 << 20
READ_BYTES = 256 << 10


class Wire:
    """One end of the socket: whole messages out and in, never waiting. What the other end does not take yet is kept.

    Raises `ChannelBroken` for what is no message, and where more than 64 MiB wait to be taken. `over`: the other end is
    closed.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.over = False
        self._packer = msgpack.Packer(autoreset=True)
        self._unpacker = msgpack.Unpacker(max_buffer_size=MOST_BYTES, strict_map_key=True)
        self._kept: deque[memoryview] = deque()
        self._kept_bytes = 0

    @property
    def waits(self) -> bool:
        """Whether something is kept."""
        return bool(self._kept)

    def send(self, message: Any) -> bool:
        """Send a message, after those that are kept; whether it is all on its way."""
        data = self._packer.pack(message)
        if self._kept:
            self._keep(data)
            self.flush()
            return not self._kept
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.over = True
            return False
        if sent == len(data):
            return True
        self._keep(data[sent:])
        return False

    def flush(self) -> None:
        """Send of what is kept as much as is taken now."""
        try:
            while self._kept:
                sent = self.socket.send(self._kept[0])
                self._kept_bytes -= sent
                if sent < len(self._kept[0]):
                    self._kept[0] = self._kept[0][sent:]
                else:
                    self._kept.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.over = True
            self._kept.clear()

    def receive(self) -> Iterator[list[Any]]:
        """The messages that have come."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.over = True
            return
        try:
            self._unpacker.feed(data)
            for message in self._unpacker:
                if not isinstance(message, list) or not message or not isinstance(message[0], str):
                    raise ChannelBroken("channel", f"no message: {message!r:.60}")
                yield message
        except (msgpack.exceptions.UnpackException, ValueError) as error:
            raise ChannelBroken("channel", f"no msgpack: {error}") from error

    def close(self) -> None:
        """Close this end."""
        self.over = True
        self.socket.close()

    def _keep(self, data: bytes) -> None:
        self._kept.append(memoryview(data))
        self._kept_bytes += len(data)
        if self._kept_bytes > MOST_BYTES:
            raise ChannelBroken("channel", f"{self._kept_bytes} bytes are not taken by the other end")
