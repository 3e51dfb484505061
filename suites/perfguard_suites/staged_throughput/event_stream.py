"""A completion as server-sent events: written as its tokens come, ended when its reader has gone."""

from __future__ import annotations

import asyncio
import json
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, MutableMapping
from typing import Any, cast

from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.generation import Generation

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Coroutine[Any, Any, None]]

_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
_encode = json.encoder.encode_basestring_ascii  # a JSON string, without an encoder object around it


class EventStream:
    """The ASGI answer to one streaming request. A reader that does not keep up holds back nothing but itself.

    `on_leave` is called when the reader goes before the end. Bytes are made and, while the reader keeps up, written
    where the token arrives, without waking a task for each. Once a write has to wait for its reader, this answer's own
    task takes it over, and what comes meanwhile.
    """

    def __init__(
        self,
        endpoint: GenerateEndpoint,
        generation: Generation,
        name: str,
        *,
        chat: bool,
        usage: bool,
        on_leave: Callable[[], object],
    ) -> None:
        self._endpoint, self._generation = endpoint, generation
        self._parts: list[bytes] = []
        self._wake: asyncio.Future[None] | None = None
        self._send: Send | None = None
        self._held: Awaitable[None] | None = None
        self._ended = self._written = self._gone = False
        self._usage, self._on_leave = usage, on_leave
        kind = "chat.completion.chunk" if chat else "text_completion"
        self._head = f'data: {{"id":"{name}","object":"{kind}","created":{int(time.time())},"model":' + _encode(
            endpoint.model
        )
        before = '{"delta":{"content":' if chat else '{"text":'
        self._before = f'{self._head},"choices":[{before}'
        self._after = '},"index":0,"finish_reason":null}]}\n\n' if chat else ',"index":0,"finish_reason":null}]}\n\n'
        self._chat = chat
        generation.on_piece = self._take
        if chat:
            self._parts.append(
                f'{self._head},"choices":[{{"delta":{{"role":"assistant","content":""}},"index":0,'
                '"finish_reason":null}]}\n\n'.encode()
            )

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI's signature
        receive: Receive,
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Write until the end, or until the reader has gone."""
        watch = asyncio.ensure_future(self._watch(receive))
        try:
            await asyncio.sleep(0)  # requests that came together are on their way to the engine before any head is out
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            self._send = cast("Send", send)  # as servers have it: a coroutine function
            while not self._gone:
                if self._held is not None:
                    held, self._held = self._held, None
                    await held
                    continue
                if self._written:
                    return
                if not self._parts:
                    self._wake = asyncio.get_running_loop().create_future()
                    await self._wake
                    continue
                data, ended = b"".join(self._parts), self._ended
                self._parts.clear()
                self._written = ended
                await send({"type": "http.response.body", "body": data, "more_body": not ended})
        finally:
            watch.cancel()
            self._endpoint.cancel(self._generation)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._ended:
            self._on_leave()
        self._gone = True
        self._endpoint.cancel(self._generation)  # now: the writer may be waiting for this very reader
        self._rouse()

    def _take(self, text: str, finish: str) -> None:
        if finish:
            data, self._ended = self._last(text, finish), True
        else:
            data = f"{self._before}{_encode(text)}{self._after}".encode()
        if self._wake is None or self._wake.done() or self._send is None:
            self._parts.append(data)  # the task is about to write, or at it
            return
        self._write(self._send, data)
        if finish:
            self._written = True
            self._rouse()

    def _write(self, send: Send, data: bytes) -> None:
        """Begin to write here; what has to wait goes on in the task."""
        coroutine = send({"type": "http.response.body", "body": data, "more_body": not self._ended})
        try:
            waiting = coroutine.send(None)
        except StopIteration:
            return
        self._held = _resumed(coroutine, waiting)
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _last(self, text: str, finish: str) -> bytes:
        error = self._generation.sequence.error
        if error is not None:
            failure = {"error": {"message": str(error), "type": "server_error", "param": None, "code": "backend_error"}}
            return f"data: {json.dumps(failure)}\n\ndata: [DONE]\n\n".encode()
        said = f'{{"content":{_encode(text)}}}' if self._chat else _encode(text)
        field = "delta" if self._chat else "text"
        parts = f'{self._head},"choices":[{{"{field}":{said},"index":0,"finish_reason":"{finish}"}}]}}\n\n'
        if self._usage:
            parts += f'{self._head},"choices":[],"usage":{json.dumps(usage_of(self._generation))}}}\n\n'
        return f"{parts}data: [DONE]\n\n".encode()


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, None], waiting: Any) -> Generator[Any, None, None]:
    """The rest of a coroutine that waits for `waiting`, to be awaited by a task."""
    while True:
        yield waiting
        try:
            waiting = coroutine.send(None)
        except StopIteration:
            return


def usage_of(generation: Generation) -> dict[str, int]:
    """OpenAI's counts of tokens."""
    prompt, tokens = len(generation.sequence.prompt), generation.tokens
    return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
