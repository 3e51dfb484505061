"""Stage 7, the HTTP server's application: OpenAI's completions, models, health and metrics over one endpoint."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from perfguard_suites.staged_throughput.errors import EngineLost, InvalidRequest, QueueFull
from perfguard_suites.staged_throughput.event_stream import EventStream, usage_of
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.generation import Generation
from perfguard_suites.staged_throughput.metrics import exposition
from perfguard_suites.staged_throughput.request_body import flag, text_of, wants_usage

MAX_BODY_BYTES = 1 << 20
# Paths of completions: whether each is a chat.
CHATS = {"/v1/completions": False, "/v1/chat/completions": True}


class HttpServer:
    """Answers requests in its event loop. `calls`: requests that came; `disconnects`: readers that left early."""

    def __init__(self, endpoint: GenerateEndpoint) -> None:
        self.endpoint = endpoint
        self.calls = self.disconnects = 0
        self.draining = False
        self._numbers = itertools.count(1)

    def app(self) -> ASGIApp:
        """The ASGI application: Starlette, and past its middleware the two paths on which every token goes out."""
        others = Starlette(
            routes=[
                *(Route(path, _post_only) for path in CHATS),
                Route("/v1/models", self.models),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={HTTPException: _no_such_route},
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            chat = CHATS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
            if chat is None:
                await others(scope, receive, send)
            else:
                await (await self._answer(receive, chat=chat))(scope, receive, send)

        return app

    async def models(self, _request: Request) -> Response:
        """GET /v1/models: the one there is."""
        model = {"id": self.endpoint.model, "object": "model", "created": 0, "owned_by": "perfguard"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(self, _request: Request) -> Response:
        """GET /health: whether new requests are taken, and how many there are."""
        scheduler = self.endpoint.scheduler
        assert scheduler is not None
        state = {"status": "draining" if self.draining else "ok", "running": scheduler.running}
        return JSONResponse({**state, "queued": scheduler.queued}, status_code=503 if self.draining else 200)

    async def metrics(self, _request: Request) -> Response:
        """GET /metrics: counters in Prometheus' text format."""
        return PlainTextResponse(exposition(self.endpoint, self), media_type="text/plain; version=0.0.4")

    async def _answer(self, receive: Receive, *, chat: bool) -> Response | EventStream:
        """The answer to a request for a completion, POST /v1/completions or /v1/chat/completions."""
        self.calls += 1
        try:
            body = _parsed(await _read(receive))
            name = f"{'chatcmpl' if chat else 'cmpl'}-{next(self._numbers)}"
            stream, usage = flag(body, "stream"), wants_usage(body)
            generation = self.endpoint.accept(body, chat=chat, name=text_of(body, "request_id") or name)
            if stream:
                answer = EventStream(self.endpoint, generation, name, chat=chat, usage=usage, on_leave=self._left)
                self.endpoint.submit(generation)
                return answer
            return await self._whole(receive, generation, name, chat=chat)
        except InvalidRequest as error:
            return _error(error.status, str(error), "invalid_request_error", error.param, error.code)
        except QueueFull as error:
            headers = {"retry-after": str(error.retry_after_s)}
            return _error(429, str(error), "rate_limit_error", None, "queue_full", headers)
        except EngineLost as error:
            return _error(503, str(error), "server_error", None, "engine_lost")
        except ClientDisconnect:
            self.disconnects += 1
            return Response(status_code=499)

    def _left(self) -> None:
        self.disconnects += 1

    async def _whole(self, receive: Receive, generation: Generation, name: str, *, chat: bool) -> Response:
        """The answer in one piece."""
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        texts: list[str] = []

        def take(text: str, finish: str) -> None:
            texts.append(text)
            if finish and not done.done():
                done.set_result(finish)

        generation.on_piece = take
        self.endpoint.submit(generation)
        gone: asyncio.Future[Any] = asyncio.ensure_future(receive())  # the body is read: next is the end
        try:
            await asyncio.wait([done, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            self.endpoint.cancel(generation)
        if not done.done():
            raise ClientDisconnect
        if generation.sequence.error is not None:
            return _error(500, str(generation.sequence.error), "server_error", None, "backend_error")
        text = "".join(texts)
        said: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": done.result()}
        return JSONResponse(
            {
                "id": name,
                "object": "chat.completion" if chat else "text_completion",
                "created": int(time.time()),
                "model": self.endpoint.model,
                "choices": [choice],
                "usage": usage_of(generation),
            }
        )


async def _read(receive: Receive) -> bytes:
    """The whole body. Raises `InvalidRequest` as soon as it is too large, `ClientDisconnect` where it breaks off."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise InvalidRequest("", f"the body is larger than {MAX_BODY_BYTES} bytes", status=413, code="too_large")
        if not message.get("more_body", False):
            return b"".join(parts)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidRequest("", f"the body is no UTF-8: {error}", code="invalid_json") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("", f"the body is no JSON: {error!s:.200}", code="invalid_json") from error
    if not isinstance(found, dict):
        raise InvalidRequest("", "the body is no JSON object", code="invalid_json")
    return found


def _error(
    status: int, message: str, kind: str, param: str | None, code: str | None, headers: dict[str, str] | None = None
) -> Response:
    body = {"error": {"message": message, "type": kind, "param": param or None, "code": code}}
    return JSONResponse(body, status_code=status, headers=headers)


def _no_such_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, str(error.detail), "invalid_request_error", None, None)


async def _post_only(_request: Request) -> Response:
    raise HTTPException(405)
