"""The phase recorder: what `with perfguard.phase("name")` writes to, at well under a microsecond each.

A phase adds its time to a node of a tree (one node per path), so a million phases take no memory; the
intervals of the first few thousand are kept besides, for waterfalls. The current node travels in a context
variable, which makes nesting right for asyncio tasks. A thread that was not started by the measured call
has no current node: its phases go to a lane of its own, drawn in the waterfall and left out of the account.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

if TYPE_CHECKING:
    from typing_extensions import Self

F = TypeVar("F", bound=Callable[..., Any])

MAIN_LANE = ""
MAX_SPANS = 4096  # kept per round: a waterfall of more cannot be read


class Span(NamedTuple):
    """One interval on the clock of this host, in nanoseconds. `lane` is "" on the measured thread."""

    path: str
    lane: str
    start_ns: int
    end_ns: int


RawSpan = tuple[str, str, int, int]  # a Span before anyone reads it: a plain tuple is built in a quarter of the time


class Node:
    """One phase path's running totals; nothing is locked, since a lane belongs to one thread."""

    __slots__ = ("children", "count", "lane", "path", "spans", "total_ns")

    def __init__(self, path: str, lane: str, spans: list[RawSpan]) -> None:
        self.path = path
        self.lane = lane
        self.spans = spans
        self.children: dict[str, Node] = {}
        self.total_ns = 0
        self.count = 0

    def child(self, name: str) -> Node:
        """The node of a phase below this one."""
        found = self.children.get(name)
        if found is None:
            path = f"{self.path}/{name}" if self.path else name
            found = self.children[name] = Node(path, self.lane, self.spans)
        return found

    def add(self, start_ns: int, end_ns: int) -> None:
        """Count one interval."""
        self.total_ns += end_ns - start_ns
        self.count += 1
        if len(self.spans) < MAX_SPANS:
            self.spans.append((self.path, self.lane, start_ns, end_ns))


class RoundPhases(NamedTuple):
    """What the phases of one round came to: per path (total_ns, self_ns, count); and its spans."""

    totals: dict[str, tuple[int, int, int]]
    spans: list[Span]
    overlapping: bool


class Recorder:
    """Collects the phases of one case, round by round."""

    def __init__(self) -> None:
        self._spans: list[RawSpan] = []
        self._root = Node("", MAIN_LANE, self._spans)
        self._lanes: dict[int, Node] = {}
        self._lock = threading.Lock()

    def lane_root(self) -> Node:
        """The root of the calling thread's lane."""
        ident = threading.get_ident()
        found = self._lanes.get(ident)
        if found is None:
            with self._lock:
                found = self._lanes.setdefault(ident, Node("", threading.current_thread().name, self._spans))
        return found

    @property
    def root(self) -> Node:
        """The node that stands for the measured call itself."""
        return self._root

    def take_round(self) -> RoundPhases:
        """The totals since the last call, and zero them. Lanes other than the main one give spans only."""
        totals: dict[str, tuple[int, int, int]] = {}
        overlapping = False
        stack = list(self._root.children.values())
        while stack:
            node = stack.pop()
            inner = sum(child.total_ns for child in node.children.values())
            own = node.total_ns - inner
            if node.count or inner:
                overlapping = overlapping or own < 0
                totals[node.path] = (node.total_ns, own, node.count)
            stack.extend(node.children.values())
        for node in _walk(self._root):
            node.total_ns = node.count = 0
        for lane in list(self._lanes.values()):
            for node in _walk(lane):
                node.total_ns = node.count = 0
        spans = [Span(*raw) for raw in self._spans]
        self._spans.clear()
        return RoundPhases(totals, spans, overlapping)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in list(node.children.values()):
        yield from _walk(child)


_current: ContextVar[Node | None] = ContextVar("perfguard_phase", default=None)
_active: Recorder | None = None


@contextlib.contextmanager
def recording(recorder: Recorder) -> Iterator[Recorder]:
    """Send the phases of this thread, and of threads and tasks it starts, to `recorder`."""
    global _active  # noqa: PLW0603 - one case is measured at a time, and other threads must find its recorder
    token = _current.set(recorder.root)
    before, _active = _active, recorder
    try:
        yield recorder
    finally:
        _active = before
        _current.reset(token)


class phase:  # noqa: N801 - used as a statement: `with phase("serialize"):`
    """A named span of time: `with phase("serialize", bytes=n):`, or as a decorator, sync or async.

    Nested phases form paths such as `rpc/serialize`. Outside a measurement it costs two look-ups and does
    nothing. `attributes` are for the reader of the code and of a single recorded span; they are not summed.
    """

    __slots__ = ("_node", "_parent", "_start", "attributes", "name")

    def __init__(self, name: str, **attributes: Any) -> None:
        self.name = name
        self.attributes = attributes
        self._node: Node | None = None

    def __enter__(self) -> Self:
        parent = _current.get()
        if parent is None:
            recorder = _active
            if recorder is None:
                self._node = None
                return self
            parent = recorder.lane_root()
        node = parent.children.get(self.name)
        if node is None:
            node = parent.child(self.name)
        self._parent = parent
        self._node = node
        _current.set(node)
        self._start = perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = perf_counter_ns()
        node = self._node
        if node is not None:
            # Node.add, written out: a call would be a tenth of what a phase costs
            start = self._start
            node.total_ns += end - start
            node.count += 1
            if len(node.spans) < MAX_SPANS:
                node.spans.append((node.path, node.lane, start, end))
            parent = self._parent
            # a lane's root is found by thread, so that a thread reused for another case starts afresh
            _current.set(None if parent.lane and not parent.path else parent)

    def __call__(self, fn: F) -> F:
        """Decorate a function, sync or async: each call is one span."""
        name, attributes = self.name, self.attributes
        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def timed_async(*args: Any, **kwargs: Any) -> Any:
                with phase(name, **attributes):
                    return await fn(*args, **kwargs)

            return cast("F", timed_async)

        @functools.wraps(fn)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with phase(name, **attributes):
                return fn(*args, **kwargs)

        return cast("F", timed)


def add_stamps(names: Sequence[str], stamps_ns: Sequence[int]) -> None:
    """Count the contiguous stretches between `stamps_ns` as phases `names`: one stamp more than names.

    The cheap form of `add_span` for a path that was stamped station by station, in several processes of this
    host. Raises ValueError where the stamps are out of causal order or do not fit the names.
    """
    if len(stamps_ns) != len(names) + 1:
        raise ValueError(f"{len(names)} names need {len(names) + 1} stamps, not {len(stamps_ns)}")
    recorder = _active
    node = None if recorder is None else (_current.get() or recorder.lane_root())
    start_ns = stamps_ns[0]
    for name, end_ns in zip(names, stamps_ns[1:], strict=True):
        if end_ns < start_ns:
            raise ValueError(f"span {name!r} ends {start_ns - end_ns} ns before it starts")
        if node is not None:
            node.child(name).add(start_ns, end_ns)
        start_ns = end_ns


def add_span(name: str, start_ns: int, end_ns: int, *, lane: str = MAIN_LANE) -> None:
    """Count an interval that somebody else stamped, on the same clock (`time.perf_counter_ns`, this host).

    Without `lane` it is a phase below the current one: part of the account, so it must lie on the critical
    path and overlap no sibling. With `lane` (another process, a copy engine) it is drawn beside, not summed.
    A span that ends before it starts raises ValueError: the stamps are out of causal order.
    """
    if end_ns < start_ns:
        raise ValueError(f"span {name!r} ends {start_ns - end_ns} ns before it starts")
    current = _current.get()
    recorder = _active
    if recorder is None:
        return
    if lane:
        if len(recorder.root.spans) < MAX_SPANS:
            recorder.root.spans.append((name, lane, start_ns, end_ns))
        return
    (current or recorder.lane_root()).child(name).add(start_ns, end_ns)
