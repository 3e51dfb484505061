"""A pen for stages: notes passes, tokens and calls while a stage runs, and turns them into its `StageRun`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from perfguard.errors import LadderError
from perfguard.ladder.model import KINDS, Forward, RequestTimes, StageRun


class Recording:
    """One run of a stage, noted as it happens; not safe across threads that write at once.

    ```python
    record = Recording()
    with record.forward("decode", rows=8, tokens=8):
        logits = model(ids)
    record.count("ModelExecutor")
    record.token("request 1")
    return record.run()
    ```
    """

    def __init__(self) -> None:
        self.begin_s = perf_counter()
        self._forwards: list[Forward] = []
        self._calls: Counter[str] = Counter()
        self._phases: defaultdict[str, float] = defaultdict(float)
        self._begun: dict[object, tuple[float, float, float]] = {}
        self._tokens: defaultdict[object, list[float]] = defaultdict(list)

    @contextmanager
    def forward(self, kind: str, *, rows: int, tokens: int) -> Iterator[None]:
        """A forward pass of `rows` sequences and `tokens` positions; `kind` is "prefill", "decode" or "mixed"."""
        if kind not in KINDS:
            raise LadderError("recording", f"a pass of kind {kind!r}", f"one of {', '.join(KINDS)}")
        begin_s = perf_counter()
        try:
            yield
        finally:
            self._forwards.append(Forward(begin_s, perf_counter(), rows, tokens, kind))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time of the stage's own, outside passes."""
        begin_s = perf_counter()
        try:
            yield
        finally:
            self._phases[name] += perf_counter() - begin_s

    def count(self, component: str, calls: int = 1) -> None:
        """A component was called."""
        self._calls[component] += calls

    def request(self, request: object, *, intended_s: float | None = None, queue_s: float = 0.0) -> None:
        """A request begins now; it was meant to at `intended_s` and waited `queue_s` in a queue."""
        now_s = perf_counter()
        self._begun[request] = (now_s if intended_s is None else intended_s, now_s, queue_s)

    def token(self, request: object) -> None:
        """A request gets its next token; it begins with the run if nobody said when."""
        self._tokens[request].append(perf_counter())

    def run(self) -> StageRun:
        """The run, which ends now."""
        wall_s = perf_counter() - self.begin_s
        at_once = (self.begin_s, self.begin_s, 0.0)
        requests = [
            RequestTimes(intended_s, begin_s, tuple(self._tokens.get(name, ())), queue_s)
            for name in self._begun | self._tokens
            for intended_s, begin_s, queue_s in [self._begun.get(name, at_once)]
        ]
        return StageRun(
            wall_s,
            sum(len(request.token_s) for request in requests),
            tuple(requests),
            tuple(self._forwards),
            dict(self._calls),
            dict(self._phases),
        )
