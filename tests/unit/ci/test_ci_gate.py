"""Claims about what a gate makes of its pytest, which here is a script in its place."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from history_runs import history_run

from perfguard.ci import artifact
from perfguard.ci.gate import INTERNAL_ERROR, Wishes, gate
from perfguard.document import to_json
from perfguard.errors import CiError

ON_MAIN = {"GITLAB_CI": "true", "CI_DEFAULT_BRANCH": "main", "CI_COMMIT_BRANCH": "main"}


@pytest.fixture
def wishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wishes:
    """For a checkout of one commit, with a pytest that says 0 and leaves nothing."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    git = ["git", "-C", str(checkout), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True, timeout=60)
    monkeypatch.chdir(checkout)
    texts = dict.fromkeys(("against_python", "profile", "limit", "alpha", "seconds", "baselines"), "")
    return Wishes(
        paths=(),
        pytest_arguments=(),
        against="auto",
        fail_on="slower",
        history="off",
        update_baselines="off",
        update_branch="perfguard/baselines",
        python=script(tmp_path, "exit 0"),
        out=tmp_path / "results",
        timeout_s=60.0,
        **texts,
    )


def script(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def passing(wishes: Wishes) -> Wishes:
    """The same with a pytest that leaves a passed run."""
    folder = wishes.out.parent
    (folder / "made.json").write_text(json.dumps(to_json(history_run(1))))
    return replace(wishes, python=script(folder, f"cp {folder}/made.json {wishes.out}/{artifact.DOCUMENT}"))


def summary(wishes: Wishes) -> str:
    return (wishes.out / artifact.SUMMARY).read_text()


@pytest.mark.parametrize("status", [0, 1])
def test_a_pytest_that_leaves_no_document_has_decided_nothing(wishes: Wishes, status: int) -> None:
    """Neither green nor a regression: an interpreter without pytest ends with 1, a plugin turned off with 0."""
    wishes = replace(wishes, python=script(wishes.out.parent, f"exit {status}"))
    assert gate(wishes, ON_MAIN) == INTERNAL_ERROR
    assert "could not decide" in summary(wishes)


def test_an_interpreter_that_is_not_there_is_an_error_of_ci(wishes: Wishes) -> None:
    """Status 4, in the summary too."""
    with pytest.raises(CiError, match="no-python: cannot be started") as caught:
        gate(replace(wishes, python="no-python"), ON_MAIN)
    assert caught.value.exit_status == 4
    assert "no-python: cannot be started" in summary(wishes)


@pytest.mark.parametrize("update", ["patch", "branch"])
def test_a_proposal_that_cannot_be_made_is_a_note_on_a_run_that_passed(wishes: Wishes, update: str) -> None:
    """Baselines outside the checkout, and some that cannot be copied."""
    outside = wishes.out.parent / "elsewhere"
    broken = Path("broken")
    for folder in (outside, broken):
        folder.mkdir()
    (broken / "portable").symlink_to("nowhere")
    for baselines, said in ((str(outside), "lies outside the checkout"), ("broken", "cannot be copied")):
        asked = replace(passing(wishes), update_baselines=update, baselines=baselines)
        assert gate(asked, ON_MAIN) == 0
        assert f"No baseline update is proposed: {Path(baselines).resolve()}: {said}" in summary(asked)


def test_baselines_from_a_history_are_not_proposed_as_files(wishes: Wishes) -> None:
    """They are what runs were stored: there is no folder of that name to make."""
    asked = replace(passing(wishes), update_baselines="patch", baselines="history:main@last-20")
    assert gate(asked, ON_MAIN) == 0
    assert "baseline update" not in summary(asked)
    assert not (asked.out / artifact.PATCH).exists()
