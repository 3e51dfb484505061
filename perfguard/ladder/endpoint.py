"""Which server is measured, and how it is asked: address, model, kind of completion, the request's bytes."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from perfguard.errors import EndpointError
from perfguard.ladder.model import Load

Api = Literal["completions", "chat"]
Prompt = Callable[[Load, int], "str | list[int]"]
PATHS: Mapping[Api, str] = {"completions": "/completions", "chat": "/chat/completions"}
# Beyond OpenAI's own; a server that refuses unknown fields is asked without (`perfguard.ladder.probe`).
EXTRAS: Mapping[str, Any] = {"ignore_eos": True, "stream_options": {"include_usage": True}}
# Short and common: one token each for most tokenizers. The server's own count is what is reported.
_WORDS = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An OpenAI-compatible server. `base`: the path in front of `/completions`, most often `/v1`.

    `extras`: fields of the request beyond model, prompt, max_tokens, stream and temperature. `timeout_s`: how long
    nothing may arrive; `limit_s`: how long a whole load may take.
    """

    host: str
    port: int
    model: str = ""
    base: str = "/v1"
    api: Api = "completions"
    tls: bool = False
    key: str = field(default="", repr=False)
    extras: Mapping[str, Any] = field(default_factory=lambda: dict(EXTRAS))
    prompt: Prompt | None = None
    timeout_s: float = 60.0
    limit_s: float = 600.0

    @property
    def url(self) -> str:
        """What requests are sent to, for people."""
        return f"{self.origin}{self.base}{PATHS[self.api]}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext | None:
        """How to verify the server, None for plain HTTP."""
        return ssl.create_default_context() if self.tls else None

    def post(self, load: Load, index: int) -> bytes:
        """The bytes of request `index` of a load."""
        prompt = (self.prompt or words_prompt)(load, index)
        asked: dict[str, Any] = {"model": self.model}
        asked |= {"messages": [{"role": "user", "content": prompt}]} if self.api == "chat" else {"prompt": prompt}
        asked |= {"max_tokens": load.new_tokens, "stream": True, "temperature": 0, **self.extras}
        body = json.dumps(asked).encode()
        return self._head("POST", self.base + PATHS[self.api], len(body)) + body

    def get(self, path: str) -> bytes:
        """The bytes of a GET below `base`."""
        return self._head("GET", self.base + path, None)

    def _head(self, verb: str, path: str, length: int | None) -> bytes:
        lines = [f"{verb} {path} HTTP/1.1", f"Host: {self.origin.partition('://')[2]}", "User-Agent: perfguard"]
        lines += [f"Authorization: Bearer {self.key}"] if self.key else []
        lines += [] if length is None else ["Content-Type: application/json", f"Content-Length: {length}"]
        lines += ["Accept: text/event-stream, application/json", "", ""]
        return "\r\n".join(lines).encode("latin-1")


def parse_endpoint(url: str, **options: Any) -> Endpoint:
    """The endpoint of a URL: `http://host:port`, with `/v1` or another base path, or the whole path of a completion.

    `options` are fields of `Endpoint`. Raises `EndpointError` on what is no such URL.
    """
    parts = urlsplit(url)
    advice = "write http://HOST:PORT or http://HOST:PORT/v1"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise EndpointError(f"endpoint {url}", "is no http or https URL", advice)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise EndpointError(f"endpoint {parts.hostname}", "has a user, a query or a fragment", advice)
    if any(character in url for character in "\r\n \t"):
        raise EndpointError(f"endpoint {url!r}", "contains white space", advice)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise EndpointError(f"endpoint {url}", "has no valid port", advice) from None
    base = parts.path.rstrip("/")
    for api, path in sorted(PATHS.items(), key=lambda item: -len(item[1])):
        if base.endswith(path):
            base, options = base.removesuffix(path), options | {"api": api}
            break
    found = Endpoint(parts.hostname, port, base=base or "/v1", tls=parts.scheme == "https")
    return replace(found, **options)


def prompts_of(words: int) -> Prompt:
    """Prompts of so many words, whatever the load says."""
    return lambda load, index: words_prompt(replace(load, prompt_tokens=words), index)


def words_prompt(load: Load, index: int) -> str:
    """`prompt_tokens` common words, different from the first on for each request, so that no prefix cache helps."""
    rng = random.Random(f"{load.seed}/{index}")
    return " ".join(rng.choices(_WORDS.split(), k=load.prompt_tokens))
