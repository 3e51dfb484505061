"""What the documentation says of the code: its reference, its architecture, its links."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
import reference
from doc_blocks import ROOT, anchors, links, pages

from perfguard.baselines.schema import METRIC_KEYS, RUN_KEYS, TOP_KEYS
from perfguard.document import (
    DIRECTIONS,
    KINDS,
    VERDICTS,
    Account,
    Case,
    Change,
    Gate,
    Metric,
    Phase,
    PhaseChange,
    Run,
)
from perfguard.options import OPTIONS

ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
FORMATS = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
SCHEMAS = re.compile(r'"(perfguard\.\w+/\d+)"')
# Read or set by the code, and nothing for a user to set: between processes of ours, for git, for benches.
INTERNAL = {"LC_ALL", "GIT_OPTIONAL_LOCKS", "PYTHONHASHSEED"}
OF_JOBS = ("GITHUB_", "GITLAB_", "CI_", "GIT_")  # told of as a kind
CODE = [path for folder in ("perfguard", "suites", "tui") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", reference.generated(), ids=lambda path: path.name)
def test_generated_pages_are_what_the_code_says(path: Path) -> None:
    """The reference tells every option, ini key, method, verb and argument there is, in the code's own words."""
    assert path.read_text(encoding="utf-8") == reference.generated()[path], "stale: run `make reference`"


def test_environment_variables_are_told() -> None:
    """Each variable of ours, and each that the code asks the environment for, is in the reference, or is internal."""
    known = {name for path in CODE for name in _asked_for(ast.parse(_text(path)))}
    assert {"XDG_RUNTIME_DIR", "PERFGUARD_TRANSPORT_ENDPOINT", "PERFGUARD_HISTORY"} <= known
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    told = set(re.findall(r"[A-Z][A-Z0-9_]+", page.split("## Environment variables")[1]))
    assert {name for name in known - told - INTERNAL if not name.startswith(("PERFGUARD_DUET_", *OF_JOBS))} == set()


def _asked_for(module: ast.Module) -> set[str]:
    """Names asked of something called `environ...`, by text or by a constant of the module; and all `PERFGUARD_...`."""
    texts = {
        node.targets[0].id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    keys: list[ast.expr] = []
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and "environ" in ast.unparse(node.value):
            keys.append(node.slice)
        elif isinstance(node, ast.Call) and node.args and "environ" in ast.unparse(node.func):
            keys.append(node.args[0])
        elif isinstance(node, ast.Compare) and "environ" in ast.unparse(node.comparators[0]):
            keys.append(node.left)
    asked = {key.value if isinstance(key, ast.Constant) else texts.get(ast.unparse(key)) for key in keys}
    words = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant)}
    ours = {word for word in words if isinstance(word, str) and re.fullmatch(r"PERFGUARD_[A-Z_]+", word)}
    return ours | {name for name in asked if isinstance(name, str) and re.fullmatch(r"[A-Z][A-Z0-9_]+", name)}


def test_every_format_is_told() -> None:
    """Each document and file that the framework writes, by its schema, has its section in the formats."""
    schemas = {
        name for path in CODE if path.is_relative_to(ROOT / "perfguard") for name in SCHEMAS.findall(_text(path))
    }
    assert len(schemas) > 4
    assert {name for name in schemas if name not in FORMATS} == set()


@pytest.mark.parametrize(
    "shape", [Run, Case, Metric, Change, PhaseChange, Account, Phase, Gate], ids=lambda s: s.__name__
)
def test_run_document_is_told(shape: type) -> None:
    """Every field of the run document is in its picture."""
    told = set(re.findall(r'"(\w+)"', FORMATS.split("## Comparison")[0]))
    assert {field.name for field in fields(shape)} - told == set()


def test_keys_of_baselines_are_told() -> None:
    """Every key of a baseline file is told of."""
    told = set(re.findall(r"`\[?(\w+)\b", FORMATS.split("## Baselines")[1].split("\n## ")[0]))
    assert {*TOP_KEYS, *METRIC_KEYS, *RUN_KEYS} - told == set()


def test_rooms_exist() -> None:
    """Each room that the architecture names is there."""
    rooms = re.findall(r"^\| `([\w./]+)` \|", ARCHITECTURE, re.MULTILINE)
    assert len(rooms) > 20
    assert [room for room in rooms if not (ROOT / room).exists()] == []


def test_every_room_is_named() -> None:
    """Each folder of the framework is a room that the architecture names."""
    folders = {f"perfguard/{path.parent.name}/" for path in (ROOT / "perfguard").glob("*/__init__.py")}
    assert {folder for folder in folders if folder not in ARCHITECTURE} == set()


def test_walls_are_those_that_are_checked() -> None:
    """The architecture's walls are the contracts of import-linter, in the same words."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contracts = re.findall(r'^\[\[tool.importlinter.contracts\]\]\nname = "(.*)"$', settings, re.MULTILINE)
    told = ARCHITECTURE.split("## Walls")[1].split("## Words")[0]
    rows = re.findall(r"^\| (.*?) \|", told, re.MULTILINE)
    assert sorted(contracts) == sorted(set(rows) - {"wall", "---"})


def test_words_are_the_codes() -> None:
    """Verdicts, kinds and directions in the table of words are exactly those of the run document."""
    rows = {
        row.split("|")[1].strip(): set(re.findall(r"`(\w+)`", row))
        for row in ARCHITECTURE.splitlines()
        if row[:2] == "| "
    }
    assert rows["verdict"] == set(VERDICTS)
    assert rows["metric"] == {*KINDS, *DIRECTIONS}


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_sentences_name_what_there_is(page: Path) -> None:
    """Options, make targets, tools and suites that a sentence names exist."""
    text = _text(page)
    flags = {option.flag for option in OPTIONS}
    assert {flag for flag in re.findall(r"--perfguard(?:-[a-z]+)*", text) if flag not in flags} == set()
    targets = set(re.findall(r"^([a-z-]+):", _text(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) - targets == set()
    paths = re.findall(r"`((?:tools|suites)/[\w./-]+)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link inside the repository leads to a file, each anchor to a heading; pages of the site stay in it."""
    for link in links(page):
        target, _, anchor = link.target.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), f"{link.target}: no such file"
        assert page.name == "README.md" or file.is_relative_to(ROOT / "docs"), f"{link.target}: not part of the site"
        assert not anchor or anchor in anchors(file), f"{link.target}: no such heading"


def test_every_page_is_in_the_navigation() -> None:
    """A page that nobody can find from the site's navigation is a page that nobody reads."""
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    assert {page.name for page in pages()} - {"README.md"} == set(re.findall(r"[\w-]+\.md", navigation))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
