"""Who may spin while the other side works, and how many threads the trusted process takes."""

from __future__ import annotations

import pytest

from perfguard_suites.split_rpc import threads
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2)


@pytest.mark.parametrize(
    ("claimed", "device", "left"),
    [(1, "cpu", True), (2, "cpu", False), (2, "NVIDIA H100", True), (0, "cpu", False), ("1", "cpu", False)],
)
def test_a_cpu_is_left_beside_fewer_threads_than_cpus(claimed: object, device: str, left: bool) -> None:
    """A GPU's host thread counts as one; what is no positive number of threads leaves none."""
    assert threads.idle_cpus(claimed, device) is left


def test_nobody_spins_long_beside_products_that_use_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decode step's calls leave a CPU, a prefill's do not; on one CPU nobody does."""
    step, prefill = 8192, 128 * 768
    assert threads.spin_us(step, idle=False) == threads.DECODE_SPIN_US
    assert threads.spin_us(prefill, idle=False) == DEFAULT_SPIN_US
    assert threads.spin_us(prefill, idle=True) == threads.DECODE_SPIN_US
    monkeypatch.setattr(threads, "usable_cpus", lambda: 1)
    assert threads.spin_us(step, idle=False) == DEFAULT_SPIN_US


def test_small_steps_take_one_thread_and_large_ones_all() -> None:
    """128 tokens of the small model against 1024 of llama-1b."""
    assert threads.own_threads(131 * 2048, 2) == 1
    assert threads.own_threads(1024 * 8192, 2) == 2


def test_threads_are_given_back() -> None:
    """Whatever happens inside the block."""
    import torch

    before = torch.get_num_threads()
    inside = []

    def fail() -> None:
        with threads.torch_threads(1):
            inside.append(torch.get_num_threads())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == [1]
    assert torch.get_num_threads() == before
