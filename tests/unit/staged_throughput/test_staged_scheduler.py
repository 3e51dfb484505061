"""The scheduler: admission, memory, turns, cancellation and failures, on the tiny model without a socket."""

from __future__ import annotations

import pytest
from staged_backends import Faulty, tiny, tiny_weights

from perfguard_suites.staged_throughput.backend import Batch, Logits
from perfguard_suites.staged_throughput.channel import Delivery, DirectChannel
from perfguard_suites.staged_throughput.config import config_of
from perfguard_suites.staged_throughput.errors import BackendError, QueueFull, StagedError
from perfguard_suites.staged_throughput.sampling import SamplingParameters
from perfguard_suites.staged_throughput.scheduler import Scheduler
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.stack import stack_on
from perfguard_suites.staged_throughput.torch_backend import TorchBackend


class Caller:
    """Puts requests to a scheduler and keeps what it sends, in order."""

    def __init__(self, backend: TorchBackend, **named: int) -> None:
        self.backend = backend
        self.deliveries: list[Delivery] = []
        stack = stack_on(backend)
        named = {"slots": backend.slots, "capacity": backend.capacity, **named}
        self.scheduler = Scheduler(stack.batches(), DirectChannel(self.deliveries.append), **named)

    def ask(self, name: str, *, tokens: int = 6, client: str = "", prompt: str = "hello") -> Sequence:
        """Queue a request."""
        sampling = SamplingParameters(max_tokens=tokens, ignore_eos=True)
        sequence = Sequence(name, list(prompt.encode()), sampling, client=client)
        self.scheduler.submit(sequence)
        return sequence

    def first_tokens(self) -> list[str]:
        """Names in the order in which they got their first token."""
        return list(dict.fromkeys(each.name for delivery in self.deliveries for each in delivery.sequences))

    def settled(self) -> tuple[int, int, int, int]:
        """What is left: cells, reserved cells, running and queued requests."""
        scheduler = self.scheduler
        return self.backend.cells, scheduler.reserved_cells, scheduler.running, scheduler.queued


def test_ids_are_recycled_and_each_request_gets_its_tokens() -> None:
    """Ten requests of different lengths through two slots: exactly their tokens, the same as alone, nothing left."""
    caller = Caller(tiny(slots=2))
    asked = [caller.ask(f"{i}", tokens=2 + i % 4, prompt="p" * (1 + i)) for i in range(10)]
    caller.scheduler.run()
    alone = Caller(tiny(slots=2))
    for each in asked:
        again = alone.ask("again", tokens=each.sampling.max_tokens, prompt="p" * len(each.prompt))
        alone.scheduler.run()
        assert each.tokens == again.tokens
        assert (len(each.tokens), each.finish) == (each.sampling.max_tokens, "length")
    assert caller.settled() == (0, 0, 0, 0)


def test_memory_bounds_the_batch() -> None:
    """Of 25 cells and requests that may need 10 each, two run at once although there are eight slots."""
    caller = Caller(tiny(), cells=25)
    for name in "abcd":
        caller.ask(name, tokens=6)
    caller.scheduler.turn(0.0)
    assert (caller.scheduler.running, caller.scheduler.reserved_cells) == (2, 20)
    caller.scheduler.run()
    assert caller.scheduler.completed == 4
    with pytest.raises(StagedError, match="needs 26 cells"):
        caller.ask("large", tokens=22)


def test_clients_take_turns() -> None:
    """One client's ten requests do not hold up another's one that came last."""
    caller = Caller(tiny(slots=1))
    for i in range(10):
        caller.ask(f"many-{i}", tokens=2, client="many")
    caller.ask("one", tokens=2, client="single")
    caller.scheduler.run()
    order = caller.first_tokens()
    assert order.index("one") == 1
    assert [name for name in order if name != "one"] == [f"many-{i}" for i in range(10)]


def test_a_full_queue_says_when_to_come_again() -> None:
    """The request beyond the queue's bound is refused with a time; those in it are served."""
    caller = Caller(tiny(), max_queue=3)
    for name in "abc":
        caller.ask(name)
    with pytest.raises(QueueFull) as refused:
        caller.ask("d")
    assert 1 <= refused.value.retry_after_s <= 60
    caller.scheduler.run()
    assert (caller.scheduler.completed, caller.scheduler.refused) == (3, 1)


def test_a_cancelled_request_is_gone_before_the_next_step_and_its_cells_serve_another() -> None:
    """Running or queued, the rest goes on with the tokens it has alone, and the slot's next user too."""
    caller = Caller(tiny(slots=2))
    kept, dropped, waiting = caller.ask("kept"), caller.ask("dropped", prompt="other"), caller.ask("waiting")
    follower = caller.ask("follower", prompt="follower's")
    for _ in range(3):
        caller.scheduler.turn(0.0)
    caller.scheduler.cancel(dropped)
    caller.scheduler.cancel(waiting)
    caller.scheduler.turn(0.0)
    assert (dropped.finish, waiting.finish, len(dropped.tokens)) == ("cancelled", "cancelled", 3)
    assert follower.slot == 1
    caller.scheduler.run()
    alone = Caller(tiny())
    for each in (kept, follower):
        again = alone.ask(each.name, prompt=bytes(each.prompt).decode())
        alone.scheduler.run()
        assert each.tokens == again.tokens
    assert caller.scheduler.cancelled == 2
    assert caller.scheduler.most_steps_to_free <= 1
    assert caller.settled() == (0, 0, 0, 0)


def test_a_failing_pass_ends_only_the_requests_at_fault() -> None:
    """Two poisoned prompts among six: those two fail with the backend's words, the others have their own tokens."""
    caller = Caller(Faulty(poison=ord("!")))
    asked = [caller.ask(f"{i}", prompt="bad!" if i in {1, 4} else f"fine {i}") for i in range(6)]
    caller.scheduler.run()
    assert [each.finish for each in asked] == ["length", "error", "length", "length", "error", "length"]
    assert "the pass failed" in str(asked[1].error)
    alone = Caller(tiny())
    again = alone.ask("again", prompt="fine 5")
    alone.scheduler.run()
    assert asked[5].tokens == again.tokens
    assert (caller.scheduler.failed, caller.scheduler.completed) == (2, 4)
    assert caller.settled() == (0, 0, 0, 0)


def test_a_pass_that_fails_once_costs_no_request_its_end() -> None:
    """The halves succeed, and each request has exactly the tokens that it asked for, in cells that were its own."""

    class Shaky(TorchBackend):
        passes = 0

        def compute(self, batch: Batch) -> Logits:
            self.passes += 1
            if self.passes == 4:
                raise BackendError("injected", "once")
            return super().compute(batch)

    caller = Caller(Shaky(config_of("tiny"), weights=tiny_weights(), threads=1, slots=2, capacity=2 * (5 + 6)))
    asked = [caller.ask("a"), caller.ask("b", prompt="other")]
    caller.scheduler.run()
    assert [(each.finish, len(each.tokens)) for each in asked] == [("length", 6)] * 2
    assert caller.settled() == (0, 0, 0, 0)
