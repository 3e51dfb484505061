"""One streamed completion as it arrives: when each token came, what the server counted, and whether it is whole.

Its events are read when somebody asks for them, after the load: reading JSON in the middle of it would cost as much as
all the rest of the client.
"""

from __future__ import annotations

import json
from typing import Any

from perfguard.ladder.http import HttpError
from perfguard.ladder.model import RequestTimes
from perfguard.ladder.sse import EventSplitter

MAX_TEXT_BYTES = 64 << 10
MAX_KEPT_BYTES = 256 << 10
# A server that ignores max_tokens would stream for ever.
MOST_EVENTS_BEYOND = 1024
FULL = (429, 503)


class Answer:
    """Takes the answer's bytes; once `read`, its figures and its `problem` are known, empty if there is none.

    `new_tokens`: as many were asked for.
    """

    def __init__(self, new_tokens: int) -> None:
        self.status = 0
        self.content_type = ""
        self.retry_after = ""
        self.token_s: list[float] = []
        self.completion_tokens = 0
        self.prompt_tokens = 0
        self.finish = ""
        self.done = False
        self.error = ""
        self.text = b""
        self._events = EventSplitter()
        self._most_events = 16 * new_tokens + MOST_EVENTS_BEYOND
        self._kept: list[tuple[bytes, float]] = []
        self._kept_bytes = 0
        self._malformed = ""
        self.streams = False

    @property
    def refused(self) -> bool:
        """Whether the server turned the request away because it was full."""
        return self.status in FULL

    @property
    def ended(self) -> bool:
        """Whether the stream has said that it is over, and without an error."""
        self.read()
        return self.done and not self.error and not self._malformed

    @property
    def tokens(self) -> int:
        """Tokens generated: the server's count, or else the events that carried text."""
        return self.completion_tokens or len(self.token_s)

    def head(self, status: int, headers: dict[str, str]) -> None:
        """The answer's status and headers."""
        self.status = status
        self.content_type = headers.get("content-type", "")
        self.retry_after = headers.get("retry-after", "")
        self.streams = status == 200 and "text/event-stream" in self.content_type.lower()

    def body(self, data: bytes, now_s: float) -> None:
        """A piece of its body, arrived at `now_s`."""
        if not self.streams:
            self.text += data[: MAX_TEXT_BYTES - len(self.text)]
            return
        self._kept.append((data, now_s))
        self._kept_bytes += len(data)
        if self._kept_bytes > MAX_KEPT_BYTES:
            self.read()
            if self._malformed:
                raise HttpError(self._malformed)

    def read(self) -> None:
        """Read the events that have come so far."""
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        try:
            for data, now_s in kept:
                for event in self._events.feed(data):
                    self._event(event, now_s)
        except HttpError as error:
            self._malformed = self._malformed or str(error)

    def _event(self, event: bytes, now_s: float) -> None:
        if event == b"[DONE]":
            self.done = True
            return
        self._most_events -= 1
        if self._most_events < 0:
            raise HttpError("the stream goes on far beyond the tokens that were asked for: max_tokens is ignored")
        try:
            found = json.loads(event)
        except ValueError:
            raise HttpError(f"an event that is no JSON: {event[:80]!r}") from None
        if not isinstance(found, dict):
            raise HttpError(f"an event that is no JSON object: {event[:80]!r}")
        if found.get("error"):
            self.error = _message(found)
        for choice in found.get("choices") or ():
            if isinstance(choice, dict):
                self._choice(choice, now_s)
        usage = found.get("usage")
        if isinstance(usage, dict):
            self.completion_tokens = _count(usage.get("completion_tokens")) or self.completion_tokens
            self.prompt_tokens = _count(usage.get("prompt_tokens")) or self.prompt_tokens

    def _choice(self, choice: dict[str, Any], now_s: float) -> None:
        text = choice.get("text")
        if text is None:
            delta = choice.get("delta")
            if isinstance(delta, dict):
                text = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
        if text:
            self.token_s.append(now_s)
        if choice.get("finish_reason"):
            self.finish = str(choice["finish_reason"])

    def problem(self) -> str:
        """What is wrong with the complete answer, empty if nothing is."""
        self.read()
        if self.status != 200:
            return f"HTTP {self.status}: {self.said() or 'no word why'}"
        if not self.streams:
            kind = self.content_type or "no content type"
            return f"answered with {kind} instead of text/event-stream: it does not stream ({self.said()[:120]})"
        if self.error or self._malformed:
            return self.broken(self._malformed)
        if not self.done and not self.finish:
            return f"the stream was cut after {len(self.token_s)} tokens, without a finish reason or [DONE]"
        return "" if self.token_s else "the stream ended without a token"

    def broken(self, problem: str) -> str:
        """What ended an answer that is not complete: the server's own word where it gave one."""
        self.read()
        problem = self._malformed or problem
        if self.error:
            return f"the stream reports an error after {len(self.token_s)} tokens: {self.error}"
        return f"the stream was cut after {len(self.token_s)} tokens: {problem}" if self.status == 200 else problem

    def said(self) -> str:
        """The server's own words in an answer that is no stream."""
        try:
            return _message(json.loads(self.text))
        except ValueError:
            return self.text[:200].decode("utf-8", "replace").strip()

    def times(self, intended_s: float, begin_s: float) -> RequestTimes:
        """The request's times."""
        exact = self.completion_tokens if self.completion_tokens != len(self.token_s) else 0
        return RequestTimes(intended_s, begin_s, tuple(self.token_s), tokens=exact)


def _message(found: Any) -> str:
    error = found.get("error", found) if isinstance(found, dict) else found
    for key in ("message", "detail"):
        if isinstance(error, dict) and error.get(key):
            return str(error[key])[:300]
    return str(error)[:300]


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
