"""One answer as text: tokens go in, pieces come out, stop texts end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.stop_texts import StopTexts
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer, Detokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of one token, perhaps none; `finish` as OpenAI's finish_reason, or `error` or `cancelled`, at the end."""

    text: str
    finish: str


class Generation:
    """A sequence with the text that there is of it. `on_piece`: whom each piece goes to.

    `on_piece` is set by whoever submits it, before.
    """

    def __init__(self, sequence: Sequence, tokenizer: ByteTokenizer) -> None:
        self.sequence = sequence
        self.on_piece: Callable[[Piece], object] = _nobody
        self.finish = ""
        self.tokens = 0
        self._end_token = tokenizer.end_token
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopTexts(sequence.sampling.stop)

    def take(self, token: int, finish: str) -> Piece:
        """The piece of one update; its `finish` is `stop` also where a stop text was found."""
        text = ""
        if token >= 0:
            self.tokens += 1
            if token != self._end_token:
                text = self._stop.feed(self._detokenizer.feed(token))
        if self._stop.found:
            finish = "stop"
        elif finish:
            text += self._stop.feed(self._detokenizer.finish()) + self._stop.finish()
        self.finish = finish
        piece = Piece(text, finish)
        self.on_piece(piece)
        return piece


def _nobody(_: Piece) -> None:
    pass
