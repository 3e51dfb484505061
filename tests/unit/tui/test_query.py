"""The filter language, orders of the table, and keys of a user's own."""

from __future__ import annotations

from pathlib import Path

import event_story
import pytest
from event_story import MODULE

from perfguard.errors import OptionError
from perfguard_tui import query
from perfguard_tui.actions import ACTIONS, read_keys, remapped, short_name
from perfguard_tui.selection import filtered, next_regression, ordered
from perfguard_tui.store import Store
from perfguard_tui.views import RunView


@pytest.fixture(scope="module")
def run() -> RunView:
    store = Store()
    store.apply_all(event_story.events())
    return store.snapshot()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("status:slower", 1),
        ("status:passed !shm", 4),
        ("!status:passed", 1),
        ("suite:split", 2),
        ("phase:unpack", 9),
        ("phase:nothing", 0),
        ("delta:>5%", 2),
        ("delta:>5% status:slower", 1),
        ("delta:<-10%", 1),
        ("n:>=60", 9),
        ("n:=60 naive", 2),
        ("^test_round.*MiB", 5),
        ("test_round_trip[1MiB", 2),
        ("!", 0),
        ("metric:over_", 9),
        ("delta:>x%", 0),
    ],
)
def test_the_filter_language(run: RunView, text: str, count: int) -> None:
    """Regular expressions, `!`, places and figures; what is no valid expression is taken by the letter."""
    assert len(filtered(run, text)) == count


def test_orders_put_what_matters_first(run: RunView) -> None:
    """The worst verdict, the largest change; what has no figure last; the other way round on request."""
    assert ordered(run.cases, "verdict", backwards=False)[0].verdict == "broken"
    assert ordered(run.cases, "change", backwards=False)[0].verdict == "slower"
    assert ordered(run.cases, "change", backwards=False)[-1].headline is None
    assert ordered(run.cases, "run", backwards=True) == run.cases[::-1]
    for order in query.ORDERS:
        assert {case.id for case in ordered(run.cases, order, backwards=False)} == {case.id for case in run.cases}


def test_the_next_regression_goes_round(run: RunView) -> None:
    """Slower and broken ones in turn, both ways, round the end; none where there is none."""
    slower, broken = f"{MODULE}::test_round_trip[10MiB-shm]", run.cases[-1].id
    assert next_regression(run.cases, run.cases[0].id, 1) == slower
    assert next_regression(run.cases, slower, 1) == broken
    assert next_regression(run.cases, broken, 1) == slower
    assert next_regression(run.cases, slower, -1) == broken
    assert next_regression(run.cases[:3], run.cases[0].id, 1) is None


def test_a_user_remaps_keys(tmp_path: Path) -> None:
    """Their key wins over whoever had it; help shows it."""
    path = tmp_path / "dashboard.toml"
    path.write_text('[keys]\nfollow = "s"\n', encoding="utf-8")
    actions = {short_name(action): action for action in remapped(read_keys(path))}
    assert (actions["follow"].keys, actions["follow"].shown_keys) == ("s", "s")
    assert actions["sort"].keys == ""
    assert read_keys(tmp_path / "none.toml") == {}
    assert remapped({}) == ACTIONS


@pytest.mark.parametrize("text", ['[keys]\nfly = "f"', "[keys]\nfollow = 3", "keys = 1", "[keys"])
def test_a_wrong_file_of_keys_is_named(tmp_path: Path, text: str) -> None:
    """With the entry that is wrong."""
    path = tmp_path / "dashboard.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=r"dashboard\.toml"):
        read_keys(path)


def test_no_key_means_two_things() -> None:
    """In the table as it is shipped."""
    keys = [key for action in ACTIONS for key in action.keys.split(",")]
    assert len(keys) == len(set(keys))
