"""`perfguard diagnose transport` on real processes: what it finds, what it warns of, how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from perfguard.errors import OptionError
from perfguard_suites.transport import kernel_view
from perfguard_suites.transport.connect import KINDS
from perfguard_suites.transport.diagnose import diagnose
from perfguard_suites.transport.diagnosis_report import as_document, as_text
from perfguard_suites.transport.errors import ChannelUnavailable, PeerDied
from perfguard_suites.transport.peer import server_process
from perfguard_suites.transport.target import ENVIRONMENT

SMALL = {"tokens": 4, "rounds": 2}


@pytest.fixture(scope="module")
def overridden():
    """Configuration says ipc; the environment names the address of a TCP server, as it may have for the seeds."""
    with server_process("naive-tcp") as server:
        address = server.endpoint.removeprefix("naive-tcp+")
        return diagnose("naive-ipc", environment={"LLAMA_IPC_PATH": address}, **SMALL)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tables are read on Linux")
def test_the_environment_makes_ipc_tcp_and_the_tool_says_tcp(overridden):
    """Configured naive-ipc, overridden by an address: the kernel's answer is TCP, the warning has both values."""
    assert overridden.in_use.carrier == kernel_view.TCP
    (warning,) = overridden.warnings
    assert "LLAMA_IPC_PATH=tcp://127.0.0.1:" in warning
    assert "the configured endpoint naive-ipc" in warning
    assert f"WARNING: {warning}" in as_text(overridden)


def test_every_alternative_is_measured_and_every_byte_explained(overridden):
    """Each other kind and the cheaper mixes have a measured figure of all rounds; no byte is unexplained."""
    measured = {advice.name for advice in overridden.advice}
    assert measured == {*KINDS, "fused", "half"} - {"naive-tcp"}
    assert all(advice.rounds == 2 for advice in overridden.advice)
    assert overridden.bytes_unexplained == 0
    assert overridden.calls == 98


def test_the_account_closes(overridden):
    """The phases' shares of the mix sum to one: what no stamp claims is `unaccounted`."""
    assert sum(share.share for share in overridden.phases) == pytest.approx(1.0)


def test_the_document_is_plain_json(overridden):
    """The document survives JSON and says the same as the diagnosis."""
    document = json.loads(json.dumps(as_document(overridden), allow_nan=False))
    assert document["schema"] == "perfguard.transport-diagnosis/1"
    assert document["prediction"]["error"] == overridden.prediction.error
    assert document["in_use"]["carrier"] == overridden.in_use.carrier


def test_a_running_server_is_diagnosed_where_it_is():
    """`--endpoint` with what a server printed attaches to that server, and the kernel shows its process."""
    with server_process("shm") as server:
        found = diagnose(server.endpoint, environment={}, **SMALL)
        assert found.target.endpoint == server.endpoint
        assert found.warnings == ()
        assert found.in_use.carrier == kernel_view.SHARED_MEMORY
        assert any(f"pid {server.pid}" in fact for fact in found.in_use.evidence)
        assert "loaned" in {advice.name for advice in found.advice}


@pytest.mark.parametrize(
    "endpoint", ["naive-tcp+tcp://127.0.0.1:1", "naive-ipc+ipc://@perfguard-nobody", "shm+@perfguard-nobody"]
)
def test_an_unreachable_endpoint_is_an_error_in_time(endpoint):
    """Nobody at the endpoint: an error that says so and where the endpoint came from, not a hang."""
    with pytest.raises(ChannelUnavailable, match="came from --endpoint"):
        diagnose(endpoint, environment={}, timeout_s=0.3, **SMALL)


def test_a_server_killed_in_the_middle_is_an_error():
    """A target that dies during the rounds ends the diagnosis with `PeerDied`."""
    with server_process("multipart-ipc") as server:

        def kill_in_round_one(text):
            if text.startswith("round 1"):
                server.process.kill()

        with pytest.raises(PeerDied):
            diagnose(server.endpoint, environment={}, progress=kill_in_round_one, **SMALL)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tokens": 0}, "--tokens"),
        ({"tokens": 10**6}, "--tokens"),
        ({"rounds": 1}, "--rounds"),
        ({"timeout_s": -1.0}, "--timeout"),
        ({"timeout_s": float("nan")}, "--timeout"),
    ],
)
def test_impossible_options_are_refused_by_name(options, named):
    """An option out of bounds is named with its bounds, before anything is started."""
    with pytest.raises(OptionError, match=named):
        diagnose("shm", environment={}, **{**SMALL, **options})


def test_the_command_prints_a_document_and_exits_zero():
    """The real command line under a real environment variable: `--json` on standard output, status 0."""
    done = _perfguard(
        "--endpoint", "naive-ipc", "--tokens", "4", "--rounds", "2", "--json", PERFGUARD_TRANSPORT_ENDPOINT="shm"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["target"]["configured"], found["target"]["kind"]) == ("naive-ipc", "shm")
    assert "PERFGUARD_TRANSPORT_ENDPOINT=shm" in found["warnings"][0]


def test_the_command_lists_the_kinds_for_an_unknown_one():
    """An unknown kind: status 4 and the list of kinds, no traceback."""
    done = _perfguard("--endpoint", "carrier-pigeon")
    assert done.returncode == 4
    assert all(kind in done.stderr for kind in KINDS)
    assert "Traceback" not in done.stderr


def _perfguard(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT} | variables
    return subprocess.run(
        [sys.executable, "-m", "perfguard.cli", "diagnose", "transport", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
