"""The baton between the two workers: whoever holds it times a block, then hands it over.

The run tells both workers an order of turns and hears of them afterwards; between two turns nobody else has to wake
up. That halves the time between the blocks of a pair, in which a busy machine changes its mood, and the cost of a turn.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfguard.errors import DuetError

TURN_TIMEOUT_S = 600.0
_MESSAGE = struct.Struct("<I?")


@dataclass(frozen=True, slots=True)
class Turn:
    """One block: whether it is this worker's, and on which processor it begins (`NO_CPU`: wherever it is)."""

    mine: bool
    cpu: int


class Baton:
    """One worker's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.settimeout(TURN_TIMEOUT_S)

    def turns(self, batch: int, order: Sequence[Turn]) -> Iterator[Turn]:
        """The turns of `order` that are this worker's, each when it is due; handed over when the next is asked for.

        `batch` numbers the order, so that a message meant for an earlier one is told apart. Ends early if the other
        worker's test failed. Raises `DuetError` if the other worker is gone or keeps the baton too long.
        """
        for position, turn in enumerate(order):
            if not turn.mine:
                continue
            if position and not order[position - 1].mine and not self._wait(batch):
                return
            yield turn
            if position + 1 < len(order) and not order[position + 1].mine:
                self._send(batch, True)

    def give_up(self, batch: int) -> None:
        """Tell the other worker not to wait: this one's test failed."""
        self._send(batch, False)

    def close(self) -> None:
        """Let go."""
        self._socket.close()

    def _send(self, batch: int, go_on: bool) -> None:
        try:
            self._socket.sendall(_MESSAGE.pack(batch, go_on))
        except OSError:
            return  # the other worker is gone: the run sees that on its own wire

    def _wait(self, batch: int) -> bool:
        while True:
            try:
                message = self._socket.recv(_MESSAGE.size, socket.MSG_WAITALL)
            except TimeoutError as error:
                raise DuetError("the other worker", "did not finish its block in time") from error
            except OSError as error:
                raise DuetError("the other worker", f"is gone: {error}") from error
            if len(message) < _MESSAGE.size:
                raise DuetError("the other worker", "ended in the middle of the run")
            of_batch, go_on = _MESSAGE.unpack(message)
            if of_batch == batch:
                return bool(go_on)
