"""The load client: so many requests at once, or at the times of a Poisson process, and when each token came back.

Closed loop: the next request begins when one ends. Open loop: requests begin when they were meant to, however slow the
server is, and latency counts from then; a client that waits for answers first would leave out the worst times
(coordinated omission). On the standard library alone, in the thread that calls it, and cheap: its own CPU time is told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import accumulate
from time import perf_counter, thread_time
from typing import Any

from perfguard.errors import EndpointError
from perfguard.ladder.answer import Answer
from perfguard.ladder.endpoint import Endpoint
from perfguard.ladder.http import Connection, HttpError
from perfguard.ladder.model import Load, RequestTimes, StageRun

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
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
    pool = Pool(endpoint)
    client = _Client(pool, load, say)
    try:
        return await client.run()
    finally:
        await client.stop()
        await pool.close()


def arrivals_s(load: Load) -> list[float]:
    """Seconds after the beginning at which each request is meant to begin: a Poisson process of `load.rate_per_s`."""
    rng = random.Random(f"{load.seed}/arrivals")
    gaps_s = (rng.expovariate(load.rate_per_s or 1.0) for _ in range(load.requests))
    return list(accumulate(gaps_s))


class Pool:
    """Connections to one server: reused while they are open, all closed at the end, those half made too."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._tls = endpoint.tls_context()
        self._made: list[Connection] = []
        self._idle: list[Connection] = []

    async def close(self) -> None:
        """Close every connection, and wait until the sockets are."""
        closing = [closed for each in self._made if (closed := each.close()) is not None]
        if closing:
            await asyncio.wait(closing, timeout=CLOSE_TIMEOUT_S)

    @property
    def made(self) -> Sequence[Connection]:
        """All connections so far."""
        return self._made

    async def take(self) -> Connection:
        """An idle connection, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return await self.connect()

    def give(self, connection: Connection) -> None:
        """Keep a connection for whoever asks next."""
        if connection.open:
            self._idle.append(connection)

    async def connect(self) -> Connection:
        """A new connection. Raises `EndpointError` where there is none to be had."""
        to = self.endpoint
        opening = asyncio.get_running_loop().create_connection(self._make, to.host, to.port, ssl=self._tls)
        try:
            _, connection = await asyncio.wait_for(opening, CONNECT_TIMEOUT_S)
        except asyncio.TimeoutError:
            problem, advice = (
                f"no connection within {CONNECT_TIMEOUT_S:g} s",
                "is the address right?",
            )
        except ConnectionRefusedError:
            problem, advice = "connection refused", "start the server, or correct host and port"
        except OSError as error:  # certificates and names that do not resolve among them
            problem, advice = str(error) or type(error).__name__, "is the address right?"
        else:
            return connection
        raise EndpointError(to.origin, problem, advice)

    def _make(self) -> Connection:
        # Kept before it is connected: one that is cancelled half way would otherwise never be closed.
        self._made.append(Connection())
        return self._made[-1]


class _Client:
    """One load under way."""

    def __init__(self, pool: Pool, load: Load, say: Callable[[str], None]) -> None:
        self.pool, self.endpoint, self.load, self.say = pool, pool.endpoint, load, say
        self.posts = [self.endpoint.post(load, index) for index in range(load.requests)]
        self.answers: list[tuple[int, Answer, float, float]] = []  # request, answer, intended and real beginning
        self.refused = 0
        self.room = asyncio.Semaphore(MOST_CONNECTIONS)
        self.tasks: list[asyncio.Task[None]] = []

    async def run(self) -> StageRun:
        concurrency = min(self.load.concurrency, self.load.requests, MOST_CONNECTIONS)
        for connection in await asyncio.gather(*(self.pool.connect() for _ in range(concurrency))):
            self.pool.give(connection)
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
                f"{len(self.answers)} of {self.load.requests} requests done after {self.endpoint.limit_s:g} s",
                "ask for fewer requests or tokens, or give it more time",
            ) from None
        end_s = perf_counter()
        times = tuple(self._read(*each) for each in self.answers)
        cpu_s = thread_time() - cpu_s
        wall_s = max((each.token_s[-1] for each in times), default=end_s) - begin_s
        tokens = sum(answer.tokens for _, answer, _, _ in self.answers)
        return StageRun(wall_s, tokens, times, client_cpu_s=cpu_s, refused=self.refused)

    def _read(self, index: int, answer: Answer, intended_s: float, begin_s: float) -> RequestTimes:
        if problem := answer.problem():
            raise self._failed(index, problem)
        return answer.times(intended_s, begin_s)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

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
        if answer.streams:
            self.answers.append((index, answer, begin_s if intended_s is None else intended_s, begin_s))
        elif answer.refused and intended_s is not None:
            self.refused += 1
        else:
            raise self._failed(index, answer.problem(), advice_on(answer))

    async def _ask(self, index: int) -> tuple[Answer, float]:
        """The answer to a request, and when that began. A connection that the server closed while idle is replaced."""
        while True:
            connection = await self.pool.take()
            answer = Answer(self.load.new_tokens)
            begin_s = perf_counter()
            try:
                await connection.ask(self.posts[index], answer.head, answer.body)
            except HttpError as error:
                if connection.answers and not error.received:
                    continue
                if answer.ended:  # the server closes without the last chunk: rude, and no loss
                    return answer, begin_s
                raise self._failed(index, answer.broken(str(error))) from None
            self.pool.give(connection)
            return answer, begin_s

    async def _watch(self) -> None:
        """Give up connections on which nothing comes any more, and say how far the load is."""
        timeout_s, said_s = self.endpoint.timeout_s, perf_counter()
        while True:
            await asyncio.sleep(min(WATCH_EVERY_S, timeout_s / 4))
            now_s = perf_counter()
            busy = [each for each in self.pool.made if each.waiting]
            for connection in busy:
                connection.digest()  # an end in a form that it does not watch for
            for connection in [each for each in busy if each.waiting and now_s - each.last_s > timeout_s]:
                connection.abort(f"nothing arrived for {timeout_s:g} s")
            if now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                self.say(f"{len(self.answers)} of {self.load.requests} requests done, {len(busy)} under way")

    def _failed(self, index: int, problem: str, advice: str = "") -> EndpointError:
        return self._failure(f"request {index + 1} of {self.load.requests}: {problem}", advice)

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
