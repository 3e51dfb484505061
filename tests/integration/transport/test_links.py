"""Links alone: two ends of a connection in one process."""

from __future__ import annotations

import contextlib
import threading

import pytest

from perfguard_suites.transport.errors import PeerDied
from perfguard_suites.transport.zmq_link import Link

CAPACITY_BYTES = 1 << 16


@pytest.mark.parametrize("family", ["ipc", "tcp"])
def test_what_a_peer_sent_last_is_read_after_its_end_is_known(family: str) -> None:
    """Messages followed at once by a close all arrive, even if nobody looks before the connection is down."""
    with contextlib.ExitStack() as stack:
        server, client = Link(CAPACITY_BYTES, listening=True), Link(CAPACITY_BYTES, listening=False)
        stack.callback(client.close)
        stack.callback(server.close)
        server.bind(family)
        greeted = threading.Thread(target=server.await_peer, args=(10.0,), daemon=True)
        greeted.start()
        client.connect(server.endpoint, 10.0)
        greeted.join(10.0)
        for number in range(3):
            server.send([b"last", bytes([number])], 10.0, copy=True)
        server.close()
        assert client.await_end(10.0)
        client.socket.poll(0)  # ZeroMQ has taken notice of it, too
        for number in range(3):
            assert [frame.bytes for frame in client.recv(10.0)] == [b"last", bytes([number])]
        with pytest.raises(PeerDied):
            client.recv(10.0)
        with pytest.raises(PeerDied):
            client.send([b"too late"], 10.0, copy=True)
