"""The tokenizer that a user's own GGUF carries, by llama.cpp: text to the model's tokens and back."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path
from typing import Any

from perfguard_suites.staged_throughput.errors import ModelFileError
from perfguard_suites.staged_throughput.llamacpp.library import Library, library, load_model
from perfguard_suites.staged_throughput.tokenizer import ByteTokenizer

LONGEST_PIECE = 256


class GgufTokenizer(ByteTokenizer):
    """In `ByteTokenizer`'s place; its own load of the file's vocabulary, so that it may live in another process.

    Special words in a text are the control tokens of that name, as in llama.cpp's server.
    """

    def __init__(self, path: Path | str) -> None:
        self._library = library()
        self._path = Path(path)
        model = load_model(self._path, words_alone=True)
        weakref.finalize(self, _release, self._library, model)
        api = self._library.api
        self._vocabulary = api.llama_model_get_vocab(model)
        super().__init__(int(api.llama_vocab_n_tokens(self._vocabulary)))
        self.end_token = int(api.llama_vocab_eos(self._vocabulary))
        self._pieces: dict[int, bytes] = {}

    @property
    def recipe(self) -> tuple[str, object]:
        """What another process makes the same tokenizer of."""
        return f"{type(self).__module__}:{type(self).__name__}", str(self._path.absolute())

    def encode(self, text: str) -> list[int]:
        """The model's tokens of a text, its beginning's included. Raises `UnicodeEncodeError` for lone surrogates."""
        data = text.encode("utf-8")
        room = len(data) + 16
        cells = (ctypes.c_int32 * room)()
        count = self._library.api.llama_tokenize(self._vocabulary, data, len(data), cells, room, True, True)
        if count < 0:
            raise ModelFileError(str(self._path), "its tokenizer makes more tokens than there are bytes")
        return list(cells[:count])

    def piece(self, token: int) -> bytes:
        """See `ByteTokenizer`."""
        found = self._pieces.get(token)
        if found is None:
            if not 0 <= token < self.vocabulary:
                raise ValueError(f"token {token} is outside 0 .. {self.vocabulary - 1}")
            cells = ctypes.create_string_buffer(LONGEST_PIECE)
            size = self._library.api.llama_token_to_piece(self._vocabulary, token, cells, LONGEST_PIECE, 0, False)
            found = self._pieces[token] = cells.raw[: max(0, size)]
        return found

    def whole(self, token: int) -> str | None:
        """See `ByteTokenizer`."""
        found = self._whole.get(token)
        if found is None:
            try:
                found = self._whole[token] = self.piece(token).decode()
            except UnicodeDecodeError:
                return None
        return found


def _release(lib: Library, model: Any) -> None:
    lib.api.llama_model_free(model)
