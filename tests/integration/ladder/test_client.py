"""Claims about the load client, against a small real server on a real socket."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sse_server import RawServer, SseServer, serving

from perfguard.ladder import Endpoint, Load, endpoint_stage, parse_endpoint, run_load
from perfguard.ladder.client import arrivals_s
from perfguard.ladder.endpoint import words_prompt
from perfguard.ladder.probe import probe

LOAD = Load(requests=12, concurrency=4, prompt_tokens=8, new_tokens=5)


def endpoint_at(port: int, model: str = "good", **options: object) -> Endpoint:
    return parse_endpoint(f"http://127.0.0.1:{port}", model=model, **{"timeout_s": 20.0, **options})


def test_a_closed_loop_keeps_its_concurrency() -> None:
    """Exactly so many requests are under way, on as many connections; every token of every request is counted."""
    server = SseServer(gate=4)
    with serving(server) as port:
        run = run_load(endpoint_at(port), LOAD)
    assert (server.answered, server.most_at_once, server.connections) == (12, 4, 4)
    assert (run.tokens, len(run.requests), run.refused) == (60, 12, 0)
    for request in run.requests:
        assert len(request.token_s) == 5
        assert request.intended_s == request.begin_s <= request.token_s[0]
        assert all(before <= after for before, after in pairwise(request.token_s))
    last_s = max(request.token_s[-1] for request in run.requests)
    assert run.wall_s == pytest.approx(last_s - min(request.begin_s for request in run.requests), abs=0.5)
    assert run.client_cpu_s > 0


def test_an_open_loop_does_not_wait_for_answers() -> None:
    """A server that answers nobody before all twelve have come gets all; each latency counts from its moment."""
    server = SseServer(gate=12)
    load = Load(requests=12, concurrency=1, prompt_tokens=8, new_tokens=2, rate_per_s=200.0, seed=3)
    with serving(server) as port:
        run = run_load(endpoint_at(port), load)
    assert server.most_at_once == 12
    moments = sorted(request.intended_s for request in run.requests)
    expected = arrivals_s(load)
    assert [moment - moments[0] for moment in moments] == pytest.approx([each - expected[0] for each in expected])
    assert all(request.begin_s >= request.intended_s for request in run.requests)


def test_arrivals_are_a_poisson_process_known_by_its_seed() -> None:
    """The same moments for the same seed, others for another; their mean gap is one over the rate."""
    load = Load(requests=4000, rate_per_s=50.0)
    moments = arrivals_s(load)
    assert moments == arrivals_s(load)
    assert moments != arrivals_s(Load(requests=4000, rate_per_s=50.0, seed=2))
    assert moments[-1] / 4000 == pytest.approx(1 / 50, rel=0.05)


@pytest.mark.parametrize(
    ("api", "model", "events"), [("completions", "good", 5), ("chat", "good", 5), ("completions", "burst", 1)]
)
def test_tokens_are_counted_by_the_server(api: str, model: str, events: int) -> None:
    """Both APIs; a role alone is no token; several tokens in an event are as many as the server says."""
    with serving(SseServer()) as port:
        run = run_load(endpoint_at(port, model, api=api), LOAD)
    assert run.tokens == 60
    assert {len(request.token_s) for request in run.requests} == {events}


def test_a_server_that_does_not_count_has_its_events_counted() -> None:
    """First contact finds out, and says so."""
    with serving(SseServer()) as port:
        facts = probe(endpoint_at(port, "bare"), LOAD)
        assert (facts.counts, facts.prompt_tokens) == (False, 0)
        assert run_load(facts.endpoint, LOAD).tokens == 60


def test_prompts_are_as_long_as_the_server_counts() -> None:
    """One token and two more for each word: prompts of 21 tokens have ten words."""
    server = SseServer()
    with serving(server) as port:
        facts = probe(endpoint_at(port), Load(requests=2, prompt_tokens=21, new_tokens=3))
        run_load(facts.endpoint, Load(requests=2, prompt_tokens=21, new_tokens=3))
    assert facts.prompt_tokens == 21
    assert len(server.bodies[-1]["prompt"].split()) == 10


def test_a_server_that_refuses_a_field_is_asked_without() -> None:
    """The field that its message names is left out, and only that."""
    server = SseServer()
    with serving(server) as port:
        facts = probe(endpoint_at(port, "strict"), LOAD)
        run = run_load(facts.endpoint, LOAD)
    assert run.tokens == 60
    assert "refuses ignore_eos" in facts.notes[0]
    assert "ignore_eos" not in server.bodies[-1]
    assert server.bodies[-1]["stream_options"] == {"include_usage": True}


def test_no_two_requests_share_a_prompt() -> None:
    """Within a run and from run to run prompts begin differently, so that no cache of prefixes answers."""
    server = SseServer()
    with serving(server) as port:
        stage = endpoint_stage(endpoint_at(port))
        stage.run(LOAD)
        stage.run(LOAD)
    prompts = [body["prompt"] for body in server.bodies]
    assert len(set(prompts)) == len(prompts) == 24
    assert {len(prompt.split()) for prompt in prompts} == {8}
    assert words_prompt(LOAD, 3) == words_prompt(LOAD, 3)


BODY = b'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
HEAD = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
CHUNKS = b"".join(b"%x;x=y\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:])) + b"0\r\nT: 1\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
        HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"Connection: close\r\n\r\n" + BODY,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS.partition(b"0\r\nT")[0],
    ],
    ids=["chunked", "length", "until-close", "no-last-chunk"],
)
def test_every_framing_of_an_answer_is_understood_byte_by_byte(answer: bytes) -> None:
    """Chunks with extensions and trailers, a length, or a close at the end; interim answers before any."""
    with serving(RawServer([answer[i : i + 1] for i in range(len(answer))])) as port:
        run = run_load(endpoint_at(port), Load(requests=3, concurrency=1, new_tokens=1))
    assert run.tokens == 3
