"""A tokenizer of bytes: each byte of UTF-8 is a token; a vocabulary's further tokens are syllables to be generated."""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Mapping

BYTES = 256
END = 256  # end of sequence, no text
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


class ByteTokenizer:
    """Text to tokens 0 .. 255 and back; tokens from 257 on are words of the syllables of their number.

    No merges: a prompt of n ASCII characters is n tokens, whatever they are, so that loads are exact.
    """

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self.end_token = END
        self._whole: dict[int, str] = {}

    @property
    def recipe(self) -> tuple[str, object]:
        """What another process makes the same tokenizer of: its class as `module:name`, and the argument."""
        return f"{type(self).__module__}:{type(self).__name__}", self.vocabulary

    @property
    def known(self) -> Mapping[int, str]:
        """Texts of tokens that are whole characters: those that were asked for so far."""
        return self._whole

    def encode(self, text: str) -> list[int]:
        """The bytes of a text. Raises `UnicodeEncodeError` for lone surrogates, which no UTF-8 has."""
        return list(text.encode("utf-8"))

    def piece(self, token: int) -> bytes:
        """The bytes of a token. Raises `ValueError` for one outside the vocabulary."""
        if not 0 <= token < self.vocabulary:
            raise ValueError(f"token {token} is outside 0 .. {self.vocabulary - 1}")
        if token < BYTES:
            return bytes((token,))
        return b"" if token == END else _word(token - BYTES - 1).encode()

    def whole(self, token: int) -> str | None:
        """The text of a token that is whole characters, None for part of one."""
        found = self._whole.get(token)
        if found is None and (token < 128 or token >= BYTES):
            found = self._whole[token] = self.piece(token).decode()
        return found

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.piece(token) for token in tokens).decode("utf-8", "replace")


def tokenizer_of(recipe: tuple[str, object]) -> ByteTokenizer:
    """The tokenizer of a recipe."""
    home, _, name = recipe[0].partition(":")
    found = getattr(importlib.import_module(home), name)(recipe[1])
    assert isinstance(found, ByteTokenizer)
    return found


class Detokenizer:
    """Text of tokens as they come: a character is given out when its last byte is there."""

    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.begun = False  # a character of several bytes

    def feed(self, token: int) -> str:
        """The text that this token completes, perhaps none."""
        if not self.begun:
            whole = self._tokenizer.whole(token)
            if whole is not None:
                return whole
        text = self._decoder.decode(self._tokenizer.piece(token))
        self.begun = bool(self._decoder.getstate()[0])
        return text

    def finish(self) -> str:
        """What an unfinished character becomes at the end."""
        self.begun = False
        return self._decoder.decode(b"", True)


def _word(number: int) -> str:
    """A space and syllables, different for each number."""
    syllables = [""]
    base = len(_CONSONANTS) * len(_VOWELS)
    while True:
        number, digit = divmod(number, base)
        syllables.append(_CONSONANTS[digit // len(_VOWELS)] + _VOWELS[digit % len(_VOWELS)])
        if not number:
            return " " + "".join(syllables)
