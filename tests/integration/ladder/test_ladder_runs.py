"""Claims about ladders as people run them: the command against a server, and stages declared in a test file."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from sse_server import SseServer, serving

from perfguard.cli import main

LADDER_FILE = '''
"""A stack of two components, whose stages are declared here and measured together."""

import pytest

from perfguard.ladder import Load, Recording, measure_for, profile_of, record_ladder, record_stage, stage

BYPASSED = {bypassed}


def backend(record, rows):
    with record.forward("decode", rows=rows, tokens=rows):
        record.count("Backend")
        return sum(range(20_000))


def engine(record, rows):
    if not BYPASSED:
        record.count("Engine")
    with record.phase("input"):
        prepared = list(range(2_000))
    return backend(record, rows) + len(prepared)


def run(step, load):
    record = Recording()
    for _ in range(load.new_tokens):
        step(record, load.requests)
        for request in range(load.requests):
            record.token(request)
    return record.run()


@stage("Backend")
def stage0(load):
    return run(backend, load)


@stage("Engine", name="stage1", target=0.01)
def with_engine(load):
    return run(engine, load)


@pytest.fixture(scope="module")
def ladder(request):
    load = Load(requests=4, concurrency=4, new_tokens=30)
    budgets = {{"quick": 1.0}}
    profile = profile_of(request.config)
    return measure_for(profile, [stage0, with_engine], load, budgets_s=budgets, meter=lambda: (0.0, 0.0))


@pytest.mark.parametrize("name", ["stage0", "stage1"])
def test_stage(perfguard, ladder, name):
    record_stage(perfguard, ladder, name)


def test_ladder(perfguard, ladder):
    record_ladder(perfguard, ladder)
    assert ladder.load.new_tokens == (30 if perfguard.enabled else 3)
'''


def test_the_command_measures_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep in rounds: tables on the terminal, the same in Markdown, a document with every n, a chart that is SVG."""
    files = {name: tmp_path / f"found.{name}" for name in ("json", "markdown", "svg")}
    with serving(SseServer(token_s=0.001)) as port:
        arguments = ["ladder", "--endpoint", f"http://127.0.0.1:{port}/v1/chat/completions", "--model", "good"]
        arguments += ["--concurrency", "1,4", "--requests", "4", "--new-tokens", "6", "--rounds", "3"]
        arguments += [
            "--ttft-ms",
            "60000",
            *(word for name, path in files.items() for word in (f"--{name}", str(path))),
        ]
        assert main(arguments) == 0
    told = capsys.readouterr()
    assert "round 3/3: tokens/s concurrency 1" in told.err
    found = json.loads(files["json"].read_text())
    assert (found["schema"], found["rounds"]["n"]) == ("perfguard.ladder/1", 3)
    assert found["endpoint"]["model"] == "good"
    assert found["machine"]["class"]
    assert [stage["name"] for stage in found["stages"]] == ["concurrency 1", "concurrency 4"]
    for stage in found["stages"]:
        assert stage["tokens_per_run"] == 24
        assert len(stage["tokens_per_s"]["samples"]) == 3
        assert (stage["latency"]["ttft"]["n"], stage["latency"]["inter_token"]["n"]) == (12, 60)
        assert stage["goodput"]["share"] == 1
        assert stage["terms"] is None
    for title in ("Tokens per second", "Latency p50 / p90 / p99", "Goodput: requests with first token <= 60000 ms"):
        assert title in told.out
        assert title in files["markdown"].read_text()
    assert "prompts are about 33 tokens" in told.out
    assert ET.fromstring(files["svg"].read_text()).tag.endswith("svg")


def test_stages_in_a_test_file_are_measured(pytester: pytest.Pytester) -> None:
    """Under --perfguard the ladder runs once for all its cases, and each records its stage's figures."""
    pytester.makepyfile(test_stack=LADDER_FILE.format(bypassed=False))
    options = ("--perfguard", "--perfguard-json=run.json", "-p", "no:cacheprovider")
    done = pytester.runpytest_subprocess(*options, timeout=60)
    assert done.ret == 0, done.outlines
    found = json.loads(Path("run.json").read_text())["cases"]
    cases = {case["id"].rpartition("::")[2]: case for case in found}
    metrics = {name: {each["name"]: each for each in case["metrics"]} for name, case in cases.items()}
    stage1 = metrics["test_stage[stage1]"]
    ratios = {"over_stage0", "over_previous", "added_gap_fraction"}
    assert set(stage1) == {"tokens_per_s", "added_s_per_token", "ttft_s", "tpot_s"} | ratios
    assert cases["test_stage[stage1]"]["params"]["name"] == "stage1"
    assert stage1["over_stage0"]["kind"] == "ratio"
    assert stage1["over_stage0"]["n"] == stage1["tokens_per_s"]["n"] >= 2
    assert stage1["ttft_s"]["n"] == 4 * stage1["tokens_per_s"]["n"]
    assert "over_stage0" not in metrics["test_stage[stage0]"]
    assert metrics["test_ladder"]["ladder_unexplained_fraction"]["unit"] == ""
    notes = "\n".join(cases["test_ladder"]["notes"])
    assert "Loss against stage0 per token, and its three terms" in notes
    assert "time per token of stage1" in notes


def test_the_same_file_is_an_ordinary_test(pytester: pytest.Pytester) -> None:
    """Without --perfguard one small round runs, and a component that is bypassed fails it by name."""
    pytester.makepyfile(test_stack=LADDER_FILE.format(bypassed=False), test_cheat=LADDER_FILE.format(bypassed=True))
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)
    done.assert_outcomes(passed=3, errors=3)
    done.stdout.fnmatch_lines(["*LadderError: ladder: stage1: Engine was not on the path: it counted no call*"])
