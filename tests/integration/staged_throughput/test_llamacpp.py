"""The llama.cpp backend: torch's logits, the same tokens in every stage, KV cells accounted, its server beside ours."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from staged_backends import tiny
from staged_llama import NEEDS_BINDING, tiny_file, tiny_llama
from test_staged_stages import JUMBLED, LOAD

from perfguard.ladder import Load
from perfguard_suites.staged_throughput.backend import Batch
from perfguard_suites.staged_throughput.channel import DirectChannel
from perfguard_suites.staged_throughput.errors import BackendError
from perfguard_suites.staged_throughput.llamacpp import cpp_server
from perfguard_suites.staged_throughput.llamacpp.backend import LlamaCppBackend, alone
from perfguard_suites.staged_throughput.llamacpp.gguf_tokenizer import GgufTokenizer
from perfguard_suites.staged_throughput.sampling import SamplingParameters
from perfguard_suites.staged_throughput.sequence import Sequence
from perfguard_suites.staged_throughput.stack import stack_on
from perfguard_suites.staged_throughput.stages import Stages
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer

pytestmark = NEEDS_BINDING


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    """All stages over one quantised model on llama.cpp."""
    found = Stages(tiny_llama(capacity=128))
    with found.stack.engine, found.serving():
        yield found


def test_logits_are_torchs() -> None:
    """The same weights in float32: prompts of different lengths, then a batch of one token and prompts, within 1e-3."""
    ours, theirs = tiny_llama("f32"), tiny()
    prompts = [list(b"hello"), list(b"to be or not"), [7]]
    batches = [Batch([0, 2, 5], prompts, [0, 0, 0]), Batch([0, 1, 5], [[256], list(b"new"), [300]], [5, 0, 1])]
    for batch in batches:
        expected = theirs.forward_batch(batch)
        assert np.abs(ours.forward_batch(batch) - expected).max() <= 1e-3 * np.abs(expected).max()
    assert ours.cells == theirs.cells
    ours.close()


def test_logits_are_llamacpps_own_memory(stages: Stages) -> None:
    """Two passes' logits are views of one place, of which nobody made a copy."""
    backend = stages.backend
    first = backend.forward_batch(Batch([0], [[1, 2]], [0]))
    second = backend.forward_batch(Batch([0], [[3]], [2]))
    backend.free(0)
    assert not first.flags.owndata
    assert first.ctypes.data == second.ctypes.data


def test_one_schedule_gives_the_same_tokens_in_every_stage(stages: Stages) -> None:
    """A jumbled schedule replayed in stages 0 to 7, over HTTP too: each computes it, and tokens are identical."""
    outcomes = [stages.run(number, LOAD, JUMBLED) for number in range(8)]
    expected = [set(step) for step in JUMBLED]
    assert all([set(step) for step in outcome.schedule] == expected for outcome in outcomes)
    first = dict(outcomes[0].tokens)
    assert all(dict(outcome.tokens) == first for outcome in outcomes)
    assert len({tuple(tokens) for tokens in first.values()}) == LOAD.requests
    served = stages.run(7, LOAD)
    assert dict(stages.run(0, LOAD, served.schedule).tokens) == dict(served.tokens)


@pytest.mark.parametrize("number", range(8))
def test_forty_requests_of_fifty_tokens(stages: Stages, number: int) -> None:
    """The seed configuration: exactly 40 x 50 tokens in each stage, and no cell of llama.cpp's cache left."""
    outcome = stages.run(number, Load())
    assert outcome.run.tokens == 40 * 50
    assert all(len(tokens) == 50 for tokens in outcome.tokens.values())
    assert stages.backend.cells == 0


def test_positions_stay_right_through_cancellations() -> None:
    """Twelve requests through three slots, some cancelled: after each step llama.cpp's positions are the sequences'."""
    backend = tiny_llama(slots=3)
    scheduler = stack_on(backend).scheduler(DirectChannel(lambda _: None))
    asked = []
    for index in range(12):
        sampling = SamplingParameters(max_tokens=3 + index % 5, ignore_eos=True)
        asked.append(Sequence(f"{index}", list(b"prompt")[: 1 + index % 6], sampling))
        scheduler.submit(asked[-1])
    for step in range(1000):
        if not scheduler.turn(0.0):
            break
        running = scheduler.batches.running
        if step % 3 == 2 and running:
            scheduler.cancel(running[step % len(running)])
        extents = {each.slot: (0, each.computed - 1) for each in running}
        assert [backend.extent(slot) for slot in range(3)] == [extents.get(slot, (-1, -1)) for slot in range(3)]
    assert (scheduler.running, scheduler.queued, scheduler.reserved_cells, backend.cells) == (0, 0, 0, 0)
    assert scheduler.cancelled > 0
    assert scheduler.completed + scheduler.cancelled == 12
    assert all(len(each.tokens) == each.sampling.max_tokens for each in asked if each.finish == "length")
    backend.close()


def test_a_batch_that_cannot_be_leaves_the_cache_as_it_was() -> None:
    """Impossible batches are refused by name, one by llama.cpp itself; tokens are then as without them."""
    backend = tiny_llama("f32", slots=2, capacity=32)
    expected = alone(backend, list(b"hello"), 6)
    row = backend.forward_batch(Batch([0], [list(b"hello")], [0]))
    token = int(row[0].argmax())
    impossible = [
        (Batch([0, 5], [[token], [1]], [5, 0]), "there are 2 slots"),
        (Batch([0], [[token]], [9]), "5 is next"),
        (Batch([0, 0], [[token], [token]], [5, 6]), "twice"),
        (Batch([0], [[token] * 28], [5]), "of 32 cells"),
        (Batch([0], [[512]], [5]), "outside 0 .. 511"),
    ]
    for batch, words in impossible:
        with pytest.raises(BackendError, match=words):
            backend.forward_batch(batch)
        assert backend.extent(0) == (0, 4)
    backend._lengths[0] = 9  # our books are wrong: that is not the next position, and llama.cpp says so
    with pytest.raises(BackendError, match=r"failed with status -1: .*position"):
        backend.forward_batch(Batch([0, 1], [[token], [1]], [9, 0]))
    backend._lengths[0] = 5
    assert (backend.extent(0), backend.cells) == ((0, 4), 5)
    found = [token]
    while len(found) < 6:
        found.append(int(backend.forward_batch(Batch([0], [found[-1:]], [4 + len(found)]))[0].argmax()))
    assert found == expected
    backend.close()
    backend.close()


def test_a_files_own_tokenizer_is_ours() -> None:
    """llama.cpp reads the words that were written as the suite does: bytes to tokens, tokens to text, the end's too."""
    theirs, ours = GgufTokenizer(tiny_file("f32")), ByteTokenizer(512)
    for text in ("abc def", "  two spaces, é and 漢字\n", "x" * 300):
        assert theirs.encode(text) == ours.encode(text)
    assert [theirs.piece(token) for token in range(512)] == [ours.piece(token) for token in range(512)]
    assert theirs.end_token == ours.end_token
    assert theirs.whole(200) is None
    assert theirs.encode("<|endoftext|>") == [ours.end_token]


def own_server(path: Path) -> cpp_server.ServerProcess:
    """`serve --gguf`: the file is tried first, and its tokenizer made again in the front end's process."""
    command = [sys.executable, "-m", "perfguard_suites.staged_throughput", "serve", f"--gguf={path}", "--port=0"]
    return cpp_server.ServerProcess([*command, "--threads=1", "--slots=2", "--capacity=64"], "stage 7")


def cpps_server(path: Path) -> cpp_server.ServerProcess:
    """llama.cpp's own."""
    if not cpp_server.installed():
        pytest.skip("xllamacpp is not installed: make perf-llamacpp")
    return cpp_server.cpp_server(path, threads=1, slots=2, capacity=64, unified=True)


@pytest.mark.parametrize("start", [own_server, cpps_server])
def test_servers_of_a_users_file_say_what_stage_0_does(start: Callable[[Path], cpp_server.ServerProcess]) -> None:
    """Ours and llama.cpp's on one float32 file: the prompt has as many tokens, and the greedy text is stage 0's."""
    prompt, new_tokens = "the same prompt", 12
    backend = LlamaCppBackend(tiny_file("f32"), capacity=64, threads=1)
    expected = ByteTokenizer(512).decode(alone(backend, list(prompt.encode()), new_tokens))
    backend.close()
    body = {"prompt": prompt, "max_tokens": new_tokens, "temperature": 0}
    with start(tiny_file("f32")) as server:
        url = server.facts.url.removesuffix("/v1") + "/v1/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)
        assert server.cpu_s() > 0
    assert found["usage"]["prompt_tokens"] == len(prompt)
    assert found["choices"][0]["text"] == expected
