"""An update or a clean-up changes what it must and leaves a person's comments and overrides alone."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from baseline_runs import CLASS, KEY, SUITE, bytes_metric, case, ratio_metric, run, time_metric

from perfguard import baselines
from perfguard.baselines import edit, store
from perfguard.baselines.reader import file_of
from perfguard.errors import BaselineError, OptionError

COMMENTED = f"""\
# Licence of this file.
schema = "perfguard.baseline/1"
suite = "transport"  # the only one
machine_class = "{CLASS}"

# Which machine this was.
[machine]
cpus = 2

# --- round trips ---

# The one that matters.
["{KEY}".time]
unit = "s"
direction = "lower"
kind = "time"
gated = true  # since the outage
limit = "20%"  # noisy neighbour, ask Ada
process_runs = [
  # before the rewrite
  {{ date = 2026-01-30T12:00:00Z, commit = "aaaaaaa", n = 9, median = 0.5, ci = [0.4, 0.6] }},  # a slow day
  # after it
  {{ date = 2026-01-30T13:00:00Z, commit = "bbbbbbb", n = 9, median = 0.4, ci = [0.4, 0.4] }},
  # end of the rewrite
]
# Belongs to the round trip.

# --- others ---

# Never looked at.
["z::other".time]
unit = "s"
direction = "lower"
kind = "time"
gated = false
process_runs = [{{ date = 2026-01-30T12:00:00Z, commit = "", n = 1, median = 1, ci = [1, 1] }}]

# The end.
"""


def _file(folder: Path, text: str = COMMENTED) -> Path:
    path = file_of(folder, CLASS, SUITE)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def _comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


def test_comments_and_overrides_survive_updates(tmp_path: Path) -> None:
    """All comments are still there, in their order, and only one line was added."""
    path = _file(tmp_path)
    baselines.update(tmp_path, run(case(time_metric(0.45))))
    lines, before = path.read_text().splitlines(), COMMENTED.splitlines()
    added = [line for line in lines if line not in before]
    assert [line for line in lines if line in before] == before
    assert len(added) == 1
    assert added[0].startswith("  { date = 2026-01-31T12:00:00Z")
    found = baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "time", "time")
    assert found is not None
    assert found.limit == 0.2
    assert found.medians == (0.5, 0.4, 0.45)


def test_a_comment_on_a_process_run_goes_with_it(tmp_path: Path) -> None:
    """When the oldest falls out, what was said of it does too; nothing else does."""
    path = _file(tmp_path)
    baselines.update(tmp_path, run(case(time_metric(0.45))), keep=2)
    gone = set(_comments(COMMENTED)) - set(_comments(path.read_text()))
    assert gone == {"# a slow day"}


def test_a_new_metric_stands_in_sorted_place_above_the_comments_of_the_next(tmp_path: Path) -> None:
    """Its neighbours keep what was written above them."""
    path = _file(tmp_path)
    baselines.update(tmp_path, run(*[case(time_metric(1), key=key) for key in ("y::new", "zz::last", "a::first")]))
    text = path.read_text()
    order = [
        "cpus = 2",
        '["a::first".time]',
        "# --- round trips ---",
        "# Belongs to the round trip.",
        '["y::new".time]',
        "# --- others ---",
        "# Never looked at.",
        '["z::other".time]',
        '["zz::last".time]',
        "# The end.",
    ]
    assert sorted(order, key=text.index) == order
    assert _comments(text) == _comments(COMMENTED)


def test_removing_a_metric_takes_its_own_comments_only(tmp_path: Path) -> None:
    """A section's title above it stays."""
    path = _file(tmp_path)
    removed = baselines.prune(tmp_path, unwanted=lambda _suite, key, _metric: key == KEY)
    assert [(entry.case_key, entry.metric, entry.whole) for entry in removed] == [(KEY, "time", True)]
    gone = [comment for comment in _comments(COMMENTED) if comment not in _comments(path.read_text())]
    assert "# --- round trips ---" not in gone
    assert gone == [
        "# The one that matters.",
        "# since the outage",
        "# noisy neighbour, ask Ada",
        "# before the rewrite",
        "# a slow day",
        "# after it",
        "# end of the rewrite",
        "# Belongs to the round trip.",
    ]


def test_ungating_in_the_test_reaches_the_file(tmp_path: Path) -> None:
    """`gated` is the test's to say; the comment beside it stays."""
    path = _file(tmp_path)
    baselines.update(tmp_path, run(case(time_metric(0.45, gated=False))))
    assert "gated = false  # since the outage" in path.read_text()


@pytest.mark.parametrize(
    "layout",
    [
        COMMENTED.replace(f'["{KEY}".time]', f'["{KEY}"]\ntime.gated = true\n[other]')
        .split("[other]")[0]
        .replace(
            "gated = true\n",
            'unit = "s"\ntime.direction = "lower"\ntime.kind = "time"\ntime.gated = true\n'
            'time.process_runs = [{ date = 2026-01-30T12:00:00Z, commit = "", n = 1, median = 1, ci = [1, 1] }]\n',
        ),
        COMMENTED.split("process_runs = [\n", maxsplit=1)[0]
        + f'[["{KEY}".time.process_runs]]\ndate = 2026-01-30T12:00:00Z\n'
        'commit = ""\nn = 1\nmedian = 1\nci = [1, 1]\n',
    ],
    ids=["dotted keys", "array of tables"],
)
def test_a_layout_that_cannot_be_edited_is_read_but_not_spoilt(tmp_path: Path, layout: str) -> None:
    """Valid TOML of another shape counts as a baseline; an update says what shape it needs."""
    path = _file(tmp_path, layout)
    assert baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "time", "time") is not None
    with pytest.raises(BaselineError, match=r"can read but not edit.*one header"):
        baselines.update(tmp_path, run(case(time_metric(0.45))))
    assert path.read_text() == layout


def test_text_that_looks_like_a_header_is_not_one_for_long(tmp_path: Path) -> None:
    """A multi-line string in `[machine]` that holds a header makes the update refuse, not write nonsense."""
    text = COMMENTED.replace("cpus = 2", f'cpus = 2\nnote = """\n["{KEY}".time]\n"""')
    path = _file(tmp_path, text)
    with pytest.raises(BaselineError):
        baselines.update(tmp_path, run(case(time_metric(0.45))))
    assert path.read_text() == text


def test_splitting_and_joining_is_the_identity() -> None:
    """For a file in the form that perfguard writes."""
    assert edit.split(COMMENTED).render() == COMMENTED


def test_a_file_changed_during_the_update_is_not_overwritten(tmp_path: Path) -> None:
    """An editor saved it in between: its work stays, ours is told to start again, nothing else is left."""
    path = _file(tmp_path)
    other = tmp_path / CLASS / "other.toml"
    with store.locked(tmp_path), pytest.raises(BaselineError, match="changed by someone else") as caught:
        store.apply(
            [
                store.FileChange(other, None, b"new"),
                store.FileChange(path, COMMENTED.encode() + b"# stale", b"ours"),
            ]
        )
    assert caught.value.culprit == str(path)
    assert path.read_text() == COMMENTED
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_folder_held_by_another_is_waited_for_only_so_long(tmp_path: Path) -> None:
    """The lock is the folder's own, so that it needs no lock file; a wait for it ends."""
    with (
        store.locked(tmp_path),
        pytest.raises(BaselineError, match="another process has been updating"),
        store.locked(tmp_path, timeout_s=0.0),
    ):
        pytest.fail("two updaters at once")
    with store.locked(tmp_path, timeout_s=0.0):
        assert list(tmp_path.iterdir()) == []


def test_what_a_killed_updater_left_is_swept(tmp_path: Path) -> None:
    """By the next updater, who holds the lock and so knows that nobody is writing."""
    path = _file(tmp_path)
    leftover = path.with_name(".transport.toml.1a2b3c4d.tmp")
    leftover.write_text("half a fi")
    with store.locked(tmp_path):
        assert not leftover.exists()
    assert path.read_text() == COMMENTED


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    """A group-writable file stays so, and a link to a file elsewhere stays a link."""
    path = _file(tmp_path)
    elsewhere = tmp_path / "elsewhere.toml"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    elsewhere.chmod(0o664)
    baselines.update(tmp_path, run(case(time_metric(0.45))))
    assert path.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o664
    assert "0.45" in elsewhere.read_text()


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    """The message names the folder and the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BaselineError, match=r"cannot be written: Not a directory .*--perfguard-baselines"):
        baselines.update(tmp_path / "file" / "baselines", run(case(time_metric())))


def test_pruning_keeps_the_last_and_drops_the_old(tmp_path: Path) -> None:
    """By number, by age, in portable and absolute files; empty files go; a dry run changes nothing."""
    for second in range(5):
        baselines.update(tmp_path, run(case(time_metric(1 + second), ratio_metric(1 + second)), second=second))
    assert len(baselines.prune(tmp_path, keep=3, dry_run=True)) == 2
    removed = baselines.prune(tmp_path, keep=3)
    assert {(entry.metric, entry.process_runs, entry.whole) for entry in removed} == {
        ("time", 2, False),
        ("over_memcpy", 2, False),
    }
    found = baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "time", "time")
    assert found is not None
    assert found.medians == (3, 4, 5)
    baselines.prune(tmp_path, older_than=datetime(2026, 1, 31, 12, 0, 4, tzinfo=timezone.utc))
    found = baselines.load(tmp_path, CLASS).metric(SUITE, KEY, "time", "time")
    assert found is not None
    assert found.medians == (5,)
    baselines.prune(tmp_path, older_than=datetime(2027, 1, 1, tzinfo=timezone.utc))
    assert baselines.load(tmp_path, CLASS).count() == 0
    assert list(tmp_path.glob("**/*.toml")) == []


def test_keeping_none_is_an_error(tmp_path: Path) -> None:
    """It would mean an array without process runs, which no reader accepts."""
    with pytest.raises(OptionError, match="keep at least one"):
        baselines.prune(tmp_path, keep=0)
    with pytest.raises(OptionError, match="keep at least one"):
        baselines.update(tmp_path, run(case(bytes_metric())), keep=0)
