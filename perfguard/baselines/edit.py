"""Editing the text of one baseline file: pure functions of text that leave a person's comments alone.

A file is a preamble and blocks, one per metric; the comments above a table's header belong to its block.
New blocks are written here in full and put in sorted place; within a block that exists, tomlkit changes
the process runs and nothing else. `writer` checks that the result says what was meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tomlkit
import tomlkit.items

from perfguard.baselines.locate import header_path
from perfguard.baselines.model import SCHEMA, BaselineMetric, ProcessRun
from perfguard.baselines.summary import stored
from perfguard.document import EXACT_KINDS

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_INDENT = "  "
_MACHINE = ("machine",)


@dataclass(frozen=True, slots=True)
class Block:
    """One table: the comments above its header, its text from the header on; no blank lines around either."""

    path: tuple[str, ...]
    lead: str
    body: str

    def render(self) -> str:
        """The block as it stands in the file, without a final newline."""
        return f"{self.lead}\n{self.body}" if self.lead else self.body


@dataclass(frozen=True, slots=True)
class Layout:
    """A file as its preamble, its blocks in order, and comments after the last of them."""

    preamble: str
    blocks: tuple[Block, ...]
    tail: str = ""

    def render(self) -> str:
        """The file's text: one blank line between blocks, a newline at its end."""
        parts = [self.preamble, *(block.render() for block in self.blocks), self.tail]
        return "\n\n".join(part for part in parts if part) + "\n"

    def block(self, path: tuple[str, ...]) -> Block | None:
        """The block of that table, or None."""
        return next((block for block in self.blocks if block.path == path), None)

    def with_block(self, block: Block) -> Layout:
        """The layout with `block` in place of the one of its path, or else in sorted place."""
        paths = [other.path for other in self.blocks]
        if block.path in paths:
            index = paths.index(block.path)
            return replace(self, blocks=(*self.blocks[:index], block, *self.blocks[index + 1 :]))
        index = next((i for i, path in enumerate(paths) if path != _MACHINE and path > block.path), len(paths))
        return replace(self, blocks=(*self.blocks[:index], block, *self.blocks[index:]))

    def without(self, path: tuple[str, ...]) -> Layout:
        """The layout without that table; comments above it that a blank line sets apart stay."""
        blocks: list[Block] = []
        kept = ""
        for block in self.blocks:
            if block.path == path:
                kept = _join(kept, block.lead.rpartition("\n\n")[0])
            else:
                blocks.append(replace(block, lead=_join(kept, block.lead)) if kept else block)
                kept = ""
        return replace(self, blocks=tuple(blocks), tail=_join(kept, self.tail))


def split(text: str) -> Layout:
    """The layout of a file's text."""
    lines = text.splitlines()
    headers = [(number, path) for number, line in enumerate(lines) if (path := header_path(line)) is not None]
    ends = [*(number for number, _ in headers[1:]), len(lines)]
    first = headers[0][0] if headers else len(lines)
    preamble, lead = _cut(lines[:first])
    blocks = []
    for (start, path), end in zip(headers, ends, strict=True):
        body, next_lead = _cut(lines[start:end])
        blocks.append(Block(path, lead, body))
        lead = next_lead
    return Layout(preamble, tuple(blocks), lead)


def new_file(suite: str, machine_class: str | None, machine: Mapping[str, Any]) -> Layout:
    """An empty baseline file of `suite`; portable if `machine_class` is None."""
    preamble = [f"schema = {text(SCHEMA)}", f"suite = {text(suite)}"]
    if machine_class is None:
        return Layout("\n".join(preamble), ())
    preamble.append(f"machine_class = {text(machine_class)}")
    entries = [f"{key(name)} = {tomlkit.item(value).as_string()}" for name, value in sorted(machine.items())]
    return Layout("\n".join(preamble), (Block(_MACHINE, "", "\n".join(["[machine]", *entries])),))


def new_metric(case_key: str, metric: BaselineMetric) -> Block:
    """The block of a metric that the file does not have yet."""
    lines = [
        f"[{text(case_key)}.{key(metric.name)}]",
        f"unit = {text(metric.unit)}",
        f"direction = {text(metric.direction)}",
        f"kind = {text(metric.kind)}",
        f"gated = {str(metric.gated).lower()}",
        "process_runs = [",
        *(f"{_INDENT}{process_run(run, metric.kind)}," for run in metric.process_runs),
        "]",
    ]
    return Block((case_key, metric.name), "", "\n".join(lines))


def changed_metric(block: Block, metric: BaselineMetric, drop: frozenset[int], added: int) -> Block:
    """The block without the process runs of the indices `drop`, and with the last `added` of `metric`.

    A comment at the end of a process run's line goes with it; all others stay. Raises ValueError if the
    block holds its process runs in another form than an array.
    """
    document = tomlkit.parse(block.body + "\n")
    table: Any = document
    for part in block.path:
        table = table[part]
    array = table.get("process_runs")
    if not isinstance(array, tomlkit.items.Array):
        raise ValueError("no array process_runs")  # noqa: TRY004 - the layout is at fault, not a caller's type
    for index in sorted(drop, reverse=True):
        del array[index]
    for run in metric.process_runs[len(metric.process_runs) - added :]:
        array.add_line(tomlkit.value(process_run(run, metric.kind)), indent=_INDENT)
    for name in ("unit", "direction", "kind", "gated"):
        if table[name] != getattr(metric, name):
            table[name] = getattr(metric, name)
    return replace(block, body=tomlkit.dumps(document).rstrip("\n"))


def process_run(run: ProcessRun, kind: str) -> str:
    """One process run on one line, as an inline table."""
    fields = [
        f"date = {run.date}",
        f"commit = {text(run.commit)}",
        f"n = {run.n}",
        f"median = {number(run.median, kind)}",
        f"ci = [{number(run.ci[0], kind)}, {number(run.ci[1], kind)}]",
    ]
    if run.fastest is not None:
        fields.append(f"fastest = {number(run.fastest, kind)}")
    if run.reference_s is not None:
        fields.append(f"reference_s = {number(run.reference_s, 'time')}")
    if run.phases:
        phases = (f"{key(path)} = {number(seconds, kind)}" for path, seconds in sorted(run.phases.items()))
        fields.append(f"phases = {{ {', '.join(phases)} }}")
    return f"{{ {', '.join(fields)} }}"


def number(value: float, kind: str) -> str:
    """`value` as TOML, at the precision it is known to."""
    if kind in EXACT_KINDS and value == int(value) and abs(value) < 2**63:
        return str(int(value))
    return repr(stored(value, kind))


def text(value: str) -> str:
    """`value` as a TOML string on one line."""
    return tomlkit.string(value).as_string()


def key(name: str) -> str:
    """`name` as a TOML key, bare if it may be."""
    return name if _BARE.fullmatch(name) else text(name)


def _cut(lines: list[str]) -> tuple[str, str]:
    """A block's own text, and the lead of the next one: comments after a blank line behind the content."""
    end = len(lines)
    while end and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    while end < len(lines) and lines[end].strip():
        end += 1  # comments that follow the content directly are its own
    return "\n".join(lines[:end]).rstrip("\n"), "\n".join(lines[end:]).strip("\n")


def _join(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
