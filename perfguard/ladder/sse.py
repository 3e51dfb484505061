"""Server-sent events, as the WHATWG's HTML standard defines their framing (section 9.2.6), from bytes as they come."""

from __future__ import annotations

from perfguard.ladder.http import HttpError

MAX_EVENT_BYTES = 4 << 20


class EventSplitter:
    """Bytes in, the data of each complete event out; comments, names and ids are dropped."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that `data` completes. Raises `HttpError` for one without end."""
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = _newlines(data)
        *events, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise HttpError(f"an event of more than {MAX_EVENT_BYTES >> 20} MiB")
        return [found for event in events if (found := _data_of(event)) is not None]


def _newlines(data: bytes) -> bytes:
    """Every line end a single newline; a carriage return at the very end may be half of one and stays."""
    held = data.endswith(b"\r")
    body = data[:-1] if held else data
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (b"\r" if held else b"")


def _data_of(event: bytes) -> bytes | None:
    if event.startswith(b"data:") and b"\n" not in event:  # nearly all of them
        return event[5:].removeprefix(b" ")
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None
