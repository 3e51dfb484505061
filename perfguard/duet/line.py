"""The wire between the run and its workers: msgpack maps over a private socket pair, bounded, with timeouts."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import msgpack

from perfguard.errors import DuetError

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_LENGTH = struct.Struct("<I")


class Line:
    """One end. Only one message is under way at a time: one side speaks, the other listens."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._socket = sock
        self.name = name

    def send(self, kind: str, **fields: Any) -> None:
        """Send one message. Raises `DuetError` if the other end is gone."""
        data = msgpack.packb({"kind": kind, **fields}, use_bin_type=True)
        if len(data) > MAX_MESSAGE_BYTES:
            raise DuetError(self.name, f"a message of {len(data)} bytes", f"the limit is {MAX_MESSAGE_BYTES}")
        try:
            self._socket.sendall(_LENGTH.pack(len(data)) + data)
        except OSError as error:
            raise DuetError(self.name, f"is gone: {error}") from error

    def recv(self, timeout_s: float | None) -> dict[str, Any]:
        """The next message. Raises `DuetError` if none comes in time, the other end is gone, or it is no message."""
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline_s))
        if length > MAX_MESSAGE_BYTES:
            raise DuetError(self.name, f"announced a message of {length} bytes", f"the limit is {MAX_MESSAGE_BYTES}")
        try:
            message = msgpack.unpackb(self._read(length, deadline_s), raw=False, max_ext_len=0)
        except ValueError as error:
            raise DuetError(self.name, f"sent no message: {error!r}") from error
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise DuetError(self.name, "sent something that is no message")
        return message

    def close(self) -> None:
        """Hang up; the other end notices at once."""
        self._socket.close()

    def _read(self, size: int, deadline_s: float | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                if deadline_s is not None:
                    self._socket.settimeout(max(0.001, deadline_s - time.monotonic()))
                else:
                    self._socket.settimeout(None)
                chunk = self._socket.recv(min(1 << 20, size - len(parts)))
            except TimeoutError as error:
                raise DuetError(
                    self.name, "did not answer in time", "raise the case's budget if it needs longer"
                ) from error
            except OSError as error:
                raise DuetError(self.name, f"is gone: {error}") from error
            if not chunk:
                raise DuetError(self.name, "ended in the middle of the run")
            parts += chunk
        return bytes(parts)
