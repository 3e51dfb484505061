"""The one comment of a gate on a pull request: found by its marker, updated in place, else written.

In the job of the pull request itself, the folder that the gate left is posted, if the token may. On `workflow_run`, the
artifact of a run that had no such token is fetched and posted, after the API confirms that it belongs to the pull
request it names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perfguard import document
from perfguard.ci import artifact, message, untrusted
from perfguard.ci.artifact import Outcome
from perfguard.ci.context import at, detect, payload
from perfguard.ci.rest import Api, RefusedError, UnreachableError
from perfguard.document import Run
from perfguard.errors import CiError, OptionError

TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")
# Who may have written the comment that is updated: whoever else writes our marker is left alone.
OURS = ("OWNER", "MEMBER", "COLLABORATOR")


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of it, in a sentence; `done`: whether there is a comment with this content now."""

    done: bool
    said: str


def comment(name: str, folder: Path, artifact_name: str, environ: Mapping[str, str]) -> Posted:
    """Post what a gate left: of the triggering run if this is a `workflow_run`, else of this job.

    A token that may not write (a fork's) or an API that is down is no error in the job of the pull request: the summary
    has it all. In a `workflow_run` job, whose only task this is, it is. Raises `PerfguardError`.
    """
    if environ.get("GITHUB_EVENT_NAME") == "workflow_run":
        return _of_other_run(name, artifact_name, environ)
    context = detect(environ)
    if context.provider != "github":
        raise CiError("perfguard ci comment", f"knows GitHub only, and this is {context.provider}", "see docs/ci.md")
    if context.pull_request is None:
        return Posted(False, "no comment: this is no pull request")
    if context.pull_request.from_fork:
        return Posted(False, "no comment: a fork's job has a read-only token; a workflow_run workflow can post it")
    outcome, run = _left_in(folder)
    try:
        api = _api(environ)
        return upsert(api, context.repository, context.pull_request.number, name, outcome, run)
    except (RefusedError, UnreachableError) as error:
        return Posted(False, f"no comment: {error}; the job's summary has it all")


def upsert(api: Api, repository: str, number: int, name: str, outcome: Outcome, run: Run | None) -> Posted:
    """Update the gate's comment on a pull request, or write it if there is none."""
    body = {"body": message.comment(outcome, run, name)}
    own = _own(api, repository, number, message.marker(name))
    if own is None:
        try:
            api.send("POST", f"/repos/{repository}/issues/{number}/comments", body)
            return Posted(True, f"commented on #{number}")
        except UnreachableError:  # it may have been written all the same: look before writing it twice
            own = _own(api, repository, number, message.marker(name))
            if own is None:
                api.send("POST", f"/repos/{repository}/issues/{number}/comments", body)
                return Posted(True, f"commented on #{number}")
    api.send("PATCH", f"/repos/{repository}/issues/comments/{own}", body)
    return Posted(True, f"updated the comment on #{number}")


def _own(api: Api, repository: str, number: int, mark: str) -> int | None:
    """The id of the first comment that starts with our marker and that a bot or somebody of the project wrote."""
    for each in api.pages(f"/repos/{repository}/issues/{number}/comments"):
        if not str(at(each, "body") or "").startswith(mark):
            continue
        if at(each, "user", "type") == "Bot" or at(each, "author_association") in OURS:
            found = at(each, "id")
            return found if isinstance(found, int) else None
    return None


def _left_in(folder: Path) -> tuple[Outcome, Run | None]:
    """What the gate of this job left. Raises `CiError` or `DocumentError` naming the file."""
    path = folder / artifact.MANIFEST
    try:
        outcome = artifact.from_map(json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise CiError(str(path), f"cannot be read: {error}", "run `perfguard ci gate --out` first") from error
    file = folder / artifact.DOCUMENT
    return outcome, document.load(file) if file.exists() and not outcome.problem else None


def _of_other_run(name: str, artifact_name: str, environ: Mapping[str, str]) -> Posted:
    told = payload(environ)
    repository = environ.get("GITHUB_REPOSITORY", "")
    run = at(told, "workflow_run")
    number, head = at(run, "id"), at(run, "head_sha")
    if not isinstance(number, int) or not isinstance(head, str) or not repository:
        raise CiError("the event's payload", "names no workflow run with an id and a head")
    if at(run, "event") != "pull_request":
        return Posted(False, f"no comment: the run was for {at(run, 'event')}, not for a pull request")
    api = _api(environ)
    listed = api.get(
        f"/repos/{repository}/actions/runs/{number}/artifacts?name={quote(artifact_name, safe='')}&per_page=100"
    )
    entry = _artifact(listed, artifact_name)
    if entry is None:
        return Posted(False, f"no comment: run {number} left no artifact named {artifact_name}")
    path = f"/repos/{repository}/actions/artifacts/{entry}/zip"
    outcome, measured = untrusted.read_archive(api.download(path, untrusted.ARCHIVE_BYTES), f"artifact {artifact_name}")
    if not _confirmed(api, repository, outcome, run):
        return Posted(False, f"no comment: pull request {outcome.pull_request} has moved on; its own run comments")
    url = str(at(run, "html_url") or "")
    return upsert(api, repository, outcome.pull_request or 0, name, _with_url(outcome, url), measured)


def _artifact(listed: Any, name: str) -> int | None:
    for each in at(listed, "artifacts") or ():
        found, size = at(each, "id"), at(each, "size_in_bytes")
        if at(each, "name") == name and not at(each, "expired") and isinstance(found, int):
            if isinstance(size, int) and size > untrusted.ARCHIVE_BYTES:
                raise CiError(f"artifact {name}", f"has {size:,} bytes", "it is not read")
            return found
    return None


def _confirmed(api: Api, repository: str, outcome: Outcome, run: Any) -> bool:
    """Whether the pull request that the artifact names has the very commit that the triggering run was for.

    The artifact is whatever the measured code made of it; the event and the API are GitHub's word. Raises `CiError` for
    a pull request of another repository than the run's.
    """
    number = outcome.pull_request
    if number is None or number < 1:
        raise CiError("the artifact", "names no pull request", "nothing is posted")
    there = api.get(f"/repos/{repository}/pulls/{number}")
    of, run_of = at(there, "head", "repo", "full_name"), at(run, "head_repository", "full_name")
    if of != run_of or not isinstance(of, str):
        raise CiError(
            f"the artifact of run {at(run, 'id')}",
            f"names pull request {number}, which is from {of}, but the run was of {run_of}",
            "nothing is posted",
        )
    return bool(at(there, "head", "sha") == at(run, "head_sha"))


def _with_url(outcome: Outcome, url: str) -> Outcome:
    return replace(outcome, run_url=url if url.startswith("https://") else "")


def _api(environ: Mapping[str, str]) -> Api:
    token = next((environ[name] for name in TOKENS if environ.get(name)), "")
    if not token:
        raise OptionError("GITHUB_TOKEN", "is not set", "give the step `env: GITHUB_TOKEN: ${{ github.token }}`")
    return Api(environ.get("GITHUB_API_URL", "https://api.github.com"), token)
