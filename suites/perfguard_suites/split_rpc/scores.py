"""Which scores of a causal model travel: the dense square, or row blocks without what no row of them may see. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple


class RowBlock(NamedTuple):
    """Rows `start` to `end` of a score matrix, of which a causal model needs the first `columns` columns."""

    start: int
    end: int
    columns: int


def row_blocks(tokens: int, past: int, rows: int) -> Iterator[RowBlock]:
    """The blocks that cover scores of `tokens` queries over `past + tokens` keys.

    `rows` = 0: one dense block. Else blocks of at most that many rows, each without the columns that no row of it
    may see: the upper triangle neither computed nor sent, but for the corners on the diagonal.
    """
    step = rows or tokens
    for start in range(0, tokens, step):
        end = min(start + step, tokens)
        yield RowBlock(start, end, past + (end if rows else tokens))


def score_count(tokens: int, past: int, rows: int) -> int:
    """Scores of one head in these blocks."""
    return sum((block.end - block.start) * block.columns for block in row_blocks(tokens, past, rows))


def score_shape(heads: int, tokens: int, past: int, rows: int) -> tuple[int, ...]:
    """The shape scores travel in: dense (heads, tokens, keys), packed (heads * score_count,)."""
    return (heads, tokens, past + tokens) if not rows else (heads * score_count(tokens, past, rows),)


@functools.lru_cache(maxsize=4096)
def tokens_of(packed: int, heads: int, keys: int, rows: int) -> int:
    """How many queries over that many keys give so many packed scores; 0 if no number of them does."""
    for tokens in range(1, keys + 1):
        count = score_shape(heads, tokens, keys - tokens, rows)[0]
        if count >= packed:
            return tokens if count == packed else 0
    return 0
