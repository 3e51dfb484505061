"""How a protection level stands between the trusted model and its linear calls: hide, send, check, reveal.

A guard runs one product: it yields the call to make, if any, and returns the results in float32. Its time is marked
apart from the model's own work, so that what protection costs can be read off the account.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from perfguard_suites.split_rpc import protect, protocol
from perfguard_suites.split_rpc.calls import Call, Outgoing, Results
from perfguard_suites.split_rpc.client import Expected
from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.protocol import Operation
from perfguard_suites.split_rpc.timeline import Timeline
from perfguard_suites.split_rpc.variants import Variant
from perfguard_suites.split_rpc.weights import Weights
from perfguard_suites.transport.dtypes import from_torch

if TYPE_CHECKING:
    from perfguard_suites.split_rpc.protect import Entropy, FieldCheck, FloatCheck, LinearGroup

HIDE, VERIFY, UNMASK = "client/hide", "client/verify", "client/unmask"


class Guard(Protocol):
    """Runs one product of a linear call. `plain`: the call as it would be made without protection."""

    def product(
        self, operation: Operation, x: Outgoing, plain: Call, timeline: Timeline
    ) -> Generator[Call, Results, Results]:
        """The results, one for each module, (rows, outputs)."""


def quantised_groups(config: ModelConfig, weights: Weights) -> dict[Operation, LinearGroup]:
    """The modules of every linear call, quantised; some seconds for large models."""
    return {
        operation: protect.LinearGroup(
            operation.method, tuple(protect.quantise_weight(name, weights[name]) for name in names)
        )
        for operation, names in protocol.linear_operations(config).items()
    }


class MaskedGuard:
    """One-time masks; with `checks`, every reply is checked as well. `prepare` makes masks before they are needed.

    `offline_s`: what quantising, masks and checks have taken so far, reported apart from the passes.
    """

    def __init__(
        self, config: ModelConfig, weights: Weights, *, checked: bool = False, entropy: Entropy | None = None
    ) -> None:
        begin_s = perf_counter()
        self.groups = quantised_groups(config, weights)
        self.store = protect.MaskStore(entropy)
        self._checks: Mapping[Operation, FieldCheck] = (
            {operation: protect.field_check(group, entropy) for operation, group in self.groups.items()}
            if checked
            else {}
        )
        self.offline_s = perf_counter() - begin_s

    def prepare(self, prompt: int, steps: int) -> None:
        """Masks for one request: each position once, and the head's inputs."""
        begin_s = perf_counter()
        for operation, group in self.groups.items():
            self.store.prepare(group, 1 + steps if operation.name == protocol.LM_HEAD else prompt + steps)
        self.offline_s += perf_counter() - begin_s

    def product(
        self,
        operation: Operation,
        x: Outgoing,
        plain: Call,
        timeline: Timeline,
    ) -> Generator[Call, Results, Results]:
        """Quantise, hide, call, check, reveal. Raises `MasksExhausted`, `ServerLied` and the others of `protect`."""
        group = self.groups[operation]
        quantised = protect.quantise_rows(group.name, x.tensor, group.activation_levels)
        mask = self.store.take(group.name, x.tensor.shape[0])
        message = mask.hide(quantised.values)
        timeline.mark(HIDE)
        head = operation.name == protocol.LM_HEAD
        masked = Operation(protocol.MASKED_HEAD if head else protocol.MASKED_LINEAR, operation.layer, operation.modules)
        expected = tuple(Expected(each.shape, "int32") for each in plain.expected)
        replies = yield Call(masked, (from_torch(message),), expected)
        check = self._checks.get(operation)
        if check is not None:
            protect.verify_field(check, message, replies)
            timeline.mark(VERIFY)
        products = mask.reveal(replies)
        results = _dequantised(group, products, quantised.scale)
        timeline.mark(UNMASK)
        return results


class ClearGuard:
    """The same quantised computation in the clear, in this process: what masked results must equal bit by bit."""

    def __init__(self, groups: Mapping[Operation, LinearGroup]) -> None:
        self._groups = groups

    def product(
        self,
        operation: Operation,
        x: Outgoing,
        plain: Call,  # noqa: ARG002 - a guard's signature
        timeline: Timeline,
    ) -> Generator[Call, Results, Results]:
        """No call at all."""
        yield from ()
        results = tuple(protect.clear_linear(self._groups[operation], x.tensor))
        timeline.mark("linear")
        return results


class VerifiedGuard:
    """Freivalds checks of plain results: a server that lies by more than rounding is caught."""

    def __init__(
        self, config: ModelConfig, weights: Weights, wire: str = "float32", entropy: Entropy | None = None
    ) -> None:
        begin_s = perf_counter()
        arithmetic = {"float32": protect.FP32, "bfloat16": protect.BF16_WIRE, "float16": protect.FP16_WIRE}[wire]
        self._checks: Mapping[Operation, FloatCheck] = {
            operation: protect.float_check(operation.method, [weights[name] for name in names], arithmetic, entropy)
            for operation, names in protocol.linear_operations(config).items()
        }
        self.offline_s = perf_counter() - begin_s

    def product(
        self, operation: Operation, x: Outgoing, plain: Call, timeline: Timeline
    ) -> Generator[Call, Results, Results]:
        """Call, check. Raises `ServerLied`."""
        results = yield plain
        protect.verify_float(self._checks[operation], x.tensor, results)
        timeline.mark(VERIFY)
        return results


def guard_for(config: ModelConfig, variant: Variant, weights: Weights) -> MaskedGuard | VerifiedGuard | None:
    """The guard of a variant's protection level. `weights`: all linear weights, in the server's own values."""
    if variant.protection in {"masked", "masked_verified"}:
        return MaskedGuard(config, weights, checked=variant.protection == "masked_verified")
    if variant.protection == "verified":
        return VerifiedGuard(config, weights, variant.wire)
    return None


def _dequantised(group: LinearGroup, products: Sequence[Tensor], scale: Tensor) -> Results:
    return tuple(
        protect.dequantise(product, scale, weight.scale)
        for product, weight in zip(products, group.weights, strict=True)
    )
