"""Both ends of a channel in one process, for tests of what each end does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.connect import connect, full_endpoint, serve

CAPACITY_BYTES = 4 * 1024 * 1024


@contextlib.contextmanager
def channel_pair(
    kind: str, capacity_bytes: int = CAPACITY_BYTES, spin_us: float = 40.0
) -> Iterator[tuple[Channel, Channel]]:
    """(client's end, server's end), connected as two processes would be."""
    listener = serve(kind, capacity_bytes=capacity_bytes, spin_us=spin_us)
    accepted: list[Channel] = []
    thread = threading.Thread(target=lambda: accepted.append(listener.accept(10)))
    thread.start()
    client = connect(full_endpoint(kind, listener), capacity_bytes=capacity_bytes, spin_us=spin_us)
    thread.join()
    try:
        yield client, accepted[0]
    finally:
        client.close()
        accepted[0].close()
        listener.close()
