"""Stage 4, `SchedulerBatchProcessor`: steps a changing batch until its requests end; they join and leave in between."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items

from perfguard_suites.staged_throughput.batch_processor import BatchProcessor
from perfguard_suites.staged_throughput.schedule import Steps
from perfguard_suites.staged_throughput.sequence import Sequence

Choice = Callable[[Items[Sequence]], Items[Sequence]]


def prompts_first(running: Items[Sequence]) -> Items[Sequence]:
    """The sequences that have no token yet, all of them if none is such: new ones catch up with the batch at once."""
    new = [each for each in running if not each.tokens]
    return new or list(running)


class SchedulerBatchProcessor:
    """The running batch. `choose`: which of it the next step computes.

    `steps`: what was computed when; None: nobody asks, as in a server that runs on and on.
    """

    def __init__(self, processor: BatchProcessor, end_token: int, *, choose: Choice = prompts_first) -> None:
        self.processor = processor
        self.running: list[Sequence] = []
        self.choose = choose
        self.steps: Steps | None = Steps()
        self.calls = 0
        self._end_token = end_token

    def join(self, sequence: Sequence) -> None:
        """Into the batch, from the next step on; it has a slot."""
        self.running.append(sequence)

    def leave(self, sequence: Sequence, finish: str) -> None:
        """Out of the batch: its cells are free."""
        sequence.finish = sequence.finish or finish
        self.running.remove(sequence)
        self.processor.executor.free(sequence)

    def step(self) -> Items[Sequence]:
        """One token for each of the chosen sequences, which are returned; those that ended have left.

        A batch that fails is halved until the requests at fault are alone: those end with `error`, the others go on.
        """
        self.calls += 1
        chosen = self.choose(self.running)
        if chosen:
            self._process(chosen)
        end_token = self._end_token
        for each in chosen:
            sampling, tokens = each.sampling, each.tokens
            if each.error is not None:
                self.leave(each, "error")
            elif len(tokens) >= sampling.max_tokens:
                self.leave(each, "length")
            elif tokens[-1] == end_token and not sampling.ignore_eos:
                self.leave(each, "stop")
        return chosen

    def run(self) -> None:
        """Steps until nothing is left."""
        while self.running:
            self.step()

    def _process(self, chosen: Items[Sequence]) -> None:
        try:
            self.processor.process(chosen)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises ends requests, not the server
            if len(chosen) == 1:
                chosen[0].error = error
                return
            at_fault = [each for each in chosen if each.slot in getattr(error, "sequences", ())]
            for each in at_fault:
                each.error = error
            rest = [each for each in chosen if each.error is None]
            half = len(rest) if at_fault else len(rest) // 2
            for part in (rest[:half], rest[half:]):
                if part:
                    self._process(part)
        else:
            if self.steps is not None:
                self.steps.add(chosen)
