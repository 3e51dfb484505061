"""Samples as bytes: little-endian doubles, transposed byte by byte and deflated. No pickle.

Samples of one metric share sign, exponent and the first digits, so that bytes of one place compress where whole
doubles do not (the byte shuffle of HDF5's filter of that name).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from perfguard.errors import HistoryError

FORMAT = 1
_LEVEL = 6
MOST_SAMPLES = 10_000_000  # of one metric in one run; more is no measurement but an attack on memory
_HEADER = 5  # the format, then how many samples


def pack(samples: Sequence[float] | npt.NDArray[np.float64]) -> bytes:
    """The samples, shape (n,), exactly."""
    array = np.ascontiguousarray(samples, dtype="<f8")
    planes = array.view(np.uint8).reshape(-1, 8).T.tobytes()
    return bytes([FORMAT]) + array.size.to_bytes(4, "little") + zlib.compress(planes, _LEVEL)


def unpack(packed: bytes) -> npt.NDArray[np.float64]:
    """What was packed, shape (n,). Raises `HistoryError` for bytes that are not that."""
    count = int.from_bytes(packed[1:_HEADER], "little")
    if len(packed) < _HEADER or packed[0] != FORMAT or count > MOST_SAMPLES:
        raise HistoryError("samples", "are stored in a form that this perfguard does not know", "update it")
    inflater = zlib.decompressobj()
    try:
        planes = inflater.decompress(packed[_HEADER:], 8 * count + 1)
    except zlib.error as error:
        raise HistoryError("samples", f"are damaged: {error}") from error
    if len(planes) != 8 * count or not inflater.eof:
        raise HistoryError("samples", f"are damaged: {len(planes)} bytes where {8 * count} should be, or no end")
    return np.frombuffer(planes, np.uint8).reshape(8, count).T.copy().view("<f8").reshape(count)
