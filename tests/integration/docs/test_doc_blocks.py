"""The documentation's code: Python blocks are run, sessions are run, data is parsed, all other commands are checked."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from doc_blocks import ROOT, Block, all_blocks
from doc_commands import problems

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BLOCKS = all_blocks()
RUN = ("python", "console")
DATA = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}
# `diff` and `text` are output or pictures made of letters; a formula is drawn by the site and by forges.
SHOWN = ("text", "math", "diff")
PLUGINS = ("-p", "no:benchmark", "-p", "no:codspeed", "-p", "no:cacheprovider", "-p", "no:xdist")
# The pages whose commands are run: named, so that no command runs merely since somebody wrote it down.
SESSIONS = [ROOT / name for name in ("README.md", "docs/overlap.md", "docs/simulator.md", "docs/start.md")]

# How many blocks of a page are not run; each says why above itself. A page that is not here runs all of its own.
NOT_RUN = {
    "README.md": 2,
    "docs/bisect.md": 1,
    "docs/ci.md": 2,
    "docs/coming-from.md": 3,
    "docs/dashboard.md": 1,
    "docs/duet.md": 1,
    "docs/history.md": 3,
    "docs/ladder.md": 2,
    "docs/overhead.md": 1,
    "docs/overlap.md": 2,
    "docs/quality.md": 1,
    "docs/reports.md": 4,
    "docs/simulator-gemm.md": 1,
    "docs/simulator.md": 1,
    "docs/split-rpc.md": 2,
    "docs/staged-throughput.md": 3,
    "docs/start.md": 4,
    "docs/weight-streaming.md": 1,
    "docs/writing-tests.md": 1,
}


def test_every_block_says_what_it_is() -> None:
    """No block is without a language, and none is in a language that nobody here runs, parses or means to show."""
    assert [block.where for block in BLOCKS if block.language not in (*RUN, *DATA, *SHOWN)] == []


def test_blocks_not_run_are_counted() -> None:
    """What is not run has a reason above it, and their number is known: one more is a decision, not an accident."""
    skipped = [block for block in BLOCKS if "not run" in block.notes]
    assert [block.where for block in skipped if len(block.notes["not run"]) < 5] == []
    run = {block.page for block in BLOCKS if block.language == "console" and "not run" not in block.notes}
    assert run == set(SESSIONS), "give the others' blocks a `not run`, or name their pages in SESSIONS"
    counted = Counter(str(block.page.relative_to(ROOT)) for block in skipped)
    assert counted == NOT_RUN, f"if each of these has to be: NOT_RUN = {dict(sorted(counted.items()))}"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in DATA], ids=lambda b: b.where)
def test_data_is_well_formed(block: Block) -> None:
    """TOML, JSON and YAML on a page can be read."""
    assert DATA[block.language](block.text)


def test_commands_exist() -> None:
    """Every command that a page shows, run or not, has verbs, options, targets and modules that there are."""
    wrong = [
        f"{block.where}: {command}: {problem}"
        for block in BLOCKS
        if block.language == "console"
        for command in block.commands
        for problem in problems(command)
    ]
    assert wrong == []


def test_examples_of_verbs_exist() -> None:
    """The examples that `perfguard VERB --help` gives, and the reference with it, can be given as they stand."""
    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    examples = re.findall(r"^  (perfguard .*?)(?:\s{2,}.*)?$", text, re.MULTILINE)
    assert len(examples) > 20
    assert [problem for example in examples for problem in problems(example)] == []


def test_consoles_show_commands() -> None:
    """A `console` block has a command behind `$ `; what is output alone is `text`."""
    assert [block.where for block in BLOCKS if block.language == "console" and not block.commands] == []


@pytest.mark.parametrize("measured", [False, True], ids=["plain", "measured"])
def test_python_blocks_run(tmp_path: Path, measured: bool) -> None:
    """Each Python block runs: its tests pass, untimed and measured; what is no test is run as it stands."""
    chosen = [b for b in BLOCKS if b.language == "python" and not {"not run", "file"} & set(b.notes)]
    options: list[str] = []
    if measured:
        chosen = [block for block in chosen if "def test_" in block.text and "untimed" not in block.notes]
        options = ["--perfguard", "--perfguard-case-seconds=0.01"]
    for block in chosen:
        (tmp_path / f"test_{block.name}.py").write_text(_module(block), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", *PLUGINS, "-W", "error", "--junitxml=ran.xml", *options]
    done = _run(command, tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    ran = {case.attrib["classname"] for case in ET.parse(tmp_path / "ran.xml").iter("testcase")}
    assert ran == {f"test_{block.name}" for block in chosen}


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_sessions_run(page: Path, tmp_path: Path) -> None:
    """A page's `console` blocks are one session: its files are written and its commands run in the order they come."""
    environment = _environment()
    for block in (block for block in BLOCKS if block.page == page and "not run" not in block.notes):
        if "file" in block.notes:
            (tmp_path / block.notes["file"]).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            if given := block.notes.get("given"):
                assert _run([sys.executable, "-c", given], tmp_path, environment).stderr == ""
            done = _run(["bash", "-c", "\n".join(["set -e", *block.commands])], tmp_path, environment)
            said = f"{done.stdout}{done.stderr}"
            assert done.returncode == int(block.notes.get("exit", 0)), f"{block.where}: {said}"
            printed = {line.strip() for line in said.splitlines()}
            if "output" in block.notes:
                assert [line for line in block.output if line not in printed] == [], f"{block.where}: {said}"


def _environment() -> dict[str, str]:
    """Our interpreter's commands first, the builders of tests/helpers for `given`, and a git that knows nobody."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "tests/helpers"),
        "PYTEST_ADDOPTS": " ".join([*PLUGINS, "--perfguard-case-seconds=0.05"]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_{what}": "doc@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }


def _module(block: Block) -> str:
    given = block.notes.get("given", "")
    ending = "" if "def test_" in block.text else "\n\ndef test_it_ran(): pass\n"
    return f"{given}\n\n{block.text}{ending}"


def _run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120, check=False
    )
