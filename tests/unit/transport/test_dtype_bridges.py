"""dtypes by name, and bfloat16 between numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest

from perfguard_suites.transport import dtypes
from perfguard_suites.transport.errors import MalformedMessage, UnsendableMessage


@pytest.mark.parametrize("name", [name for name in dtypes.NAMES if name != dtypes.BFLOAT16])
def test_names_and_dtypes_are_inverse(name: str) -> None:
    """A plain dtype arrives as what it was."""
    assert dtypes.name_of(dtypes.dtype_of(name)) == name


def test_bfloat16_has_a_name() -> None:
    """bfloat16 travels by its own name, not as float32."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert dtypes.name_of(np.dtype(ml_dtypes.bfloat16)) == "bfloat16"
    assert dtypes.dtype_of("bfloat16") == np.dtype(ml_dtypes.bfloat16)
    assert dtypes.resolve("bfloat16").itemsize == 2


@pytest.mark.parametrize("name", ["object", "float128", ">f4", "", None, 4, b"float32", "V8"])
def test_unknown_names_are_malformed(name: object) -> None:
    """A name from the peer that is none is refused."""
    with pytest.raises(MalformedMessage):
        dtypes.dtype_of(name)


@pytest.mark.parametrize("dtype", [">f4", object, "S4", "U4", "f4,i4", "complex64", "datetime64[s]"])
def test_foreign_dtypes_do_not_travel(dtype: str) -> None:
    """A dtype without a name is refused at the sender, with the list of those that travel."""
    with pytest.raises(UnsendableMessage, match="bfloat16"):
        dtypes.name_of(np.dtype(dtype))


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "int64", "bool"])
def test_torch_and_numpy_share_the_memory(name: str) -> None:
    """A write through one alias is seen through the other, bfloat16 included: nothing was copied."""
    torch = pytest.importorskip("torch")
    array = np.zeros(4, dtypes.resolve(name))
    alias = dtypes.to_torch(array)
    assert alias.dtype is getattr(torch, name)
    alias[2] = 1
    assert array[2] == 1
    back = dtypes.from_torch(alias)
    assert back.dtype == array.dtype
    back[3] = 1
    assert alias[3] == 1


def test_read_only_tensors_reach_torch_without_a_warning() -> None:
    """A received tensor becomes a torch tensor quietly: warnings are errors here."""
    pytest.importorskip("torch")
    array = np.arange(4, dtype=np.float32)
    array.flags.writeable = False
    assert dtypes.to_torch(array).sum() == 6
