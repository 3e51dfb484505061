"""A command that behaves as `pytest --perfguard` does towards the dashboard: goes live, tells a run, reports, exits.

`story_command.py STATUS [hang] --perfguard-live=ENDPOINT`: exits with STATUS, after an interrupt if told to hang.
"""

from __future__ import annotations

import signal
import sys
import time

from event_story import steps

from perfguard.events import EventStream


def main() -> int:
    """The run."""
    endpoint = next(word.partition("=")[2] for word in sys.argv if word.startswith("--perfguard-live="))
    stream = EventStream("run-of-command")
    stream.open_bus(endpoint)
    print("report of the run", flush=True)
    bus = stream._bus
    while bus is not None and not bus.viewers:
        time.sleep(0.01)
    try:
        for kind, fields, _ in steps():
            if kind == "gate" and "hang" in sys.argv:
                signal.pause()
            stream.emit(kind, **fields)
    except KeyboardInterrupt:
        return 2
    finally:
        stream.close()
    return int(sys.argv[1])


if __name__ == "__main__":
    raise SystemExit(main())
