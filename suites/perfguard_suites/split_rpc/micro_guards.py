"""Single protected calls: what hiding, checking and unmasking one of each kind takes, alone. No fitting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from perfguard_suites.split_rpc import protocol
from perfguard_suites.split_rpc.calls import Call, Steps
from perfguard_suites.split_rpc.client import Expected
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.guards import HIDE, UNMASK, VERIFY, MaskedGuard
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.runner import SplitModel, drive
from perfguard_suites.split_rpc.time_model import Point, protection_features
from perfguard_suites.split_rpc.timeline import Timeline
from perfguard_suites.split_rpc.weights import tensor_shapes


def points(config: ModelConfig, splits: Sequence[SplitModel], prompt: int) -> Iterator[Point]:
    """The protected calls of one layer, of the prompt's rows and of one, for each protection that is in use."""
    shapes = tensor_shapes(config)
    for split in {split.variant.protection: split for split in splits if split.guard is not None}.values():
        split.start()
        for rows in (prompt, 1):
            for operation, names in protocol.linear_operations(config).items():
                if operation.layer == 0 or (operation.name == protocol.LM_HEAD and rows == 1):
                    weights = [shapes[name] for name in names]
                    yield from _protected(split, operation, rows, weights)


def _protected(
    split: SplitModel, operation: Operation, rows: int, weights: Sequence[tuple[int, ...]]
) -> Iterator[Point]:
    """The points of one call. `weights`: shapes (outputs, inputs) of its modules."""
    guard, inputs = split.guard, weights[0][1]
    assert guard is not None
    if isinstance(guard, MaskedGuard):
        guard.store.prepare(guard.groups[operation], rows)
    x = split.trusted.outgoing(rows, inputs)
    x.tensor.copy_(torch.rand(rows, inputs))
    expected = tuple(Expected((rows, outputs), split.variant.wire) for outputs, _ in weights)
    timeline = Timeline()

    def steps() -> Steps:
        yield from guard.product(operation, x, Call(operation, (x.array,), expected), timeline)
        return torch.empty(0)

    drive(split.client, [steps()], timeline)
    sent, received = float(rows * inputs), float(sum(rows * outputs for outputs, _ in weights))
    features = protection_features(split.variant, sent, received)
    for name, stretch_s in _sums(timeline).items():
        yield Point(features[name], stretch_s)


def _sums(timeline: Timeline) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, start_ns, end_ns in timeline.own:
        if name in {HIDE, VERIFY, UNMASK}:
            sums[name] = sums.get(name, 0.0) + (end_ns - start_ns) / 1e9
    return sums
