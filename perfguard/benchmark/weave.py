"""`benchmark_weave`: a function is replaced while a test runs, so that the calls other code makes are measured."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def weave(target: Any, measured: Callable[[Function], Function], **options: Any) -> Callable[[], None]:
    """Replace `target` by `measured(target)`; returns what puts the old one back.

    `target` is a function or a method found by its module and qualified name, or its dotted name. Everything else
    (classes, instances, lists, and any `options`) is aspectlib's, as in pytest-benchmark: ImportError without it.
    """
    if not options and (isinstance(target, str) or inspect.isfunction(target)):
        return _replace(target, measured)
    try:
        aspectlib = importlib.import_module("aspectlib")
    except ImportError as error:
        raise ImportError(f"weaving {target!r} needs aspectlib: pip install aspectlib") from error

    def aspect(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return measured(function)(*args, **kwargs)

        return wrapper

    rollback: Callable[[], None] = aspectlib.weave(target, aspect, **options).rollback
    return rollback


def _replace(target: Any, measured: Callable[[Function], Function]) -> Callable[[], None]:
    dotted = target if isinstance(target, str) else f"{target.__module__}.{target.__qualname__}"
    owner, name = _owner(dotted)
    stored = inspect.getattr_static(owner, name)
    own = name in vars(owner)
    function = stored.__func__ if isinstance(stored, staticmethod | classmethod) else stored
    if not callable(function):
        raise TypeError(f"{dotted} cannot be woven: it is {stored!r}, no function")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return measured(function)(*args, **kwargs)

    setattr(owner, name, type(stored)(wrapper) if function is not stored else wrapper)

    def undo() -> None:
        if own:
            setattr(owner, name, stored)
        else:
            delattr(owner, name)  # it was inherited

    return undo


def _owner(dotted: str) -> tuple[Any, str]:
    """The module or class that holds the last name of `dotted`, and that name."""
    parts = dotted.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise ImportError(f"{dotted} cannot be found: name a function with its module")
