"""The load client: so many requests at once, or at the times of a Poisson process, and when each token came back.

Closed loop: the next request begins when one ends. Open loop: requests begin when they were meant to, however slow the
server is, and latency counts from then; a client that waits for answers first would leave out the worst times
(coordinated omission). On the standard library alone, in the thread that calls it, and cheap: its own CPU time is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Iterator
from itertools import accumulate
from time import perf_counter, thread_time
from typing import Any

from perfguard.errors import EndpointError
from perfguard.ladder.answer import Answer
from perfguard.ladder.endpoint import Endpoint
from perfguard.ladder.http import Connection, HttpError
from perfguard.ladder.model import Load, RequestTimes, StageRun

CONNECT_TIMEOUT_S = 10.0
MOST_CONNECTIONS = 512
WATCH_EVERY_S = 1.0
SAY_EVERY_S = 5.0


def run_load(endpoint: Endpoint, load: Load, say: Callable[[str], None] = lambda _: None) -> StageRun:
    """Put a load on a server. The wall begins with the first request, connections are made before.

    In a closed loop the first request that fails ends the load; in an open one, those that a full server turns away are
    counted. Raises `EndpointError` that says which request failed and how.
    """
    return asyncio.run(drive(endpoint, load, say))


async def drive(endpoint: Endpoint, load: Load, say: Callable[[str], None] = lambda _: None) -> StageRun:
    """The same, on a running event loop that has nothing else to do."""
    async with contextlib.AsyncExitStack() as stack:
        client = _Client(endpoint, load, say)
        stack.push_async_callback(client.close)
        return await client.run()


def arrivals_s(load: Load) -> list[float]:
    """Seconds after the beginning at which each request is meant to begin: a Poisson process of `load.rate_per_s`."""
    rng = random.Random(f"{load.seed}/arrivals")
    gaps_s = (rng.expovariate(load.rate_per_s or 1.0) for _ in range(load.requests))
    return list(accumulate(gaps_s))


async def connect(endpoint: Endpoint) -> Connection:
    """A connection to the server. Raises `EndpointError` where there is none to be had."""
    loop = asyncio.get_running_loop()
    opening = loop.create_connection(Connection, endpoint.host, endpoint.port, ssl=endpoint.tls_context())
    try:
        _, connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
    except asyncio.TimeoutError:
        problem, advice = (
            f"no connection within {CONNECT_TIMEOUT_S:g} s",
            "is the address right, a firewall in between?",
        )
    except ConnectionRefusedError:
        problem, advice = "connection refused", "start the server, or correct host and port"
    except OSError as error:  # certificates and names that do not resolve among them
        problem, advice = str(error) or type(error).__name__, "is the address right?"
    else:
        return connection
    raise EndpointError(endpoint.origin, problem, advice)


class _Client:
    """One load under way."""

    def __init__(self, endpoint: Endpoint, load: Load, say: Callable[[str], None]) -> None:
        self.endpoint, self.load, self.say = endpoint, load, say
        self.posts = [endpoint.post(load, index) for index in range(load.requests)]
        self.idle: list[Connection] = []
        self.busy: set[Connection] = set()
        self.times: list[RequestTimes] = []
        self.tokens = 0
        self.refused = 0
        self.room = asyncio.Semaphore(MOST_CONNECTIONS)
        self.tasks: list[asyncio.Task[None]] = []

    async def run(self) -> StageRun:
        concurrency = min(self.load.concurrency, self.load.requests, MOST_CONNECTIONS)
        self.idle = list(await asyncio.gather(*(connect(self.endpoint) for _ in range(concurrency))))
        cpu_s, begin_s = thread_time(), perf_counter()
        self._start(self._watch())
        if self.load.rate_per_s is None:
            indices = iter(range(self.load.requests))
            work = [self._start(self._worker(indices)) for _ in range(concurrency)]
        else:
            work = [self._start(self._arrival(i, begin_s + s)) for i, s in enumerate(arrivals_s(self.load))]
        try:
            await asyncio.wait_for(asyncio.gather(*work), self.endpoint.limit_s)
        except asyncio.TimeoutError:
            raise self._failure(
                f"{len(self.times)} of {self.load.requests} requests done after {self.endpoint.limit_s:g} s",
                "ask for fewer requests or tokens, or give it more time",
            ) from None
        cpu_s = thread_time() - cpu_s
        wall_s = max((times.token_s[-1] for times in self.times), default=perf_counter()) - begin_s
        return StageRun(wall_s, self.tokens, tuple(self.times), client_cpu_s=cpu_s, refused=self.refused)

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for connection in [*self.idle, *self.busy]:
            connection.abort("the load has ended")
        await asyncio.sleep(0)  # transports close in the loop's next turn

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def _worker(self, indices: Iterator[int]) -> None:
        for index in indices:
            await self._request(index, None)

    async def _arrival(self, index: int, intended_s: float) -> None:
        await asyncio.sleep(max(0.0, intended_s - perf_counter()))
        async with self.room:
            await self._request(index, intended_s)

    async def _request(self, index: int, intended_s: float | None) -> None:
        answer, begin_s = await self._ask(index)
        problem = answer.problem()
        if not problem:
            self.times.append(answer.times(begin_s if intended_s is None else intended_s, begin_s))
            self.tokens += answer.tokens
        elif answer.refused and intended_s is not None:
            self.refused += 1
        else:
            raise self._failure(f"request {index + 1} of {self.load.requests}: {problem}", advice_on(answer))

    async def _ask(self, index: int) -> tuple[Answer, float]:
        """The answer to a request, and when that began. A connection that the server closed while idle is replaced."""
        while True:
            connection = self._take() or await connect(self.endpoint)
            answer = Answer(self.load.new_tokens)
            self.busy.add(connection)
            begin_s = perf_counter()
            try:
                await connection.ask(self.posts[index], answer.head, answer.body)
            except HttpError as error:
                if connection.answers and not error.received:
                    continue
                problem = answer.broken(str(error))
                raise self._failure(f"request {index + 1} of {self.load.requests}: {problem}", "") from None
            finally:
                self.busy.discard(connection)
            if connection.open:
                self.idle.append(connection)
            return answer, begin_s

    def _take(self) -> Connection | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.open:
                return connection
        return None

    async def _watch(self) -> None:
        """Give up connections on which nothing comes any more, and say how far the load is."""
        timeout_s, said_s = self.endpoint.timeout_s, perf_counter()
        while True:
            await asyncio.sleep(min(WATCH_EVERY_S, timeout_s / 4))
            now_s = perf_counter()
            for connection in [each for each in self.busy if now_s - each.last_s > timeout_s]:
                connection.abort(f"nothing arrived for {timeout_s:g} s")
            if now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                self.say(f"{len(self.times)} of {self.load.requests} requests done, {len(self.busy)} under way")

    def _failure(self, problem: str, advice: str) -> EndpointError:
        return EndpointError(self.endpoint.url, problem, advice)


def advice_on(answer: Answer) -> str:
    """What to do about an answer that is none."""
    if answer.refused:
        wait = f" (it asks to wait {answer.retry_after} s)" if answer.retry_after else ""
        return f"the server is full{wait}: lower the concurrency, or raise its queue"
    return {
        401: "give the server's key",
        403: "give the server's key",
        404: "is the model's name right, the path, the API (completions or chat)?",
        413: "ask for a shorter prompt",
    }.get(answer.status, "")
