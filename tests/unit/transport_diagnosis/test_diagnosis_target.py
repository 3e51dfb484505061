"""What is diagnosed: the configured endpoint unless the environment overrides it, and then both are named."""

from __future__ import annotations

import pytest

from perfguard.errors import OptionError
from perfguard_suites.transport.connect import KINDS
from perfguard_suites.transport.target import resolve


def test_without_override_the_configured_kind_is_diagnosed():
    """A kind means a server started for it, and nothing is warned about."""
    target = resolve("shm", {})
    assert (target.kind, target.endpoint, target.warnings) == ("shm", "", ())


@pytest.mark.parametrize("variable", ["PERFGUARD_TRANSPORT_ENDPOINT", "LLAMA_IPC_PATH"])
def test_an_environment_variable_wins_and_both_values_are_named(variable):
    """Configured ipc, environment tcp: tcp is diagnosed, the warning names variable and both values."""
    target = resolve("naive-ipc", {variable: "tcp://127.0.0.1:5555"})
    assert (target.kind, target.endpoint) == ("naive-tcp", "naive-tcp+tcp://127.0.0.1:5555")
    (warning,) = target.warnings
    assert all(text in warning for text in (variable, "tcp://127.0.0.1:5555", "naive-ipc", "--endpoint"))


def test_a_variable_that_says_the_same_is_no_override():
    """An environment variable equal to the configured endpoint warns of nothing."""
    assert resolve("naive-tcp", {"PERFGUARD_TRANSPORT_ENDPOINT": "naive-tcp"}).warnings == ()


def test_a_bare_address_keeps_the_configured_wire():
    """The environment changes where, not how: multipart stays multipart."""
    assert resolve("multipart-ipc", {"LLAMA_IPC_PATH": "tcp://127.0.0.1:9"}).kind == "multipart-tcp"


def test_a_running_server_is_named_by_kind_and_address():
    """What a server prints is what can be diagnosed."""
    target = resolve("shm+@perfguard-1f2e", {})
    assert (target.kind, target.endpoint) == ("shm", "shm+@perfguard-1f2e")


@pytest.mark.parametrize("wrong", ["carrier-pigeon", "", "shm+", "http://127.0.0.1:80", "pigeon+tcp://127.0.0.1:1"])
def test_what_is_no_endpoint_is_refused_with_the_kinds(wrong):
    """An unknown kind is answered with the list of kinds."""
    with pytest.raises(OptionError) as caught:
        resolve(wrong, {})
    assert all(kind in str(caught.value) for kind in KINDS)


def test_a_wrong_variable_is_named_as_the_culprit():
    """When the environment holds the nonsense, the error names the variable."""
    with pytest.raises(OptionError, match="LLAMA_IPC_PATH"):
        resolve("shm", {"LLAMA_IPC_PATH": "/tmp/x.ipc"})
