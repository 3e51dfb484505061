"""A live run for tests: `live_run_process.py [endpoint]` prints its endpoint, then obeys commands from stdin.

`start`, `rounds N`, `singles N`, `story`, `finish`, `close`, `rss`, `garbage`: each answers with one line.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil
from event_story import tell

from perfguard.events import EventStream

if TYPE_CHECKING:
    from perfguard.events.bus import Bus


def obey(stream: EventStream, bus: Bus, command: str, argument: int) -> int:
    """Do as told; returns what to answer."""
    if command == "start":
        stream.emit("run_started", started="", profile="quick", machine={}, commit={}, plan=[])
    elif command == "rounds":
        common = {"case": "case", "metric": "time", "iterations": 1, "warmup": False, "phases": None}
        for index in range(argument):
            stream.emit("round", **common, index=index, value=1e-3)
    elif command == "singles":  # with a field that has no column
        common = {"case": "case", "metric": "time", "iterations": 1, "warmup": False, "phases": None, "by": "tests"}
        for index in range(argument):
            stream.emit("round", **common, index=index, value=1e-3)
    elif command == "story":
        tell(stream)
    elif command == "finish":
        stream.emit("run_finished", finished="", exit_status=0)
    elif command == "close":
        stream.close()
    elif command == "rss":
        return int(psutil.Process().memory_info().rss)
    elif command == "garbage":
        return bus.garbage
    else:
        raise ValueError(command)
    return stream.emitted


def main() -> None:
    """Announce the endpoint, then command by command."""
    stream = EventStream("run-of-tests")
    print(stream.open_bus(sys.argv[1] if len(sys.argv) > 1 else None), flush=True)
    bus = stream._bus
    assert bus is not None
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        print(obey(stream, bus, command, int(argument or 0)), flush=True)
    stream.close()


if __name__ == "__main__":
    main()
