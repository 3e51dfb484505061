"""The gate of a CI job: which comparison, pytest as a process, and everything that is said of it afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from perfguard import document
from perfguard.ci import artifact, code_quality, message, workflow
from perfguard.ci.annotations import annotated
from perfguard.ci.artifact import Outcome
from perfguard.ci.base import Base, find_base
from perfguard.ci.context import Context, detect
from perfguard.ci.proposal import Proposal, propose
from perfguard.ci.running import run_shown
from perfguard.document import Run
from perfguard.duet.worktree import git, top_of
from perfguard.errors import CiError, PerfguardError
from perfguard.gate.policy import parse_fail_on
from perfguard.history.ranges import PREFIX
from perfguard.report.exports import Output
from perfguard.report.lines import WORST_FIRST, worst_verdict
from perfguard.report.making import make_all
from perfguard.report.reading import read

INTERNAL_ERROR = 3
DECIDED = (0, 1)
# Kinds of reports, and the file of each. The recording has the course in time, which a page of waterfalls needs.
REPORTS = {"markdown": artifact.MARKDOWN, "html": artifact.HTML, "junit": artifact.JUNIT}


@dataclass(frozen=True)
class Wishes:
    """What the caller asks for; texts are as given, "" where pytest's own settings count."""

    paths: tuple[str, ...]
    pytest_arguments: tuple[str, ...]
    against: str
    against_python: str
    profile: str
    limit: str
    alpha: str
    seconds: str
    fail_on: str
    history: str
    baselines: str
    update_baselines: str
    update_branch: str
    python: str
    out: Path
    timeout_s: float


@dataclass(frozen=True)
class Told:
    """All that a gate has to say."""

    outcome: Outcome
    run: Run | None = None
    annotations: tuple[workflow.Annotation, ...] = ()
    notes: tuple[str, ...] = ()


def gate(wishes: Wishes, environ: Mapping[str, str]) -> int:
    """Run the gate in the working directory and tell of it; its exit status.

    Raises `PerfguardError` if there is nothing to decide on; that is told in the summary and the outputs too.
    """
    fail_on = parse_fail_on(wishes.fail_on)
    folder = wishes.out.resolve()
    artifact.prepare(folder)
    try:
        context = detect(environ)
        top = top_of(Path.cwd())
        base = find_base(top, context, wishes.against, _say)
        told = _measure(wishes, context, top, base, folder, fail_on, environ)
    except PerfguardError as error:
        outcome = Outcome("error", error.exit_status, environ.get("GITHUB_SHA", ""), "nothing", problem=str(error))
        _tell(Told(outcome, annotations=(workflow.Annotation("error", "perfguard", str(error)),)), folder, environ)
        raise
    _tell(told, folder, environ)
    return told.outcome.exit_status


def command(wishes: Wishes, base: Base | None, folder: Path, *, on_main: bool) -> list[str]:
    """Pytest as the gate calls it."""
    named = {
        "against": "" if base is None else base.commit[:12],
        "against-python": "" if base is None else wishes.against_python,
        "profile": wishes.profile,
        "limit": wishes.limit,
        "alpha": wishes.alpha,
        "seconds": wishes.seconds,
        "fail-on": wishes.fail_on,
        "baselines": wishes.baselines,
        "history": wishes.history if on_main else "off",
        "json": str(folder / artifact.DOCUMENT),
        "record": str(folder / artifact.RECORDING),
    }
    options = [f"--perfguard-{name}={value}" for name, value in named.items() if value]
    return [wishes.python, "-m", "pytest", "--perfguard", *options, *wishes.pytest_arguments, *wishes.paths]


def _measure(
    wishes: Wishes,
    context: Context,
    top: Path,
    base: Base | None,
    folder: Path,
    fail_on: tuple[str, ...],
    environ: Mapping[str, str],
) -> Told:
    against = "the stored baselines" if base is None else f"{base.commit[:9]}, {base.what}"
    _say(f"comparing with {against}")
    environment = {name: value for name, value in environ.items() if name not in workflow.FILES}
    with workflow.commands_stopped(sys.stdout) if context.provider == "github" else nullcontext():
        status, tail = run_shown(
            command(wishes, base, folder, on_main=context.on_main), environment, wishes.timeout_s, sys.stdout
        )
    run = _document(folder)
    pull_request = context.pull_request
    outcome = Outcome(
        verdict="error" if run is None or status not in DECIDED else _worst(run),
        exit_status=_status(status, run),
        head=git(top, "rev-parse", "HEAD", culprit="HEAD") if pull_request is None else pull_request.head,
        against=against,
        base="" if base is None else base.commit,
        pull_request=None if pull_request is None else pull_request.number,
        run_url=context.run_url,
        problem="" if run is not None and status in DECIDED else tail or "pytest said nothing",
    )
    if run is None or outcome.problem:
        reason = f"the gate could not decide: pytest ended with status {status}"
        return Told(outcome, run, (workflow.Annotation("error", "perfguard", reason),))
    notes = _proposal_told(wishes, context, run, top, folder) if status == 0 else ()
    return Told(outcome, run, tuple(annotated(run, top, _roots(wishes, top), fail_on)), notes)


def _status(status: int, run: Run | None) -> int:
    """The gate's exit status for pytest's. One that decides, without a document to decide on, decides nothing."""
    if not 0 <= status <= 5 or (run is None and status in DECIDED):
        return INTERNAL_ERROR
    return status


def _document(folder: Path) -> Run | None:
    path = folder / artifact.DOCUMENT
    return document.load(path) if path.exists() else None


def _worst(run: Run) -> str:
    verdicts = {worst_verdict(case) for case in run.cases}
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), "same")


def _roots(wishes: Wishes, top: Path) -> tuple[Path, ...]:
    """Where pytest's rootdir may be: the working directory and the folders of the paths, up to the top."""
    starts = [Path.cwd().resolve(), *((Path.cwd() / path.partition("::")[0]).resolve() for path in wishes.paths)]
    folders = [folder for start in starts for folder in (start, *start.parents) if folder.is_relative_to(top)]
    return tuple(dict.fromkeys(folders))


def _proposed(wishes: Wishes, context: Context, run: Run, top: Path, folder: Path) -> Proposal | None:
    """A baseline update, if it was asked for, of the main branch: what a change measures is no reference yet.

    None where the baselines are runs in a history. Raises `PerfguardError` if it cannot be made.
    """
    if wishes.update_baselines == "off" or not context.on_main or wishes.baselines.startswith(PREFIX):
        return None
    name = wishes.baselines or "baselines"
    places = [root / name for root in _roots(wishes, top)]  # below pytest's rootdir
    stored = next((place for place in places if place.is_dir()), places[0]).resolve()
    branch = wishes.update_branch if wishes.update_baselines == "branch" else ""
    try:
        return propose(run, top, stored, folder, branch)
    except OSError as error:
        raise CiError(str(stored), f"cannot be copied for a proposal: {error}") from error


def _proposal_told(wishes: Wishes, context: Context, run: Run, top: Path, folder: Path) -> tuple[str, ...]:
    """Propose, and what to say of it. The run has passed: a proposal that cannot be made fails alone."""
    try:
        return _notes(_proposed(wishes, context, run, top, folder))
    except PerfguardError as error:
        return (f"No baseline update is proposed: {error}",)


def _notes(proposal: Proposal | None) -> tuple[str, ...]:
    if proposal is None:
        return ()
    where = f"as branch `{proposal.branch}`" if proposal.branch else f"as `{proposal.patch.name}` in the artifact"
    told = f"A baseline update is proposed {where} (`git apply {proposal.patch.name}`)."
    return (told, proposal.problem) if proposal.problem else (told,)


def _tell(told: Told, folder: Path, environ: Mapping[str, str]) -> None:
    """Write the artifact's files, the summary, the annotations and the outputs."""
    outcome, run = told.outcome, told.run
    problems = () if run is None else _reported(folder)
    artifact.write(folder, artifact.MANIFEST, artifact.as_text(outcome))
    text = message.summary(outcome, run, (*told.notes, *problems))
    artifact.write(folder, artifact.SUMMARY, text)
    artifact.write(folder, artifact.CODE_QUALITY, code_quality.as_text(told.annotations))
    if summary := environ.get("GITHUB_STEP_SUMMARY"):
        workflow.write_summary(Path(summary), text)
    if environ.get("GITHUB_ACTIONS") == "true":
        for annotation in workflow.within_limits(told.annotations):
            print(workflow.command_line(annotation), flush=True)
    if output := environ.get("GITHUB_OUTPUT"):
        workflow.write_outputs(Path(output), _outputs(outcome, folder))
    _say(f"{outcome.verdict} (exit {outcome.exit_status}); results in {os.path.relpath(folder)}")


def _reported(folder: Path) -> tuple[str, ...]:
    """Write the reports; what went wrong with any, which is no reason to fail the gate."""
    recording = folder / artifact.RECORDING
    try:
        source = read(recording if recording.exists() else folder / artifact.DOCUMENT)
    except PerfguardError as error:
        return (str(error),)
    _, problems = make_all([Output(kind, folder / name) for kind, name in REPORTS.items()], source)
    return tuple(problems)


def _outputs(outcome: Outcome, folder: Path) -> dict[str, str]:
    names = {
        "document": artifact.DOCUMENT,
        "recording": artifact.RECORDING,
        "html": artifact.HTML,
        "markdown": artifact.MARKDOWN,
        "patch": artifact.PATCH,
    }
    files = {output: str(folder / name) if (folder / name).exists() else "" for output, name in names.items()}
    status = str(outcome.exit_status)
    return {"verdict": outcome.verdict, "exit-status": status, "base": outcome.base, "folder": str(folder), **files}


def _say(text: str) -> None:
    print(f"perfguard: {text}", flush=True)
