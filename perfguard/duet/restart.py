"""One restart: fresh worker processes on both sides, with nothing but a fair coin to tell them apart."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator, Mapping

from perfguard.duet.side import Side


@contextlib.contextmanager
def fresh_workers(
    sides: Mapping[str, Side], rng: random.Random
) -> Iterator[Mapping[str, Mapping[str, Mapping[str, str]]]]:
    """Both sides' workers for the time of the context; the cases that each has, by key. Raises `DuetError`."""
    # With no change, a fair coin must be all that tells the sides apart: so says what decides (stats.betting).
    seed, size = rng.getrandbits(32), max(side.stack_bytes() for side in sides.values())
    order = rng.sample(sorted(sides), len(sides))
    try:
        for name, baton in zip(order, socket.socketpair(), strict=True):
            sides[name].start(seed, size, baton)
        yield {name: side.collected() for name, side in sides.items()}
    finally:
        for name in order:
            sides[name].dismiss()
        for name in order:
            sides[name].stop()
