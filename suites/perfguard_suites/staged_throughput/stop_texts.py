"""Texts that end an answer, found in text that comes piece by piece."""

from __future__ import annotations


class StopTexts:
    """Holds back only what may be the beginning of a stop text; what follows one is never given out."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        self._texts = texts
        self._held = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """The text that is safe to give out now; `found` is set when a stop text is complete."""
        if self.found or not self._texts:
            return "" if self.found else piece
        text = self._held + piece
        ends = [at for at in (text.find(stop) for stop in self._texts) if at >= 0]
        if ends:
            self.found, self._held = True, ""
            return text[: min(ends)]
        keep = max(_overlap(text, stop) for stop in self._texts)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back and turned out to be text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that are the beginning of `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
