"""Shared device memory but for the device: where tensors lie, what is refused, how shapes are written in a method."""

from __future__ import annotations

import pytest
import torch

from perfguard_suites.split_rpc import protocol
from perfguard_suites.split_rpc.config import config_of
from perfguard_suites.split_rpc.device_memory import DeviceArena, Room, SharedPlaces, allocate, room_for
from perfguard_suites.split_rpc.errors import ConfigurationError, UnknownOperation
from perfguard_suites.split_rpc.protocol import Operation, parse_shared, shapes_words
from perfguard_suites.split_rpc.traffic import predict
from perfguard_suites.split_rpc.variants import VARIANTS

ROOM = Room(128, 320)


def arena() -> DeviceArena:
    """Room for 128 and 320 elements."""
    return DeviceArena(torch.zeros(128 + 320), ROOM)


def test_requests_and_replies_do_not_touch() -> None:
    """Each tensor is a view of the shared memory; those of a reply are behind those of a request and one another."""
    memory = arena()
    (x,), (gate, up) = memory.request(((10, 10),)), memory.reply(((2, 64), (64, 2)))
    x.fill_(1.0)
    gate.fill_(2.0)
    up.fill_(3.0)
    assert float(x.sum()) == 100.0
    assert float(gate.sum()) == 256.0
    assert torch.equal(memory.reply(((2, 64),))[0], gate)
    memory.count(((10, 10),), ((2, 64), (64, 2)))
    assert (memory.sent_bytes, memory.received_bytes) == (400, 1024)


def test_more_than_there_is_room_for_is_refused() -> None:
    """Neither side can be made to look outside its part."""
    with pytest.raises(UnknownOperation, match="shared tensors"):
        arena().request(((129,),))
    with pytest.raises(UnknownOperation, match="shared tensors"):
        arena().reply(((200,), (200,)))
    config = config_of("tiny")
    room = room_for(config, VARIANTS["cuda-ipc"], 16)
    for call in predict(config, VARIANTS["cuda-ipc"], 16):
        memory = DeviceArena(torch.zeros(sum(room) + 128), room)
        memory.request(tuple(tensor.shape for tensor in call.request))
        memory.reply(tuple(tensor.shape for tensor in call.reply))


def test_a_result_of_another_shape_than_promised_is_refused() -> None:
    """Too, where one is missing: the client would read what was there before."""
    places = SharedPlaces(arena(), ((2, 3), (4,)))
    assert places.place(2, 3).shape == (2, 3)
    with pytest.raises(UnknownOperation, match="1 results are missing"):
        places.arrays()
    for shape, dtype in (((5,), None), ((4,), torch.int32)):
        with pytest.raises(UnknownOperation, match="shared reply"):
            places.place(*shape, dtype=dtype)
    places.place(4)
    assert places.arrays() == ()


def test_device_memory_needs_a_device() -> None:
    """A server on the CPU says so; so does one that is asked for nothing."""
    with pytest.raises(ConfigurationError, match="needs a CUDA device"):
        allocate(ROOM, "cpu")
    with pytest.raises(ConfigurationError, match="elements"):
        allocate(Room(0, 1), "cuda")


def test_shapes_are_words_of_the_method() -> None:
    """They come back as they went, the operation beside them; a method without them has none."""
    operation = Operation(protocol.QKV_SCORES, 3, resident=True)
    shapes = (((128, 768),), ((24, 128, 128), (5,)))
    assert parse_shared(operation.method + shapes_words(*shapes)) == (operation, shapes)
    assert parse_shared(operation.method) == (operation, None)


@pytest.mark.parametrize(
    "words", ["@", "@2>", "@2>3>4", "@2x>3", "@0>3", "@2>axb", "@1x1x1x1x1>2", "@2>1,1,1,1,1,1,1,1,1"]
)
def test_words_that_are_no_shapes_are_refused(words: str) -> None:
    """Before anything is computed."""
    with pytest.raises(UnknownOperation, match="operation"):
        parse_shared(f"lm_head{words}")
