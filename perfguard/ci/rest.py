"""GitHub's REST API: a request, its retries, its pages; and a file that it redirects to.

Sources: GitHub documentation, "REST API endpoints for issue comments", "Using pagination in the REST API", "Rate limits
for the REST API" (403 or 429 with `retry-after`, or `x-ratelimit-remaining: 0`). The token goes to the API only: where
a download is redirected, the other host gets none.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from perfguard.errors import CiError

TIMEOUT_S = 30.0
TRIES = 4
# A rate limit may ask for an hour: a comment is not worth that.
LONGEST_WAIT_S = 60.0
ANSWER_BYTES = 20_000_000
MOST_PAGES = 50
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class RefusedError(CiError):
    """The token may not do this (401, 403), or may not even see it (404)."""


class UnreachableError(CiError):
    """No answer, or only errors of the server, after all tries."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Api:
    """One token at one server. `pause` is what waits between tries."""

    def __init__(self, url: str, token: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._pause = pause
        self._check(self.url)
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, path: str) -> Any:
        """The JSON at a path such as `/repos/o/r/pulls/3`. Raises `RefusedError`, `UnreachableError` or `CiError`."""
        return self._json(self._call("GET", self.url + path), path)

    def pages(self, path: str) -> Iterator[Any]:
        """All items of a list, page by page."""
        url = f"{self.url}{path}{'&' if '?' in path else '?'}per_page=100"
        for _ in range(MOST_PAGES):
            answer = self._call("GET", url)
            items = self._json(answer, path)
            if not isinstance(items, list):
                raise CiError(url, "answered with something that is no list")
            yield from items
            following = _next(answer.headers.get("link", ""))
            if not following:
                return
            if not following.startswith(f"{self.url}/"):
                raise CiError(following, "is the next page of another server")
            url = following

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """POST or PATCH a map and return what comes back. A POST that may have been done is not tried again."""
        return self._json(self._call(method, self.url + path, json.dumps(body).encode()), path)

    def download(self, path: str, most_bytes: int) -> bytes:
        """A file that the API redirects to, at most `most_bytes`. Raises `CiError` if it is larger."""
        answer = self._call("GET", self.url + path)
        if 300 <= answer.status < 400:
            where = answer.headers.get("location", "")
            self._check(where)
            answer = self._call("GET", where, token=False, most_bytes=most_bytes + 1)
        if len(answer.body) > most_bytes:
            raise CiError(path, f"is larger than {most_bytes:,} bytes", "it is not read")
        return answer.body

    def _check(self, url: str) -> None:
        """Only https, but on loopback. Raises `CiError` naming the address."""
        parts = urlsplit(url)
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        ):
            raise CiError(repr(url), "is no https address", "look at GITHUB_API_URL")

    def _call(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        *,
        token: bool = True,
        most_bytes: int = ANSWER_BYTES,
    ) -> _Answer:
        """The answer, once it is no error of the server and no rate limit."""
        problem, wait_s = "", 0.0
        for attempt in range(TRIES):
            if attempt:
                self._pause(wait_s)
            try:
                answer = self._once(method, url, body, token=token, most_bytes=most_bytes)
            except (OSError, http.client.HTTPException) as error:
                problem, wait_s = f"{type(error).__name__}: {error}", float(2**attempt)
                if method == "POST" and not _never_left(error):
                    break
                continue
            limited = _limited_s(answer)
            if answer.status < 500 and limited is None:
                return _accepted(answer, method, url)
            problem = f"answers {answer.status}: {_message(answer)}"
            wait_s = float(2**attempt) if limited is None else limited
            if wait_s > LONGEST_WAIT_S or (method == "POST" and limited is None):
                break
        raise UnreachableError(f"{method} {_shown(url)}", problem, "is the API up? the next run tries again")

    def _once(self, method: str, url: str, body: bytes | None, *, token: bool, most_bytes: int) -> _Answer:
        headers = {"Accept": "application/vnd.github+json", "User-Agent": "perfguard"}
        if token:
            headers |= {"Authorization": f"Bearer {self._token}", "X-GitHub-Api-Version": "2022-11-28"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(url, data=body, headers=headers, method=method)  # noqa: S310 - see _check
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return _Answer(answer.status, _lower(answer.headers), answer.read(most_bytes + 1))
        except urllib.error.HTTPError as error:
            with error:
                return _Answer(error.code, _lower(error.headers), error.read(ANSWER_BYTES))

    def _json(self, answer: _Answer, path: str) -> Any:
        if len(answer.body) > ANSWER_BYTES:
            raise CiError(path, f"answered with more than {ANSWER_BYTES:,} bytes")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise CiError(path, f"answered with something that is no JSON: {error}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: urllib would send the token along."""

    def redirect_request(self, *_: Any) -> None:
        """Never."""
        return


def _accepted(answer: _Answer, method: str, url: str) -> _Answer:
    if answer.status < 400:
        return answer
    told = f"answers {answer.status}: {_message(answer)}"
    if answer.status in (401, 403, 404):
        advice = "a comment needs `permissions: pull-requests: write`; a fork's job has none"
        raise RefusedError(f"{method} {_shown(url)}", told, advice)
    raise CiError(f"{method} {_shown(url)}", told)


def _limited_s(answer: _Answer) -> float | None:
    """The seconds to wait if this is a rate limit, else None."""
    if answer.status not in (403, 429):
        return None
    after, left = answer.headers.get("retry-after", ""), answer.headers.get("x-ratelimit-remaining", "")
    if after.isdecimal():
        return float(after)
    if left == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        return max(0.0, float(reset) - time.time()) if reset.isdecimal() else LONGEST_WAIT_S
    return LONGEST_WAIT_S if answer.status == 429 else None


def _never_left(error: Exception) -> bool:
    """Whether a request cannot have reached the server."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(cause, ConnectionRefusedError)


def _next(link: str) -> str:
    """The address of the next page in a Link header, or ""."""
    match = re.search(r'<([^<>]+)>;\s*rel="next"', link)
    return match[1] if match else ""


def _message(answer: _Answer) -> str:
    """What the API says went wrong, in a line."""
    try:
        told = json.loads(answer.body)
        text = str(told["message"]) if isinstance(told, dict) else str(told)
    except (ValueError, KeyError, RecursionError):
        text = answer.body[:200].decode(errors="replace")
    return " ".join(text.split())[:300] or "nothing"


def _shown(url: str) -> str:
    """An address without its query, which may hold a signature."""
    return url.partition("?")[0]


def _lower(headers: Any) -> dict[str, str]:
    return {str(name).lower(): str(value) for name, value in headers.items()}
