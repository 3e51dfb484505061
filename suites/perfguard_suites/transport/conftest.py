"""Fixtures of the transport cases: one server process per kind and module, kept for all its sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from perfguard import Perfguard
from perfguard_suites.transport.channel import Channel
from perfguard_suites.transport.peer import peer

KIB = 1024
MIB = 1024 * 1024
SIZES = {"empty": 0, "4KiB": 4 * KIB, "1MiB": MIB, "10MiB": 10 * MIB, "64MiB": 64 * MIB}
FULL_SIZES = SIZES | {"150MiB": 150 * MIB}
# Both directions hold a message in flight and one still being read.
CAPACITY_BYTES = 2 * 160 * MIB
TOKENS = {"quick": 128, "standard": 256, "full": 1024}
UNTIMED_TOKENS = 4
UNTIMED_BYTES = 256 * KIB  # an ordinary test run moves no more than this per message

Connect = Callable[..., Channel]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`size` runs over the profile's sizes, `tokens` is its prompt length.

    Both are part of the case's name, so that figures of different work are never compared.
    """
    config = metafunc.config
    profile = config.getoption("perfguard_profile", None) or config.getini("perfguard_profile")
    if "size" in metafunc.fixturenames:
        metafunc.parametrize("size", list(FULL_SIZES if profile == "full" else SIZES))
    if "tokens" in metafunc.fixturenames:
        metafunc.parametrize("tokens", [TOKENS[profile]], ids=lambda tokens: f"{tokens}-tokens")


@pytest.fixture(scope="module")
def connect() -> Iterator[Connect]:
    """`connect(kind, **options)` gives the channel to a real server process, the same one all through a module."""
    with contextlib.ExitStack() as stack:
        channels: dict[tuple[object, ...], Channel] = {}

        def of(kind: str, **options: object) -> Channel:
            key = (kind, *sorted(options.items()))
            if key not in channels:
                settings = {"capacity_bytes": CAPACITY_BYTES, **options}
                channels[key] = stack.enter_context(peer(kind, **settings))  # type: ignore[arg-type]
            return channels[key]

        yield of


@pytest.fixture
def size_bytes(perfguard: Perfguard) -> Callable[[int], int]:
    """The size to use: as asked for when measuring, small in an ordinary test run."""
    return lambda asked: asked if perfguard.enabled else min(asked, UNTIMED_BYTES)
