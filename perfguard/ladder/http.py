"""The least of HTTP/1.1 that a client of a streaming server needs: one connection kept alive, one answer at a time.

An `asyncio.Protocol` and no stream objects, since a load client must cost next to nothing per token: of event streams,
pieces are only stamped and kept until its end is in sight. Everything that arrives is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import cast

MAX_HEAD_BYTES = 64 << 10
MAX_CHUNK_LINE_BYTES = 1 << 10
MAX_BODY_BYTES = 256 << 20
LAST_CHUNK = b"0\r\n\r\n"
SHORT_BYTES = 8  # a piece so short may be the last chunk's second half
DIGEST_EVERY_BYTES = 128 << 10

OnHead = Callable[[int, dict[str, str]], None]
OnBody = Callable[[bytes, float], None]


class HttpError(Exception):
    """What arrived is no HTTP answer, or only the beginning of one. `received`: bytes of it that came."""

    def __init__(self, problem: str, received: int = 0) -> None:
        self.received = received
        super().__init__(problem)


class Connection(asyncio.Protocol):
    """One connection. `ask` sends a request; its answer goes to `on_head(status, headers)` and `on_body(bytes, now)`.

    `answers`: complete ones so far; `last_s`: when something last went either way; `received`: bytes of this answer.
    """

    def __init__(self) -> None:
        self.last_s = perf_counter()
        self.received = 0
        self.answers = 0
        self._transport: asyncio.Transport | None = None
        self._closed: asyncio.Future[None] | None = None
        self._answer: asyncio.Future[None] | None = None
        self._on_head: OnHead = lambda _status, _headers: None
        self._on_body: OnBody = lambda _data, _now: None
        self._buffer = bytearray()
        self._kept: list[tuple[bytes, float]] | None = None
        self._digest_at = 0
        self._step: Callable[[float], bool] = self._head
        self._left = 0
        self._closes = False

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._answer is None

    @property
    def waiting(self) -> bool:
        """Whether an answer is under way."""
        return self._answer is not None

    def ask(self, request: bytes, on_head: OnHead, on_body: OnBody) -> asyncio.Future[None]:
        """Send a request. The future is done when its answer is complete, or raises `HttpError`."""
        if self._transport is None or not self.open:
            raise HttpError("the connection is closed")
        self._on_head, self._on_body = on_head, on_body
        self._step, self._left, self._closes, self.received, self._kept = self._head, 0, False, 0, None
        self._answer = asyncio.get_running_loop().create_future()
        self.last_s = perf_counter()
        self._transport.write(request)
        return self._answer

    def abort(self, problem: str) -> None:
        """Give up the answer under way, and the connection."""
        self._kept = None
        self._end(HttpError(problem, self.received))
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> asyncio.Future[None] | None:
        """Close at once; the future is done when the socket is closed, None where there never was one."""
        self.abort("closed")
        return self._closed

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """An answer that only ends with its connection is complete now; any other is cut."""
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self.digest()
        if self._answer is not None and exc is None and self._step == self._until_close:
            self._end(None)
        else:
            self._end(HttpError("the server closed the connection" + (f" ({exc})" if exc else ""), self.received))

    def data_received(self, data: bytes) -> None:
        """Take the answer apart as far as it goes, or keep the piece of an event stream."""
        now_s = self.last_s = perf_counter()
        self.received += len(data)
        if self._kept is None:
            self._take(data, now_s)
            return
        self._kept.append((data, now_s))
        if data.endswith(LAST_CHUNK) or len(data) < SHORT_BYTES or self.received > self._digest_at:
            self.digest()

    def digest(self) -> None:
        """Take apart what was kept."""
        kept, self._kept = self._kept or [], []
        self._digest_at = self.received + DIGEST_EVERY_BYTES
        for data, now_s in kept:
            if not self._take_whole(data, now_s):
                self._take(data, now_s)

    def _take_whole(self, data: bytes, now_s: float) -> bool:
        """Take a piece that is one chunk and nothing else, as nearly all are: the next request waits meanwhile."""
        if self._buffer or self._answer is None or self._step != self._chunk_size or self.received > MAX_BODY_BYTES:
            return False
        size, _, rest = data.partition(b"\r\n")
        try:
            if not (size.isalnum() and int(size, 16) == len(rest) - 2 > 0 and rest.endswith(b"\r\n")):
                return False
            self._on_body(rest[:-2], now_s)
        except ValueError:
            return False
        except HttpError as error:
            self.abort(str(error))
        return True

    def _take(self, data: bytes, now_s: float) -> None:
        if self._answer is None:
            self.abort("data without a request")
            return
        if self.received > MAX_BODY_BYTES:
            self.abort(f"an answer of more than {MAX_BODY_BYTES >> 20} MiB")
            return
        self._buffer += data
        try:
            while self._answer is not None and self._step(now_s):
                pass
        except HttpError as error:
            self.abort(str(error))

    # -- parts of an answer: each takes what it can from the buffer, and says whether to go on

    def _head(self, _now_s: float) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES or not b"HTTP/1.".startswith(bytes(self._buffer[:7])):
                raise HttpError(f"not an HTTP/1.1 answer: it begins with {bytes(self._buffer[:40])!r}")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise HttpError(f"not an HTTP/1.1 answer: it begins with {lines[0][:40]!r}")
        status = int(rest[:3])
        if status < 200:  # an interim answer
            return True
        pairs = (line.partition(":") for line in lines[1:])
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        self._closes = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        self._step = self._framing(status, headers)
        self._on_head(status, headers)
        return True

    def _framing(self, status: int, headers: dict[str, str]) -> Callable[[float], bool]:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            if "text/event-stream" in headers.get("content-type", "").lower():
                self._kept = []
            return self._chunk_size
        length = headers.get("content-length")
        if length is None and status not in {204, 304}:
            return self._until_close
        if length is not None and not (length.isascii() and length.isdigit()):
            raise HttpError(f"a content-length of {length[:40]!r}")
        self._left = int(length or 0)
        return self._exactly

    def _chunk_size(self, _now_s: float) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_CHUNK_LINE_BYTES:
                raise HttpError("a chunk without a size")
            return False
        size = bytes(self._buffer[:end]).partition(b";")[0].strip()
        if not size or len(size) > 15 or size.strip(b"0123456789abcdefABCDEF"):
            raise HttpError(f"a chunk of size {size[:40]!r}")
        self._left = int(size, 16)
        del self._buffer[: end + 2]
        self._step = self._chunk if self._left else self._trailer
        return True

    def _chunk(self, now_s: float) -> bool:
        size = self._left + 2
        if len(self._buffer) < size:
            if self._left > MAX_BODY_BYTES:
                raise HttpError(f"a chunk of {self._left} bytes")
            return False
        data = bytes(self._buffer[: self._left])
        del self._buffer[:size]
        self._step = self._chunk_size
        self._on_body(data, now_s)
        return True

    def _trailer(self, _now_s: float) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise HttpError("a trailer without end")
            return False
        del self._buffer[: end + 2]
        if end == 0:
            self._finish()
        return True

    def _exactly(self, now_s: float) -> bool:
        data = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(data)
        if data:
            self._on_body(data, now_s)
        if not self._left:
            self._finish()
        return False

    def _until_close(self, now_s: float) -> bool:
        data = bytes(self._buffer)
        self._buffer.clear()
        if data:
            self._on_body(data, now_s)
        return False

    def _finish(self) -> None:
        self._end(None)
        if self._closes and self._transport is not None:
            self._transport.close()

    def _end(self, error: HttpError | None) -> None:
        answer, self._answer, self._kept = self._answer, None, None
        self._buffer.clear()
        if answer is None or answer.done():
            return
        if error is None:
            self.answers += 1
            answer.set_result(None)
        else:
            answer.set_exception(error)
