"""Claims about finding the commit that a change starts from, on real clones of every depth."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_pull_request import Made, git, make

from perfguard.ci.base import find_base
from perfguard.ci.context import Context, PullRequest
from perfguard.errors import CiError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("repository") / "thing")


def quiet(_: str) -> None:
    pass


def pull(number: int, head: str) -> Context:
    return Context("github", "pull_request", "team/thing", "main", pull_request=PullRequest(number, head, False))


def test_a_merge_that_ci_made_is_compared_with_its_first_parent_fetched_alone(made: Made, tmp_path: Path) -> None:
    """One commit deep, the base's id stands in the merge: it comes as one further commit."""
    head = made.pull_request(1)
    clone = made.checked_out(tmp_path / "clone", "refs/pull/1/merge")
    base = find_base(clone, pull(1, head), "auto", quiet)
    assert base is not None
    assert base.commit == made.main
    assert git(clone, "rev-list", "--count", "HEAD", base.commit) == "2"


def test_a_head_that_left_main_long_ago_is_deepened_until_both_meet(made: Made, tmp_path: Path) -> None:
    """A checkout of the head itself, one deep: history is fetched in steps, no further than needed, then stops."""
    git(made.top, "checkout", "-q", "-B", "old", made.base)
    for number in range(60):
        git(made.top, "commit", "-q", "--allow-empty", "-m", f"note {number}")
    git(made.top, "update-ref", "refs/pull/2/head", "HEAD")
    head = git(made.top, "rev-parse", "HEAD")
    clone = made.checked_out(tmp_path / "clone", "refs/pull/2/head")
    said: list[str] = []
    base = find_base(clone, pull(2, head), "auto", said.append)
    assert base is not None
    assert (base.commit, base.what) == (made.base, "where this change leaves main")
    assert [line for line in said if "so far" in line] == [
        "no common commit with main so far: fetching 50 more of its history",
        "no common commit with main so far: fetching 200 more of its history",
    ]


def test_a_known_base_is_fetched_by_its_id(made: Made, tmp_path: Path) -> None:
    """GitLab names the commit: one more commit is fetched, and no history."""
    made.pull_request(3)
    clone = made.checked_out(tmp_path / "clone", "refs/pull/3/head")
    known = Context("gitlab", base_branch="main", base_commit=made.base)
    base = find_base(clone, known, "auto", quiet)
    assert base is not None
    assert base.commit == made.base
    with pytest.raises(CiError, match=f"{'e' * 40}.*GIT_DEPTH"):
        find_base(clone, Context("gitlab", base_commit="e" * 40), "auto", quiet)


def test_histories_that_never_meet_are_an_error_that_names_the_branch(made: Made, tmp_path: Path) -> None:
    """After all history was fetched, it says so instead of comparing with something else."""
    git(made.top, "checkout", "-q", "--orphan", "apart")
    git(made.top, "commit", "-q", "--allow-empty", "-m", "another beginning")
    git(made.top, "checkout", "-q", "-f", "main")
    clone = made.checked_out(tmp_path / "clone", "refs/heads/apart")
    with pytest.raises(CiError, match=r"'main'.*no commit in common"):
        find_base(clone, Context("github", "push", base_branch="main"), "auto", quiet)


def test_what_has_no_base(made: Made, tmp_path: Path) -> None:
    """The main branch, `none`, and a commit that main has already are compared with stored baselines."""
    clone = made.checked_out(tmp_path / "clone", "refs/heads/main")
    assert find_base(clone, Context("github", "push", base_branch="main", on_main=True), "auto", quiet) is None
    assert find_base(clone, Context("github", "push", base_branch="main"), "auto", quiet) is None
    assert find_base(clone, Context("shell"), "none", quiet) is None
    assert find_base(clone, Context("shell"), made.main, quiet) is None
    with pytest.raises(CiError, match="--upload-pack"):
        find_base(clone, Context("shell"), "--upload-pack=true", quiet)
