"""One request on its way through the stack: what was asked, what there is of it, and when it came."""

from __future__ import annotations

import numpy as np

from perfguard_suites.staged_throughput.sampling import SamplingParameters


class Sequence:
    """`prompt` and `tokens` so far. `slot`: its id in the backend, -1 without one.

    `finish`: why it ended (`stop`, `length`, `cancelled`, `error`), empty while it has not. `client`: for whom, so that
    clients take turns. Times are `perf_counter` seconds.
    """

    __slots__ = (
        "admitted_s", "arrived_s", "client", "error", "finish", "name", "prompt", "rng", "sampling", "slot", "tokens",
    )  # fmt: skip

    def __init__(
        self, name: str, prompt: list[int], sampling: SamplingParameters, *, client: str = "", arrived_s: float = 0.0
    ) -> None:
        self.name = name
        self.prompt = prompt
        self.sampling = sampling
        self.client = client
        self.tokens: list[int] = []
        self.slot = -1
        self.finish = ""
        self.error: Exception | None = None
        self.arrived_s = arrived_s
        self.admitted_s = 0.0
        self.rng = np.random.default_rng(sampling.seed) if sampling.temperature > 0 else None

    @property
    def computed(self) -> int:
        """Tokens whose keys and values are in the cache: all but the newest."""
        tokens = self.tokens
        return len(self.prompt) + len(tokens) - 1 if tokens else 0

    @property
    def cells(self) -> int:
        """Cells of the KV cache that it may need: its last token is never computed."""
        return len(self.prompt) + self.sampling.max_tokens - 1
