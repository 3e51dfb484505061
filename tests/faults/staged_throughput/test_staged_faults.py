"""Clients that send garbage, leave, do not read or come by the thousand; a backend that fails; SIGTERM."""

from __future__ import annotations

import contextlib
import http.client
import json
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from staged_backends import Faulty, tiny
from staged_server import TIMEOUT_S, connect, events, metrics, post, serving

from perfguard_suites.staged_throughput.backend import Batch, Logits
from perfguard_suites.staged_throughput.front_end import KINDS
from perfguard_suites.staged_throughput.http_app import MAX_BODY_BYTES
from perfguard_suites.staged_throughput.service import Service
from perfguard_suites.staged_throughput.torch_backend import TorchBackend

COMMAND = [sys.executable, "-m", "perfguard_suites.staged_throughput"]
ASKED = {"prompt": "Once upon", "max_tokens": 40, "ignore_eos": True}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One server for the requests that it refuses."""
    with serving() as found:
        yield found


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (b"", 400, "no JSON"),
        (b"{", 400, "no JSON"),
        (b"[]", 400, "no JSON object"),
        (b"[" * 100_000, 400, "no JSON"),
        (b'{"prompt": "\xff\xfe"}', 400, "no UTF-8"),
        (b'{"prompt": ""}', 400, "is empty"),
        (json.dumps({"prompt": "x" * 64}).encode(), 400, "64 positions"),
        (b'{"prompt": "x", "max_tokens": 0}', 400, "from 1 on"),
        (b'{"prompt": "x", "max_tokens": 1000000000}', 400, "more than the model's"),
        (b'{"prompt": "x", "model": "other"}', 404, "not served here"),
        (b'{"prompt": "' + b"x" * MAX_BODY_BYTES + b'"}', 413, "larger than"),
    ],
    ids=["empty", "cut", "list", "deep", "utf-8", "no prompt", "context", "none", "huge", "model", "body"],
)
def test_bad_requests_are_answered_in_openais_shape(service: Service, raw: bytes, status: int, words: str) -> None:
    """Each has its status and an error object that says what is wrong, and the server goes on."""
    found, _, body = post(service, None, raw=raw)
    assert found == status
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert words in body["error"]["message"]
    assert post(service, {"prompt": "x", "max_tokens": 1})[0] == 200


def test_what_is_no_http_is_refused(service: Service) -> None:
    """Garbage on the socket gets an answer or an end, not a hang; an unknown path is an error in OpenAI's shape."""
    with socket.create_connection((service.host, service.port), timeout=TIMEOUT_S) as raw:
        raw.sendall(b"\x00garbage\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400") or not raw.recv(100)
    status, _, body = post(service, {}, path="/v1/nonesuch")
    assert (status, set(body["error"])) == (404, {"message", "type", "param", "code"})


class Gated(TorchBackend):
    """The tiny model, each pass after a permission: what is under way when is then no matter of luck."""

    def __init__(self, **named: Any) -> None:
        super().__init__(tiny().config, threads=1, **named)
        self.permits = threading.Semaphore(0)

    def compute(self, batch: Batch) -> Logits:
        """Waits for a permission first."""
        assert self.permits.acquire(timeout=TIMEOUT_S)
        return super().compute(batch)


@contextlib.contextmanager
def streaming(service: Service, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    """A stream under way: its head has come. Its reader is gone behind the block."""
    with contextlib.closing(connect(service)) as connection:
        connection.request("POST", "/v1/completions", json.dumps({**body, "stream": True}))
        answer = connection.getresponse()
        assert answer.status == 200
        yield answer


def wait_for(service: Service, name: str, value: int) -> None:
    """Until a figure of /metrics is there; it comes with the next step, not with time."""
    for _ in range(2000):
        if metrics(service)[name] == value:
            return
    raise AssertionError(f"{name} did not become {value}: {metrics(service)}")


def test_a_client_that_leaves_frees_its_sequence_within_one_step() -> None:
    """Counted: one disconnect, one cancelled, at most one step until its cells are free; the other stream is whole."""
    backend = Gated(slots=2, capacity=64)
    with serving(backend) as service:
        with streaming(service, {**ASKED, "prompt": "Another"}) as staying:
            wait_for(service, "running", 1)
            with streaming(service, ASKED) as leaving:
                for _ in range(3):
                    backend.permits.release()
                leaving.read1(1)
            wait_for(service, "disconnects_total", 1)
            for _ in range(100):
                backend.permits.release()
            found = events(staying.read())
        told = metrics(service)
    assert len(found) == 40 + 1
    assert (told["cancelled_total"], told["completed_total"]) == (1, 1)
    assert told["steps_to_free_max"] <= 1


def test_a_slow_reader_holds_up_nobody() -> None:
    """Three streams that nobody reads, then a fourth: it is whole while they wait, and they are whole afterwards."""
    with serving() as service, contextlib.ExitStack() as stack:
        asleep = [stack.enter_context(streaming(service, ASKED)) for _ in range(3)]
        assert post(service, ASKED)[2]["usage"]["completion_tokens"] == 40
        wait_for(service, "completed_total", 4)
        assert all(events(answer.read())[-1] == "[DONE]" for answer in asleep)


def test_a_thousand_requests_at_a_full_queue() -> None:
    """Behind a stalled batch the queue takes ten; a thousand more get 429 with Retry-After; those let in are served."""
    backend = Gated(slots=1, capacity=64)
    small = {"prompt": "x", "max_tokens": 1}
    with serving(backend, max_queue=10) as service, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(streaming(service, small))]
        wait_for(service, "running", 1)
        streams += [stack.enter_context(streaming(service, small)) for _ in range(10)]
        with contextlib.closing(connect(service)) as connection:
            for _ in range(1000):
                connection.request("POST", "/v1/completions", json.dumps(small))
                answer = connection.getresponse()
                body = json.loads(answer.read())
                assert answer.status == 429
                assert int(answer.headers["retry-after"]) >= 1
                assert body["error"]["code"] == "queue_full"
        for _ in range(11):
            backend.permits.release()
        assert all(events(answer.read())[-1] == "[DONE]" for answer in streams)
        assert metrics(service)["refused_total"] == 1000


def test_a_backend_that_fails_in_mid_batch_fails_only_whom_it_concerns() -> None:
    """One poisoned stream among four ends with an error event, a whole answer with status 500, the others complete."""
    with serving(Faulty(poison=ord("!"))) as service, contextlib.ExitStack() as stack:
        prompts = ["fine 1", "bad!", "fine 2", "fine 3"]
        streams = [stack.enter_context(streaming(service, {**ASKED, "prompt": prompt})) for prompt in prompts]
        found = [events(answer.read()) for answer in streams]
        assert [len(each) for each in found] == [41, 2, 41, 41]
        assert found[1][0]["error"]["code"] == "backend_error"
        status, _, body = post(service, {**ASKED, "prompt": "!"})
        assert (status, body["error"]["type"]) == (500, "server_error")


@contextlib.contextmanager
def server_process(front: str) -> Iterator[tuple[subprocess.Popen[str], int, list[psutil.Process]]]:
    """A server of the tiny model that answers: its process, its port, and its children."""
    command = [*COMMAND, "serve", "--profile", "tiny", "--port", "0", "--capacity", "256", "--threads", "1"]
    with subprocess.Popen(
        [*command, "--front", front], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        children: list[psutil.Process] = []
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(TIMEOUT_S)
            port = int(json.loads(process.stdout.readline())["url"].rsplit(":", 1)[1].partition("/")[0])
            children = psutil.Process(process.pid).children()
            yield process, port, children
        finally:
            process.kill()
            _, alive = psutil.wait_procs(children, timeout=TIMEOUT_S)
            for child in alive:
                child.kill()
        assert not alive, "a child outlives its parent"


@contextlib.contextmanager
def long_stream(port: int) -> Iterator[tuple[bytes, http.client.HTTPResponse]]:
    """A stream of 255 tokens under way: its first byte, and the rest."""
    body = {"prompt": "x", "max_tokens": 255, "ignore_eos": True, "stream": True}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        connection.request("POST", "/v1/completions", json.dumps(body))
        answer = connection.getresponse()
        yield answer.read1(1), answer


@pytest.mark.parametrize("front", KINDS)
def test_sigterm_drains_then_stops(front: str) -> None:
    """A stream under way when SIGTERM comes is answered to its end; the process then ends with status 0."""
    with server_process(front) as (process, port, children):
        assert len(children) == (front == "process")
        with long_stream(port) as (first, answer):
            process.send_signal(signal.SIGTERM)
            found = events(first + answer.read())
        assert (len(found), found[-1]) == (256, "[DONE]")
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_killed_engine_is_told_to_whoever_waits() -> None:
    """A stream under way ends with an error in OpenAI's shape; the front end then ends by itself, the port is free."""
    with server_process("process") as (process, port, children):
        with long_stream(port) as (first, answer):
            process.kill()
            *_, told, done = events(first + answer.read())
        assert set(told["error"]) == {"message", "type", "param", "code"}
        assert "engine: has ended" in told["error"]["message"]
        assert done == "[DONE]"
        assert not psutil.wait_procs(children, timeout=TIMEOUT_S)[1]
        socket.create_server(("127.0.0.1", port)).close()


def test_a_killed_front_end_ends_the_server_with_a_word() -> None:
    """The engine notices, drops what nobody waits for, and ends with status 1 and one line; the port is free."""
    with server_process("process") as (process, port, children):
        with long_stream(port) as (_, answer):
            children[0].kill()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                answer.read()
        assert process.wait(TIMEOUT_S) == 1
        assert process.stderr is not None
        assert process.stderr.read() == "ServiceFailed: front end: ended with status -9\n"
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--profile", "huge"], "profile 'huge'"),
        (["ladder", "--requests", "0"], "load: requests"),
    ],
)
def test_problems_are_one_line(arguments: list[str], words: str) -> None:
    """A wrong option is named on stderr, without a traceback."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
