"""The kernel's own list of sockets, asked over netlink (sock_diag), as `ss` does and without privileges.

`/proc/net/unix` names no peers and `/proc/net/tcp` counts no bytes; netlink gives both. Linux only. Layouts:
`linux/unix_diag.h`, `linux/inet_diag.h`, `linux/tcp.h`; every length that arrives is checked before use.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from perfguard.errors import PerfguardError

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST, _DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

_UNIX_REQUEST = struct.Struct("=BBHIIIII")
_UNIX_REPLY = struct.Struct("=BBBBIII")
_SHOW_NAME, _SHOW_PEER, _SHOW_QUEUE = 0x1, 0x4, 0x10
_UNIX_NAME, _UNIX_PEER, _UNIX_QUEUE = 0, 2, 4

_INET_REQUEST = struct.Struct("=BBBBI48s")
_INET_REPLY = struct.Struct("=BBBB2s2s16s16s12sIIIII")
_INET_INFO = 2
_TCP_BYTES = struct.Struct("=QQ")
_TCP_BYTES_AT = 120  # tcp_info: tcpi_bytes_acked, then tcpi_bytes_received

_ANY = 0xFFFFFFFF
_TIMEOUT_S = 2.0
_MAX_REPLIES = 100_000
_STATES = {1: "established", 7: "closed", 10: "listening"}
_TYPES = {1: "stream", 2: "datagram", 5: "seqpacket"}


class KernelViewUnavailable(PerfguardError):  # noqa: N818 - a state of the machine, not a fault
    """The kernel does not answer here: another system than Linux, or a sandbox."""

    exit_status = 1


@dataclass(frozen=True, slots=True)
class KernelSocket:
    """One socket in the kernel's list.

    `family` is `unix`, `tcp` or `tcp6`; addresses are a path, `@abstract-name`, `host:port`, or empty.
    `sent_bytes` (acknowledged) and `received_bytes` are counted for TCP only; `queued_bytes` wait to be read.
    """

    family: str
    type: str
    state: str
    inode: int
    local: str
    remote: str = ""
    peer_inode: int | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    queued_bytes: int = 0


def unix_sockets() -> list[KernelSocket]:
    """All unix sockets of this network namespace. Raises `KernelViewUnavailable`."""
    show = _SHOW_NAME | _SHOW_PEER | _SHOW_QUEUE
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY, 0, show, _ANY, _ANY)
    return _listed(request, _parse_unix, dump=True)


def tcp_sockets() -> list[KernelSocket]:
    """All TCP sockets of this network namespace, with byte counters. Raises `KernelViewUnavailable`."""
    found = []
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _INET_REQUEST.pack(family, socket.IPPROTO_TCP, 1 << (_INET_INFO - 1), 0, _ANY, bytes(48))
        found += _listed(request, _parse_inet, dump=True)
    return found


def unix_queued_bytes(inode: int) -> int:
    """Bytes that wait to be read in one unix socket; 0 when it is gone. Raises `KernelViewUnavailable`."""
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY)
    try:
        return sum(found.queued_bytes for found in _listed(request, _parse_unix, dump=False))
    except FileNotFoundError:
        return 0


def _listed(request: bytes, parse: Callable[[bytes], KernelSocket], *, dump: bool) -> list[KernelSocket]:
    try:
        return [parse(reply) for reply in _ask(request, dump=dump)]
    except struct.error as error:
        raise KernelViewUnavailable(
            "sock_diag", f"a reply too short: {error}", "is this a kernel of its own?"
        ) from error


def _ask(request: bytes, *, dump: bool) -> Iterator[bytes]:
    if not sys.platform.startswith("linux"):
        raise KernelViewUnavailable("sock_diag", f"no such interface on {sys.platform}", "diagnose on Linux")
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(_TIMEOUT_S)
            flags = _REQUEST | (_DUMP if dump else 0)
            netlink.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, flags, 1, 0) + request)
            yield from _replies(netlink, dump=dump)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KernelViewUnavailable("sock_diag", str(error), "run outside a sandbox that forbids netlink") from error


def _replies(netlink: socket.socket, *, dump: bool) -> Iterator[bytes]:
    for _ in range(_MAX_REPLIES):
        data = netlink.recv(1 << 18)
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(data, at)
            if length < _HEADER.size or at + length > len(data):
                raise OSError(errno.EPROTO, "a netlink message of impossible length")
            body = data[at + _HEADER.size : at + length]
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, os.strerror(code))
            yield body
            if not dump:
                return
            at += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _parse_unix(data: bytes) -> KernelSocket:
    _family, type_, state, _pad, inode, _cookie0, _cookie1 = _UNIX_REPLY.unpack_from(data)
    attributes = _attributes(data[_UNIX_REPLY.size :])
    peer = attributes.get(_UNIX_PEER)
    queue = attributes.get(_UNIX_QUEUE)
    return KernelSocket(
        family="unix",
        type=_TYPES.get(type_, str(type_)),
        state=_STATES.get(state, str(state)),
        inode=inode,
        local=_unix_name(attributes.get(_UNIX_NAME, b"")),
        peer_inode=struct.unpack("=I", peer)[0] if peer is not None and len(peer) == 4 else None,
        queued_bytes=struct.unpack_from("=I", queue)[0] if queue is not None and len(queue) >= 4 else 0,
    )


def _unix_name(raw: bytes) -> str:
    if raw.startswith(b"\0"):
        return "@" + raw[1:].decode("utf-8", "backslashreplace")
    return raw.rstrip(b"\0").decode("utf-8", "backslashreplace")


def _parse_inet(data: bytes) -> KernelSocket:
    (
        family,
        state,
        _timer,
        _retrans,
        sport,
        dport,
        source,
        target,
        _interface_cookie,
        _expires,
        queued,
        _unsent,
        _uid,
        inode,
    ) = _INET_REPLY.unpack_from(data)
    info = _attributes(data[_INET_REPLY.size :]).get(_INET_INFO, b"")
    counted = len(info) >= _TCP_BYTES_AT + _TCP_BYTES.size
    sent, received = _TCP_BYTES.unpack_from(info, _TCP_BYTES_AT) if counted else (None, None)
    listening = state == 10
    return KernelSocket(
        family="tcp" if family == socket.AF_INET else "tcp6",
        type="stream",
        state=_STATES.get(state, str(state)),
        inode=inode,
        local=_inet_name(family, source, sport),
        remote="" if listening else _inet_name(family, target, dport),
        sent_bytes=sent,
        received_bytes=received,
        queued_bytes=0 if listening else queued,  # of a listener it is the backlog, not bytes
    )


def _inet_name(family: int, address: bytes, port: bytes) -> str:
    number = int.from_bytes(port, "big")
    if family == socket.AF_INET:
        return f"{socket.inet_ntop(family, address[:4])}:{number}"
    return f"[{socket.inet_ntop(family, address)}]:{number}"
