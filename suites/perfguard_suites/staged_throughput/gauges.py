"""What an engine counts, as one value: read where it runs, or from a page of memory that it shares with its front end.

The page is a file without a name, so that it goes with the processes that have it open. Each figure is 8 bytes, written
in one piece by one process; figures that belong together may come from two steps.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Callable
from functools import partial
from typing import NamedTuple


class Gauges(NamedTuple):
    """`steps`: that began; `left_queue`: requests that ever left the queue; `service_us`: mean time from admission."""

    steps: int = 0
    left_queue: int = 0
    running: int = 0
    queued: int = 0
    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    most_steps_to_free: int = 0
    passes: int = 0
    cells: int = 0
    reserved_cells: int = 0
    service_us: int = 0


_FORMAT = struct.Struct(f"{len(Gauges._fields)}q")
_FIGURE = struct.Struct("q")
_NOTES_AT = 1024  # on a cache line of its own


class Board:
    """Gauges in shared memory: `fd` is inherited by whoever reads them.

    `write_steps(steps)` shows that figure alone. `notes`: how often the reading process has sent something to the
    writing one, the only figure that it writes; `peek()` gives it as a tuple of one. Both are without a function of
    Python's, since they stand between two passes.
    """

    def __init__(self, fd: int | None = None) -> None:
        if fd is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(mmap.PAGESIZE)
                self.fd = os.dup(file.fileno())
        else:
            self.fd = fd
        self._memory = mmap.mmap(self.fd, mmap.PAGESIZE)
        self.write_steps: Callable[[int], None] = partial(_FIGURE.pack_into, self._memory, 0)
        self.peek: Callable[[], tuple[int]] = partial(_FIGURE.unpack_from, self._memory, _NOTES_AT)

    def write(self, gauges: Gauges) -> None:
        """Show them."""
        _FORMAT.pack_into(self._memory, 0, *gauges)

    @property
    def notes(self) -> int:
        """See above."""
        return self.peek()[0]

    @notes.setter
    def notes(self, count: int) -> None:
        _FIGURE.pack_into(self._memory, _NOTES_AT, count)

    def read(self) -> Gauges:
        """What was written last."""
        return Gauges(*_FORMAT.unpack_from(self._memory, 0))

    def close(self) -> None:
        """Give memory and file back."""
        self.write_steps = lambda _: None
        self.peek = lambda: (0,)
        self._memory.close()
        os.close(self.fd)
