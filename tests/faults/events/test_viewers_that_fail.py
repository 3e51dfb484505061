"""Viewers that die, stall or talk nonsense: the run neither stops nor loses an event."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from event_fixtures import HELPERS, LiveRun

from perfguard.events import EventStream, Subscriber
from perfguard.events.bus import LEAVE_S
from perfguard.events.protocol import Header, Request, pack_request, unpack_answer
from perfguard.events.rounds import decode, events_in

Start = Callable[..., LiveRun]
# The greeting of ZMTP 3.0 with a security mechanism that there is not.
UNKNOWN_MECHANISM = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"JUNK".ljust(20, b"\x00") + bytes(32)


@pytest.fixture
def viewer() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a viewer process that is attached when this returns."""
    started: list[subprocess.Popen[str]] = []

    def start(endpoint: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(HELPERS / "viewer_process.py"), endpoint]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "attached\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def test_a_killed_viewer_changes_nothing(live_run: Start, viewer: Callable[..., subprocess.Popen[str]]) -> None:
    """SIGKILL while events flow: every event is emitted, and a new viewer gets them all."""
    run = live_run()
    first = viewer(run.endpoint)
    run.do("start")
    run.begin("rounds 20000")
    first.kill()
    first.wait(10)
    assert run.answer() == "20001"
    with Subscriber.attach(run.endpoint) as second:
        run.begin("finish")
        run.begin("close")
        assert [event["seq"] for event in second] == list(range(20_002))


def test_a_stalled_viewer_neither_blocks_nor_fills_memory(
    live_run: Start, viewer: Callable[..., subprocess.Popen[str]]
) -> None:
    """SIGSTOP, 50,000 events, SIGCONT: all emitted meanwhile; awake again it gets each exactly once."""
    run = live_run()
    stalled = viewer(run.endpoint)
    run.do("start")
    run.do("rounds 1000")
    before_bytes = int(run.do("rss"))
    os.kill(stalled.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(stalled.pid, os.WUNTRACED)[1])
    assert run.do("rounds 50000") == "51001"
    # History keeps 50,000 records of about 150 bytes and as much overhead; the queue to the viewer is short.
    assert int(run.do("rss")) - before_bytes < 48 * 1024 * 1024
    os.kill(stalled.pid, signal.SIGCONT)
    assert run.do("finish") == "51002"
    assert stalled.stdout is not None
    assert stalled.stdout.readline() == "last\n"  # a run that ends waits for no viewer: it may catch up first
    run.begin("close")
    output, _ = stalled.communicate(timeout=60)
    assert output.split() == ["51002", "True", "finished", "0", "0"]


def test_a_viewer_that_stalls_for_good_does_not_keep_the_run_from_ending(
    live_run: Start, viewer: Callable[..., subprocess.Popen[str]]
) -> None:
    """The run closes and removes its sockets although somebody attached never answers again."""
    run = live_run()
    stalled = viewer(run.endpoint)
    run.do("start")
    os.kill(stalled.pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(stalled.pid, os.WUNTRACED)[1])
    assert run.do("rounds 5000") == "5001"
    assert run.do("close") == "5001"
    assert not Path(run.endpoint.removeprefix("ipc://")).exists()


def test_a_slow_viewer_is_waited_for_and_gets_each_page_once(runtime: Path) -> None:
    """It takes longer to catch up than a run waits for one that stalls: all pages come, none of them twice."""
    stream = EventStream("r1")
    endpoint = stream.open_bus(f"ipc://{runtime}/slow")
    for index in range(40_000):
        stream.emit(
            "round", case="c", metric="m", index=index, iterations=1, value=1.0, warmup=False, phases={"a": 1.0}
        )
    numbers: list[int] = []
    pages: list[bool] = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as ask:
        ask.linger = 0
        ask.connect(f"{endpoint}.ask")

        def page() -> Header:
            assert ask.poll(10_000)
            header, frames = unpack_answer(ask.recv_multipart())
            numbers.extend(event["seq"] for event in events_in(map(decode, frames)))
            pages.append(header.closing)
            return header

        ask.send(pack_request(Request("since", 0)))
        first = page()
        closing = threading.Thread(target=stream.close)
        closing.start()
        at = page()  # came unasked
        ask.send(pack_request(Request("since", first.next_seq)))  # so this is on its way already
        while at.next_seq < at.head:
            time.sleep(2 * LEAVE_S / 5)
            ask.send(pack_request(Request("since", at.next_seq)))
            at = page()
        ask.send(pack_request(Request("bye", at.next_seq)))
        closing.join(20)
        assert not ask.poll(0)
    assert len(pages) > 5
    assert pages == [False] + [True] * (len(pages) - 1)
    assert numbers == list(range(40_000))


def test_garbage_on_both_sockets_is_counted_and_ignored(live_run: Start) -> None:
    """Raw bytes, ZeroMQ messages that are no requests, junk subscriptions: viewers still get everything."""
    deadline_s = time.monotonic() + 20
    run = live_run()
    run.do("start")
    path = run.endpoint.removeprefix("ipc://")
    for place in (path, f"{path}.ask"):
        for junk, hangs_up in ((b"GET / HTTP/1.1\r\n\r\n" * 50, False), (UNKNOWN_MECHANISM, True)):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.settimeout(10)
                raw.connect(place)
                raw.sendall(junk)
                while hangs_up and raw.recv(4096):
                    pass
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer, context.socket(zmq.XSUB) as xsub:
        dealer.linger = xsub.linger = 0
        dealer.connect(f"ipc://{path}.ask")
        xsub.connect(f"ipc://{path}")
        for junk in (b"", b"\xc1", b"\x00" * 200, b"\x81\xa1v\x01"):
            dealer.send(junk)
            dealer.send_multipart([junk, junk])
            xsub.send(junk)
        with Subscriber.attach(run.endpoint) as subscriber:
            run.begin("story")
            emitted = int(run.answer())
            events = subscriber.poll(10)
            while len(events) < emitted:
                events += subscriber.poll(10)
            assert [event["seq"] for event in events] == list(range(emitted))
            while int(run.do("garbage")) < 8 + 2:  # the messages, and the two connections that failed
                assert time.monotonic() < deadline_s
            assert subscriber.bad == 0


def test_a_killed_run_is_reported_as_lost(live_run: Start) -> None:
    """What came before the kill is delivered, then the state says that the run is gone."""
    run = live_run()
    run.do("start")
    run.do("rounds 100")
    with Subscriber.attach(run.endpoint) as subscriber:
        events = subscriber.poll(10)
        while len(events) < 101:
            events += subscriber.poll(10)
        run.kill()
        assert list(subscriber) == []
        assert subscriber.state == "lost"


def test_what_came_before_the_run_went_is_all_taken(runtime: Path) -> None:
    """A viewer that wakes after the run has closed and finds more than it takes in one step loses none of it."""
    stream = EventStream("r1")
    with Subscriber.attach(stream.open_bus()) as subscriber:
        for index in range(25_000):
            stream.emit("round", case="c", metric="m", index=index, iterations=1, value=1.0, warmup=False, phases=None)
        stream.close()
        assert [event["seq"] for event in subscriber] == list(range(25_000))
        assert subscriber.gaps == 0


def test_something_else_at_the_endpoint_is_no_run(runtime: Path) -> None:
    """A publisher and router of somebody else's never turn into events; the timeout says so."""
    with zmq.Context() as context, context.socket(zmq.PUB) as pub, context.socket(zmq.ROUTER) as router:
        pub.linger = router.linger = 0
        pub.bind(f"ipc://{runtime}/other")
        router.bind(f"ipc://{runtime}/other.ask")
        with pytest.raises(Exception, match="no perfguard run answers"):
            Subscriber.attach(f"ipc://{runtime}/other", timeout_s=0.3)
