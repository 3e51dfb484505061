"""The command line as a whole: help, exit statuses, verbs that others provide."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfguard import cli
from perfguard.baselines import machine

Capture = pytest.CaptureFixture[str]


def _provide(folder: Path, group: str, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with one entry point, as pip would leave it."""
    info = folder / f"provider_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: provider-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = provider_{name}:main\n")
    (folder / f"provider_{name}.py").write_text(source)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["baseline"],
        ["baseline", "show"],
        ["baseline", "accept"],
        ["baseline", "prune"],
        ["bisect"],
        ["ci"],
        ["ci", "gate"],
        ["ci", "comment"],
        ["doctor"],
        ["compare"],
        ["machine"],
        ["report"],
    ],
)
def test_every_verb_explains_itself(verb: list[str], capsys: Capture) -> None:
    """`--help` ends with status 0 and shows an option or an example."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*verb, "--help"])
    assert ended.value.code == 0
    assert f"usage: {' '.join(['perfguard', *verb])}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nope"], ["baseline"], ["bisect"], ["compare"], ["machine", "--nope"]])
def test_usage_errors_have_pytest_s_status(arguments: list[str], capsys: Capture) -> None:
    """4, not argparse's 2, which here means interrupted."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 4
    assert "error: " in capsys.readouterr().err


def test_machine_prints_the_class_and_its_parts(tmp_path: Path, capsys: Capture) -> None:
    """And against a folder of baselines: what differs."""
    other = {**machine.describe(), "memory_gib": 1, "numpy": "0.1"}
    name = machine.machine_class(other)
    lines = [f"{key} = {json.dumps(value)}" for key, value in machine.identity(other).items()]
    (tmp_path / name).mkdir()
    (tmp_path / name / "s.toml").write_text(
        "\n".join(
            [
                'schema = "perfguard.baseline/1"',
                'suite = "s"',
                f'machine_class = "{name}"',
                "[machine]",
                *lines,
            ]
        )
    )
    assert cli.main(["machine", "--dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(machine.machine_class(machine.describe()))
    assert "memory_gib (" in out
    assert "here, 1 there)" in out
    assert "0.1 there)" in out
    assert cli.main(["machine", "--json", "--dir", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["class"] == machine.machine_class(printed["machine"])
    assert [text.split(" ")[0] for text in printed["differences"][name]] == ["memory_gib", "numpy"]


@pytest.mark.parametrize("verb", ["diagnose", "dashboard"])
def test_a_provided_verb_gets_its_arguments_as_they_are(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """`--help` too; what it returns is the exit status."""
    _provide(
        tmp_path,
        f"perfguard.{verb}",
        "zebra",
        "def main(argv):\n    print(argv)\n    return 7\n",
        monkeypatch,
    )
    assert cli.main([verb, "zebra", "--help", "-x", "a b"]) == 7
    assert capsys.readouterr().out == "['--help', '-x', 'a b']\n"


def test_a_provider_that_returns_nothing_went_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a main function may."""
    _provide(tmp_path, "perfguard.diagnose", "quiet", "def main(argv):\n    pass\n", monkeypatch)
    assert cli.main(["diagnose", "quiet"]) == 0


def test_a_missing_dependency_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The module that is missing, and the distribution that needs it."""
    _provide(tmp_path, "perfguard.diagnose", "broken", "import no_such_module_anywhere\n", monkeypatch)
    assert cli.main(["diagnose", "broken"]) == 4
    err = capsys.readouterr().err
    assert "No module named 'no_such_module_anywhere'" in err
    assert "pip install 'provider-broken'" in err


def test_diagnose_lists_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Without a name, and beside the error for a wrong one."""
    _provide(tmp_path, "perfguard.diagnose", "zebra", "", monkeypatch)
    assert cli.main(["diagnose"]) == 0
    assert "perfguard diagnose zebra --help" in capsys.readouterr().out
    assert cli.main(["diagnose", "lion"]) == 4
    assert "there is no 'lion'" in capsys.readouterr().err


def test_an_error_of_a_provider_is_reported_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Its exit status is the error's own."""
    _provide(
        tmp_path,
        "perfguard.diagnose",
        "raises",
        "from perfguard.errors import InterruptedRun\n"
        "def main(argv):\n    raise InterruptedRun('it', 'stopped', 'go on')\n",
        monkeypatch,
    )
    assert cli.main(["diagnose", "raises"]) == 2
    assert capsys.readouterr().err == "perfguard: error: it: stopped (go on)\n"


def test_ctrl_c_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Exit 2, as pytest."""
    _provide(
        tmp_path,
        "perfguard.diagnose",
        "stopped",
        "def main(argv):\n    raise KeyboardInterrupt\n",
        monkeypatch,
    )
    assert cli.main(["diagnose", "stopped"]) == 2
    assert capsys.readouterr().err == "perfguard: interrupted\n"
