"""First contact with a server: whether it is there, knows the model, streams, and what it takes and counts."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, replace

import psutil

from perfguard.errors import EndpointError
from perfguard.ladder.answer import Answer
from perfguard.ladder.client import Pool, advice_on
from perfguard.ladder.endpoint import Endpoint, prompts_of
from perfguard.ladder.http import HttpError
from perfguard.ladder.model import Load

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
PROBE_TOKENS = 4
FEW_WORDS, MORE_WORDS = 2, 6
UNKNOWN_FIELD = (400, 422)


@dataclass(frozen=True, slots=True)
class Facts:
    """`endpoint`: as it must be asked. `prompt_tokens`: of a prompt of this load as the server counts, 0: it does not.

    `counts`: whether it reports how many tokens it generated; else events that carry text are counted.
    `server_pids`: processes that listen there, empty for another host's or user's. `notes`: what had to be given up.
    """

    endpoint: Endpoint
    prompt_tokens: int
    counts: bool
    server_pids: tuple[int, ...]
    notes: tuple[str, ...]


def probe(endpoint: Endpoint, load: Load) -> Facts:
    """Ask the server for its models and for one short stream. Raises `EndpointError` that says what is wrong."""
    return asyncio.run(_probe(endpoint, load))


async def _probe(endpoint: Endpoint, load: Load) -> Facts:
    endpoint, notes, answer = await _with_fields(await _with_model(endpoint), load)
    if endpoint.prompt is None and answer.prompt_tokens:
        endpoint = replace(endpoint, prompt=prompts_of(await _words_for(endpoint, load.prompt_tokens)))
        answer = await _stream(endpoint, load)
    pids = listening_pids(endpoint)
    return Facts(endpoint, answer.prompt_tokens, answer.completion_tokens > 0, pids, tuple(notes))


async def _with_fields(endpoint: Endpoint, load: Load) -> tuple[Endpoint, list[str], Answer]:
    """The endpoint with the extra fields that the server takes, what was left out, and an answer to a short prompt."""
    notes: list[str] = []
    while True:
        answer = await _once(endpoint, _short(endpoint, load, FEW_WORDS))
        if answer.status not in UNKNOWN_FIELD or not endpoint.extras:
            break
        field = _refused_field(answer.said(), list(endpoint.extras))
        notes.append(f"the server refuses {field}: {answer.said()[:120]}")
        endpoint = replace(endpoint, extras={k: v for k, v in endpoint.extras.items() if k != field})
    return endpoint, notes, _checked(endpoint, answer)


async def _words_for(endpoint: Endpoint, tokens: int) -> int:
    """How many words make a prompt of about so many tokens, by the server's own count of two short prompts."""
    few = (await _stream(endpoint, Load(prompt_tokens=FEW_WORDS, new_tokens=1))).prompt_tokens
    more = (await _stream(endpoint, Load(prompt_tokens=MORE_WORDS, new_tokens=1))).prompt_tokens
    per_word = (more - few) / (MORE_WORDS - FEW_WORDS)
    if per_word <= 0:
        return tokens
    return max(1, round((tokens - (few - FEW_WORDS * per_word)) / per_word))


async def _stream(endpoint: Endpoint, load: Load) -> Answer:
    return _checked(endpoint, await _once(endpoint, _short(endpoint, load, load.prompt_tokens)))


def _short(endpoint: Endpoint, load: Load, words: int) -> bytes:
    """A request like the load's that generates next to nothing."""
    return endpoint.post(replace(load, prompt_tokens=words, new_tokens=min(PROBE_TOKENS, load.new_tokens)), 0)


def _checked(endpoint: Endpoint, answer: Answer) -> Answer:
    if problem := answer.problem():
        raise EndpointError(endpoint.url, problem, advice_on(answer))
    return answer


def _refused_field(said: str, extras: list[str]) -> str:
    """Which extra field an error message is about: the one it names, or else the least usual one left."""
    return next((name for name in extras if name in said), extras[0])


async def _with_model(endpoint: Endpoint) -> Endpoint:
    """The endpoint with a model that the server has; as it is where the server lists none."""
    answer = await _once(endpoint, endpoint.get("/models"))
    names: list[str] = []
    if answer.status == 200:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            names = [str(each["id"]) for each in json.loads(answer.text)["data"]]
    if answer.status in {401, 403}:
        raise EndpointError(endpoint.origin, answer.problem(), advice_on(answer))
    if endpoint.model:
        if names and endpoint.model not in names:
            known = ", ".join(names[:10])
            raise EndpointError(f"model {endpoint.model}", f"{endpoint.origin} does not have it", f"it has {known}")
        return endpoint
    if len(names) != 1:
        told = f"it has {', '.join(names[:10])}" if names else "it does not list its models"
        raise EndpointError(endpoint.origin, f"which model? {told}", "give --model")
    return replace(endpoint, model=names[0])


async def _once(endpoint: Endpoint, request: bytes) -> Answer:
    answer, pool = Answer(PROBE_TOKENS), Pool(endpoint)
    try:
        connection = await pool.connect()
        await asyncio.wait_for(connection.ask(request, answer.head, answer.body), endpoint.timeout_s)
    except HttpError as error:
        advice = "" if answer.status else "does an HTTP server listen there, and is it up?"
        raise EndpointError(endpoint.origin, answer.broken(str(error)), advice) from None
    except asyncio.TimeoutError:
        raise EndpointError(endpoint.origin, f"no whole answer within {endpoint.timeout_s:g} s", "") from None
    finally:
        await pool.close()
    return answer


def listening_pids(endpoint: Endpoint) -> tuple[int, ...]:
    """Processes of this host that listen on the endpoint's port, as far as this user may see them."""
    if endpoint.host not in LOOPBACK:
        return ()
    with contextlib.suppress(psutil.Error, OSError):
        found = {
            connection.pid
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == endpoint.port
        }
        return tuple(sorted(pid for pid in found if pid is not None))
    return ()
