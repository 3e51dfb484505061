"""Which transport is really in use: asked from the kernel and proved by the traffic, never from configuration.

`look` lists the sockets that connect two processes and the memory both have mapped; `decide` says from two looks
around real traffic which of them carried the payload:

- TCP counts bytes per socket (tcp_info), so that payload is seen in the counters;
- unix sockets count nothing, but `QueueWatch` sees payload waiting in their queues while it travels;
- shared memory: the addresses of received tensors lie in a mapping that the other process maps too.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from perfguard_suites.transport import sock_diag
from perfguard_suites.transport.sock_diag import KernelSocket, KernelViewUnavailable

UNIX: Final = "unix socket"
TCP: Final = "TCP"
SHARED_MEMORY: Final = "shared memory"
UNKNOWN: Final = "unknown"

_MAP_LINE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ (\S+) (\d+)\s*(.*)$")
# A queue seen this full held payload: metadata and empty messages stay far below.
_PAYLOAD_QUEUE_BYTES = 16 * 1024
# The carrier must account for at least this share of the payload; headers make it a little over 1.
_CARRIED_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Connection:
    """One socket of `pid` whose other end is in `peer_pid`, with the kernel's figures for this end."""

    pid: int
    peer_pid: int
    socket: KernelSocket
    peer_address: str

    @property
    def key(self) -> tuple[str, int]:
        """What stays the same from look to look."""
        return (self.socket.family, self.socket.inode)

    def __str__(self) -> str:
        s = self.socket
        here = s.local or "unnamed"
        there = s.remote or self.peer_address or "unnamed"
        return f"{s.family} {s.type}, inode {s.inode}: {here} (pid {self.pid}) - {there} (pid {self.peer_pid})"


@dataclass(frozen=True, slots=True)
class SharedMapping:
    """One file or memfd mapped shared by both processes: the same inode on the same device."""

    device: str
    inode: int
    name: str
    size_bytes: int
    ranges: tuple[tuple[int, int], ...]

    def holds(self, address: int) -> bool:
        """Whether that address of the looking process lies inside."""
        return any(low <= address < high for low, high in self.ranges)

    def __str__(self) -> str:
        return f"{self.name}, inode {self.inode} on device {self.device}, {self.size_bytes / 2**20:.1f} MiB"


@dataclass(frozen=True, slots=True)
class KernelView:
    """What connects `pid` with `peer_pid` at one moment, and each one's resident memory in bytes."""

    pid: int
    peer_pid: int
    connections: tuple[Connection, ...]
    mappings: tuple[SharedMapping, ...]
    resident_bytes: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TransportInUse:
    """The kernel's answer: what carried the payload, and the evidence, one fact a line."""

    carrier: str
    payload_bytes: int
    evidence: tuple[str, ...]


def look(pid: int, peer_pid: int) -> KernelView:
    """Everything that connects the two processes now. Raises `KernelViewUnavailable`."""
    return KernelView(
        pid=pid,
        peer_pid=peer_pid,
        connections=_connections(pid, peer_pid),
        mappings=shared_mappings(_maps(pid), _maps(peer_pid)),
        resident_bytes={p: resident_bytes(p) for p in (pid, peer_pid)},
    )


def peer_pids(pid: int) -> tuple[int, ...]:
    """The other processes that sockets of `pid` connect to, as far as this user may see them."""
    own = socket_inodes(pid)
    owners = _owners()
    sockets = [*sock_diag.unix_sockets(), *sock_diag.tcp_sockets()]
    mine = [s for s in sockets if s.inode in own]
    found = {owner for s in mine for peer in _peers_of(s, sockets) for owner in owners.get(peer.inode, ())}
    return tuple(sorted(found - {pid}))


def decide(
    before: KernelView,
    after: KernelView,
    payload_bytes: int,
    *,
    queue_peaks: Mapping[int, int] | None = None,
    payload_addresses: Sequence[int] = (),
) -> TransportInUse:
    """What carried `payload_bytes` (both directions) between two looks around the traffic.

    `queue_peaks`: most bytes seen waiting, by inode of a unix socket; `payload_addresses`: where received tensors lay.
    """
    peaks = queue_peaks or {}
    evidence: list[str] = []
    carrier = UNKNOWN
    tcp_bytes = 0
    for connection in after.connections:
        grown = _growth(before, connection)
        if grown is not None:
            tcp_bytes += grown
            evidence.append(f"{connection}; its counters grew by {grown} bytes")
            continue
        peak = max(peaks.get(connection.socket.inode, 0), peaks.get(connection.socket.peer_inode or 0, 0))
        evidence.append(f"{connection}; at most {peak} bytes seen waiting in it")
        if peak >= _PAYLOAD_QUEUE_BYTES:
            carrier = UNIX
    for mapping in after.mappings:
        inside = sum(mapping.holds(address) for address in payload_addresses)
        evidence.append(f"shared mapping {mapping}; {inside} of {len(payload_addresses)} received tensors lie in it")
        if payload_addresses and inside == len(payload_addresses):
            carrier = SHARED_MEMORY
    if payload_bytes and tcp_bytes >= _CARRIED_SHARE * payload_bytes:
        carrier = TCP
    if carrier == UNKNOWN and after.connections and not after.mappings and _all_unix(after):
        carrier = UNIX
        evidence.append("nothing else connects the two processes")
    if not evidence:
        evidence.append(f"no socket and no shared memory connects pid {after.pid} with pid {after.peer_pid}")
    return TransportInUse(carrier, payload_bytes, tuple(evidence))


def _all_unix(view: KernelView) -> bool:
    return all(connection.socket.family == "unix" for connection in view.connections)


def _growth(before: KernelView, connection: Connection) -> int | None:
    """Bytes the TCP connection carried since `before`, both ways; None where the kernel does not count."""
    now = connection.socket
    if now.sent_bytes is None or now.received_bytes is None:
        return None
    then = next((c.socket for c in before.connections if c.key == connection.key), None)
    started = (then.sent_bytes or 0) + (then.received_bytes or 0) if then is not None else 0
    return now.sent_bytes + now.received_bytes - started


class QueueWatch:
    """A thread that samples how much waits in unix sockets while traffic runs: `with QueueWatch(inodes) as w`.

    It costs CPU time and shares the interpreter lock: watch traffic that is not being timed.
    """

    def __init__(self, inodes: Iterable[int], period_s: float = 0.0005) -> None:
        self._inodes = tuple(inodes)
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perfguard-queue-watch", daemon=True)
        self.peaks: dict[int, int] = dict.fromkeys(self._inodes, 0)
        self.failure = ""

    def __enter__(self) -> QueueWatch:  # noqa: PYI034 - typing.Self needs Python 3.11
        if self._inodes:
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        if self._inodes:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._period_s):
                for inode in self._inodes:
                    self.peaks[inode] = max(self.peaks[inode], sock_diag.unix_queued_bytes(inode))
        except KernelViewUnavailable as error:
            self.failure = str(error)


def unix_inodes(view: KernelView) -> tuple[int, ...]:
    """Both ends' inodes of every unix connection in the view: what a `QueueWatch` can watch."""
    ends = [(c.socket.inode, c.socket.peer_inode) for c in view.connections if c.socket.family == "unix"]
    return tuple(inode for pair in ends for inode in pair if inode)


def _connections(pid: int, peer_pid: int) -> tuple[Connection, ...]:
    own, others = socket_inodes(pid), socket_inodes(peer_pid)
    sockets = [*sock_diag.unix_sockets(), *sock_diag.tcp_sockets()]
    found = []
    for mine in sockets:
        if mine.inode not in own:
            continue
        for peer in _peers_of(mine, sockets):
            if peer.inode in others:
                with_peer = replace(mine, peer_inode=peer.inode)
                found.append(Connection(pid, peer_pid, with_peer, peer.local))
    return tuple(sorted(found, key=lambda c: c.key))


def _peers_of(mine: KernelSocket, sockets: Sequence[KernelSocket]) -> list[KernelSocket]:
    if mine.family == "unix":
        return [s for s in sockets if s.family == "unix" and mine.peer_inode and s.inode == mine.peer_inode]
    if mine.state != "established":
        return []
    return [
        s
        for s in sockets
        if s.family != "unix"
        and s.inode != mine.inode
        and _plain(s.local) == _plain(mine.remote)
        and _plain(s.remote) == _plain(mine.local)
    ]


def _plain(address: str) -> str:
    """An IPv4 address mapped into IPv6 is the same address."""
    return re.sub(r"^\[::ffff:([0-9.]+)\]", r"\1", address)


def socket_inodes(pid: int) -> frozenset[int]:
    """Inodes of the sockets a process has open. Raises `KernelViewUnavailable` when it may not be read."""
    try:
        links = [_read_link(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError as error:
        raise KernelViewUnavailable(
            f"process {pid}",
            f"its descriptors cannot be read: {error.strerror}",
            "it must be alive, on this host, and of the same user",
        ) from error
    return frozenset(int(link[8:-1]) for link in links if link.startswith("socket:["))


def _read_link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:  # closed between listing and reading
        return ""


def _owners() -> dict[int, set[int]]:
    owners: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                inodes = socket_inodes(int(entry.name))
            except KernelViewUnavailable:  # another user's, or gone
                continue
            for inode in inodes:
                owners.setdefault(inode, set()).add(int(entry.name))
    return owners


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise KernelViewUnavailable(
            f"process {pid}",
            f"its mappings cannot be read: {error.strerror}",
            "it must be alive, on this host, and of the same user",
        ) from error


def shared_mappings(own_maps: str, peer_maps: str) -> tuple[SharedMapping, ...]:
    """From the text of two `/proc/<pid>/maps`: what both map and one may write, with the first one's addresses.

    Read-only files that both map (locale tables) carry nothing from one to the other.
    """
    own, peers = _shared(own_maps), _shared(peer_maps)
    return tuple(
        SharedMapping(device, inode, mine.name, sum(high - low for low, high in mine.ranges), tuple(mine.ranges))
        for (device, inode), mine in sorted(own.items())
        if (device, inode) in peers and (mine.writable or peers[device, inode].writable)
    )


@dataclass(slots=True)
class _Mapped:
    name: str
    ranges: list[tuple[int, int]]
    writable: bool = False


def _shared(maps: str) -> dict[tuple[str, int], _Mapped]:
    found: dict[tuple[str, int], _Mapped] = {}
    for line in maps.splitlines():
        match = _MAP_LINE.match(line)
        if match is None or match[3][3] != "s" or int(match[5]) == 0:
            continue
        mapped = found.setdefault((match[4], int(match[5])), _Mapped(match[6].strip(), []))
        mapped.ranges.append((int(match[1], 16), int(match[2], 16)))
        mapped.writable = mapped.writable or match[3][1] == "w"
    return found


def resident_bytes(pid: int) -> int:
    """VmRSS of a process in bytes, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    match = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
