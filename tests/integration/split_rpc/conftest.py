"""One server process for all tests of this folder: it listens on a channel of every kind that a variant uses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from split_models import SOURCE

from perfguard_suites.split_rpc.client import RpcClient
from perfguard_suites.split_rpc.process import ServerSettings, SplitServer, running
from perfguard_suites.split_rpc.variants import VARIANTS


@pytest.fixture(scope="module")
def server() -> Iterator[SplitServer]:
    """A running server of the tiny model."""
    kinds = tuple(dict.fromkeys(variant.channel for variant in VARIANTS.values()))
    with running(
        ServerSettings(SOURCE, kinds, capacity_bytes=16 << 20, device="cpu", threads=1, allow_faults=True)
    ) as server:
        yield server


@pytest.fixture(scope="module")
def clients(server: SplitServer) -> dict[str, RpcClient]:
    """A connected client on each kind of channel."""
    return {kind: server.connect(kind) for kind in server.settings.kinds}
