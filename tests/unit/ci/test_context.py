"""Claims about what CI's variables and payloads mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_pull_request import opened

from perfguard.ci.context import Context, PullRequest, detect
from perfguard.errors import CiError


def github(tmp_path: Path, event: str, payload: Any, ref: str = "refs/heads/main") -> dict[str, str]:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(payload))
    names = {"EVENT_NAME": event, "EVENT_PATH": str(file), "REPOSITORY": "team/thing", "REF": ref, "RUN_ID": "7"}
    return {"GITHUB_ACTIONS": "true", **{f"GITHUB_{name}": value for name, value in names.items()}}


def test_a_pull_request_and_a_fork_s(tmp_path: Path) -> None:
    """Its number, head and branch; another repository's head, or none any more, is a fork's."""
    for repository, fork in (("team/thing", False), ("stranger/thing", True), (None, True)):
        payload = opened(3, "c" * 40)
        payload["pull_request"]["head"]["repo"] = None if repository is None else {"full_name": repository}
        context = detect(github(tmp_path, "pull_request", payload))
        assert context.pull_request == PullRequest(3, "c" * 40, fork)
        assert (context.base_branch, context.base_commit, context.on_main) == ("main", "", False)
        assert context.run_url == "https://github.com/team/thing/actions/runs/7"


@pytest.mark.parametrize(
    ("event", "ref", "on_main"),
    [
        ("push", "refs/heads/main", True),
        ("schedule", "refs/heads/main", True),
        ("push", "refs/heads/topic", False),
        ("push", "refs/tags/main", False),
    ],
)
def test_the_main_branch_is_the_repository_s_default(tmp_path: Path, event: str, ref: str, on_main: bool) -> None:
    """A push to it, or a schedule on it; another branch is a change to be merged there."""
    context = detect(github(tmp_path, event, {"repository": {"default_branch": "main"}}, ref))
    assert (context.on_main, context.base_branch) == (on_main, "main")


def test_a_schedule_runs_on_the_main_branch_whose_name_its_payload_leaves_out(tmp_path: Path) -> None:
    """A payload of a schedule alone is enough; one of a push without its repository is not."""
    context = detect(github(tmp_path, "schedule", {"schedule": "0 3 * * *"}, "refs/heads/trunk"))
    assert (context.on_main, context.base_branch) == (True, "trunk")
    assert not detect(github(tmp_path, "push", {}, "refs/heads/trunk")).on_main


def test_a_merge_queue_names_its_base(tmp_path: Path) -> None:
    """`merge_group` events have the commit itself."""
    payload = {"merge_group": {"base_ref": "refs/heads/main", "base_sha": "d" * 40}}
    context = detect(github(tmp_path, "merge_group", payload))
    assert (context.base_branch, context.base_commit) == ("main", "d" * 40)


def test_what_makes_no_sense_is_named(tmp_path: Path) -> None:
    """A token that may write for a fork's code; no payload; a payload without a pull request; no object."""
    with pytest.raises(CiError, match=r"pull_request_target.*workflow_run"):
        detect(github(tmp_path, "pull_request_target", {}))
    with pytest.raises(CiError, match="names no pull request"):
        detect(github(tmp_path, "pull_request", {}))
    with pytest.raises(CiError, match="holds no object"):
        detect(github(tmp_path, "push", []))
    with pytest.raises(CiError, match="GITHUB_EVENT_PATH"):
        detect({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push"})


def test_a_merge_request_of_gitlab() -> None:
    """The base is the one of its diff, or the target's commit where results are merged for the pipeline."""
    variables = {
        "GITLAB_CI": "true",
        "CI_DEFAULT_BRANCH": "main",
        "CI_MERGE_REQUEST_IID": "12",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "release",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": "e" * 40,
        "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "5",
        "CI_PROJECT_ID": "5",
        "CI_COMMIT_SHA": "f" * 40,
    }
    context = detect(variables)
    assert context.pull_request == PullRequest(12, "f" * 40, False)
    assert (context.base_branch, context.base_commit, context.on_main) == ("release", "e" * 40, False)
    assert detect({**variables, "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "a" * 40}).base_commit == "a" * 40
    branch = {"GITLAB_CI": "true", "CI_DEFAULT_BRANCH": "main", "CI_COMMIT_BRANCH": "main"}
    assert detect(branch).on_main
    assert detect({}) == Context("shell")
