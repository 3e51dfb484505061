"""Garbage on the sockets and in shared memory: MalformedMessage, never a crash, and the next message passes."""

from __future__ import annotations

import array
import contextlib
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
from channel_pairs import CAPACITY_BYTES, channel_pair

from perfguard_suites.transport import shm_region, wire
from perfguard_suites.transport.channel import Channel, Message
from perfguard_suites.transport.connect import serve
from perfguard_suites.transport.errors import MalformedMessage, PeerDied
from perfguard_suites.transport.shm_region import RECORD_BYTES, RING_AT, SENT, Region
from perfguard_suites.transport.zmq_channel import ZmqListener
from perfguard_suites.transport.zmq_link import Link

needs_regions = pytest.mark.skipif(not shm_region.available(), reason="needs memfd and seals")
PLACEMENT = struct.Struct("<HHIQ")

RANDOM = random.Random(20261121)  # a failure must be repeatable


def packed(message: Message) -> tuple[bytes, bytes]:
    body = wire.body_bytes(message)
    return wire.pack_head(message, body, 1, 2), body


def naive(**changes: object) -> bytes:
    fields = {
        "method": "echo",
        "attributes": {},
        "request_id": 1,
        "request_stamps": None,
        "sent": (1, 2),
        "tensors": [{"dtype": "float32", "shape": [2], "data": bytes(8)}],
    }
    return msgpack.packb({**fields, **changes}) + bytes(8)


TENSOR = {"dtype": "float32", "shape": [2], "data": bytes(8)}
NAIVE_GARBAGE = [
    [b""],
    [b"x"],
    [bytes(8)],
    [RANDOM.randbytes(100)],
    [naive()[:-9]],
    [naive(), b""],
    [naive(), bytes(8), bytes(8)],
    [msgpack.packb([1, 2]) + bytes(8)],
    [naive(method=3)],
    [naive(method="")],
    [naive(attributes=[])],
    [naive(attributes={"a": [1]})],
    [naive(request_id="1")],
    [naive(request_stamps=[1, 2])],
    [naive(request_stamps={})],
    [naive(request_stamps="12345")],
    [naive(sent=[1])],
    [naive(sent=None)],
    [naive(tensors=None)],
    [naive(tensors=[1])],
    [naive(tensors=[{}])],
    [naive(tensors=[TENSOR | {"dtype": "object"}])],
    [naive(tensors=[TENSOR | {"shape": [3]}])],
    [naive(tensors=[TENSOR | {"shape": [-1]}])],
    [naive(tensors=[TENSOR | {"shape": [2**40]}])],
    [naive(tensors=[TENSOR | {"shape": 2}])],
    [naive(tensors=[TENSOR | {"data": "text"}])],
    [naive(tensors=[TENSOR | {"data": None}])],
    [naive(tensors=[TENSOR] * 65)],
]
HEAD, BODY = packed(Message("echo", (np.zeros(2, np.float32),)))
MULTIPART_GARBAGE = [
    [b""],
    [HEAD + BODY],
    [HEAD + BODY, b""],
    [HEAD + BODY, bytes(7)],
    [HEAD + BODY, bytes(8), bytes(8)],
    [HEAD[:-1], bytes(8)],
    [HEAD + BODY[:-1], bytes(8)],
    [bytes(len(HEAD)) + BODY, bytes(8)],
    [RANDOM.randbytes(200)],
]


@contextlib.contextmanager
def raw_peer(kind: str) -> Iterator[tuple[Link, Channel]]:
    """(a link that can send any frames, the channel that must survive them)."""
    listener = ZmqListener(kind, CAPACITY_BYTES)
    link = Link(CAPACITY_BYTES, listening=False)
    accepted: list[Channel] = []
    thread = threading.Thread(target=lambda: accepted.append(listener.accept(10)))
    thread.start()
    link.connect(listener.endpoint, 10)
    thread.join()
    try:
        yield link, accepted[0]
    finally:
        link.close()
        accepted[0].close()


@pytest.mark.parametrize(
    ("kind", "garbage", "good"),
    [("naive-ipc", NAIVE_GARBAGE, [naive()]), ("multipart-tcp", MULTIPART_GARBAGE, [HEAD + BODY, bytes(8)])],
)
def test_garbage_frames_are_malformed_and_the_next_message_passes(
    kind: str, garbage: list[list[bytes]], good: list[bytes]
) -> None:
    """Wrong schemas, truncated maps, impossible shapes: each is refused alone."""
    with raw_peer(kind) as (link, channel):
        for frames in garbage:
            link.send(frames, 5, copy=True)
            with pytest.raises(MalformedMessage):
                channel.recv(5)
            link.send(good, 5, copy=True)
            assert channel.recv(5).tensors[0].shape == (2,)


@pytest.mark.parametrize("family", ["tcp", "ipc"])
def test_strangers_are_neither_heard_nor_in_the_way(family: str) -> None:
    """Bytes that are no ZeroMQ, and a second client that is, change nothing for the real peer, nor hide its end."""
    listener = ZmqListener(f"naive-{family}", CAPACITY_BYTES)
    address = listener.endpoint
    if family == "ipc" and "@" not in address:
        pytest.skip("this platform's ipc endpoint is a path")

    def shout() -> None:
        if family == "tcp":
            stranger = socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])))
        else:
            stranger = socket.socket(socket.AF_UNIX)
            stranger.connect("\0" + address.removeprefix("ipc://@"))
        with stranger, contextlib.suppress(OSError):
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" + bytes(500))
            stranger.settimeout(5)
            while stranger.recv(4096):  # until it hangs up on us
                pass

    link, accepted = Link(CAPACITY_BYTES, listening=False), []
    impostor = Link(CAPACITY_BYTES, listening=False)
    thread = threading.Thread(target=lambda: accepted.append(listener.accept(10)))
    thread.start()
    shout()
    link.connect(address, 10)
    thread.join()
    try:
        link.send([naive()], 5, copy=True)
        assert accepted[0].recv(5).method == "echo"
        shout()
        impostor.connect(address, 10)
        impostor.send([naive(method="not for you")], 5, copy=True)
        link.send([naive()], 5, copy=True)
        assert accepted[0].recv(5).method == "echo"
        link.close()
        with pytest.raises(PeerDied):
            accepted[0].recv(5)
    finally:
        impostor.close()
        link.close()
        accepted[0].close()


def records() -> list[bytes]:
    """Records for one 4000-element tensor that point where they must not, or are cut short."""
    head, body = packed(Message("echo", (np.zeros(4000, np.float32),)))
    places = [
        (0, 0, 0, 0),
        (0, 0, 0, 2**63),
        (1, 0, 0, CAPACITY_BYTES - 15999),
        (1, 0, 0, 2**64 - 1),
        (1, 512, 0, 0),
        (1, 65535, 0, 0),
        (2, 0, 0, 0),
        (2, 0, 0, 2**63),
        (3, 0, 0, 0),
        (9, 9, 9, 9),
    ]
    good = head + body + PLACEMENT.pack(1, 0, 0, 0)
    return [head + body + PLACEMENT.pack(*place) for place in places] + [
        b"",
        head,
        head + body,
        good[:-1],
        bytes(len(good)),
        RANDOM.randbytes(len(good)),
    ]


def publish(own: Region, count: int, record: bytes, said: int | None = None) -> None:
    at = RING_AT + (count - 1) % shm_region.RECORDS * RECORD_BYTES
    own.words[at // 8] = len(record) if said is None else said
    own.memory[at + 8 : at + 8 + len(record)] = record
    own.words[SENT] = count


@needs_regions
def test_garbage_in_the_ring_is_malformed_and_the_next_message_passes() -> None:
    """A peer that writes nonsense into its own region gets no view out of bounds and breaks nothing."""
    head, body = packed(Message("echo", (np.zeros(4000, np.float32),)))
    good = head + body + PLACEMENT.pack(1, 0, 0, 0)
    with channel_pair("shm") as (client, server):
        own = client._own  # type: ignore[attr-defined]
        count = 0
        for record in records():
            count += 2
            publish(own, count - 1, record)
            with pytest.raises(MalformedMessage):
                server.recv(5)
            publish(own, count, good)
            assert server.recv(5).tensors[0].shape == (4000,)
        for said in (RECORD_BYTES, 2**64 - 1):
            count += 1
            publish(own, count, good, said)
            with pytest.raises(MalformedMessage):
                server.recv(5)


@needs_regions
def test_random_records_are_refused_or_read_but_never_crash() -> None:
    """A thousand mutations of a good record: each is a message or MalformedMessage."""
    generator = random.Random(5)
    head, body = packed(Message("echo", (np.zeros(40, np.float32), np.zeros(4000, np.float32))))
    good = head + body + PLACEMENT.pack(0, 0, 0, 0) + PLACEMENT.pack(1, 0, 0, 64) + bytes(160)
    with channel_pair("shm") as (client, server):
        own = client._own  # type: ignore[attr-defined]
        for count in range(1, 1001):
            record = bytearray(good)
            for _ in range(generator.randint(1, 6)):
                record[generator.randrange(len(record))] = generator.randrange(256)
            publish(own, count, bytes(record))
            with contextlib.suppress(MalformedMessage):
                for tensor in server.recv(5).tensors:
                    tensor.tobytes()  # every byte of every view can be read


@needs_regions
def test_impossible_counts_end_the_connection() -> None:
    """A peer whose message count jumps is refused once, then hung up on: no endless loop of errors."""
    with channel_pair("shm") as (client, server):
        client._own.words[SENT] = 10**9  # type: ignore[attr-defined]
        with pytest.raises(MalformedMessage, match="ring"):
            server.recv(5)
        with pytest.raises(PeerDied):
            server.recv(5)
        with pytest.raises(PeerDied):
            client.recv(5)


@needs_regions
@pytest.mark.parametrize(
    "hello",
    [
        b"",
        b"x",
        RANDOM.randbytes(64),
        msgpack.packb(7),
        msgpack.packb({"magic": "other"}),
        msgpack.packb({"magic": "perfguard.shm/1", "kind": "shm-zmq", "capacity_bytes": 4096, "control": ""}),
        msgpack.packb({"magic": "perfguard.shm/1", "kind": "shm", "capacity_bytes": "4096", "control": ""}),
        msgpack.packb({"magic": "perfguard.shm/1", "kind": "shm", "capacity_bytes": 1 << 50, "control": ""}),
        msgpack.packb({"magic": "perfguard.shm/1", "kind": "shm", "capacity_bytes": -4096, "control": ""}),
    ],
    ids=lambda hello: hello[:12].hex() or "empty",
)
@pytest.mark.parametrize("descriptors", [0, 1, 3])
def test_garbage_handshakes_are_turned_away_and_the_peer_still_comes(hello: bytes, descriptors: int) -> None:
    """Nonsense, or a descriptor that is no region, is a stranger's: the real client is served next."""
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    listener = serve("shm", capacity_bytes=CAPACITY_BYTES)
    accepted: list[Channel] = []
    thread = threading.Thread(target=lambda: accepted.append(listener.accept(10)))
    thread.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
        stranger.connect("\0" + listener.endpoint[1:])
        with open(os.devnull, "rb") as null:  # noqa: PTH123
            rights = array.array("i", [null.fileno()] * descriptors)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
            stranger.sendmsg([hello], ancillary)
    from perfguard_suites.transport.connect import connect

    client = connect(f"shm+{listener.endpoint}", capacity_bytes=CAPACITY_BYTES)
    thread.join()
    client.send(Message("hello"))
    assert accepted[0].recv(5).method == "hello"
    client.close()
    accepted[0].close()
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208
