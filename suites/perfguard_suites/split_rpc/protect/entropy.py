"""Where secrets come from: the operating system's generator, or a stream that a secret seed expands to."""

from __future__ import annotations

import hashlib
import itertools
import os
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from perfguard_suites.split_rpc.protect.field import HALF, PRIME

_BLOCK_BYTES = 1 << 24  # no temporary of a mask's whole size, and getrandom's calls stay short


class Entropy(Protocol):
    """A source of bytes that nobody else can predict."""

    def __call__(self, size_bytes: int) -> bytes:
        """That many fresh bytes; never the same ones again."""


class SystemEntropy:
    """The operating system's generator (on Linux ChaCha20, getrandom(2)): the default."""

    def __call__(self, size_bytes: int) -> bytes:
        """`size_bytes` from `os.urandom`."""
        return os.urandom(size_bytes)


class SeededEntropy:
    """SHAKE-128 (FIPS 202) over a secret seed and a counter: a stream as good as its seed, and the same one each time.

    For tests and for two trusted parties that share a seed. Raises ValueError for a seed under 16 bytes. Keep the
    seed on the trusted side, and never start the same stream twice in earnest: that would be the same masks again.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) < 16:
            raise ValueError(f"a seed of {len(seed)} bytes can be guessed: give 16 or more")
        self._seed = seed
        self._counter = itertools.count()  # its `next` is atomic: two threads never get one number

    def __call__(self, size_bytes: int) -> bytes:
        """The next `size_bytes`: each call expands its own counter, so calls never overlap."""
        return hashlib.shake_128(next(self._counter).to_bytes(16, "little") + self._seed).digest(size_bytes)


def field_elements(entropy: Entropy, shape: tuple[int, ...]) -> torch.Tensor:
    """Uniform centred residues, int32, of that shape: 31-bit draws, those that equal the prime drawn again."""
    elements = torch.empty(shape, dtype=torch.int32)
    flat = elements.view(-1).numpy()
    step = _BLOCK_BYTES // 4
    for start in range(0, flat.size, step):
        part = flat[start : start + step]
        part[:] = np.frombuffer(entropy(part.nbytes), np.int32)
        part &= PRIME
        while (rejected := np.flatnonzero(part == PRIME)).size:
            part[rejected] = np.frombuffer(entropy(4 * rejected.size), np.int32) & PRIME
        part -= HALF
    return elements


def centred_bits(entropy: Entropy, shape: tuple[int, ...], bits: int) -> torch.Tensor:
    """Uniform integers of -2^(bits-1) .. 2^(bits-1) - 1, in float64, for `bits` of 1 to 32."""
    words = _words(entropy, shape, np.dtype(np.uint32))
    return torch.from_numpy((words >> np.uint32(32 - bits)).astype(np.float64) - float(1 << (bits - 1)))


def normals(entropy: Entropy, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal deviates in float64, by inversion of a 52-bit uniform deviate."""
    words = _words(entropy, shape, np.dtype(np.uint64))
    uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) / (1 << 52)
    return torch.from_numpy(np.asarray(ndtri(uniform), dtype=np.float64))


def _words(
    entropy: Entropy, shape: tuple[int, ...], dtype: np.dtype[np.unsignedinteger]
) -> npt.NDArray[np.unsignedinteger]:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer(entropy(size), dtype).reshape(shape)
