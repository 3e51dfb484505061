"""Two processes that compute by turns on the same CPUs: which threads may spin while they wait. Loads no torch.

OpenMP's threads spin for milliseconds after each parallel region by default (GOMP_SPINCOUNT). With two processes on
few CPUs the one that waits then takes the CPU of the one that computes: on 2 CPUs a pass of 2 ms took 240.

The two threads that call each other are another matter. A product on one row keeps a single CPU busy, memory being its
limit, so that on two CPUs the other process may spin on the second one until the answer comes: a sleep costs it two
wake-ups of some 100 us a call, a third of a decode step. Beside a product that uses all CPUs it has to sleep.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping

from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US

VARIABLE = "OMP_WAIT_POLICY"
PASSIVE = "PASSIVE"


def let_idle_threads_sleep() -> bool:
    """Ask OpenMP for it, unless the user chose; whether it comes in time: the library reads it once, when loaded."""
    in_time = "torch" not in sys.modules
    if in_time:
        os.environ.setdefault(VARIABLE, PASSIVE)
    return in_time or os.environ.get(VARIABLE, "").upper() == PASSIVE


def child_environment() -> Mapping[str, str]:
    """The environment of a server process."""
    return {VARIABLE: PASSIVE, **os.environ}


SMALL_ELEMENTS = 1024 * 1024  # of the largest tensor of the client's own steps: one thread is as fast up to there
DECODE_ELEMENTS = 16 * 1024  # a call with a larger tensor is not on one row
DECODE_SPIN_US = 3000.0


def idle_cpus(threads: object, device: str = "cpu") -> bool:
    """Whether a CPU is left to spin beside so many threads, as the other side says, or beside one that waits for a GPU.

    False for what is no positive number.
    """
    busy = threads if device == "cpu" else 1
    return type(busy) is int and 0 < busy < usable_cpus()


def own_threads(elements: int, available: int) -> int:
    """Threads for the trusted process's own steps, on tensors of up to so many elements.

    A second thread has to be woken in each step: (128, 768) is normed in 79 us by one thread and in 155 by two.
    """
    return 1 if elements <= SMALL_ELEMENTS else available


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch computes with so many threads inside the block; setting them costs well under a microsecond."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spin_us(elements: int, *, idle: bool) -> float:
    """How long to spin for what follows a call whose largest tensor has so many elements. `idle`: of `idle_cpus`."""
    beside = idle or (elements <= DECODE_ELEMENTS and usable_cpus() > 1)
    return DECODE_SPIN_US if beside else DEFAULT_SPIN_US


@functools.cache
def usable_cpus() -> int:
    """CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
