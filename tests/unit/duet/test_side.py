"""How a pytest call is repeated in a worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfguard.duet.side import invocation
from perfguard.options import OPTIONS, Option


@pytest.mark.parametrize("option", [o for o in OPTIONS if o.kind in ("text", "many")], ids=lambda option: option.flag)
def test_an_option_of_perfguard_takes_its_value_along(option: Option, tmp_path: Path) -> None:
    """Whichever way it is written, nothing of it is left for the worker to take for a file; the rest is repeated."""
    flag = option.flag
    for given in ([flag, "html=x"], [f"{flag}=html=x"]):
        call = invocation(tmp_path, ["."], ["-k", "a", *given, "."], tmp_path, tmp_path, None)
        assert call.options == ("-k", "a")
