"""What goes wrong between the trusted process and the server: each a clear error in time, and nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from split_models import SOURCE

from perfguard_suites.split_rpc.client import Expected, RpcClient
from perfguard_suites.split_rpc.errors import BadReply, ServerFailed
from perfguard_suites.split_rpc.process import ServerSettings, SplitServer, running
from perfguard_suites.split_rpc.request import prompt_of
from perfguard_suites.split_rpc.runner import SplitModel
from perfguard_suites.split_rpc.server import ModelSource
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.split_rpc.weights import random_weights, trusted_names
from perfguard_suites.transport.errors import (
    CapacityExceeded,
    ChannelTimeout,
    MalformedMessage,
    PeerDied,
    RemoteError,
)
from perfguard_suites.transport.kill_test import leftovers

CONFIG = SOURCE.config()
TOKENS = 12


def settings(*kinds: str) -> ServerSettings:
    """A small server that misbehaves when it is asked to."""
    return ServerSettings(SOURCE, kinds or ("shm",), capacity_bytes=4 << 20, device="cpu", threads=1, allow_faults=True)


def prefill(client: RpcClient, fault: str = "none", fault_at: int = 1, channel: str = "shm") -> torch.Tensor:
    """The logits of a fresh request."""
    weights = SOURCE.weights(trusted_names(CONFIG, embedding=True))
    variant = Variant("v", "trusted_minimal", channel, embedding="client")
    split = SplitModel(CONFIG, weights, variant, client, TOKENS)
    split.start(fault, fault_at)
    return split.forward(prompt_of(CONFIG, TOKENS)).logits


@pytest.fixture(scope="module")
def server() -> Iterator[SplitServer]:
    """A healthy server for the tests that leave it so."""
    with running(settings("shm", "multipart-ipc")) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: SplitServer) -> RpcClient:
    """Its client."""
    return server.connect("shm")


@pytest.fixture(autouse=True)
def nothing_left(server: SplitServer) -> Iterator[None]:
    """No process, socket or shared memory outlives a fault."""
    before = leftovers()
    yield
    assert leftovers() <= before


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("wrong-shape", "holds a tensor of shape"),
        ("wrong-dtype", "holds a tensor of float64, not float32"),
        ("wrong-id", "answers request"),
        ("extra-tensor", "holds 2 tensors, not 1"),
    ],
)
def test_a_reply_that_was_not_asked_for_is_refused(client: RpcClient, fault: str, message: str) -> None:
    """Shape, type, request id, number of tensors: named, and not computed with; the next request is fine again."""
    with pytest.raises(BadReply, match=message):
        prefill(client, fault, 4)
    assert prefill(client).shape == (1, CONFIG.vocabulary)


def test_a_server_misbehaves_only_where_it_may() -> None:
    """Faults are for tests: a server that was not started for them refuses."""
    with running(ServerSettings(SOURCE, ("shm",), capacity_bytes=4 << 20, device="cpu", threads=1)) as honest:
        with pytest.raises(RemoteError, match="serve with --allow-faults"):
            prefill(honest.connect("shm"), "lie")
        # Closing the channel is enough for the server to go: nobody has to say stop.
        process = honest.process
        honest.close_clients()
        assert process.wait(10) == 0


@pytest.mark.parametrize("kind", ["shm", "naive-tcp", "multipart-ipc"])
def test_a_server_that_dies_in_the_middle_of_a_call(kind: str) -> None:
    """The client's wait ends with PeerDied; the same object restarts and serves."""
    with running(settings(kind)) as server:
        with pytest.raises(PeerDied):
            prefill(server.connect(kind), "die", 3, kind)
        assert server.process.wait(10) == -signal.SIGKILL
        if kind == "shm":
            server.restart()
            assert prefill(server.connect(kind)).shape == (1, CONFIG.vocabulary)


def test_a_server_that_hangs_runs_into_the_stated_timeout() -> None:
    """Stopped in the middle of a call: ChannelTimeout after what the client allows, and the process still goes."""
    server = SplitServer(settings())
    server.start()
    client = server.connect("shm")
    client.timeout_s = 0.5
    with pytest.raises(ChannelTimeout, match=r"0\.5 s"):
        prefill(client, "stall", 2)
    pid = server.process.pid
    server.stop(gently=False)
    assert not psutil.pid_exists(pid)


def test_a_client_killed_in_the_middle_of_a_call_takes_its_server_along() -> None:
    """SIGKILL of the trusted process while it waits: the server is gone, too."""
    program = (
        "import numpy as np\n"
        "from perfguard_suites.split_rpc.process import ServerSettings, running\n"
        "from perfguard_suites.split_rpc.server import ModelSource\n"
        "tiny = ModelSource('tiny')\n"
        "settings = ServerSettings(tiny, ('shm',), 4 << 20, device='cpu', threads=1, allow_faults=True)\n"
        "with running(settings) as server:\n"
        "    client = server.connect('shm')\n"
        "    client.start(8, loans=False, fault='stall')\n"
        "    client.submit('embedding/float32', [np.zeros(4, np.int64)], ())\n"
        "    print(server.process.pid, flush=True)\n"
        "    client.collect()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait(10)
        try:
            server.wait(10)
        except psutil.TimeoutExpired:
            assert server.status() == psutil.STATUS_ZOMBIE  # dead; who adopted it has not reaped it yet


X = np.ones((3, CONFIG.hidden), np.float32)


@pytest.mark.parametrize(
    ("method", "tensors", "message"),
    [
        ("frobnicate/1", [X], "operation 'frobnicate': is unknown"),
        ("batch_linear/9/q_proj", [X], "layer 9: is unknown .*layers 0 to 1"),
        ("batch_linear/0/z_proj", [X], "module 'z_proj': is unknown"),
        ("batch_linear/0/q_proj", [X[:, :5].copy()], "module 'q_proj': takes 64 columns, not 5"),
        ("batch_linear/0/q_proj", [X, X], "was given"),
        ("batch_linear/0/q_proj,down_proj", [X], "takes 160 columns, not 64"),
        ("batch_linear/0/q_proj", [], "was given nothing"),
        ("embedding/float32", [np.array([0, 256])], "token ids: are not int64 in 0 .. 255"),
        ("embedding/float32", [np.array([-1])], "token ids"),
        ("embedding/float32", [X[:, 0].copy()], "token ids"),
        ("matmul_scores/0", [X, X], "was given"),
        ("values_output/0/0/9", [np.ones((4, 1, 9), np.float32)], "holds 0 values, not 9"),
        ("matmul_values/0", [np.ones((4, 3, 2), np.float32), np.ones((2, 7, 16), np.float32)], "attention weights of"),
    ],
)
def test_what_the_server_cannot_do_is_an_answer(
    client: RpcClient, method: str, tensors: list[np.ndarray], message: str
) -> None:
    """Unknown operations, layers, modules, and tensors that do not fit, are named; the next call is fine."""
    client.start(TOKENS, loans=False)
    client.submit(method, tensors, (Expected((3, 64), "float32"),))
    with pytest.raises(RemoteError, match=message):
        client.collect()
    assert prefill(client).shape == (1, CONFIG.vocabulary)


def test_more_positions_than_were_started_with(client: RpcClient) -> None:
    """The server's cache does not grow behind anyone's back."""
    client.start(2, loans=False)
    client.submit("qkv_scores/0/0/resident", [X], (Expected((4, 3, 3), "float32"),))
    with pytest.raises(RemoteError, match="position 3 of 2"):
        client.collect()


def test_messages_over_the_limit_say_what_to_set(client: RpcClient) -> None:
    """A request too large fails here, a reply too large there; both name capacity_bytes."""
    client.start(TOKENS, loans=False)
    with pytest.raises(CapacityExceeded, match="capacity_bytes"):
        client.submit("lm_head", [np.ones((20000, CONFIG.hidden), np.float32)], ())
    client.submit("lm_head", [np.ones((5000, CONFIG.hidden), np.float32)], (Expected((5000, 256), "float32"),))
    with pytest.raises(RemoteError, match="capacity_bytes"):
        client.collect()
    assert prefill(client).shape == (1, CONFIG.vocabulary)


def test_a_control_between_a_request_and_its_reply_is_refused(client: RpcClient) -> None:
    """Health is asked between passes, not among their replies."""
    client.start(TOKENS, loans=False)
    client.submit("lm_head", [X], (Expected((3, CONFIG.vocabulary), "float32"),))
    with pytest.raises(BadReply, match="in flight"):
        client.health()
    client.collect()
    assert client.health()["model"] == "tiny"


def test_device_memory_is_not_shared_where_there_is_none(client: RpcClient) -> None:
    """A server on the CPU says what it lacks, and what was never shared is not computed with; the next pass is fine."""
    with pytest.raises(RemoteError, match="needs a CUDA device"):
        client.share(100, 100)
    client.start(TOKENS, loans=False)
    client.submit(f"lm_head@1x{CONFIG.hidden}>1x{CONFIG.vocabulary}", [], ())
    with pytest.raises(RemoteError, match="no memory is shared"):
        client.collect()
    assert prefill(client).shape == (1, CONFIG.vocabulary)


def test_a_server_of_another_model_is_not_talked_to(server: SplitServer) -> None:
    """Client and server compare their configurations before a token is sent."""
    with pytest.raises(ServerFailed, match="does not listen on it"):
        server.connect("naive-tcp")
    before = server.settings
    server.settings = replace(before, source=ModelSource("small"))
    try:
        with pytest.raises(ServerFailed, match="start both with the same model"):
            server.connect("multipart-ipc")
    finally:
        server.settings = before


def test_a_checkpoint_with_missing_tensors_is_named_by_the_server(tmp_path: Path) -> None:
    """The server does not come up, and its own words reach the client: which tensors are missing."""
    from safetensors.torch import save_file

    weights = dict(random_weights(CONFIG, seed=1))
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    fields = {
        "model_type": "llama",
        "hidden_size": CONFIG.hidden,
        "num_hidden_layers": CONFIG.layers,
        "num_attention_heads": CONFIG.heads,
        "num_key_value_heads": CONFIG.kv_heads,
        "head_dim": CONFIG.head_dim,
        "intermediate_size": CONFIG.intermediate,
        "vocab_size": CONFIG.vocabulary,
        "max_position_embeddings": CONFIG.max_positions,
        "rms_norm_eps": CONFIG.norm_eps,
    }
    (tmp_path / "config.json").write_text(json.dumps(fields))
    broken = ServerSettings(ModelSource(checkpoint=str(tmp_path)), ("shm",), capacity_bytes=4 << 20, device="cpu")
    with pytest.raises(ServerFailed, match=r"1 tensors are missing: model\.layers\.1\.mlp\.down_proj\.weight"):
        SplitServer(broken).start()


def test_garbage_on_the_channel_is_answered_and_survived(client: RpcClient) -> None:
    """Methods of odd bytes and odd types come back as errors; the session goes on."""
    generator = np.random.default_rng(5)
    for _ in range(20):
        method = bytes(generator.integers(33, 126, 12)).decode()
        tensor = generator.integers(0, 255, (2, 3)).astype(generator.choice(["uint8", "int64", "float64", "float16"]))
        client.submit(method, [tensor], ())
        with pytest.raises((RemoteError, MalformedMessage)):
            client.collect()
    assert prefill(client).shape == (1, CONFIG.vocabulary)


def test_a_stopped_server_leaves_by_itself() -> None:
    """A clean stop is exit status 0, asked for over the channel; stopping twice is nothing."""
    server = SplitServer(settings())
    server.start()
    process = server.process
    server.connect("shm")
    server.stop()
    server.stop()
    assert process.returncode == 0
