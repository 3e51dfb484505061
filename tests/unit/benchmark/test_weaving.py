"""A function is replaced where it lives, and put back."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perfguard.benchmark.weave import weave

NAME = "woven_for_a_test"
SOURCE = """
def helper(x): return x + 1
class Base:
    def inherited(self): return "base"
class Thing(Base):
    number = 3
    def method(self, x): return x * 2
    @staticmethod
    def fixed(x): return -x
    @classmethod
    def made(cls): return cls.__name__
"""


@pytest.fixture
def module() -> Iterator[Any]:
    module = types.ModuleType(NAME)
    exec(SOURCE, module.__dict__)
    sys.modules[NAME] = module
    yield module
    del sys.modules[NAME]


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def noted(seen: list[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def measured(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.append(function.__name__)
            return function(*args, **kwargs)

        return call

    return measured


@pytest.mark.parametrize(
    ("target", "call"),
    [
        (f"{NAME}.helper", lambda m: m.helper(1) == 2),
        (f"{NAME}.Thing.method", lambda m: m.Thing().method(2) == 4),
        (f"{NAME}.Thing.fixed", lambda m: m.Thing.fixed(2) == m.Thing().fixed(2) == -2),
        (f"{NAME}.Thing.made", lambda m: m.Thing.made() == "Thing"),
        (f"{NAME}.Thing.inherited", lambda m: m.Thing().inherited() == "base"),
    ],
)
def test_calls_pass_through_until_it_is_undone(
    target: str, call: Callable[[Any], bool], module: Any, seen: list[str], noted: Any
) -> None:
    """Functions, methods, static and class methods, inherited ones: same results, and then as before."""
    before = {name: vars(owner).get(name) for owner in (module, module.Thing) for name in ("helper", "method", "fixed")}
    undo = weave(target, noted)
    assert call(module)
    assert set(seen) == {target.rpartition(".")[2]}
    undo()
    count = len(seen)
    assert call(module)
    assert len(seen) == count
    assert "inherited" not in vars(module.Thing)
    assert before == {
        name: vars(owner).get(name) for owner in (module, module.Thing) for name in ("helper", "method", "fixed")
    }


def test_a_function_is_found_by_its_own_name(module: Any, seen: list[str], noted: Any) -> None:
    """As in `benchmark_weave(Thing.method)`."""
    undo = weave(module.Thing.method, noted)
    assert module.Thing().method(3) == 6
    assert seen == ["method"]
    undo()


def test_what_cannot_be_woven_is_named(module: Any, noted: Any) -> None:
    """Not there, and no function."""
    with pytest.raises(ImportError, match="no_such_module_anywhere"):
        weave("no_such_module_anywhere.f", noted)
    with pytest.raises(AttributeError, match="nothing"):
        weave(f"{NAME}.Thing.nothing", noted)
    with pytest.raises(TypeError, match="number"):
        weave(f"{NAME}.Thing.number", noted)
