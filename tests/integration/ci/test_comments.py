"""Claims about comments over the REST API, against a server on loopback that answers as GitHub does."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from github_server import READS, WRITES, GitHub, Trouble, serving
from made_reports import hostile, story

from perfguard import document
from perfguard.ci import artifact, message
from perfguard.ci.artifact import Outcome
from perfguard.ci.comment import comment, upsert
from perfguard.ci.rest import Api, RefusedError, UnreachableError
from perfguard.errors import CiError, DocumentError, OptionError

HEAD = "a" * 40
OUTCOME = Outcome("slower", 1, HEAD, "main", pull_request=1)


@pytest.fixture
def github() -> Iterator[GitHub]:
    pulls = {1: {"head": {"sha": HEAD, "repo": {"full_name": "stranger/thing"}}}}
    with serving(GitHub(pulls=pulls)) as made:
        yield made


class Pauses(list[float]):
    """Takes the place of sleeping: what would have been waited for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def post(github: GitHub, pauses: Pauses | None = None, token: str = WRITES) -> str:
    api = Api(github.url, token, Pauses() if pauses is None else pauses)
    return upsert(api, github.repository, 1, "perfguard", OUTCOME, story().run).said


def test_one_comment_is_updated_in_place_however_many_pages_there_are(github: GitHub) -> None:
    """Ours is on the third page; what others wrote stays, also a stranger's with our marker, and another gate's."""
    github.page = 2
    mark = message.marker("perfguard")
    others = [f"{mark}\na stranger's", "LGTM", message.marker("perfguard-3.12"), f"I quote {mark}"]
    for text in others:
        github.comment(text, kind="User")
    assert post(github) == "commented on #1"
    assert post(github) == "updated the comment on #1"
    assert github.bodies()[:4] == others
    assert len(github.comments) == 5
    assert github.called("PATCH") == ["/repos/team/thing/issues/comments/1004"]


def test_a_person_of_the_project_may_have_posted_it(github: GitHub) -> None:
    """Where the token is a member's and no bot's, their comment is updated."""
    github.comment(message.marker("perfguard"), kind="User", association="MEMBER")
    assert post(github) == "updated the comment on #1"


def test_what_passes_is_tried_again_and_waits_as_it_was_told(github: GitHub) -> None:
    """A 500, a rate limit by header and one by remaining calls: each once, then it works."""
    github.troubles += [
        Trouble("GET", "comments", 500),
        Trouble("GET", "comments", 403, {"Retry-After": "7"}),
        Trouble("POST", "comments", 429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}),
    ]
    pauses = Pauses()
    assert post(github, pauses) == "commented on #1"
    assert pauses == [1.0, 7.0, 0.0]


def test_a_comment_whose_answer_was_lost_is_not_written_twice(github: GitHub) -> None:
    """The server wrote it and answered 502: it is found and updated. Where it was not written, it is written."""
    github.troubles.append(Trouble("POST", "comments", 502, done=True))
    assert post(github) == "updated the comment on #1"
    assert len(github.comments) == 1
    github.comments.clear()
    github.troubles.append(Trouble("POST", "comments", 502))
    assert post(github) == "commented on #1"
    assert len(github.comments) == 1


def test_what_does_not_pass_is_told(github: GitHub) -> None:
    """A read-only token, a rate limit of an hour, a server that stays down, one that is not there."""
    with pytest.raises(RefusedError, match=r"403: Resource not accessible.*pull-requests: write"):
        post(github, token=READS)
    pauses = Pauses()
    github.troubles.append(Trouble("GET", "comments", 429, {"Retry-After": "3600"}))
    with pytest.raises(UnreachableError, match="429"):
        post(github, pauses)
    assert pauses == []
    github.troubles += [Trouble("GET", "comments", 503)] * 4
    with pytest.raises(UnreachableError, match="503: as the test wants it"):
        post(github, pauses)
    assert pauses == [1.0, 2.0, 4.0]
    with pytest.raises(UnreachableError, match="Connection refused"):
        Api("http://127.0.0.1:9", WRITES, Pauses()).get("/repos")
    with pytest.raises(CiError, match="no https address"):
        Api("http://api.github.example", WRITES)


def packed(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.json", content)
    return data.getvalue()


def left(github: GitHub, tmp_path: Path, data: bytes, **changes: Any) -> dict[str, str]:
    """The environment of a workflow_run job after a fork's run left `data` as its artifact."""
    github.artifacts["perfguard"] = data
    run = {"id": 5, "event": "pull_request", "head_sha": HEAD, "head_repository": {"full_name": "stranger/thing"}}
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"workflow_run": {**run, **changes}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_EVENT_NAME": "workflow_run",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_REPOSITORY": "team/thing",
        "GITHUB_API_URL": github.url,
        "GITHUB_TOKEN": WRITES,
    }


MANIFEST = artifact.as_text(OUTCOME).encode()
DOCUMENT = json.dumps(document.to_json(story().run)).encode()


def test_a_stranger_s_names_are_posted_as_text(github: GitHub, tmp_path: Path) -> None:
    """Every name, note and unit of the document is hostile: no tag, link, image, mention or heading gets through."""
    run = json.dumps(document.to_json(hostile())).encode()
    comment("perfguard", Path("nowhere"), "perfguard", left(github, tmp_path, packed(gate=MANIFEST, run=run)))
    (body,) = github.bodies()
    head, *lines = body.splitlines()
    assert head == "<!-- perfguard:perfguard -->"
    assert not any(mark in body for mark in ("<script", "@team", "![", "](", "http://", 'onmouseover="', "\x1b"))
    assert body.count("<details") == body.count("</details>")
    assert [line for line in lines if line.startswith("#")][1:] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head_sha": "b" * 40}, "no comment: pull request 1 has moved on"),
        ({"event": "push"}, "no comment: the run was for push"),
    ],
)
def test_a_run_that_is_not_the_pull_request_s_posts_nothing(
    github: GitHub, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """A pull request that has got further commits, a run for something else."""
    environ = left(github, tmp_path, packed(gate=MANIFEST, run=DOCUMENT), **changes)
    assert said in comment("perfguard", Path("nowhere"), "perfguard", environ).said
    assert github.comments == []


def test_an_artifact_may_not_choose_whom_it_is_posted_to(github: GitHub, tmp_path: Path) -> None:
    """It names a pull request of another repository than the run's, or none at all: refused."""
    github.pulls[7] = {"head": {"sha": HEAD, "repo": {"full_name": "victim/thing"}}}
    for number, problem in ((7, "names pull request 7, which is from victim/thing"), (None, "names no pull request")):
        manifest = artifact.as_text(Outcome("same", 0, HEAD, "main", pull_request=number)).encode()
        environ = left(github, tmp_path, packed(gate=manifest, run=DOCUMENT))
        with pytest.raises(CiError, match=problem):
            comment("perfguard", Path("nowhere"), "perfguard", environ)
    assert github.comments == []


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no zip", "is no archive"),
        (packed(other=b"{}"), "holds no gate.json"),
        (packed(gate=b"[1]"), "is no perfguard.gate/1"),
        (packed(gate=b"{" + b" " * 200_000), "larger than 100,000 bytes"),
        (packed(gate=MANIFEST, run=b" " * 65_000_000), "run.json is larger"),
        (packed(gate=MANIFEST, run=b"[" * 100_000), "no JSON"),
        (packed(gate=MANIFEST, run=DOCUMENT.replace(b"0.95", b"NaN", 1)), "NaN is no figure"),
        (packed(gate=MANIFEST, run=DOCUMENT.replace(b"0.95", b"1e999", 1)), "1e999 is no figure"),
        (packed(gate=MANIFEST, run=DOCUMENT.replace(b"0.95", b"1" + b"0" * 400, 1)), "a number is too large"),
        (packed(gate=MANIFEST, run=b'{"schema": "perfguard.run/1"}'), "a part is missing"),
    ],
)
def test_an_artifact_that_is_none_is_refused(github: GitHub, tmp_path: Path, data: bytes, problem: str) -> None:
    """Not an archive, without its parts, a bomb, no JSON, figures that are none."""
    with pytest.raises((CiError, DocumentError), match=problem):
        comment("perfguard", Path("nowhere"), "perfguard", left(github, tmp_path, data))
    assert github.comments == []


def test_no_artifact_and_no_token(github: GitHub, tmp_path: Path) -> None:
    """A gate that did not run left none: nothing to post. A job without a token is told what to set."""
    environ = left(github, tmp_path, b"")
    github.artifacts.clear()
    assert "left no artifact" in comment("perfguard", Path("nowhere"), "perfguard", environ).said
    with pytest.raises(OptionError, match="GITHUB_TOKEN"):
        comment("perfguard", Path("nowhere"), "perfguard", {**environ, "GITHUB_TOKEN": ""})
