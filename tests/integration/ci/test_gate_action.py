"""Claims about the gate action: its own steps, run by bash on a made repository with pull requests, on real git."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from github_server import READS, WRITES, GitHub, serving
from made_pull_request import PYTHON, QUICKER, TOP, Done, Job, Made, git, make, opened

COUNTS = "tests/perf/test_calls.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("repository") / "thing")


def pull_request_job(made: Made, folder: Path, number: int, head: str, *, fork: bool = False, api: str = "") -> Job:
    """The job of a pull request: the merge with main, one commit deep, as actions/checkout leaves it."""
    checkout = made.checked_out(folder / "work", f"refs/pull/{number}/merge")
    payload = opened(number, head, "stranger/thing" if fork else "team/thing")
    scratch = folder / "scratch"
    scratch.mkdir()
    return Job(checkout, scratch, "pull_request", payload, f"refs/pull/{number}/merge", api or "http://127.0.0.1:9")


def archive(folder: Path) -> bytes:
    """What upload-artifact makes of a folder."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(folder.iterdir()):
            if not path.name.startswith("."):
                file.write(path, path.name)
    return data.getvalue()


def gate(job: Job, status: int, **inputs: str) -> Done:
    done = job.run("gate", "Gate", python=PYTHON, **inputs)
    assert done.status == status, done.out + done.err
    assert len(git(job.checkout, "worktree", "list").splitlines()) == 1
    assert list(job.scratch.glob("perfguard-*")) == []
    return done


@pytest.fixture(scope="module")
def slower(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Done]:
    """A pull request of one more call and twelve times the work, gated; the job is there for further steps."""
    head = made.pull_request(1, calls=8, units=60_000)
    job = pull_request_job(made, tmp_path_factory.mktemp("slower"), 1, head)
    return job, gate(job, 1, paths="tests/perf", seconds="12", alpha="10%", limit="5%")


def test_a_slower_pull_request_fails_with_summary_annotations_outputs_and_artifact(
    made: Made, slower: tuple[Job, Done]
) -> None:
    """Exit 1, said at the tests' lines and in the summary, against the commit that it was merged with."""
    job, done = slower
    head = job.payload["pull_request"]["head"]["sha"]
    assert done.outputs["verdict"] == "slower"
    assert done.outputs["exit-status"] == "1"
    assert done.outputs["base"] == made.main
    assert done.summary.startswith("### ❌ perfguard fails: ")
    assert "`test_calls.py::test_calls`" in done.summary
    assert f"{head[:9]} compared with {made.main[:9]}" in done.summary
    assert "https://github.example/team/thing/actions/runs/77" in done.summary
    (calls,) = (line for line in done.annotations() if "test_calls" in line)
    assert calls.startswith("::error file=tests/perf/test_calls.py,line=4,title=slower%3A test_calls::calls: 7 -> 8")
    folder = Path(done.outputs["folder"])
    assert {path.name for path in folder.iterdir()} >= {"gate.json", "run.json", "run.pgrun", "report.md"}
    document = json.loads(Path(done.outputs["document"]).read_text())
    (work,) = (case for case in document["cases"] if "test_work" in case["id"])
    (time,) = work["metrics"]
    assert time["verdict"] in ("slower", "noisy")  # a machine may be too busy to tell within the time
    if time["verdict"] == "slower":
        (line,) = (line for line in done.annotations() if "test_work" in line)
        assert line.startswith("::error file=tests/perf/test_work.py,line=5,title=slower%3A TestThing%3A%3Atest_work::")
        assert "%0Awork +" in line
    assert git(job.checkout, "status", "--porcelain") == ""


def test_an_unchanged_pull_request_passes_and_a_fork_s_is_commented_on_later(made: Made, tmp_path: Path) -> None:
    """Exit 0. The fork's own job comments not at all; the workflow_run job does, from the artifact, once, in place."""
    head = made.pull_request(2)
    with serving(GitHub(pulls={2: {"head": {"sha": head, "repo": {"full_name": "stranger/thing"}}}})) as github:
        job = pull_request_job(made, tmp_path, 2, head, fork=True, api=github.url)
        done = gate(job, 0, paths=COUNTS)
        assert done.outputs["verdict"] == "same"
        assert done.annotations() == []
        assert "✅ perfguard passes" in done.summary
        quiet = job.run("gate", "Comment", done.outputs, python=PYTHON, token=READS)
        assert (quiet.status, github.requests) == (0, [])
        assert "::notice::perfguard: no comment: a fork's job has a read-only token" in quiet.out

        github.artifacts["perfguard"] = archive(Path(done.outputs["folder"]))
        later = Job(made.top, tmp_path / "scratch", "workflow_run", finished(head), "refs/heads/main", github.url)
        for said in ("commented on #2", "updated the comment on #2"):
            posted = commenting(later)
            assert posted.status == 0, posted.out + posted.err
            assert said in posted.out
        (body,) = github.bodies()
        assert body.startswith("<!-- perfguard:perfguard -->\n### ✅ perfguard passes")
        assert "`test_calls.py::test_calls`" in body
        # The host of the bytes gets no token; the API always does.
        tokens = {path.partition("?")[0]: token for _, path, token in github.requests}
        assert tokens.pop("/perfguard") == ""
        assert set(tokens.values()) == {f"Bearer {WRITES}"}


def finished(head: str, repository: str = "stranger/thing") -> dict[str, Any]:
    run = {
        "id": 77,
        "event": "pull_request",
        "head_sha": head,
        "head_repository": {"full_name": repository},
        "html_url": "https://github.example/team/thing/actions/runs/77",
    }
    return {"repository": {"full_name": "team/thing", "default_branch": "main"}, "workflow_run": run}


def commenting(job: Job, token: str = WRITES) -> Done:
    """The comment action's step; the interpreter it would have installed into is ours."""
    python = job.scratch / "perfguard/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    if not python.exists():
        python.write_text(f'#!/bin/sh\nexec "{PYTHON}" "$@"\n')
        python.chmod(0o755)
    return job.run("comment", "Comment", token=token)


def test_a_token_that_may_not_write_degrades_to_summary_and_artifact(slower: tuple[Job, Done]) -> None:
    """403 to the comment in a pull request's own job: status 0, a notice. A token that may: the comment."""
    job, done = slower
    with serving(GitHub()) as github:
        job = replace(job, api=github.url)
        degraded = job.run("gate", "Comment", done.outputs, python=PYTHON, token=READS)
        assert degraded.status == 0
        assert "::notice::perfguard: no comment: POST" in degraded.out
        assert "Resource not accessible by integration" in degraded.out
        assert github.comments == []
        posted = job.run("gate", "Comment", done.outputs, python=PYTHON, token=WRITES)
        assert "commented on #1" in posted.out
        assert "| 7 | 8 | exact |" in github.bodies()[0]


def test_the_main_branch_is_compared_with_baselines_and_proposes_new_ones(made: Made, tmp_path: Path) -> None:
    """No base; the figures come as a patch that applies, and as a commit on a branch; the checkout stays clean."""
    checkout = made.checked_out(tmp_path / "work", "refs/heads/main")
    payload = {"repository": {"full_name": "team/thing", "default_branch": "main"}}
    (tmp_path / "scratch").mkdir()
    job = Job(checkout, tmp_path / "scratch", "push", payload, "refs/heads/main")
    done = gate(job, 0, paths=COUNTS, update_baselines="branch", history="off")
    assert done.outputs["base"] == ""
    assert "the stored baselines" in done.summary
    assert "proposed as branch `perfguard/baselines`" in done.summary
    assert git(checkout, "status", "--porcelain") == ""
    patch = Path(done.outputs["folder"]) / "baselines.patch"
    git(checkout, "apply", "--check", str(patch))
    assert git(made.top, "diff", "--name-only", "main", "perfguard/baselines") == "baselines/portable/calls.toml"
    git(checkout, "apply", str(patch))
    again = gate(job, 0, paths=COUNTS, history=".perfguard/history.db")
    assert again.outputs["verdict"] == "same"
    told = subprocess.run(
        [PYTHON, "-m", "perfguard.cli", "history", "runs", "--history=.perfguard/history.db", "--json"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert made.main in told.stdout


def test_what_cannot_be_decided_says_so_in_summary_outputs_and_status(made: Made, tmp_path: Path) -> None:
    """No performance case is status 5; a base that is none is status 4 and names it."""
    head = made.pull_request(4)
    job = pull_request_job(made, tmp_path, 4, head)
    nothing = gate(job, 5, paths=COUNTS, against="none", pytest_args="-k nothing_of_that_name")
    assert nothing.outputs["verdict"] == "error"
    assert "the gate could not decide (exit 5)" in nothing.summary
    wrong = gate(job, 4, paths=COUNTS, against="no-such-branch")
    assert "no-such-branch" in wrong.err
    assert wrong.outputs["verdict"] == "error"
    assert "no-such-branch" in wrong.summary
    (line,) = wrong.annotations()
    assert line.startswith("::error title=perfguard::the base 'no-such-branch'")


@pytest.mark.parametrize(
    ("history", "has", "installs"),
    [
        ("h.db", "perfguard", ["perfguard[history]"]),
        ("h.db", "all", []),
        ("off", "perfguard", []),
        ("", "perfguard", []),
    ],
)
def test_what_a_history_needs_is_installed_where_only_that_is_missing(
    made: Made, tmp_path: Path, history: str, has: str, installs: list[str]
) -> None:
    """The perfguard that the project has stays; without a history nothing more is asked for."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/log\ncase "$*" in *installed*) [ {has} = all ];; esac\n')
    python.chmod(0o755)
    job = Job(made.top, tmp_path, "push", {}, "refs/heads/main")
    done = job.run("gate", "Install perfguard", python=str(python), history=history)
    assert done.status == 0, done.err
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in lines if line.startswith("-m pip install")] == installs


def test_no_gate_s_history_is_taken_for_another_s_of_a_longer_name() -> None:
    """What restores goes by a key's beginning, which ends with a character that no artifact's name can have."""
    steps = yaml.safe_load((TOP / ".github/actions/gate/action.yml").read_text())["runs"]["steps"]
    cached = [step["with"] for step in steps if "actions/cache" in step.get("uses", "")]
    assert len(cached) == 2
    prefix = "perfguard-history/${{ inputs.name }}/"
    assert [each["restore-keys"] for each in cached if "restore-keys" in each] == [prefix]
    assert all(each["key"].startswith(prefix) for each in cached)


@pytest.mark.long
def test_gitlab_s_template_runs_the_same_gate(made: Made, tmp_path: Path) -> None:
    """Its script, on a merge request: the base that GitLab names, JUnit and code quality where it lists them."""
    head = made.pull_request(6, calls=8)
    checkout = made.checked_out(tmp_path / "work", "refs/pull/6/head")
    job = yaml.safe_load((TOP / "docs/gitlab-ci.yml").read_text())["perfguard"]
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").write_text(f'#!/bin/sh\nexec "{PYTHON}" "$@"\n')
    (bin_folder / "python").chmod(0o755)
    variables = {
        **QUICKER,
        **{name: str(value) for name, value in job["variables"].items()},
        "PERFGUARD_PATHS": COUNTS,
        "GITLAB_CI": "true",
        "CI_DEFAULT_BRANCH": "main",
        "CI_MERGE_REQUEST_IID": "6",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": made.base,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_COMMIT_SHA": head,
        "PATH": f"{bin_folder}:/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", "\n".join(job["script"])],
        cwd=checkout,
        env=variables,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    reports = {kind: checkout / path for kind, path in job["artifacts"]["reports"].items()}
    (entry,) = json.loads(reports["codequality"].read_text())
    assert entry["location"] == {"path": COUNTS, "lines": {"begin": 4}}
    assert "<failure" in reports["junit"].read_text()
    outcome = json.loads((checkout / "perfguard-results/gate.json").read_text())
    assert (outcome["base"], outcome["pull_request"], outcome["verdict"]) == (made.base, 6, "slower")


@pytest.mark.long
def test_a_plain_shell_takes_the_merge_base_with_the_remote_s_branch(made: Made, tmp_path: Path) -> None:
    """Without any CI: `perfguard ci gate` in a clone on a branch compares with where it left origin's main."""
    made.pull_request(5, calls=6)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", made.top.as_uri(), str(clone)], check=True, timeout=60)
    git(clone, "checkout", "-q", "-b", "a-change", "origin/pr-5")
    done = subprocess.run(
        [PYTHON, "-m", "perfguard.cli", "ci", "gate", COUNTS],
        cwd=clone,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"comparing with {made.base[:9]}, where this change leaves origin/main" in done.stdout
    assert "::" not in done.stdout.replace("py::", "").replace("y::t", "")
    assert json.loads((clone / "perfguard-results/gate.json").read_text())["verdict"] == "faster"
