"""`history:main@last-20`: which stored runs are the baselines. Standard library only: options are read by it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from perfguard.errors import OptionError

PREFIX = "history:"
MOST_RUNS = 10_000
_FORM = re.compile(r"history:(?P<branch>[^\s@]*)@last-(?P<last>[1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class HistoryRange:
    """The last `last` runs of `branch` ("": the main line), on each machine class."""

    branch: str
    last: int

    def __str__(self) -> str:
        return f"{PREFIX}{self.branch}@last-{self.last}"


def parse_range(text: str, option: str = "--perfguard-baselines") -> HistoryRange:
    """`history:main@last-20` as a `HistoryRange`. Raises `OptionError` naming the option."""
    match = _FORM.fullmatch(text)
    if match is None or int(match["last"]) > MOST_RUNS:
        raise OptionError(option, f"{text!r} is no range of a history", f"write {PREFIX}main@last-20")
    return HistoryRange(match["branch"], int(match["last"]))
