"""The commit to compare a change with: where it starts from, fetched if the checkout is a shallow one.

CI clones as little as it can, mostly one commit. What is missing is fetched: the base alone where its id is known, else
history in growing steps until the change and its branch meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfguard.ci.context import Context
from perfguard.duet.worktree import git
from perfguard.errors import CiError, DuetError

AUTO, NONE = "auto", "none"
FETCH_TIMEOUT_S = 600.0
# How many more commits each step fetches; after the last one, all there are.
STEPS = (50, 200, 1000)
_DEEPER = "check out with more history: fetch-depth: 0 in actions/checkout, GIT_DEPTH: 0 in GitLab"


@dataclass(frozen=True, slots=True)
class Base:
    """The commit to compare with, and what it is in words: `where this change leaves main`."""

    commit: str
    what: str


def find_base(top: Path, context: Context, wish: str, say: Callable[[str], None]) -> Base | None:
    """The base of what is checked out at `top`; None where there is nothing to compare with but stored baselines.

    `wish`: `auto` (the change's base; nothing on the main branch), `none`, or a revision. Raises `CiError` naming the
    branch or revision if the base cannot be found, also after fetching.
    """
    if wish == NONE or (wish == AUTO and context.on_main):
        return None
    head = _commit(top, "HEAD")
    if not head:
        raise CiError(str(top), "has no commit checked out", "the gate compares commits")
    branch = context.base_branch or "its base"
    if wish == AUTO and (parent := _parent_of_merge(top, head, context)):
        _have(top, parent, say)
        return Base(parent, f"{branch}, which this change is merged into")
    if wish == AUTO and (exact := context.base_commit):
        _have(top, exact, say)
        return _apart(Base(exact, f"where this change leaves {branch}"), head)
    name = (context.base_branch or _default_branch(top)) if wish == AUTO else wish
    if not name:
        return None
    tip = _tip(top, name, say)
    return _apart(Base(_meeting_point(top, head, tip, name, say), f"where this change leaves {name}"), head)


def _apart(base: Base, head: str) -> Base | None:
    return None if base.commit == head else base


def _parent_of_merge(top: Path, head: str, context: Context) -> str:
    """The base's side where HEAD is the merge that CI made of base and change; "" where it is none.

    The ids are in the commit itself, so that they are known in a clone of depth 1 too.
    """
    if context.pull_request is None:
        return ""
    lines = git(top, "cat-file", "-p", head, culprit=f"commit {head}").partition("\n\n")[0].splitlines()
    parents = [line.split()[1] for line in lines if line.startswith("parent ")]
    return parents[0] if len(parents) == 2 and parents[1] == context.pull_request.head else ""


def _have(top: Path, commit: str, say: Callable[[str], None]) -> None:
    """Fetch a commit, alone, if it is not here."""
    if _commit(top, commit):
        return
    say(f"fetching {commit[:9]}")
    _fetch(top, commit, depth="--depth=1")
    if not _commit(top, commit):
        raise CiError(f"the base {commit}", "is not in this clone and was not sent", _DEEPER)


def _tip(top: Path, name: str, say: Callable[[str], None]) -> str:
    """The newest commit of a branch, or the commit of any other revision; the remote's word counts for branches."""
    if _remote(top) and not _is_id(name):
        branch = name.removeprefix(f"{_remote(top)}/")
        try:
            say(f"fetching {branch}")
            _fetch(top, branch, depth="--depth=1" if _shallow(top) else "")
            return git(top, "rev-parse", "FETCH_HEAD", culprit=branch)
        except (CiError, DuetError) as error:
            if not _commit(top, name):
                raise CiError(f"the base {name!r}", f"cannot be fetched: {error}", _DEEPER) from error
    elif _is_id(name) and _remote(top):
        _have(top, name, say)
    if found := _commit(top, name):
        return found
    raise CiError(f"the base {name!r}", "is no revision of this checkout", "name a branch, tag or commit")


def _meeting_point(top: Path, head: str, tip: str, name: str, say: Callable[[str], None]) -> str:
    """The best common ancestor of both commits, with more history fetched as long as there is none."""
    for depth in (0, *STEPS, -1):
        if depth:
            if not _shallow(top):
                break
            say(f"no common commit with {name} so far: fetching {'all' if depth < 0 else depth} more of its history")
            _deepen(top, name if not _is_id(name) else tip, head, "--unshallow" if depth < 0 else f"--deepen={depth}")
        try:
            return git(top, "merge-base", head, tip, culprit=name)
        except DuetError:
            continue
    raise CiError(
        f"the base of this change in {name!r}",
        "cannot be found: they have no commit in common here",
        _DEEPER if _shallow(top) else "is it another repository's history?",
    )


def _deepen(top: Path, name: str, head: str, depth: str) -> None:
    branch = name.removeprefix(f"{_remote(top)}/")
    try:
        _fetch(top, branch, head, depth=depth)
    except CiError:  # a server that sends no commit by its id, or a commit that only this clone has
        _fetch(top, branch, depth=depth)


def _fetch(top: Path, *what: str, depth: str) -> None:
    remote = _remote(top)
    if not remote:
        raise CiError(str(top), f"has no remote to fetch {what[0]} from", _DEEPER)
    options = ["--quiet", "--no-tags", "--no-recurse-submodules", *([depth] if depth else [])]
    try:
        # No prompt: nobody is there to answer it.
        git(
            top,
            "fetch",
            *options,
            remote,
            *what,
            culprit=f"{remote}: {what[0]}",
            timeout_s=FETCH_TIMEOUT_S,
            environment={"GIT_TERMINAL_PROMPT": "0"},
        )
    except DuetError as error:
        raise CiError(error.culprit, error.problem, _DEEPER) from error


def _default_branch(top: Path) -> str:
    """The remote's default branch as this clone knows it, `origin/main`; "" if it does not."""
    try:
        return git(top, "rev-parse", "--abbrev-ref", f"{_remote(top)}/HEAD", culprit="HEAD") if _remote(top) else ""
    except DuetError:
        return ""


def _remote(top: Path) -> str:
    remotes = git(top, "remote", culprit=str(top)).splitlines()
    return "origin" if "origin" in remotes else (remotes[0] if remotes else "")


def _shallow(top: Path) -> bool:
    return git(top, "rev-parse", "--is-shallow-repository", culprit=str(top)) == "true"


def _commit(top: Path, revision: str) -> str:
    """The id of a commit that is here, or ""."""
    if revision.startswith("-"):
        raise CiError(f"revision {revision!r}", "is none", "name a branch, tag or commit")
    try:
        return git(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", culprit=revision)
    except DuetError:
        return ""


def _is_id(text: str) -> bool:
    return len(text) in (40, 64) and all(character in "0123456789abcdef" for character in text)
