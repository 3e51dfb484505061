"""Two hosts' clocks: how far apart they are, from the four stamps of one exchange, and how sure that is.

On one host both processes read the same CLOCK_MONOTONIC and nothing has to be corrected. Source: RFC 5905 (NTPv4),
section 8: offset theta = ((T2 - T1) + (T3 - T4)) / 2, round-trip delay delta = (T4 - T1) - (T3 - T2); the true offset
lies within theta +- delta / 2, whatever the two ways took.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perfguard_suites.split_rpc.timeline import Exchange


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Add `offset_ns` to the client's clock to get the server's; true within `bound_ns` either way."""

    offset_ns: float
    bound_ns: float


def offset_of(sent_ns: int, received_ns: int, replied_ns: int, returned_ns: int) -> ClockOffset:
    """From one exchange: sent and returned by the client's clock, received and replied by the server's.

    Raises ValueError where a clock ran backwards or the exchange took less time than the server spent on it.
    """
    if returned_ns < sent_ns or replied_ns < received_ns:
        raise ValueError("an exchange ends before it begins")
    delay_ns = (returned_ns - sent_ns) - (replied_ns - received_ns)
    if delay_ns < 0:
        raise ValueError(f"the server spent {-delay_ns} ns more than the exchange took: the clocks run at other rates")
    return ClockOffset(((received_ns - sent_ns) + (replied_ns - returned_ns)) / 2, delay_ns / 2)


def best_offset(exchanges: Iterable[tuple[int, int, int, int]]) -> ClockOffset:
    """The offset of the exchange with the least delay (RFC 5905's clock filter). Raises ValueError if there is none."""
    offsets = [offset_of(*stamps) for stamps in exchanges]
    if not offsets:
        raise ValueError("no exchanges")
    return min(offsets, key=lambda offset: offset.bound_ns)


def clock_name() -> str:
    """What this host's monotonic clock started with: equal for processes that share it, empty where it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def between(exchanges: Sequence[Exchange]) -> ClockOffset:
    """The server's clock against the client's, from the stamps of these calls. Raises ValueError if there is none."""
    return best_offset(
        (each.request.packed_ns, each.request.arrived_ns, each.reply.packed_ns, each.reply.arrived_ns)
        for each in exchanges
    )


def on_client_clock(
    exchanges: Sequence[Exchange], ledger: npt.NDArray[np.int64], offset: ClockOffset
) -> tuple[list[Exchange], npt.NDArray[np.int64]]:
    """The same calls with every stamp of the server's on the client's clock. `ledger`: its first column is no stamp."""
    shift_ns = round(offset.offset_ns)
    moved = [
        each._replace(
            request=each.request._replace(
                arrived_ns=each.request.arrived_ns - shift_ns, unpacked_ns=each.request.unpacked_ns - shift_ns
            ),
            reply=each.reply._replace(
                begun_ns=each.reply.begun_ns - shift_ns,
                copied_ns=each.reply.copied_ns - shift_ns,
                packed_ns=each.reply.packed_ns - shift_ns,
            ),
        )
        for each in exchanges
    ]
    rows = ledger.copy()
    rows[:, 1:] -= shift_ns
    return moved, rows
