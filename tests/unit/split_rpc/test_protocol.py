"""Operations as words: what is written is what is read, and what cannot be asked is named."""

from __future__ import annotations

import pytest

from perfguard_suites.split_rpc.errors import UnknownOperation
from perfguard_suites.split_rpc.protocol import Operation, parse


@pytest.mark.parametrize(
    "operation",
    [
        Operation("embedding", dtype="bfloat16"),
        Operation("lm_head"),
        Operation("batch_linear", 3, ("q_proj", "k_proj", "v_proj")),
        Operation("masked_linear", 0, ("down_proj",)),
        Operation("matmul_scores", rows=32),
        Operation("qkv_scores", 1, rows=0, resident=True),
        Operation("qkv_scores", 1, rows=64),
        Operation("values_output", 15, rows=4, keys=77),
        Operation("whole_layer", 2),
        Operation("relay", rows=64, elements=1000, count=3),
    ],
)
def test_operations_survive_the_wire(operation: Operation) -> None:
    """Written and read again: the same operation, all its words included."""
    assert parse(operation.method) == operation


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("", "operation ''"),
        ("frobnicate/1", "'frobnicate'"),
        ("batch_linear", "a word is missing"),
        ("batch_linear/x/q_proj", "'x' is no number"),
        ("batch_linear/-1/q_proj", "no number"),
        ("batch_linear/1/z_proj", "module 'z_proj'"),
        ("batch_linear/1/q_proj,q_proj", "one twice"),
        ("qkv_scores/1/0/perhaps", "words too many"),
        ("lm_head/3", "words too many"),
        ("whole_layer/99999999999999999999", "no number"),
    ],
)
def test_what_cannot_be_asked_is_named(method: str, message: str) -> None:
    """Unknown operations and modules, words missing, too many, or no numbers."""
    with pytest.raises(UnknownOperation, match=message):
        parse(method)
