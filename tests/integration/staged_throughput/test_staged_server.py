"""The HTTP server as its clients see it: OpenAI's own client, streams, whole answers, health, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from staged_backends import tiny
from staged_server import MODEL, connect, events, metrics, post, serving

from perfguard.ladder import Load
from perfguard_suites.staged_throughput.channel import DirectChannel
from perfguard_suites.staged_throughput.event_stream import EventStream
from perfguard_suites.staged_throughput.front_end import KINDS
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.loads import request_body
from perfguard_suites.staged_throughput.offline import run_endpoint
from perfguard_suites.staged_throughput.service import Service
from perfguard_suites.staged_throughput.stack import stack_on

NEW = 7


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One server for all tests of this file, with either front end."""
    with serving(front=request.param) as found:
        yield found


def test_openais_own_client_streams(service: Service) -> None:
    """Completions and chat, streamed by the official client: text by pieces, finish reason, usage; and its errors."""
    openai = pytest.importorskip("openai", reason="the client's newest versions start at Python 3.11")
    with openai.OpenAI(base_url=service.url, api_key="none", max_retries=0, timeout=60) as client:
        stream = client.completions.create(
            model=MODEL,
            prompt="Once upon",
            max_tokens=NEW,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        chunks = list(stream)
        assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (NEW - 1) + ["length"]
        assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (9, NEW)
        streamed = "".join(chunk.choices[0].text for chunk in chunks[:-1])
        whole = client.completions.create(
            model=MODEL, prompt="Once upon", max_tokens=NEW, extra_body={"ignore_eos": True}
        )
        assert whole.choices[0].text == streamed
        messages = [{"role": "user", "content": "Hi"}]
        answer = client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=NEW, stream=True, extra_body={"ignore_eos": True}
        )
        deltas = [chunk.choices[0] for chunk in answer]
        assert deltas[0].delta.role == "assistant"
        assert deltas[-1].finish_reason == "length"
        assert len(deltas) == 1 + NEW
        with pytest.raises(openai.NotFoundError, match="not served here"):
            client.completions.create(model="other", prompt="x")
        assert [model.id for model in client.models.list()] == [MODEL]


def test_offline_and_served_text_are_the_same(service: Service) -> None:
    """The same requests through stage 6 in this thread and through the socket: the same text, piece by piece."""
    load = Load(requests=3, concurrency=3, prompt_tokens=10, new_tokens=NEW)
    bodies = [request_body(load, index) for index in range(load.requests)]
    _, _, _, pieces = run_endpoint(stack_on(tiny()), load, bodies, None)
    for index, expected in enumerate(pieces.values()):
        with contextlib.closing(connect(service)) as connection:
            connection.request("POST", "/v1/completions", json.dumps(bodies[index]))
            *chunks, done = events(connection.getresponse().read())
        assert [chunk["choices"][0]["text"] for chunk in chunks] == expected
        assert done == "[DONE]"


def test_a_stop_text_ends_the_answer_and_frees_the_sequence(service: Service) -> None:
    """The text stops before it, the reason is `stop`, and no more tokens are generated than were under way."""
    asked = {"prompt": "Once upon", "max_tokens": 40, "ignore_eos": True}
    _, _, whole = post(service, asked)
    text = whole["choices"][0]["text"]
    stop = text[8:10]
    _, _, cut = post(service, {**asked, "stop": stop})
    assert cut["choices"][0]["text"] == text[: text.index(stop)]
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] < 40


def test_a_stalled_reader_holds_up_nobody() -> None:
    """One stream's reader takes nothing, not even its first bytes: the other is complete meanwhile, then both are."""

    async def serve() -> None:
        stack = stack_on(tiny())
        endpoint = GenerateEndpoint(stack.engine.tokenizer, MODEL, 64)
        endpoint.scheduler = stack.scheduler(DirectChannel(endpoint.deliver))
        gates = [asyncio.Event(), asyncio.Event()]
        sent: list[list[Any]] = [[], []]
        gates[1].set()

        async def reader(index: int) -> None:
            async def send(message: MutableMapping[str, Any]) -> None:
                await gates[index].wait()
                sent[index].append(message)

            generation = endpoint.accept({"prompt": "abc", "max_tokens": NEW, "ignore_eos": True})
            stream = EventStream(endpoint, generation, "x", chat=False, usage=False, on_leave=lambda: None)
            endpoint.submit(generation)
            await stream({}, asyncio.Event().wait, send)

        tasks = [asyncio.create_task(reader(index)) for index in range(2)]
        await asyncio.sleep(0)
        while endpoint.scheduler.turn(0.0):
            await asyncio.sleep(0)
        await asyncio.wait_for(tasks[1], 30)
        assert (len(sent[0]), tasks[0].done()) == (0, False)
        assert stack.backend.cells == 0
        gates[0].set()
        await asyncio.wait_for(tasks[0], 30)
        bodies = [b"".join(message["body"] for message in each[1:]) for each in sent]
        assert bodies[0] == bodies[1]
        assert len(events(bodies[0])) == NEW + 1

    asyncio.run(serve())


def test_sampling_is_reproducible_by_its_seed(service: Service) -> None:
    """Two requests with one seed agree, another seed does not."""
    asked = {"prompt": "Once upon", "max_tokens": 20, "temperature": 1.5, "ignore_eos": True}
    texts = [post(service, {**asked, "seed": seed})[2]["choices"][0]["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_health_and_metrics_count(service: Service) -> None:
    """/health is ok, /metrics counts a request's tokens exactly, and nothing is held when none runs."""
    before = metrics(service)
    post(service, {"prompt": "abc", "max_tokens": 5, "ignore_eos": True})
    after = metrics(service)
    assert after["generated_tokens_total"] - before["generated_tokens_total"] == 5
    assert after["prompt_tokens_total"] - before["prompt_tokens_total"] == 3
    assert (after["running"], after["queued"], after["kv_cells"]) == (0, 0, 0)
    with contextlib.closing(connect(service)) as connection:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["status"]) == (200, "ok")
