"""Verbs that live outside the framework: found by entry-point group, handed their arguments as they are.

A provider is a callable that takes `argv: list[str]` and returns an exit status (None counts as 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points

from perfguard.errors import OptionError


def providers(group: str) -> dict[str, EntryPoint]:
    """The installed providers of a group by name, sorted."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def choose(available: Mapping[str, EntryPoint], name: str, group: str, culprit: str) -> EntryPoint:
    """The provider of that name; raises `OptionError` listing those there are."""
    if name not in available:
        known = ", ".join(available) or "none: is perfguard installed, and not just on the path?"
        raise OptionError(culprit, f"there is no {name!r}", f"entry points of {group}: {known}")
    return available[name]


def call(provider: EntryPoint, arguments: Sequence[str], extra: str) -> int:
    """Import a provider and run it.

    Raises `OptionError` that names the missing module and `extra`, perfguard's optional dependencies that
    bring it, if it cannot be imported.
    """
    try:
        function = provider.load()
    except (ImportError, AttributeError) as error:
        dist = provider.dist.name if provider.dist is not None else "perfguard"
        wanted = f"perfguard[{extra}]" if dist == "perfguard" else dist
        raise OptionError(
            f"{provider.group}: {provider.name}", f"cannot be imported: {error}", f"pip install '{wanted}'"
        ) from error
    return int(function(list(arguments)) or 0)
