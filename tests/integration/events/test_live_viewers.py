"""Viewers of a run in another process: whenever they come, they get everything exactly once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import zmq
from event_fixtures import LiveRun

from perfguard.errors import EndpointError
from perfguard.events import EventStream, Subscriber
from perfguard.events.protocol import unpack_answer
from perfguard.events.schema import unpack

Start = Callable[..., LiveRun]


def _numbers(subscriber: Subscriber) -> list[int]:
    return [event["seq"] for event in subscriber]


def test_an_early_viewer_gets_every_event_once(live_run: Start) -> None:
    """Attached before the first event, closed after the last: all in order, nothing shed, state finished."""
    run = live_run()
    with Subscriber.attach(run.endpoint) as subscriber:
        run.begin("story")
        run.begin("close")
        numbers = _numbers(subscriber)
        emitted = int(run.answer())
        assert numbers == list(range(emitted))
        assert (subscriber.state, subscriber.gaps, subscriber.shed, subscriber.bad) == ("finished", 0, 0, 0)


@pytest.mark.parametrize("endpoint", [(), ("tcp://127.0.0.1:0",)], ids=["ipc", "tcp"])
def test_a_late_viewer_gets_what_was_and_what_comes(live_run: Start, endpoint: tuple[str, ...]) -> None:
    """Snapshot in many chunks, then live events, without a gap or a duplicate between them."""
    run = live_run(*endpoint)
    run.do("start")
    run.do("rounds 20000")
    with Subscriber.attach(run.endpoint) as subscriber:
        run.begin("rounds 20000")
        run.begin("finish")
        run.begin("close")
        assert _numbers(subscriber) == list(range(40_002))
        assert (subscriber.state, subscriber.gaps, subscriber.shed) == ("finished", 0, 0)


def test_three_viewers_at_once_each_get_everything(live_run: Start) -> None:
    """Viewers do not take events from each other."""
    run = live_run()
    run.do("start")
    viewers = [Subscriber.attach(run.endpoint) for _ in range(3)]
    try:
        run.begin("rounds 500")
        run.begin("finish")
        run.begin("close")
        assert [_numbers(viewer) for viewer in viewers] == [list(range(502))] * 3
    finally:
        for viewer in viewers:
            viewer.close()


def test_a_viewer_that_waits_can_be_interrupted(live_run: Start) -> None:
    """From another thread; it is live still, gives what comes, and waits no more. A closed one does not mind."""
    run = live_run()
    with Subscriber.attach(run.endpoint) as subscriber:
        waiting = threading.Timer(0.2, subscriber.interrupt)
        waiting.start()
        assert subscriber.take(600.0) == []
        waiting.join()
        assert subscriber.state == "live"
        assert subscriber.take(600.0) == []
        run.do("start")
        for _ in range(200):
            if taken := subscriber.poll(0.0):
                break
            time.sleep(0.05)
        assert [event["kind"] for event in taken] == ["run_started"]
    subscriber.interrupt()
    run.do("close")


def test_without_an_endpoint_the_newest_run_is_found(live_run: Start) -> None:
    """What `perfguard dashboard` does: no name needed."""
    live_run()
    newer = live_run()
    with Subscriber.attach() as subscriber:
        assert subscriber.endpoint == newer.endpoint


def test_no_run_anywhere_is_an_error_after_the_timeout(runtime: Path) -> None:
    """The error says how to start one."""
    with pytest.raises(EndpointError, match="--perfguard-live"):
        Subscriber.attach(timeout_s=0.1)
    with pytest.raises(EndpointError, match=r"nobody\.here"):
        Subscriber.attach(f"ipc://{runtime}/nobody.here", timeout_s=0.1)


def test_an_endpoint_in_use_is_named(live_run: Start, runtime: Path) -> None:
    """Neither tcp nor ipc takes an endpoint away from a running run, nor a file from its owner."""
    for given in ("tcp://127.0.0.1:0", f"ipc://{runtime}/mine"):
        run = live_run(given)
        stream = EventStream("second")
        with pytest.raises(EndpointError, match="in use") as caught:
            stream.open_bus(run.endpoint)
        assert run.endpoint in caught.value.culprit
        with Subscriber.attach(run.endpoint) as subscriber:
            assert subscriber.run == "run-of-tests"
    (runtime / "letter").write_text("dear")
    with pytest.raises(EndpointError, match="not a socket"):
        EventStream("third").open_bus(f"ipc://{runtime}/letter")
    assert (runtime / "letter").read_text() == "dear"


def test_a_closed_bus_leaves_no_file(runtime: Path) -> None:
    """Sockets are removed on close, and the same place can be opened again."""
    for _ in range(2):
        stream = EventStream("r1")
        endpoint = stream.open_bus(f"ipc://{runtime}/again")
        assert endpoint == f"ipc://{runtime}/again"
        stream.emit("case_started", case="c")
        stream.close()
        assert list(runtime.iterdir()) == []


def test_an_event_too_large_to_push_still_arrives(runtime: Path) -> None:
    """Large events are left for viewers to ask for; they come in their place all the same."""
    stream = EventStream("r1")
    with Subscriber.attach(stream.open_bus()) as subscriber:
        stream.emit("case_started", case="c")
        stream.emit("metric", case="c", metric={"samples": [0.123456789] * 100_000})
        stream.emit("case_started", case="d")
        events = subscriber.poll(10)
        while len(events) < 3:
            events += subscriber.poll(10)
        assert [event["kind"] for event in events] == ["case_started", "metric", "case_started"]
        stream.close()


def test_a_viewer_of_before_is_answered_in_single_events(live_run: Start) -> None:
    """One that does not say that it reads frames of many rounds gets all by asking, each event in its own frame."""
    run = live_run()
    run.do("start")
    run.do("rounds 1000")
    numbers: list[int] = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as ask:
        ask.linger = 0
        ask.connect(f"{run.endpoint}.ask")
        while len(numbers) < 1001:
            ask.send(msgpack.packb({"v": 1, "ask": "since", "seq": len(numbers)}))
            assert ask.poll(10_000)
            _, frames = unpack_answer(ask.recv_multipart())
            numbers += [unpack(frame)["seq"] for frame in frames]
    assert numbers == list(range(1001))


def test_the_producer_imports_zmq_only_for_a_bus() -> None:
    """A run that only records, or only folds, does not pay for sockets."""
    code = "import sys, perfguard.events.stream; print(sorted({'zmq', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
