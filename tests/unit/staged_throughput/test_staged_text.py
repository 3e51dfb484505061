"""Text in and out of the stack: tokens, streaming detokenisation, stop texts, sampling, request fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfguard_suites.staged_throughput.errors import InvalidRequest
from perfguard_suites.staged_throughput.generate_endpoint import GenerateEndpoint
from perfguard_suites.staged_throughput.sampling import SamplingParameters, draw
from perfguard_suites.staged_throughput.stop_texts import StopTexts
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer, Detokenizer

TOKENIZER = ByteTokenizer(1024)


@given(st.text(max_size=40))
def test_text_comes_back(text: str) -> None:
    """Any text without lone surrogates is its bytes, and its tokens are that text again."""
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(st.lists(st.integers(0, 1023), max_size=60))
def test_streamed_text_is_the_whole_text(tokens: list[int]) -> None:
    """Pieces of any tokens, broken characters among them, add up to the text of all; no piece ends inside one."""
    detokenizer = Detokenizer(TOKENIZER)
    pieces = [detokenizer.feed(token) for token in tokens]
    assert "".join(pieces) + detokenizer.finish() == TOKENIZER.decode(tokens)


def test_tokens_beyond_bytes_are_different_words() -> None:
    """Every token of the vocabulary but the end's has a text of its own."""
    words = {TOKENIZER.piece(token) for token in range(1024)}
    assert len(words) == 1024
    assert TOKENIZER.piece(TOKENIZER.end_token) == b""


@given(st.text("abX", max_size=30), st.lists(st.text("abX", min_size=1, max_size=3), max_size=3), st.data())
def test_stop_texts_cut_at_the_same_place_however_text_is_split(text: str, stops: list[str], data: Any) -> None:
    """What is given out is the text up to the first stop text that becomes complete, and nothing of it before."""
    stop = StopTexts(tuple(stops))
    given_out, at = "", 0
    while at < len(text) and not stop.found:
        size = data.draw(st.integers(1, 4))
        given_out += stop.feed(text[at : at + size])
        at += size
    given_out += "" if stop.found else stop.finish()
    assert stop.found == any(each in text[:at] for each in stops)
    if stop.found:
        assert given_out == text[: min(text[:at].find(each) for each in stops if each in text[:at])]
    else:
        assert given_out == text


def test_sampling_keeps_to_the_likeliest_share() -> None:
    """With top_p 0.5, only tokens are drawn whose likelier ones have less than half the probability together."""
    row = np.log(np.array([0.4, 0.3, 0.2, 0.1], dtype=np.float32))
    rng = np.random.default_rng(5)
    drawn = {draw(row, SamplingParameters(temperature=1.0, top_p=0.5), rng) for _ in range(200)}
    assert drawn == {0, 1}


@pytest.mark.parametrize(
    ("body", "chat", "param", "code"),
    [
        ({}, False, "prompt", "invalid_value"),
        ({"prompt": ""}, False, "prompt", "invalid_value"),
        ({"prompt": ["a", "b"]}, False, "prompt", "invalid_value"),
        ({"prompt": [1, 1024]}, False, "prompt", "invalid_value"),
        ({"prompt": "\ud800"}, False, "prompt", "invalid_value"),
        ({"prompt": "x" * 64}, False, "prompt", "context_length_exceeded"),
        ({"prompt": "x", "max_tokens": 0}, False, "max_tokens", "invalid_value"),
        ({"prompt": "x", "max_tokens": 10**9}, False, "max_tokens", "context_length_exceeded"),
        ({"prompt": "x", "max_tokens": True}, False, "max_tokens", "invalid_value"),
        ({"prompt": "x", "temperature": float("nan")}, False, "temperature", "invalid_value"),
        ({"prompt": "x", "n": 2}, False, "n", "unsupported_parameter"),
        ({"prompt": "x", "stop": [""]}, False, "stop", "invalid_value"),
        ({"prompt": "x", "model": "other"}, False, "model", "model_not_found"),
        ({"messages": []}, True, "messages", "invalid_value"),
        ({"messages": [{"role": "wizard", "content": ""}]}, True, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": 5}]}, True, "messages[0].content", "invalid_value"),
    ],
)
def test_fields_that_cannot_be_are_named(body: dict[str, Any], chat: bool, param: str, code: str) -> None:
    """Each bad field is refused by its name and OpenAI's code."""
    endpoint = GenerateEndpoint(TOKENIZER, "tiny", 64)
    with pytest.raises(InvalidRequest) as found:
        endpoint.accept(body, chat=chat)
    assert (found.value.param, found.value.code) == (param, code)
