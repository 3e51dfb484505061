"""How two processes come to share regions: an abstract UNIX socket, each other's uid checked, two memfds exchanged.

Nothing has a name in any file system, so that a kill at any moment, this one included, leaves nothing behind.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from secrets import token_hex
from time import perf_counter
from typing import Any

import msgpack

from perfguard_suites.transport import shm_region
from perfguard_suites.transport.errors import ChannelUnavailable, MalformedMessage
from perfguard_suites.transport.shm_channel import ShmChannel, ShmZmqChannel
from perfguard_suites.transport.shm_doorbell import Doorbell
from perfguard_suites.transport.shm_region import Region
from perfguard_suites.transport.zmq_link import Link

_MAGIC = "perfguard.shm/1"
_HELLO_BYTES = 1024
_CREDENTIALS = struct.Struct("3i")
_CONTROL_BYTES = 1024 * 1024  # what ZeroMQ may carry for shm-zmq: metadata only


class ShmListener:
    """The server's side before its peer is there."""

    def __init__(self, kind: str, capacity_bytes: int, spin_us: float) -> None:
        if not shm_region.available():
            raise ChannelUnavailable(f"kind {kind!r}", "needs memfd_create and seals (Linux)", "use multipart-ipc")
        self._kind = kind
        self._capacity_bytes = capacity_bytes
        self._spin_us = spin_us
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(f"\0perfguard-{token_hex(8)}")
        self._socket.listen(1)
        self.endpoint = _printable(self._socket.getsockname())

    def accept(self, timeout_s: float) -> ShmChannel | ShmZmqChannel:
        """The channel to the first peer of the same user that shakes hands. Raises `ChannelUnavailable`."""
        deadline_s = perf_counter() + timeout_s
        while (left_s := deadline_s - perf_counter()) > 0:
            self._socket.settimeout(left_s)
            try:
                connection, _ = self._socket.accept()
            except OSError as error:
                raise ChannelUnavailable(
                    self.endpoint, f"no peer within {timeout_s} s: {error}", "is the client running?"
                ) from error
            try:
                channel = _shake_hands(
                    self._kind,
                    connection,
                    self.endpoint,
                    self._capacity_bytes,
                    self._spin_us,
                    max(deadline_s - perf_counter(), 0.1),
                    listening=True,
                )
            except (MalformedMessage, ChannelUnavailable):
                connection.close()  # a stranger; the peer may still come
                continue
            except BaseException:
                connection.close()
                raise
            self.close()
            return channel
        raise ChannelUnavailable(self.endpoint, f"no peer within {timeout_s} s", "is the client running?")

    def close(self) -> None:
        """Stop listening; idempotent, leaves an accepted channel alone."""
        self._socket.close()


def connect_shm(
    kind: str, address: str, capacity_bytes: int, spin_us: float, timeout_s: float
) -> ShmChannel | ShmZmqChannel:
    """The client's end of an abstract address (`@name`). Raises `ChannelUnavailable`."""
    if not shm_region.available() or not address.startswith("@"):
        raise ChannelUnavailable(address, "is no abstract socket, or this is not Linux", "use multipart-ipc")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.settimeout(timeout_s)
        try:
            connection.connect("\0" + address[1:])
        except OSError as error:
            raise ChannelUnavailable(address, str(error), "is the server running?") from error
        endpoint = _printable(connection.getpeername())
        return _shake_hands(kind, connection, endpoint, capacity_bytes, spin_us, timeout_s, listening=False)
    except BaseException:
        connection.close()
        raise


def _shake_hands(
    kind: str,
    connection: socket.socket,
    endpoint: str,
    capacity_bytes: int,
    spin_us: float,
    timeout_s: float,
    *,
    listening: bool,
) -> ShmChannel | ShmZmqChannel:
    connection.settimeout(timeout_s)
    _check_user(connection, endpoint)
    link = Link(_CONTROL_BYTES, listening=listening) if kind == "shm-zmq" else None
    try:
        if link is not None and listening:
            link.bind("ipc")
        own, descriptor = shm_region.create(capacity_bytes)
        try:
            _send_hello(connection, kind, own, descriptor, link.endpoint if link else "")
        finally:
            os.close(descriptor)
        peer, control = _recv_hello(connection, kind, endpoint)
        if link is not None and listening:
            link.await_peer(timeout_s)
        elif link is not None:
            link.connect(control, timeout_s)
    except BaseException:
        if link is not None:
            link.close()
        raise
    doorbell = Doorbell(connection, own, peer, spin_us, endpoint)
    if link is not None:
        return ShmZmqChannel(kind, endpoint, doorbell, own, peer, link)
    return ShmChannel(kind, endpoint, doorbell, own, peer)


def _check_user(connection: socket.socket, endpoint: str) -> None:
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    if uid != os.getuid():
        raise ChannelUnavailable(
            endpoint, f"the peer runs as user {uid}, not {os.getuid()}", "run both processes as the same user"
        )


def _send_hello(connection: socket.socket, kind: str, own: Region, descriptor: int, control: str) -> None:
    hello = msgpack.packb({"magic": _MAGIC, "kind": kind, "capacity_bytes": own.capacity_bytes, "control": control})
    rights = array.array("i", [descriptor])
    try:
        connection.sendmsg([hello], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError as error:
        raise ChannelUnavailable("handshake", f"the peer left: {error}") from error


def _recv_hello(connection: socket.socket, kind: str, endpoint: str) -> tuple[Region, str]:
    try:
        data, ancillary, _, _ = connection.recvmsg(_HELLO_BYTES, socket.CMSG_SPACE(4 * 4))
    except OSError as error:
        raise ChannelUnavailable(
            endpoint, f"no handshake: {error}", "is the server busy with another client?"
        ) from error
    descriptors = array.array("i")
    for level, what, payload in ancillary:
        if level == socket.SOL_SOCKET and what == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
    try:
        if not data:
            raise ChannelUnavailable(endpoint, "the peer left during the handshake", "does its log say why?")
        hello = _checked_hello(data, kind)
        if len(descriptors) != 1:
            raise MalformedMessage("handshake", f"{len(descriptors)} descriptors came with it, not one")
        return shm_region.attach(descriptors[0], hello["capacity_bytes"]), hello["control"]
    finally:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _checked_hello(data: bytes, kind: str) -> dict[str, Any]:
    try:
        hello = msgpack.unpackb(data, raw=False, max_map_len=8, max_str_len=256, max_array_len=0, max_ext_len=0)
    except Exception as error:
        raise MalformedMessage("handshake", f"not msgpack: {error!r:.200}") from error
    if not isinstance(hello, dict) or hello.get("magic") != _MAGIC:
        raise MalformedMessage("handshake", f"not {_MAGIC}", "is the peer of the same version?")
    if hello.get("kind") != kind:
        raise MalformedMessage("handshake", f"the peer speaks {hello.get('kind')!r:.40}, not {kind}")
    if type(hello.get("capacity_bytes")) is not int or not isinstance(hello.get("control"), str):
        raise MalformedMessage("handshake", "capacity or control endpoint missing")
    return hello


def _printable(name: bytes | str) -> str:
    """An abstract socket's name as netstat and ss print it."""
    text = name.decode() if isinstance(name, bytes) else name
    return "@" + text[1:] if text.startswith("\0") else text
