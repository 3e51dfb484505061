"""What a client may ask for, checked field by field against OpenAI's two kinds of completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfguard_suites.staged_throughput.errors import InvalidRequest
from perfguard_suites.staged_throughput.sampling import SamplingParameters

MOST_STOPS = 4
LONGEST_STOP = 256
DEFAULT_TOKENS = 16
ROLES = ("system", "developer", "user", "assistant")
# Fields that would change the answer, with the value that does not.
UNSUPPORTED: Mapping[str, Any] = {"n": 1, "best_of": 1, "echo": False, "logprobs": None, "suffix": None, "tools": None}


def prompt_of(body: Mapping[str, Any]) -> str | list[int]:
    """The text or tokens of a completion's `prompt`. Raises `InvalidRequest`."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, list) and prompt and all(type(token) is int for token in prompt):
        return prompt
    if not isinstance(prompt, str):
        raise InvalidRequest("prompt", "is no text and no list of tokens; give one prompt a request")
    return prompt


def chat_prompt(body: Mapping[str, Any]) -> str:
    """The text of a chat's `messages`, in Qwen3's template. Raises `InvalidRequest`."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages", "is no list of messages, or an empty one")
    parts = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise InvalidRequest(f"{where}.role", f"is none of {', '.join(ROLES)}")
        parts.append(f"<|im_start|>{message['role']}\n{_content(message.get('content'), where)}<|im_end|>\n")
    return "".join(parts) + "<|im_start|>assistant\n"


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) for part in content
    ):
        return "".join(part["text"] for part in content)
    raise InvalidRequest(f"{where}.content", "is neither text nor a list of text parts")


def sampling_of(body: Mapping[str, Any], default_tokens: int) -> SamplingParameters:
    """The sampling parameters of a request. Raises `InvalidRequest` naming the field."""
    for name, harmless in UNSUPPORTED.items():
        if body.get(name) not in (None, harmless):
            raise InvalidRequest(name, "is not supported here", code="unsupported_parameter")
    field = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    seed = body.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 1 << 63):
        raise InvalidRequest("seed", "is not in 0 .. 2^63 - 1")
    return SamplingParameters(
        max_tokens=_integer(body, field, default_tokens),
        temperature=_number(body, "temperature", 0.0, 0.0, 2.0),
        top_p=_number(body, "top_p", 1.0, 1e-6, 1.0),
        seed=seed,
        stop=_stops(body.get("stop")),
        ignore_eos=flag(body, "ignore_eos"),
    )


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false, false where it is not there. Raises `InvalidRequest`."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(name, "is neither true nor false")
    return bool(value)


def text_of(body: Mapping[str, Any], name: str) -> str:
    """A field that is text, empty where it is not there. Raises `InvalidRequest`."""
    value = body.get(name)
    if value is not None and not (isinstance(value, str) and len(value) <= 256):
        raise InvalidRequest(name, "is no text of up to 256 characters")
    return value or ""


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with its counts of tokens. Raises `InvalidRequest`."""
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("stream_options", "is no object")
    return flag(options or {}, "include_usage")


def _integer(body: Mapping[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 1:
        raise InvalidRequest(name, f"{value!r:.40} is not a whole number from 1 on")
    return value


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequest(name, f"{value!r:.40} is not in {low:g} .. {high:g}")
    return float(value)


def _stops(value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not (
        isinstance(texts, list)
        and len(texts) <= MOST_STOPS
        and all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in texts)
    ):
        raise InvalidRequest("stop", f"is no text, nor up to {MOST_STOPS} of them, of 1 .. {LONGEST_STOP} characters")
    return tuple(texts)
