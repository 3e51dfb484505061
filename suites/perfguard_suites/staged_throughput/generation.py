"""One answer as text: tokens go in, pieces come out, stop texts end it."""

from __future__ import annotations

from collections.abc import Callable

from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.stop_texts import StopTexts
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer, Detokenizer

OnPiece = Callable[[str, str], object]


class Generation:
    """A sequence with the text that there is of it.

    `on_piece(text, finish)` gets the text of each token, perhaps none; `finish` is OpenAI's finish_reason, or `error`
    or `cancelled`, at the end. It is set by whoever submits the generation, before.
    """

    def __init__(self, sequence: Sequence, tokenizer: ByteTokenizer) -> None:
        self.sequence = sequence
        self.on_piece: OnPiece = _nobody
        self.finish = ""
        self.tokens = 0
        self._end_token, self._known = tokenizer.end_token, tokenizer.known
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = StopTexts(sequence.sampling.stop) if sequence.sampling.stop else None

    def take(self, token: int, finish: str) -> str:
        """Pass on the piece of one token, -1 for none; returns `finish`, which a stop text makes `stop`."""
        if not finish and self._stop is None and not self._detokenizer.begun:
            whole = self._known.get(token)
            if whole is not None:  # nearly all tokens
                self.tokens += 1
                self.on_piece(whole, "")
                return ""
        text = ""
        if token >= 0:
            self.tokens += 1
            if token != self._end_token:
                text = self._detokenizer.feed(token)
                if self._stop is not None:
                    text = self._stop.feed(text)
        if self._stop is not None and self._stop.found:
            finish = "stop"
        elif finish:
            rest = self._detokenizer.finish()
            text += rest if self._stop is None else self._stop.feed(rest) + self._stop.finish()
        self.finish = finish
        self.on_piece(text, finish)
        return finish


def _nobody(_text: str, _finish: str) -> None:
    pass
