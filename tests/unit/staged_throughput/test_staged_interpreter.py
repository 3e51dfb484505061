"""What the engine's process does to itself."""

from __future__ import annotations

import gc
import sys

from perfguard_suites.staged_throughput.interpreter import onto_large_pages, steady


def test_objects_survive_their_move_onto_large_pages() -> None:
    """Forty megabytes of objects are what they were, whatever the kernel made of it."""
    many = [str(i) * 40 for i in range(400_000)]
    assert onto_large_pages() >= 0
    assert all(text == str(i) * 40 for i, text in enumerate(many))


def test_what_was_changed_is_changed_back() -> None:
    """Inside, old objects are no garbage and the lock is handed over soon; outside, all is as before."""
    before_s, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    with steady():
        assert gc.get_freeze_count() > frozen
        assert sys.getswitchinterval() < before_s
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == (before_s, 0)
