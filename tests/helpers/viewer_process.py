"""A viewer for tests: attaches to an endpoint, says so, reads to the end, prints what it got as one line."""

from __future__ import annotations

import sys

from perfguard.events import Subscriber


def main() -> None:
    """`attached`, `last` once the run's last event is here, then `COUNT UNIQUE STATE GAPS SHED`."""
    with Subscriber.attach(sys.argv[1], timeout_s=20) as subscriber:
        print("attached", flush=True)
        numbers = []
        for event in subscriber:
            numbers.append(event["seq"])
            if event["kind"] == "run_finished":
                print("last", flush=True)
        ordered = numbers == sorted(set(numbers))
        print(len(numbers), ordered, subscriber.state, subscriber.gaps, subscriber.shed, flush=True)


if __name__ == "__main__":
    main()
