"""Claims about the baton: turns are taken in order, one at a time, and nobody waits for a worker that gave up."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator

import pytest

from perfguard.duet.baton import Baton, Turn
from perfguard.duet.pairing import turn_orders
from perfguard.errors import DuetError


@pytest.fixture
def ends() -> Iterator[tuple[Baton, Baton]]:
    """Both workers' ends."""
    pair = socket.socketpair()
    a, b = Baton(pair[0]), Baton(pair[1])
    yield a, b
    a.close()
    b.close()


def as_turns(order: list[tuple[bool, int]]) -> list[Turn]:
    return [Turn(mine, cpu) for mine, cpu in order]


def test_turns_are_taken_in_the_order_that_was_drawn(ends: tuple[Baton, Baton]) -> None:
    """Over 3 batches of 20 pairs, two threads write their names in exactly the order drawn, never both at once."""
    rng = random.Random(4)
    batches = [turn_orders(["a", "b"], 20, rng) for _ in range(3)]
    written: list[str] = []
    busy, between = threading.Lock(), threading.Barrier(2, timeout=30)  # the run hears of a batch before the next

    def worker(name: str, baton: Baton) -> None:
        for batch, orders in enumerate(batches):
            between.wait()
            for _ in baton.turns(batch, as_turns(orders[name])):
                assert busy.acquire(blocking=False)
                written.append(name)
                busy.release()

    threads = [threading.Thread(target=worker, args=pair) for pair in zip("ab", ends, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    drawn = ["a" if mine else "b" for orders in batches for mine, _ in orders["a"]]
    assert written == drawn


def test_each_pair_has_both_sides_on_one_processor() -> None:
    """Order and processor are drawn anew for every pair, and the sides' orders mirror each other."""
    orders = turn_orders(["a", "b"], 200, random.Random(1))
    assert [(not mine, cpu) for mine, cpu in orders["a"]] == orders["b"]
    pairs = list(zip(orders["a"][::2], orders["a"][1::2], strict=True))
    assert all(first[0] != second[0] and first[1] == second[1] for first, second in pairs)
    assert 60 < sum(first[0] for first, _ in pairs) < 140


def test_in_parallel_nobody_waits() -> None:
    """All turns are everybody's own."""
    orders = turn_orders(["a", "b"], 5, random.Random(1), parallel=True)
    assert all(mine for order in orders.values() for mine, _ in order)


def test_who_gives_up_ends_the_other_ones_turns(ends: tuple[Baton, Baton]) -> None:
    """And what it said of an earlier batch is not taken for this one."""
    a, b = ends
    a.give_up(6)
    a.give_up(7)
    assert list(b.turns(7, [Turn(False, -1), Turn(True, -1)])) == []


def test_a_worker_that_is_gone_is_an_error(ends: tuple[Baton, Baton]) -> None:
    """Not a wait."""
    a, b = ends
    a.close()
    with pytest.raises(DuetError, match="ended in the middle"):
        list(b.turns(0, [Turn(False, -1), Turn(True, -1)]))
