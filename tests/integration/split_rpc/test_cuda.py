"""What needs a GPU: the server's CUDA path, and device memory shared by handles. Skipped with a reason elsewhere."""

from __future__ import annotations

import subprocess
import sys

import msgpack
import pytest
import torch
from split_models import SOURCE

from perfguard_suites.split_rpc import cuda_ipc
from perfguard_suites.split_rpc.arithmetic import relative_error
from perfguard_suites.split_rpc.errors import BadReply, ConfigurationError, SplitError
from perfguard_suites.split_rpc.guards import MaskedGuard, guard_for
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.split_rpc.process import ServerSettings, running
from perfguard_suites.split_rpc.request import prompt_of
from perfguard_suites.split_rpc.runner import SplitModel
from perfguard_suites.split_rpc.traffic import predict, traffic_of
from perfguard_suites.split_rpc.variants import VARIANTS, error_bound
from perfguard_suites.split_rpc.weights import trusted_names

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@needs_cuda
def test_a_cuda_tensor_is_shared_with_another_process() -> None:
    """The child maps the same memory: what it writes, this process reads. No pickle on the way."""
    tensor = torch.arange(12, dtype=torch.float32, device="cuda").reshape(3, 4)
    program = (
        "import sys, torch\n"
        "from perfguard_suites.split_rpc import cuda_ipc\n"
        "shared = cuda_ipc.attach(bytes.fromhex(sys.stdin.readline()))\n"
        "assert shared.shape == (3, 4)\n"
        "shared.mul_(2)\n"
        "torch.cuda.synchronize()\n"
        "del shared\n"
        "torch.cuda.ipc_collect()\n"
        "print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=cuda_ipc.export(tensor).hex() + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "done", done.stderr
    assert torch.equal(tensor.cpu(), 2 * torch.arange(12, dtype=torch.float32).reshape(3, 4))


@needs_cuda
@pytest.mark.parametrize(
    "name", ["seed", "local-embedding", "minimal-bf16", "linear-only", "cuda-ipc", "whole-layer", "masked-verified"]
)
def test_a_server_on_the_gpu_is_the_same_model(name: str) -> None:
    """Logits over a CUDA server within the bound of fp32; masked ones exactly those of the clear computation's size."""
    config, variant = SOURCE.config(), VARIANTS[name]
    ids = prompt_of(config, 20)
    with running(ServerSettings(SOURCE, (variant.channel,), 16 << 20, device="cuda")) as server:
        client = server.connect(variant.channel)
        assert client.health()["device"] != "cpu"
        guard = guard_for(config, variant, SOURCE.weights())
        if isinstance(guard, MaskedGuard):
            guard.prepare(20, 0)
        split = SplitModel(config, SOURCE.weights(trusted_names(config, embedding=True)), variant, client, 20, guard)
        split.start()
        found = split.forward(ids)
        if split.trusted.arena is not None:
            whole = traffic_of(predict(config, variant, 20))
            assert (found.traffic.bytes_sent, found.traffic.bytes_received) == (0, 0)
            handed = (split.trusted.arena.sent_bytes, split.trusted.arena.received_bytes)
            assert handed == (whole.bytes_sent, whole.bytes_received)
        split.close()
    expected = ReferenceModel(config, SOURCE.weights(), 20).forward(ids)
    assert relative_error(found.logits, expected) < (error_bound(config, variant) if guard is None else 0.05)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        b"x" * 5000,
        msgpack.packb([1, 2]),
        msgpack.packb(["perfguard.cuda-ipc/1", "float32", [2], 0, b"h", 4, 0, b"c", 0, b"e", True]),
        msgpack.packb(["perfguard.cuda-ipc/1", "object", [2], 0, b"h", 8, 0, b"c", 0, b"e", True]),
        msgpack.packb(["perfguard.cuda-ipc/1", "float32", [-2], 0, b"h", 8, 0, b"c", 0, b"e", True]),
        msgpack.packb(["perfguard.cuda-ipc/1", "float32", [2], 0, "h", 8, 0, b"c", 0, b"e", True]),
        msgpack.packb(["perfguard.cuda-ipc/1", "float32", [2], 99, b"h", 8, 0, b"c", 0, b"e", True]),
    ],
)
def test_what_is_no_handle_is_refused_before_cuda_sees_it(packed: bytes) -> None:
    """Garbage, other versions, sizes that do not fit, a device that is not here."""
    with pytest.raises(SplitError, match="CUDA handle"):
        cuda_ipc.attach(packed)


def test_only_device_memory_is_shared() -> None:
    """A CPU tensor has no such handle."""
    with pytest.raises(ConfigurationError, match="shared tensor"):
        cuda_ipc.export(torch.ones(3))
    assert issubclass(BadReply, SplitError)
