"""What `benchmark.pedantic` is asked for: how many rounds of how many calls, and with what arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rounds:
    """How often: `warmup_rounds` untimed and `rounds` timed blocks of `iterations` calls, at least one of each."""

    rounds: int = 1
    warmup_rounds: int = 0
    iterations: int = 1

    def check(self, setup: Callable[..., Any] | None) -> None:
        """Raise ValueError for numbers that make no sense, or `iterations` above 1 with a `setup`."""
        for name, least in (("iterations", 1), ("rounds", 1), ("warmup_rounds", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"benchmark.pedantic: {name}={value!r}: a whole number from {least} up is needed")
        if self.iterations > 1 and setup is not None:
            raise ValueError(
                f"benchmark.pedantic: iterations={self.iterations} with a setup: it runs once a round, so the second "
                "call would find what the first one left; raise rounds instead"
            )


@dataclass
class Arguments:
    """What each round calls its target with: given once, or made by `setup`."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    setup: Callable[..., Any] | None = None

    def fresh(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Run `setup` and take what it returns, if anything. Raises TypeError if arguments were given as well."""
        made = None if self.setup is None else self.setup()
        if not made:
            return tuple(self.args), dict(self.kwargs)
        if self.args or self.kwargs:
            raise TypeError("benchmark.pedantic: setup returned arguments, and args or kwargs are given as well")
        args, kwargs = made
        return tuple(args), dict(kwargs)
