"""What CI says about a job: whose change it is, where it is to be merged, what the checkout holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from perfguard.errors import CiError

Provider = Literal["github", "gitlab", "shell"]

# GitHub's own bound on a payload is 25 MB.
PAYLOAD_BYTES = 25_000_000
MAIN_EVENTS = ("push", "schedule", "workflow_dispatch")


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull or merge request: its number, the commit at its head, and whether that lies in another repository."""

    number: int
    head: str
    from_fork: bool


@dataclass(frozen=True, slots=True)
class Context:
    """One job. Texts that CI does not tell are "".

    `base_branch` is where the change is to be merged, `base_commit` the commit that the change starts from where CI
    tells it for certain, and `on_main` says that nothing is to be merged: this is the main branch itself. `event` is
    CI's own word for what happened.
    """

    provider: Provider
    event: str = ""
    repository: str = ""
    base_branch: str = ""
    base_commit: str = ""
    on_main: bool = False
    pull_request: PullRequest | None = None
    run_url: str = ""


def detect(environ: Mapping[str, str]) -> Context:
    """The job that these environment variables describe. Raises `CiError` naming the variable that makes no sense."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return _github(environ)
    if environ.get("GITLAB_CI") == "true":
        return _gitlab(environ)
    return Context("shell")


def payload(environ: Mapping[str, str]) -> dict[str, Any]:
    """The event's payload. Raises `CiError` naming the file if it cannot be read."""
    name = environ.get("GITHUB_EVENT_PATH", "")
    if not name:
        raise CiError("GITHUB_EVENT_PATH", "is not set", "run this in a GitHub job")
    try:
        with Path(name).open("rb") as file:
            raw = json.loads(file.read(PAYLOAD_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise CiError(f"GITHUB_EVENT_PATH {name}", f"cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise CiError(f"GITHUB_EVENT_PATH {name}", "holds no object")
    return raw


def at(tree: Any, *path: str) -> Any:
    """What lies at a path of keys in nested maps; None where there is nothing."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _github(environ: Mapping[str, str]) -> Context:
    event = environ.get("GITHUB_EVENT_NAME", "")
    if event == "pull_request_target":
        raise CiError(
            "the event pull_request_target",
            "hands a token that may write to code from a fork",
            "run the gate on pull_request, and let a workflow_run workflow comment (docs/ci.md)",
        )
    told = payload(environ)
    repository = environ.get("GITHUB_REPOSITORY", "")
    main = str(at(told, "repository", "default_branch") or "")
    if event == "schedule" and not main:  # its payload names no repository; it runs on the default branch only
        main = environ.get("GITHUB_REF", "").removeprefix("refs/heads/")
    server, run = environ.get("GITHUB_SERVER_URL", "https://github.com"), environ.get("GITHUB_RUN_ID", "")
    url = f"{server}/{repository}/actions/runs/{run}" if run else ""
    if event == "pull_request":
        return Context(
            "github",
            event,
            repository,
            str(at(told, "pull_request", "base", "ref") or main),
            pull_request=_pull_request(told, repository),
            run_url=url,
        )
    if event == "merge_group":
        branch = str(at(told, "merge_group", "base_ref") or main).removeprefix("refs/heads/")
        commit = str(at(told, "merge_group", "base_sha") or "")
        return Context("github", event, repository, branch, commit, run_url=url)
    on_main = event in MAIN_EVENTS and environ.get("GITHUB_REF", "") == f"refs/heads/{main}"
    return Context("github", event, repository, main, on_main=on_main, run_url=url)


def _pull_request(told: Mapping[str, Any], repository: str) -> PullRequest:
    number, head = at(told, "pull_request", "number"), at(told, "pull_request", "head", "sha")
    if not isinstance(number, int) or not isinstance(head, str):
        raise CiError("the event's payload", "names no pull request with a number and a head")
    # The repository of a head is null once the fork is gone.
    return PullRequest(number, head, at(told, "pull_request", "head", "repo", "full_name") != repository)


def _gitlab(environ: Mapping[str, str]) -> Context:
    main, url = environ.get("CI_DEFAULT_BRANCH", ""), environ.get("CI_PIPELINE_URL", "")
    repository, event = environ.get("CI_PROJECT_PATH", ""), environ.get("CI_PIPELINE_SOURCE", "")
    number = environ.get("CI_MERGE_REQUEST_IID", "")
    if not number:
        on_main = bool(main) and environ.get("CI_COMMIT_BRANCH", "") == main
        return Context("gitlab", event, repository, main, on_main=on_main, run_url=url)
    if not number.isdecimal():
        raise CiError("CI_MERGE_REQUEST_IID", f"{number!r} is no number")
    fork = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID") != environ.get("CI_PROJECT_ID")
    # In a pipeline of merged results the checkout holds the target branch's commits too, up to this one.
    base = environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_SHA") or environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA", "")
    return Context(
        "gitlab",
        event,
        repository,
        environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") or main,
        base,
        pull_request=PullRequest(int(number), environ.get("CI_COMMIT_SHA", ""), fork),
        run_url=url,
    )
