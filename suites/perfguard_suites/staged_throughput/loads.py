"""The requests of a load, the same for every stage: texts of exactly as many bytes as tokens are asked for."""

from __future__ import annotations

import random
import string
from typing import Any

from perfguard.ladder import Load


def prompt_text(load: Load, index: int) -> str:
    """`prompt_tokens` ASCII letters, one token each; different for each request from the first on."""
    rng = random.Random(f"{load.seed}/{index}")
    return "".join(rng.choices(string.ascii_lowercase, k=load.prompt_tokens))


def request_name(index: int) -> str:
    """What a load's request is called in schedules."""
    return f"request-{index + 1}"


def request_body(load: Load, index: int) -> dict[str, Any]:
    """The request as a client sends it, its end left to `max_tokens`."""
    return {"prompt": prompt_text(load, index), "max_tokens": load.new_tokens, "ignore_eos": True, "stream": True}
