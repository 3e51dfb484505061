"""The wire between engine and front end: whole messages whatever arrives when, and the figures that both see."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard_suites.staged_throughput.channel import Delivery
from perfguard_suites.staged_throughput.errors import ChannelBroken
from perfguard_suites.staged_throughput.gauges import Board, Gauges
from perfguard_suites.staged_throughput.process_channel import ProcessChannel
from perfguard_suites.staged_throughput.remote_scheduler import RemoteScheduler, look_s
from perfguard_suites.staged_throughput.sampling import SamplingParameters
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer, tokenizer_of
from perfguard_suites.staged_throughput.wire import Wire


@contextlib.contextmanager
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """A wire's end, and the bare socket at the other one."""
    ours, theirs = socket.socketpair()
    wire = Wire(ours)
    with contextlib.closing(wire), theirs:
        yield wire, theirs


MESSAGES = st.lists(st.tuples(st.text(max_size=4), st.integers(0, 9), st.text(max_size=300)), max_size=5)


@given(MESSAGES, st.data())
def test_messages_arrive_whole_however_they_are_cut(messages: list[tuple[str, int, str]], data: st.DataObject) -> None:
    """Any messages, cut anywhere into any number of pieces, come out as they went in."""
    with pair() as (sender, middle), pair() as (receiver, feeder):
        for message in messages:
            sender.send(message)
        sender.close()
        raw = b"".join(iter(lambda: middle.recv(1 << 16), b""))
        found: list[list[object]] = []
        while raw:
            size = data.draw(st.integers(1, len(raw)))
            feeder.sendall(raw[:size])
            raw = raw[size:]
            found += receiver.receive()
    assert found == [list(message) for message in messages]


def test_what_the_other_end_does_not_take_is_kept_in_order() -> None:
    """Messages beyond the socket's buffers wait without blocking, and all arrive once there is a reader."""
    with pair() as (sender, middle), pair() as (receiver, feeder):
        count = 0
        while not sender.waits or count % 50:
            sender.send(["number", count, "x" * 10_000])
            count += 1
        found: list[list[object]] = []
        middle.setblocking(False)
        while len(found) < count:
            sender.flush()
            feeder.sendall(middle.recv(1 << 15))
            found += receiver.receive()
        assert [message[1] for message in found] == list(range(count))
        assert not sender.waits


@pytest.mark.parametrize("raw", [b"\xc1", b"\x01", b"\x91\x01", b"\x81\x01\x02", b"\x90"])
def test_what_is_no_message_breaks_the_channel(raw: bytes) -> None:
    """Bytes that are no msgpack, or no array that begins with its kind."""
    with pair() as (receiver, feeder):
        feeder.sendall(raw)
        with pytest.raises(ChannelBroken, match="channel: no "):
            list(receiver.receive())


def test_an_end_that_is_closed_is_noticed_by_either_direction() -> None:
    """Reading finds the end, and so does writing; neither raises."""
    for act in ("receive", "send"):
        with pair() as (wire, other):
            other.close()
            if act == "receive":
                assert list(wire.receive()) == []
            else:
                wire.send(["x"])
            assert wire.over


def test_a_board_shows_the_same_figures_through_either_file() -> None:
    """What one process writes the other reads, and its notes go the other way."""
    with contextlib.closing(Board()) as engine:
        import os

        with contextlib.closing(Board(os.dup(engine.fd))) as front:
            engine.write(Gauges(*range(len(Gauges._fields))))
            engine.write_steps(7)
            assert front.read() == Gauges(*range(len(Gauges._fields)))._replace(steps=7)
            front.notes += 2
            assert engine.notes == 2


def test_a_tokenizer_is_made_again_from_its_recipe() -> None:
    """The same class and vocabulary."""
    found = tokenizer_of(ByteTokenizer(300).recipe)
    assert (type(found), found.vocabulary, found.end_token) == (ByteTokenizer, 300, 256)


def test_a_front_end_that_stalls_gets_all_tokens_and_the_end() -> None:
    """A thousand steps while its loop stands still, more than the socket holds: every token arrives, and the end."""
    engine_end, front_end = socket.socketpair()
    engine_bell, front_bell = socket.socketpair()
    board = Board()
    channel = ProcessChannel(engine_end, engine_bell, board)
    got: list[int] = []
    ended = asyncio.Event()

    class Engine:
        batches = SimpleNamespace(calls=0)

        def submit(self, sequence: Sequence) -> None:
            channel.put(sequence)

    def deliver(delivery: Delivery) -> None:
        got.extend(delivery.tokens)
        if delivery.ended:
            ended.set()

    async def use() -> None:
        remote = RemoteScheduler(
            front_end, front_bell, Board(board.fd), slots=1, max_queue=8, deliver=deliver, report=dict, on_lost=int
        )
        remote.start()
        remote.submit(Sequence("a", [1], SamplingParameters(max_tokens=1000)))
        asked = cast("list[Sequence]", channel.receive(10.0))
        for step in range(1000):
            board.write_steps(step)
            channel.send(Delivery(asked, [step], asked if step == 999 else ()))
        assert channel.wire.waits
        while not ended.is_set():
            channel.receive(0.0)
            await asyncio.sleep(0)
        remote.stop()

    channel.scheduler = cast("Scheduler", Engine())
    try:
        asyncio.run(asyncio.wait_for(use(), 30))
    finally:
        channel.dispose()
    assert got == list(range(1000))


def test_tokens_are_looked_for_as_often_as_they_may_come() -> None:
    """Each millisecond of short steps, a 64th of longer ones, 8 ms at most."""
    assert [look_s(step_s) for step_s in (0.0, 0.011, 0.128, 0.35, 5.0)] == pytest.approx(
        [1e-3, 1e-3, 2e-3, 0.35 / 64, 8e-3]
    )
