"""What a pass over a model computes and sends: the operators of a layer, of the embedding and of the head.

Everything is per device of a `Layout`. Attention is not fused: its scores are written and read again. Rows of a prompt
see all of its positions, as dense kernels compute them. Experts are assumed to be evenly loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from perfguard_suites.simulator.collectives import all_gather_s, all_reduce_s, all_to_all_s
from perfguard_suites.simulator.gemm import Gemm
from perfguard_suites.simulator.models import ModelShape
from perfguard_suites.simulator.parallel import Layout

EMBEDDING, ATTENTION, FEED_FORWARD, HEAD, TRANSFER = "embedding", "attention", "feed-forward", "head", "transfer"


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix product."""

    name: str
    block: str
    gemm: Gemm


@dataclass(frozen=True, slots=True)
class Elementwise:
    """Work of the vector units: `flops` of it, over `nbytes` read and written."""

    name: str
    block: str
    flops: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Collective:
    """A message to others: `seconds_of(nbytes)` is its cost. `divisible`: by rows of the product before it."""

    name: str
    block: str
    nbytes: int
    seconds_of: Callable[[float], float]
    divisible: bool = False


Operator = Product | Elementwise | Collective


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of one microbatch: `tokens` new positions of each prompt, after which there are `context`."""

    model: ModelShape
    layout: Layout
    dtype: str
    element_bytes: int
    tokens: int
    context: int

    @property
    def rows(self) -> int:
        """Rows of the residual stream."""
        return self.layout.batch * self.tokens

    @property
    def stream_bytes(self) -> int:
        """Bytes of the residual stream."""
        return self.rows * self.model.hidden * self.element_bytes

    def layer(self, *, sparse: bool) -> list[Operator]:
        """The operators of one layer, in order; `sparse`: its feed-forward block is a mixture of experts."""
        attention = self._latent_attention() if self.model.mla is not None else self._attention()
        block = self._experts() if sparse else self._dense(self.model.intermediate, self.layout.intermediate)
        return [
            self._norm("attention norm", ATTENTION),
            *attention,
            *self._all_reduce("attention all-reduce", ATTENTION, divisible=True),
            self._add("attention add", ATTENTION),
            self._norm("feed-forward norm", FEED_FORWARD),
            *block,
            self._add("feed-forward add", FEED_FORWARD),
        ]

    def embedding(self) -> list[Operator]:
        """Rows of the embedding, gathered."""
        return [Elementwise("embedding", EMBEDDING, 0, 2 * self.stream_bytes)]

    def head(self) -> list[Operator]:
        """The last position's logits and the next token, of each prompt."""
        batch, hidden, vocabulary = self.layout.batch, self.model.hidden, self.layout.vocabulary
        size = self.element_bytes
        operators: list[Operator] = [
            Elementwise("final norm", HEAD, 4 * batch * hidden, 2 * batch * hidden * size),
            Product("logits", HEAD, Gemm(1, batch, vocabulary, hidden, self.dtype)),
        ]
        logits = batch * self.model.vocabulary
        if self.layout.tensor_group:
            gather = partial(all_gather_s, self.layout.tensor_group)
            operators.append(Collective("logits all-gather", HEAD, logits * size, gather))
        operators.append(Elementwise("sampling", HEAD, 2 * logits, logits * size))
        return operators

    def products(self, operators: Sequence[Operator]) -> list[Gemm]:
        """The products among operators, in order."""
        return [operator.gemm for operator in operators if isinstance(operator, Product)]

    # -- attention

    def _attention(self) -> list[Operator]:
        """Multi-head and grouped-query attention: a group's queries share one read of its keys and values."""
        model, heads, kv_heads, width = self.model, self.layout.heads, self.layout.kv_heads, self.model.head_dim
        rows, groups = self.rows, heads // kv_heads
        each, together = self.layout.batch * kv_heads, self.tokens * groups
        turned = rows * (heads + 2 * kv_heads) * width
        return [
            Product("qkv", ATTENTION, self._linear((heads + 2 * kv_heads) * width, model.hidden)),
            Elementwise("rotary and cache", ATTENTION, 3 * turned, 2 * turned * self.element_bytes),
            Product("scores", ATTENTION, Gemm(each, together, self.context, width, self.dtype)),
            self._softmax(),
            Product("values", ATTENTION, Gemm(each, together, width, self.context, self.dtype)),
            Product("output", ATTENTION, self._linear(model.hidden, heads * width)),
        ]

    def _latent_attention(self) -> list[Operator]:
        """MLA: a prompt rebuilds keys and values of each head; a step works on the cached latents themselves.

        The latter multiplies the rebuilding matrices into the queries and after the values (arXiv 2405.04434, 2.1.2).
        """
        model, heads, batch, dtype = self.model, self.layout.heads, self.layout.batch, self.dtype
        mla = model.mla
        assert mla is not None
        rows, wide, latent = self.rows, mla.nope + mla.rope, mla.kv_rank + mla.rope
        rebuilds = self.tokens == self.context
        turned = rows * (heads + 1) * mla.rope + rows * latent
        operators: list[Operator] = []
        if mla.q_rank:
            operators += [
                Product("query latent", ATTENTION, self._linear(mla.q_rank, model.hidden)),
                Elementwise("query norm", ATTENTION, 4 * rows * mla.q_rank, 2 * rows * mla.q_rank * self.element_bytes),
            ]
        operators += [
            Product("query", ATTENTION, self._linear(heads * wide, mla.q_rank or model.hidden)),
            Product("key-value latent", ATTENTION, self._linear(latent, model.hidden)),
            Elementwise("rotary and cache", ATTENTION, 3 * turned, 2 * turned * self.element_bytes),
        ]
        if rebuilds:
            operators += [
                Product("keys and values", ATTENTION, self._linear(heads * (mla.nope + mla.value), mla.kv_rank)),
                Product("scores", ATTENTION, Gemm(batch * heads, self.tokens, self.context, wide, dtype)),
                self._softmax(),
                Product("values", ATTENTION, Gemm(batch * heads, self.tokens, mla.value, self.context, dtype)),
            ]
        else:
            together = self.tokens * heads
            operators += [
                Product("query into latent", ATTENTION, Gemm(heads, rows, mla.kv_rank, mla.nope, dtype)),
                Product("scores", ATTENTION, Gemm(batch, together, self.context, latent, dtype)),
                self._softmax(),
                Product("values", ATTENTION, Gemm(batch, together, mla.kv_rank, self.context, dtype)),
                Product("latent into values", ATTENTION, Gemm(heads, rows, mla.value, mla.kv_rank, dtype)),
            ]
        operators.append(Product("output", ATTENTION, self._linear(model.hidden, heads * mla.value)))
        return operators

    def _softmax(self) -> Elementwise:
        scores = self.layout.batch * self.layout.heads * self.tokens * self.context
        return Elementwise("softmax", ATTENTION, 5 * scores, 2 * scores * self.element_bytes)

    # -- feed-forward

    def _dense(self, whole: int, own: int, prefix: str = "") -> list[Operator]:
        """The feed-forward block of width `whole`, of which this device has `own` columns, and its all-reduce."""
        operators = self._two_products(self.rows, own, prefix)
        if own != whole:
            operators += self._all_reduce("feed-forward all-reduce", FEED_FORWARD, divisible=True)
        return operators

    def _two_products(self, rows: int, width: int, prefix: str = "", each: int = 1) -> list[Operator]:
        """Into the block's width, the activation, and back; `each` times, for as many experts."""
        columns = width * (2 if self.model.gated else 1)
        into = "gate and up" if self.model.gated else "up"
        elements = each * rows * width
        moved = (columns // width + 1) * elements * self.element_bytes
        return [
            Product(prefix + into, FEED_FORWARD, Gemm(each, rows, columns, self.model.hidden, self.dtype)),
            Elementwise(f"{prefix}activation", FEED_FORWARD, 5 * elements, moved),
            Product(f"{prefix}down", FEED_FORWARD, Gemm(each, rows, self.model.hidden, width, self.dtype)),
        ]

    def _experts(self) -> list[Operator]:
        """Router, dispatch, this device's experts with their rows, combination, and the shared experts.

        Where experts lie across replicas, rows go there and back by all-to-all, each tensor rank taking its part, and
        are gathered again; where they lie across tensor ranks, each has all rows and the sums meet in the all-reduce.
        """
        model, layout = self.model, self.layout
        moe = model.moe
        assert moe is not None
        rows, size = self.rows, self.element_bytes
        assigned = rows * layout.expert_replicas * moe.top_k
        touched = min(moe.experts, assigned)
        own = min(layout.experts, -(-touched * layout.experts // moe.experts))
        across = bool(layout.expert_group)
        tensor = model.heads // layout.heads
        moved = -(-rows // tensor) * moe.top_k * model.hidden * size
        exchange = partial(all_to_all_s, layout.expert_group)
        operators: list[Operator] = [
            Product("router", FEED_FORWARD, self._linear(moe.experts, model.hidden)),
            Elementwise("top k", FEED_FORWARD, 4 * rows * moe.experts, rows * moe.experts * size),
        ]
        if across:
            operators.append(Collective("expert dispatch", FEED_FORWARD, moved, exchange))
        width = moe.intermediate // layout.expert_tensor
        operators += self._two_products(-(-assigned // touched), width, "expert ", own)
        if across:
            operators.append(Collective("expert combine", FEED_FORWARD, moved, exchange))
        combined = rows * moe.top_k * model.hidden
        operators.append(
            Elementwise("weighted sum", FEED_FORWARD, 2 * combined, (combined + rows * model.hidden) * size)
        )
        if across and layout.tensor_group:
            gather = partial(all_gather_s, layout.tensor_group)
            operators.append(Collective("expert all-gather", FEED_FORWARD, self.stream_bytes, gather))
        if moe.shared:
            operators += self._two_products(rows, max(1, moe.shared * moe.intermediate // tensor), "shared ")
        operators += self._all_reduce("feed-forward all-reduce", FEED_FORWARD, divisible=bool(moe.shared))
        return operators

    # -- small ones

    def _linear(self, columns: int, depth: int) -> Gemm:
        return Gemm(1, self.rows, columns, depth, self.dtype)

    def _norm(self, name: str, block: str) -> Elementwise:
        return Elementwise(name, block, 4 * self.rows * self.model.hidden, 2 * self.stream_bytes)

    def _add(self, name: str, block: str) -> Elementwise:
        return Elementwise(name, block, self.rows * self.model.hidden, 3 * self.stream_bytes)

    def _all_reduce(self, name: str, block: str, *, divisible: bool) -> list[Operator]:
        if not self.layout.tensor_group:
            return []
        reduce = partial(all_reduce_s, self.layout.tensor_group)
        return [Collective(name, block, self.stream_bytes, reduce, divisible)]
