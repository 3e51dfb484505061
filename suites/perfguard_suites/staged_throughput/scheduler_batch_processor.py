"""Stage 4, `SchedulerBatchProcessor`: steps a changing batch until its requests end; they join and leave in between."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from functools import partial

from perfguard_suites.staged_throughput.batch_processor import BatchProcessor
from perfguard_suites.staged_throughput.channel import Delivery
from perfguard_suites.staged_throughput.schedule import Steps
from perfguard_suites.staged_throughput.sequence import Sequence

_delivery = partial(tuple.__new__, Delivery)  # see `inputs`
Choice = Callable[[Items[Sequence]], Items[Sequence]]


class SchedulerBatchProcessor:
    """The running batch. New sequences catch up with it at once: a step computes those without a token, or else all.

    `choose`: which of it the next step computes, in that way's place. `steps`: what was computed when; None: nobody
    asks, as in a server that runs on and on.
    """

    def __init__(self, processor: BatchProcessor, end_token: int) -> None:
        self.processor = processor
        # Lists that are replaced and never changed: the same one means the same sequences.
        self.running: list[Sequence] = []
        self._new: list[Sequence] = []
        self.choose: Choice | None = None
        self.steps: Steps | None = Steps()
        self.calls = 0
        self._end_token = end_token
        self._counted: Items[Sequence] | None = None
        self._left = 0
        self._may_stop = False

    def join(self, sequence: Sequence) -> None:
        """Into the batch, from the next step on; it has a slot."""
        self.running = [*self.running, sequence]
        self._new = [*self._new, sequence]

    def leave(self, sequence: Sequence, finish: str) -> None:
        """Out of the batch: its cells are free."""
        sequence.finish = sequence.finish or finish
        self.running = [each for each in self.running if each is not sequence]
        self._new = [each for each in self._new if each is not sequence]
        self.processor.executor.free(sequence)

    def step(self) -> Delivery:
        """One token for each of the chosen sequences; those that ended have left.

        A batch that fails is halved until the requests at fault are alone: those end with `error`, the others go on.
        """
        self.calls += 1
        chosen = (self._new or self.running) if self.choose is None else self.choose(self.running)
        if not chosen:
            return Delivery((), (), ())
        if self._new:
            self._new = []
        try:
            sequences, tokens = self.processor.process(chosen)
        except Exception as error:  # noqa: BLE001 - whatever a runtime raises ends requests, not the server
            self._counted = None  # halves that then succeed have moved on uncounted
            sequences, tokens, failed = self._halved(chosen, error)
            return Delivery(sequences, tokens, [*failed, *self._ended(sequences)])
        if self.steps is not None:
            self.steps.add(sequences)
        if chosen is not self._counted:
            self._counted = chosen
            self._left = min(each.sampling.max_tokens - len(each.tokens) for each in sequences)
            self._may_stop = not all(each.sampling.ignore_eos for each in sequences)
        else:
            self._left -= 1
        if self._left > 0 and not (self._may_stop and self._end_token in tokens):
            return _delivery((sequences, tokens, ()))
        return Delivery(sequences, tokens, self._ended(sequences))

    def run(self) -> None:
        """Steps until nothing is left."""
        while self.running:
            self.step()

    def _ended(self, sequences: Items[Sequence]) -> list[Sequence]:
        """Those that have their last token, gone."""
        ended = []
        for each in sequences:
            sampling, tokens = each.sampling, each.tokens
            if len(tokens) >= sampling.max_tokens:
                self.leave(each, "length")
            elif tokens[-1] == self._end_token and not sampling.ignore_eos:
                self.leave(each, "stop")
            else:
                continue
            ended.append(each)
        return ended

    def _halved(self, chosen: Items[Sequence], error: Exception) -> tuple[list[Sequence], list[int], list[Sequence]]:
        """A batch that failed, by halves: sequences and their tokens, and those at fault, gone."""
        at_fault = [each for each in chosen if each.slot in getattr(error, "sequences", ())]
        if len(chosen) == 1:
            at_fault = list(chosen)
        for each in at_fault:
            each.error = error
            self.leave(each, "error")
        rest = [each for each in chosen if each.error is None]
        half = len(rest) if at_fault else len(rest) // 2
        came: list[Sequence] = []
        tokens: list[int] = []
        for part in (rest[:half], rest[half:]):
            if not part:
                continue
            try:
                sequences, theirs = self.processor.process(part)
            except Exception as again:  # noqa: BLE001 - as in `step`
                sequences, theirs, failed = self._halved(part, again)
                at_fault += failed
            else:
                if self.steps is not None:
                    self.steps.add(sequences)
            came += sequences
            tokens += theirs
        return came, tokens, at_fault
