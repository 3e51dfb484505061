"""A server on loopback that behaves as the parts of GitHub's REST API do that `perfguard ci comment` uses.

Comments are kept and listed in pages with a Link header, a token may be read-only, artifacts redirect to another host
for their bytes, and answers can be set to fail first. Every request is recorded.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

WRITES, READS = "ghs_writes", "ghs_reads"


@dataclass
class Trouble:
    """An answer to give instead, once: to the next request of a method whose path contains `path`.

    With `done`, a request that writes is carried out before the answer goes wrong.
    """

    method: str
    path: str
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False


@dataclass
class GitHub:
    """What the server holds. `page` is how many comments a page has at most, whatever is asked for."""

    repository: str = "team/thing"
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path with query, authorization
    page: int = 100
    url: str = ""
    store: str = ""

    def comment(self, body: str, kind: str = "Bot", association: str = "NONE") -> dict[str, Any]:
        """Add a comment to pull request 1."""
        made = {
            "id": 1000 + len(self.comments),
            "body": body,
            "user": {"login": "somebody", "type": kind},
            "author_association": association,
        }
        self.comments.append(made)
        return made

    def bodies(self) -> list[str]:
        """The texts of all comments."""
        return [comment["body"] for comment in self.comments]

    def called(self, method: str) -> list[str]:
        """The paths of all requests of that method."""
        return [path.partition("?")[0] for how, path, _ in self.requests if how == method]


@contextmanager
def serving(github: GitHub) -> Iterator[GitHub]:
    """Serve it for the time of the context, and a second host that holds the artifacts' bytes."""
    servers = [_server(github, _Api), _server(github, _Store)]
    github.url, github.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield github
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _server(github: GitHub, handler: type[_Handler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type(handler.__name__, (handler,), {"github": github}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    github: GitHub
    timeout = 30

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def note(self) -> None:
        self.github.requests.append((self.command, self.path, self.headers.get("Authorization", "")))

    def answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Store(_Handler):
    def do_GET(self) -> None:
        self.note()
        name = urlsplit(self.path).path.strip("/")
        self.answer(200, self.github.artifacts[name], {"Content-Type": "application/zip"})


class _Api(_Handler):
    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self.note()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        github = self.github
        trouble = next((t for t in github.troubles if t.method == self.command and t.path in self.path), None)
        if trouble is not None:
            github.troubles.remove(trouble)
            if trouble.done:
                self._do(body)
            self.answer(trouble.status, {"message": "as the test wants it"}, trouble.headers)
            return
        self.answer(*self._do(body))

    def _do(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        github, parts = self.github, urlsplit(self.path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in (WRITES, READS):
            return 401, {"message": "Bad credentials"}, {}
        if self.command != "GET" and token != WRITES:
            return 403, {"message": "Resource not accessible by integration"}, {}
        path = parts.path.removeprefix(f"/repos/{github.repository}")
        if match := re.fullmatch(r"/issues/(\d+)/comments", path):
            return self._post(body) if self.command == "POST" else self._list(int(match[1]), parse_qs(parts.query))
        if (match := re.fullmatch(r"/issues/comments/(\d+)", path)) and self.command == "PATCH":
            comment = next(each for each in github.comments if each["id"] == int(match[1]))
            comment["body"] = json.loads(body)["body"]
            return 200, comment, {}
        if (match := re.fullmatch(r"/pulls/(\d+)", path)) and int(match[1]) in github.pulls:
            return 200, github.pulls[int(match[1])], {}
        return self._artifacts(path, parse_qs(parts.query))

    def _artifacts(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        github = self.github
        if re.fullmatch(r"/actions/runs/\d+/artifacts", path):
            wanted = query.get("name", [""])[0]
            listed = [
                {"id": place, "name": name, "size_in_bytes": len(data), "expired": False}
                for place, (name, data) in enumerate(github.artifacts.items(), 1)
                if name == wanted
            ]
            return 200, {"total_count": len(listed), "artifacts": listed}, {}
        if match := re.fullmatch(r"/actions/artifacts/(\d+)/zip", path):
            name = list(github.artifacts)[int(match[1]) - 1]
            return 302, b"", {"Location": f"{github.store}/{name}?signature=x"}
        return 404, {"message": "Not Found"}, {}

    def _post(self, body: bytes) -> tuple[int, Any, dict[str, str]]:
        text = json.loads(body)["body"]
        if len(text) > 65_536:
            return 422, {"message": "Validation Failed"}, {}
        return 201, self.github.comment(text), {}

    def _list(self, number: int, query: dict[str, list[str]]) -> tuple[int, Any, dict[str, str]]:
        github, page = self.github, int(query.get("page", ["1"])[0])
        size = min(github.page, int(query.get("per_page", ["30"])[0]))
        listed = github.comments[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(github.comments):
            base = f"{github.url}/repos/{github.repository}/issues/{number}/comments?per_page={size}"
            headers["Link"] = f'<{base}&page={page + 1}>; rel="next", <{base}&page=9>; rel="last"'
        return 200, listed, headers
