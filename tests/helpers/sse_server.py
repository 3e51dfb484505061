"""A small real server of OpenAI's streaming completions: `python sse_server.py [--token-ms MS]` prints its port.

What is wrong with an answer is asked for by the model's name, so that one server serves every fault test.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

MODELS = ["good", "bare", "plain", "cut", "stall", "error", "garbage", "short", "endless", "full", "burst", "strict"]
SSE = "text/event-stream"


class SseServer:
    """Streams `max_tokens` tokens, one each `token_s`. Counts what it did: `answered`, `most_at_once`, `bodies`.

    `gate`: no request is answered before so many have come.
    """

    def __init__(self, token_s: float = 0.0, gate: int = 0) -> None:
        self.token_s = token_s
        self.gate = gate
        self.gate_open = asyncio.Event()
        self.answered = 0
        self.bodies: list[dict[str, Any]] = []
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0

    async def serve(self, port: int = 0) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", port)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        async with closing(writer):
            while await self._exchange(reader, writer):
                pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        verb, path, _ = head.split(" ", 2)
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if verb == "GET":
            _plain(writer, 200, {"data": [{"id": name} for name in MODELS]})
            return True
        asked = json.loads(body)
        self.bodies.append(asked)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.at_once >= self.gate:
            self.gate_open.set()
        try:
            await self.gate_open.wait()
            return await self._complete(writer, asked, chat="/chat/" in path)
        finally:
            self.at_once -= 1

    async def _complete(self, writer: asyncio.StreamWriter, asked: dict[str, Any], chat: bool) -> bool:
        model, tokens = asked["model"], asked["max_tokens"]
        if model not in MODELS:
            _plain(writer, 404, {"error": {"message": f"The model {model} does not exist"}})
            return True
        if model == "strict" and "ignore_eos" in asked:
            _plain(writer, 400, {"error": {"message": "Unrecognized request argument supplied: ignore_eos"}})
            return True
        if model == "full":
            _plain(writer, 429, {"error": {"message": "the queue is full"}}, "Retry-After: 7\r\n")
            return True
        if model == "plain":
            _plain(writer, 200, {"choices": [{"text": "all at once"}]})
            return True
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {SSE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        if chat:
            _event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        if not await self._tokens(writer, model, tokens, chat):
            return False
        _event(writer, {"choices": [{"delta": {}, "text": "", "finish_reason": "length"}]})
        if model != "bare" and asked.get("stream_options"):
            done = tokens // 2 if model == "short" else tokens
            words = len((asked["messages"][0]["content"] if chat else asked["prompt"]).split())
            _event(writer, {"choices": [], "usage": {"prompt_tokens": 1 + 2 * words, "completion_tokens": done}})
        _chunk(writer, b": a comment\r\n\r\ndata: [DONE]\r\n\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        self.answered += 1
        return True

    async def _tokens(self, writer: asyncio.StreamWriter, model: str, tokens: int, chat: bool) -> bool:
        count = {"short": tokens // 2, "endless": 1_000_000, "burst": max(1, tokens // 5)}.get(model, tokens)
        for index in range(count):
            await asyncio.sleep(self.token_s)
            text = f" t{index}"
            _event(writer, {"choices": [{"delta": {"content": text}} if chat else {"text": text}]})
            await writer.drain()
            if index == 1 and model in {"cut", "stall", "error", "garbage"}:
                if model == "stall":
                    await asyncio.sleep(3600)
                elif model == "error":
                    _event(writer, {"error": {"message": "the backend fell over"}})
                elif model == "garbage":
                    _chunk(writer, b"data: {not json\n\n")
                await writer.drain()
                return False
        return True


def _plain(writer: asyncio.StreamWriter, status: int, body: Any, extra: str = "") -> None:
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)


def _event(writer: asyncio.StreamWriter, body: Any) -> None:
    _chunk(writer, b"data: " + json.dumps(body).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class RawServer:
    """Sends the same pieces of bytes to whoever asks anything, each in a packet of its own, and closes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connection, "127.0.0.1", 0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close a connection in the end, whoever ended it."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            yield
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.contextmanager
def serving(server: Any) -> Iterator[int]:
    """The port of an object with `serve()`, served by a thread until the block ends."""
    ready: queue.Queue[tuple[int, Callable[[], None]]] = queue.Queue()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with await server.serve() as listening:
            port = listening.sockets[0].getsockname()[1]
            ready.put((port, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()
            listening.close()
            connections = asyncio.all_tasks() - {asyncio.current_task()}
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    port, stop = ready.get(timeout=10)
    try:
        yield port
    finally:
        stop()
        thread.join(10)


async def _forever(token_s: float, port: int) -> None:
    listening = await SseServer(token_s).serve(port)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--token-ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_forever(options.token_ms / 1e3, options.port))
