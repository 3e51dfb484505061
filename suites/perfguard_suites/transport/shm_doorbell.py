"""Waiting for the peer and waking it: spin a little, then block in the socket's `recv`, where death is end of file.

The order of memory, which everything here rests on:

- x86-64 keeps a thread's stores in order and its loads in order, so that a record is complete when its
  count is seen, and a view has been read when its release is seen. A 64-bit word of a memoryview is stored
  by one `mov`. The one reordering that x86 allows, a load overtaking an earlier store to another word, would
  lose a wake-up ("set my flag, then look at your count" against "set my count, then look at your flag"):
  `fence` stands between. It is an acquire and release of an uncontended lock, each a locked
  read-modify-write instruction in CPython (semaphore or mutex), and those are full fences on x86.
- Elsewhere: two lock pairs in a row (release then acquire orders everything around them on ARMv8), on every
  side of a count; nobody spins, and the peer is woken always, so that no flag has to be trusted.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import Final

from perfguard_suites.transport.errors import ChannelTimeout, PeerDied
from perfguard_suites.transport.shm_region import AWAITS_MESSAGE, AWAITS_SPACE, SENT, TOTAL_STORE_ORDER, Region

DEFAULT_SPIN_US: Final = 40.0

_FAILURES_ALLOWED = 3
_PAUSE_FIRST = 32
_PAUSE_MOST = 256
_LOOKS = 16
_REACH = 4
_TIMEVAL = struct.Struct("ll")
_SLICE_US = 1_000_000


class Spin:
    """How long to spin now: not after repeated failures, but tried again now and then. Pure bookkeeping.

    A wait that ended blocked and yet was short was mostly the two wake-ups that spinning saves. Two ends that
    both block would never find out within the plain budget, so that the next try reaches as far as such a wait,
    up to `_REACH` budgets.
    """

    __slots__ = ("_budget_ns", "_failures", "_pause", "_reach_ns", "_skip", "enabled", "yields")

    def __init__(self, spin_us: float) -> None:
        self._budget_ns = int(spin_us * 1e3) if TOTAL_STORE_ORDER else 0
        self.enabled = self._budget_ns > 0
        self._reach_ns = self._budget_ns
        # Whom it just woke may have been put on this very CPU, and would wait there for the scheduler's next tick.
        self.yields = self._budget_ns > _REACH * DEFAULT_SPIN_US * 1e3
        self._skip = 0
        self._failures = 0
        self._pause = _PAUSE_FIRST

    def budget_ns(self) -> int:
        """How long this wait may spin before it blocks; 0 for not at all."""
        if self._skip:
            self._skip -= 1
            return 0
        return self._reach_ns

    def succeeded(self) -> None:
        """The message came while spinning."""
        self._failures = 0
        self._pause = _PAUSE_FIRST

    def failed(self) -> None:
        """The budget was spent for nothing."""
        self._failures += 1
        if self._failures >= _FAILURES_ALLOWED:
            self._skip = self._pause
            self._pause = min(2 * self._pause, _PAUSE_MOST)
            # One try after the pause decides: a single failure pauses again.
            self._failures = _FAILURES_ALLOWED - 1

    def blocked(self, wait_ns: int) -> None:
        """A wait was blocked for that long."""
        reach_ns = wait_ns + wait_ns // 4
        budget_ns = self._budget_ns
        self._reach_ns = reach_ns if budget_ns < reach_ns <= _REACH * budget_ns else budget_ns


class Doorbell:
    """One end's waiting and waking, over the connection's own socket."""

    def __init__(self, connection: socket.socket, own: Region, peer: Region, spin_us: float, name: str) -> None:
        connection.settimeout(None)  # the kernel's own receive timeout costs no extra poll()
        self._connection = connection
        self._own = own.words
        self._peer = peer.words
        self._spins: dict[float, Spin] = {}
        self.spin_for(spin_us)
        lock = threading.Lock()
        self._acquire, self._release = lock.acquire, lock.release
        self._name = name
        self._timeout_us = -1
        self._closed = False

    def spin_for(self, spin_us: float) -> None:
        """Spin for so long from now on; what was learnt about each budget is kept."""
        spin = self._spins.get(spin_us)
        if spin is None:
            spin = self._spins[spin_us] = Spin(spin_us)
        self._spin = spin

    def fence(self) -> None:
        """Order all memory accesses before it before all after it.

        Not blocking: an interrupt (Ctrl-C) between the two leaves the lock taken, and the next fence heals it.
        """
        self._acquire(False)
        self._release()
        if not TOTAL_STORE_ORDER:
            self._acquire(False)
            self._release()

    def wake_reader(self) -> None:
        """After a message was published. Raises `PeerDied` if nobody is there."""
        self.fence()
        if (self._peer[AWAITS_MESSAGE] or not TOTAL_STORE_ORDER) and not self._poke():
            raise self._death()

    def _spun(self, consumed: int, until_ns: int) -> bool:
        words = self._peer
        yields = self._spin.yields
        while perf_counter_ns() < until_ns:
            for _ in range(_LOOKS):
                if words[SENT] != consumed:
                    return True
            if yields:
                os.sched_yield()
        return False

    def wake_writer(self) -> None:
        """After space was given back; the caller has fenced. Never raises: destructors call it."""
        if not self._closed and (self._peer[AWAITS_SPACE] or not TOTAL_STORE_ORDER):
            self._poke()

    def _poke(self) -> bool:
        try:
            self._connection.send(b"\0", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return True  # the peer has unread wake-ups enough
        except OSError:
            return False
        return True

    def await_message(self, consumed: int, timeout_s: float, tidy: Callable[[], None]) -> None:
        """Return once the peer has sent more than `consumed` messages. `tidy` runs before each sleep.

        Raises `PeerDied` (within the kernel's own notice of it), `ChannelTimeout`.
        """
        words, spin = self._peer, self._spin
        begun_ns = perf_counter_ns()
        budget_ns = spin.enabled and spin.budget_ns()
        if budget_ns:
            if self._spun(consumed, begun_ns + budget_ns):
                spin.succeeded()
                return
            spin.failed()

        deadline_ns = begun_ns + int(timeout_s * 1e9)
        own = self._own
        own[AWAITS_MESSAGE] = 1
        self.fence()
        try:
            while words[SENT] == consumed:
                tidy()
                if not self._sleep(deadline_ns) and words[SENT] == consumed:
                    raise ChannelTimeout(
                        self._name, f"nothing arrived within {timeout_s} s", "is the peer stopped or overloaded?"
                    )
        except PeerDied:
            if words[SENT] == consumed:  # else its last message came first
                raise
        finally:
            own[AWAITS_MESSAGE] = 0
        if spin.enabled and not budget_ns:
            spin.blocked(perf_counter_ns() - begun_ns)

    def await_space(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Whether `ready` came true in time, asked again whenever the peer gives something back."""
        deadline_ns = perf_counter_ns() + int(timeout_s * 1e9)
        own = self._own
        own[AWAITS_SPACE] = 1
        self.fence()
        self._poke()  # the peer may sit on what we have consumed since it fell asleep: let it look
        try:
            while not ready():
                if not self._sleep(deadline_ns):
                    return ready()
            return True
        finally:
            own[AWAITS_SPACE] = 0

    def _sleep(self, deadline_ns: int) -> bool:
        """Sleep until woken or a slice has passed; False once the deadline has. Raises `PeerDied`."""
        left_us = (deadline_ns - perf_counter_ns()) // 1000
        if left_us <= 0:
            return False
        timeout_us = min(_SLICE_US, left_us)
        if timeout_us != self._timeout_us:
            self._timeout_us = timeout_us
            value = _TIMEVAL.pack(timeout_us // 1_000_000, timeout_us % 1_000_000)
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        try:
            if self._connection.recv(16):
                return True
        except BlockingIOError:
            return True
        except OSError:
            pass
        raise self._death()

    def _death(self) -> PeerDied:
        return PeerDied(self._name, "the peer closed the connection or died", "start the server again")

    def close(self) -> None:
        """Close the connection: the peer's end of file."""
        self._closed = True
        self._connection.close()
