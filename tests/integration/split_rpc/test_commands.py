"""`python -m perfguard_suites.split_rpc`: serve and run as a user types them."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys

import pytest

from perfguard_suites.split_rpc.threads import child_environment

COMMAND = [sys.executable, "-m", "perfguard_suites.split_rpc"]


def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The command's output, when it has ended as expected."""
    done = subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False, env=child_environment()
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("variant", [pytest.param("seed", marks=pytest.mark.long), "masked-verified"])
def test_run_prints_what_it_measured(variant: str) -> None:
    """JSON on stdout, progress on stderr: traffic as predicted, logits checked, both processes' memory."""
    done = run("run", "--variant", variant, "--tokens", "9", "--steps", "2", "--check", "--json", "--threads", "1")
    found = json.loads(done.stdout)
    assert {name: found[name] for name in found["predicted"]} == found["predicted"]
    assert found["logits_max_rel_error"] < (1e-4 if variant == "seed" else 0.05)
    assert found["server"]["threads"] == 1
    assert found["peak_rss_bytes"]["server"] > 0
    assert ("offline_s" in found) == (variant != "seed")
    assert "request 2 of 2" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--variant", "nonesuch"], "variant 'nonesuch'"),
        (["run", "--model", "huge"], "model 'huge'"),
        (["run", "--tokens", "9999"], "positions in all"),
        (["serve", "--device", "abacus"], "neither auto, cpu nor cuda"),
        (["serve", "--checkpoint", "/nonesuch"], "config.json"),
    ],
)
def test_problems_are_one_line(arguments: list[str], message: str) -> None:
    """A wrong option is named on stderr, status 1, without a traceback."""
    done = run(*arguments, status=1)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_and_a_client_started_apart_find_each_other() -> None:
    """`serve` prints its endpoint, `run --connect` uses it; the server goes when its client has gone."""
    with subprocess.Popen([*COMMAND, "serve", "--kind", "naive-tcp"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(server.stdout, selectors.EVENT_READ)
            assert selector.select(60)
        endpoint = json.loads(server.stdout.readline())["endpoints"]["naive-tcp"]
        found = run("run", "--variant", "seed", "--connect", endpoint, "--tokens", "5", "--steps", "1")
        assert "critical path of the prefill" in found.stdout
        assert server.wait(20) == 0
