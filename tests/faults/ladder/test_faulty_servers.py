"""Claims about servers that are not there or answer wrongly: an error that names what and where, nothing left open."""

from __future__ import annotations

import socket
from collections.abc import Callable

import psutil
import pytest
from sse_server import RawServer, SseServer, serving

from perfguard.cli import main
from perfguard.errors import EndpointError
from perfguard.ladder import Load, parse_endpoint, run_load
from perfguard.ladder.probe import probe

LOAD = Load(requests=6, concurrency=3, prompt_tokens=4, new_tokens=8)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
FAULTS = [
    ("plain", "application/json instead of text/event-stream: it does not stream"),
    ("cut", "the stream was cut after 2 tokens: the server closed the connection"),
    ("error", "reports an error after 2 tokens: the backend fell over"),
    ("garbage", r"cut after 2 tokens: an event that is no JSON: b'\{not json'"),
    ("endless", "goes on far beyond the tokens that were asked for"),
    ("full", r"HTTP 429: the queue is full .*asks to wait 7 s.*lower the concurrency"),
    ("nobody", r"HTTP 404: The model nobody does not exist .*model's name"),
    ("stall", "cut after 2 tokens: nothing arrived for 0.5 s"),
]


@pytest.mark.parametrize(("model", "said"), FAULTS)
def test_a_load_that_fails_says_how_and_leaves_nothing_open(model: str, said: str) -> None:
    """The first request that fails ends the load with its own story; every socket is closed."""
    with serving(SseServer()) as port:
        endpoint = parse_endpoint(f"http://127.0.0.1:{port}", model=model, timeout_s=0.5)
        before = psutil.Process().num_fds()
        with pytest.raises(EndpointError, match=rf"http://127.0.0.1:{port}/v1/completions: request \d of 6: .*{said}"):
            run_load(endpoint, LOAD)
        with pytest.raises(EndpointError, match=f"127.0.0.1:{port}" if model != "nobody" else "model nobody"):
            probe(endpoint, LOAD)
        ours = [each for each in psutil.Process().net_connections("tcp") if each.raddr and each.raddr.port == port]
        assert not [each for each in ours if each.status == psutil.CONN_ESTABLISHED]
        assert psutil.Process().num_fds() <= before + 2 * LOAD.concurrency  # the server's ends may still be closing


RAW = [
    (b"SSH-2.0-OpenSSH_9\r\n", r"not an HTTP/1.1 answer: it begins with b'SSH-2.0"),
    (b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000, "not an HTTP/1.1 answer"),
    (b"HTTP/9.1 abc\r\n\r\n", "not an HTTP/1.1 answer"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", "a chunk of size b'-5'"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffff\r\n", r"a chunk of \d+ bytes"),
    (HEAD + b"Content-Length: -1\r\n\r\n", "a content-length of '-1'"),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "cut after 0 tokens, without a finish reason"),
    (HEAD + b"Connection: close\r\n\r\ndata: 7\n\n", "an event that is no JSON object: b'7'"),
    (b"", "the server closed the connection"),
]


@pytest.mark.parametrize(("answer", "said"), RAW)
def test_what_is_no_answer_is_refused(answer: bytes, said: str) -> None:
    """Other protocols, heads without end, chunks and lengths that are none, streams that say nothing."""
    with serving(RawServer([answer])) as port, pytest.raises(EndpointError, match=said):
        run_load(parse_endpoint(f"http://127.0.0.1:{port}", model="m", timeout_s=5), LOAD)


def test_a_full_server_is_counted_in_an_open_loop() -> None:
    """What a server turns away is part of the answer to how much it can take, not a failure."""
    with serving(SseServer()) as port:
        endpoint = parse_endpoint(f"http://127.0.0.1:{port}", model="full")
        load = Load(requests=5, new_tokens=3, rate_per_s=500.0)
        assert run_load(endpoint, load).refused == 5


def test_a_load_that_takes_too_long_is_ended() -> None:
    """The whole has a limit, though something always arrives."""
    with serving(SseServer(token_s=0.05)) as port:
        endpoint = parse_endpoint(f"http://127.0.0.1:{port}", model="good", limit_s=0.4)
        with pytest.raises(EndpointError, match=r"\d of 6 requests done after 0.4 s"):
            run_load(endpoint, LOAD)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "ftp://h"], "is no http or https URL"),
        (["--endpoint", "http://h:99999"], "has no valid port"),
        (["--endpoint", "http://u:p@h/"], "has a user, a query or a fragment"),
        (["--endpoint", "http://127.0.0.1:{free}"], "connection refused (start the server"),
        (["--endpoint", "http://127.0.0.1:{port}", "--model", "nosuch"], "does not have it (it has good, bare"),
        (["--endpoint", "http://127.0.0.1:{port}"], "which model? it has good, bare"),
        (["--endpoint", "http://127.0.0.1:{port}", "--concurrency", "1,x"], "'1,x' is no list of numbers"),
        (["--endpoint", "http://127.0.0.1:{port}", "--concurrency", "2,2"], "names one twice"),
        (["--endpoint", "http://127.0.0.1:{port}", "--concurrency", "1,2", "--rate", "5"], "sweep one of the two"),
        (["--endpoint", "http://127.0.0.1:{port}", "--svg", "no/such/x.svg"], "in a folder that does not exist"),
        (["--endpoint", "http://127.0.0.1:{port}", "--timeout", "nan"], "--timeout: nan is no time"),
        (["--endpoint", "http://127.0.0.1:{port}", "--key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY: holds no key"),
    ],
)
def test_the_command_says_what_is_wrong(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], free_port: Callable[[], int]
) -> None:
    """Exit status 4 and one line that names the option, the server or the model."""
    with serving(SseServer()) as port:
        status = main(["ladder", *(each.format(port=port, free=free_port()) for each in arguments)])
    assert status == 4
    assert said in capsys.readouterr().err


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ports on which nobody listens."""

    def free() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return free
