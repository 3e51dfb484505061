"""What to diagnose: the configured endpoint, or what the environment makes of it, and how to get a channel to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perfguard.errors import OptionError
from perfguard_suites.transport.connect import KINDS, ZMQ_KINDS, connect
from perfguard_suites.transport.errors import ChannelUnavailable
from perfguard_suites.transport.peer import peer
from perfguard_suites.transport.roundtrip import Client

DEFAULT_ENDPOINT = "naive-ipc"
# The second is the variable of the system that this project grew from: it is what may have overridden there.
ENVIRONMENT = ("PERFGUARD_TRANSPORT_ENDPOINT", "LLAMA_IPC_PATH")
_SCHEMES = ("ipc", "tcp")


@dataclass(frozen=True, slots=True)
class Target:
    """`effective` is `configured` unless an environment variable (`source`) overrides it.

    `endpoint` is `kind+address` of a running server, or empty: then a server of `kind` is started.
    """

    configured: str
    effective: str
    kind: str
    endpoint: str
    source: str
    warnings: tuple[str, ...]


def resolve(configured: str | None, environment: Mapping[str, str]) -> Target:
    """The target for an `--endpoint` (None: the default) under these environment variables. Raises `OptionError`.

    A kind (`shm`), `kind+address` of a running server, or a bare `ipc://` or `tcp://` address, which is taken to
    speak the naive wire unless the configured kind says otherwise.
    """
    wanted = configured if configured is not None else DEFAULT_ENDPOINT
    said = "--endpoint" if configured is not None else "the default"
    variable = next((name for name in ENVIRONMENT if environment.get(name)), None)
    if variable is None or environment[variable] == wanted:
        return _target(wanted, wanted, said, ())
    value = environment[variable]
    warning = f"{variable}={value} overrides the configured endpoint {wanted} ({said})"
    return _target(wanted, value, variable, (warning,))


def _target(configured: str, effective: str, source: str, warnings: tuple[str, ...]) -> Target:
    kind, plus, address = effective.partition("+")
    if kind in KINDS and bool(plus) == bool(address):
        return Target(configured, effective, kind, effective if plus else "", source, warnings)
    scheme = effective.partition("://")[0]
    if scheme in _SCHEMES and "://" in effective:
        wire = "multipart" if configured.startswith("multipart") else "naive"
        return Target(configured, effective, f"{wire}-{scheme}", f"{wire}-{scheme}+{effective}", source, warnings)
    raise OptionError(
        f"{source}: {effective!r:.200}",
        "is neither a kind of transport nor an endpoint",
        f"use one of {', '.join(KINDS)}, or the kind+address that a running server printed",
    )


def family(kind: str) -> str:
    """What a kind promises to carry payload with: `ipc`, `tcp` or `shm`."""
    return kind.rpartition("-")[2] if kind in ZMQ_KINDS else "shm"


@contextlib.contextmanager
def open_target(
    target: Target, capacity_bytes: int, timeout_s: float, startup_timeout_s: float = 30.0
) -> Iterator[Client]:
    """A client of the target: of the running server it names, or of one started for it.

    Raises `ChannelUnavailable`, for a running server within `timeout_s` and naming where its endpoint came from.
    """
    if not target.endpoint:
        with peer(target.kind, capacity_bytes=capacity_bytes, startup_timeout_s=startup_timeout_s) as channel:
            yield Client(channel)
        return
    try:
        channel = connect(target.endpoint, capacity_bytes=capacity_bytes, timeout_s=timeout_s)
    except ChannelUnavailable as error:
        advice = f"the endpoint came from {target.source}; {error.advice}"
        raise ChannelUnavailable(error.culprit or target.endpoint, error.problem, advice) from error
    try:
        yield Client(channel)
    finally:
        channel.close()
