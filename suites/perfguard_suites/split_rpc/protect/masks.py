"""One-time masks: made ahead of use, counted, handed out once, and overwritten by what they hide.

The mask r of a call is uniform over the field and independent of everything else, so the message x + r is uniform
whatever x is: the server learns its shape and nothing more (Shannon 1949: perfect secrecy; the scheme is Slalom's,
Tramer and Boneh 2019). The price is r W, which the trusted side computes offline, and that r can serve only once: the
difference of two messages under one mask is the difference of the activations.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import torch

from perfguard_suites.split_rpc.protect.entropy import Entropy, SystemEntropy, field_elements
from perfguard_suites.split_rpc.protect.errors import MalformedReply, MaskReused, MasksExhausted, UnquantisableInput
from perfguard_suites.split_rpc.protect.field import HALF, centre_
from perfguard_suites.split_rpc.protect.quantise import LinearGroup, joined
from perfguard_suites.split_rpc.protect.server_side import multiply_tiled


class OneTimeMask:
    """Mask and unmasking factor of one call: `hide` once, then `reveal` once.

    Both work in place, so that hiding and revealing destroy the secrets instead of remembering not to use them again.
    """

    def __init__(self, group: LinearGroup, mask: torch.Tensor, factor: torch.Tensor) -> None:
        self._group = group
        self._mask: torch.Tensor | None = mask
        self._factor: torch.Tensor | None = factor

    def hide(self, values: torch.Tensor) -> torch.Tensor:
        """The message: int32 (rows, inputs), uniform over the field; it lives where the mask lived.

        `values`: quantised activations, int32 of that shape. Raises `MaskReused` the second time, and
        `UnquantisableInput` for another shape or dtype (the mask stays unused).
        """
        mask = self._mask
        if mask is None:
            raise MaskReused(self._group.name, "this mask has hidden a message already", "take a new one for each call")
        if values.shape != mask.shape or values.dtype != torch.int32:
            raise UnquantisableInput(
                self._group.name,
                f"{values.dtype} {tuple(values.shape)} under a mask of {tuple(mask.shape)}",
                "hide the int32 values of quantise_rows, as many rows as were taken",
            )
        self._mask = None
        return centre_(mask.add_(values))

    def reveal(self, replies: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The exact integer products, int32 (rows, outputs), for each module, from the server's replies.

        `replies`: one int32 tensor for each module, in the group's order. Raises `MaskReused` the second time or before
        `hide`, and `MalformedReply` as `check_replies` does (the factor stays unused).
        """
        factor = self._factor
        if factor is None or self._mask is not None:
            problem = "nothing is hidden yet" if factor is not None else "this mask has revealed its reply already"
            raise MaskReused(self._group.name, problem, "hide one message, then reveal its reply, once")
        check_replies(self._group, factor.shape[0], replies)
        self._factor = None
        products = []
        for reply, part in zip(replies, torch.split(factor, list(self._group.outputs), dim=1), strict=True):
            products.append(centre_(torch.sub(reply, part, out=part)))
        return products


class MaskStore:
    """Masks for each group of modules, made offline with `prepare`, handed out by rows (tokens) with `take`.

    Threads may share it: two calls never get the same row. `entropy` is where masks come from.
    """

    def __init__(self, entropy: Entropy | None = None) -> None:
        self._entropy = SystemEntropy() if entropy is None else entropy
        self._lock = threading.Lock()
        self._groups: dict[str, LinearGroup] = {}
        self._chunks: dict[str, deque[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._made: dict[str, int] = {}

    def prepare(self, group: LinearGroup, rows: int, device: torch.device | str = "cpu") -> None:
        """Make `rows` more masks for `group`, with their unmasking factors; the offline phase.

        Computes on `device`, which must be a *trusted* one, and keeps the results in the CPU's memory: 4 (inputs +
        outputs) bytes a row. Raises `UnquantisableInput` for another group under a name that is taken, and for a
        negative number of rows.
        """
        with self._lock:
            taken = self._groups.setdefault(group.name, group) is not group
        if rows < 0 or taken:
            problem = f"{rows} rows" if rows < 0 else "another group has this name in the store"
            raise UnquantisableInput(group.name, problem, "give each call's modules their own name, and rows >= 0")
        if rows == 0:
            return
        mask = field_elements(self._entropy, (rows, group.inputs))
        there = mask.to(device)
        factor = joined([multiply_tiled(there, weight.values) for weight in group.weights]).cpu()
        with self._lock:
            self._chunks.setdefault(group.name, deque()).append((mask, factor))
            self._made[group.name] = self._made.get(group.name, 0) + rows

    def take(self, name: str, rows: int) -> OneTimeMask:
        """A mask for `rows` tokens that nobody else will get.

        Raises `MasksExhausted`, and takes none, if fewer are left.
        """
        with self._lock:
            left = self._left(name)
            if rows > left or name not in self._groups:
                raise MasksExhausted(
                    f"masks of {name}",
                    f"{rows} rows needed, {left} of {self._made.get(name, 0)} made are left",
                    f"make {rows - left} more with MaskStore.prepare(group, rows={rows - left}), or prepare the "
                    "prefill's tokens and one row for each decode step at the start",
                )
            masks, factors = self._pop(name, rows)
        return OneTimeMask(self._groups[name], masks, factors)

    def available(self, name: str) -> int:
        """Rows left for the group of that name; 0 for a name unknown."""
        with self._lock:
            return self._left(name)

    def used(self, name: str) -> int:
        """Rows handed out for the group of that name."""
        with self._lock:
            return self._made.get(name, 0) - self._left(name)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all masks and factors not handed out yet."""
        with self._lock:
            return sum(4 * (m.numel() + f.numel()) for chunks in self._chunks.values() for m, f in chunks)

    def _left(self, name: str) -> int:
        return sum(int(mask.shape[0]) for mask, _ in self._chunks.get(name, ()))

    def _pop(self, name: str, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The first `rows` rows, removed; the caller holds the lock and knows that they are there."""
        masks, factors, chunks, missing = [], [], self._chunks.get(name, deque()), rows
        while missing > 0:
            mask, factor = chunks.popleft()
            if mask.shape[0] > missing:
                chunks.appendleft((mask[missing:], factor[missing:]))
            masks.append(mask[:missing])
            factors.append(factor[:missing])
            missing -= int(masks[-1].shape[0])
        group = self._groups[name]
        empty = (
            torch.empty((0, group.inputs), dtype=torch.int32),
            torch.empty((0, sum(group.outputs)), dtype=torch.int32),
        )
        if not masks:
            return empty
        return (masks[0], factors[0]) if len(masks) == 1 else (torch.cat(masks), torch.cat(factors))


def check_replies(group: LinearGroup, rows: int, replies: Sequence[torch.Tensor]) -> None:
    """Raise `MalformedReply` unless there is one int32 (rows, outputs) reply for each module, inside the field.

    The range matters: a residue and the same plus the prime are equal modulo the prime, so a Freivalds check passes
    both, but only the centred one unmasks without overflow.
    """
    advice = "the server is broken or lies: stop using it"
    if len(replies) != len(group.weights):
        raise MalformedReply(group.name, f"{len(replies)} replies for {len(group.weights)} modules", advice)
    for weight, reply in zip(group.weights, replies, strict=True):
        if reply.dtype != torch.int32 or tuple(reply.shape) != (rows, weight.outputs):
            got = f"{reply.dtype} {tuple(reply.shape)}"
            raise MalformedReply(weight.name, f"{got} instead of int32 {(rows, weight.outputs)}", advice)
        if reply.numel():
            low, high = (int(edge) for edge in torch.aminmax(reply))
            if low < -HALF or high > HALF:
                raise MalformedReply(weight.name, f"values {low} to {high} are outside +-{HALF}", advice)
