"""What to simulate: the document's options, the request, how the model is spread over devices; from Python or TOML."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from perfguard_suites.simulator.errors import ConfigurationError
from perfguard_suites.simulator.hardware import DTYPE_BYTES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GRANULARITIES = ("fine", "coarse")
MAX_TOKENS = 1 << 24
MAX_SIMULATED_TOKENS = 4096
MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """How to simulate, with the document's names. Raises `ConfigurationError` for a value that cannot be.

    `max_simulated_tokens`: decode steps that are simulated at most; of a longer answer, that many, spread evenly over
    it. `use_precise_evaluator`: search each GEMM's tiles, else a closed form. `evaluation_granularity`: `fine`, a task
    for each operator, or `coarse`, one for each block, whose elementwise work is launched once.
    `enable_data_transfer`: the prompt goes to the device and the answer back. `enable_kv_cache`: without it each step
    computes all positions again. `enable_overlap`: an operator's memory traffic overlaps its computation, else they
    take turns. `enable_comm_overlap`: a collective overlaps the product that feeds it, in chunks of its rows.
    """

    max_simulated_tokens: int = 4
    use_precise_evaluator: bool = True
    evaluation_granularity: str = "fine"
    enable_data_transfer: bool = True
    enable_kv_cache: bool = True
    enable_overlap: bool = True
    enable_comm_overlap: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        _check_range("max_simulated_tokens", self.max_simulated_tokens, 1, MAX_SIMULATED_TOKENS)
        if self.evaluation_granularity not in GRANULARITIES:
            raise ConfigurationError(
                "evaluation_granularity", f"{self.evaluation_granularity!r:.40} is unknown", "'fine' or 'coarse'"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the model: `batch` prompts of `prompt_tokens`, answered by `output_tokens` each.

    The first token of an answer is the prefill's; `output_tokens` counts the decode steps after it. `dtype` is that of
    weights, activations and cache. Raises `ConfigurationError`.
    """

    prompt_tokens: int = 2048
    output_tokens: int = 4
    batch: int = 1
    dtype: str = "bf16"

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("prompt_tokens", "output_tokens", "batch"):
            _check_range(name, getattr(self, name), 1, MAX_TOKENS)
        if self.dtype not in DTYPE_BYTES:
            raise ConfigurationError("dtype", f"{self.dtype!r:.40} is unknown", f"one of {', '.join(DTYPE_BYTES)}")

    @property
    def element_bytes(self) -> int:
        """Bytes of one weight, activation or cached element."""
        return DTYPE_BYTES[self.dtype]

    def decode_positions(self, at_most: int) -> list[int]:
        """How many tokens of its answer each simulated step finds before it: all, or `at_most` spread evenly."""
        if self.output_tokens <= at_most:
            return list(range(self.output_tokens))
        if at_most == 1:
            return [self.output_tokens // 2]
        return [index * (self.output_tokens - 1) // (at_most - 1) for index in range(at_most)]


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How the model is spread: `tensor` x `data` x `pipeline` devices, tensor ranks innermost, pipeline outermost.

    `expert` devices share a layer's experts, across tensor ranks first and replicas then. The batch of each replica
    goes through the pipeline in `microbatches`. Raises `ConfigurationError` for figures that are none; whether they fit
    model and hardware, `parallel.Layout` says.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: int = 1
    microbatches: int = 1

    def __post_init__(self) -> None:
        _check_types(self)
        for each in fields(self):
            _check_range(each.name, getattr(self, each.name), 1, 1 << 16)

    @property
    def devices(self) -> int:
        """All devices together."""
        return self.tensor * self.pipeline * self.data


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a simulation needs beside model and hardware, which it names (preset or path).

    `layers`: how many of the model's layers, from the first; 0 for all.
    """

    model: str = "yi-34b"
    hardware: str = "h100"
    layers: int = 0
    config: SimulationConfig = field(default_factory=SimulationConfig)
    request: Request = field(default_factory=Request)
    parallelism: Parallelism = field(default_factory=Parallelism)


_SECTIONS: Mapping[str, tuple[str, type]] = {
    "simulation": ("config", SimulationConfig),
    "request": ("request", Request),
    "parallelism": ("parallelism", Parallelism),
}

T = TypeVar("T")


def load_scenario(path: Path) -> Scenario:
    """A scenario from a TOML file: keys `model` and `hardware`, tables `simulation`, `request`, `parallelism`.

    Raises `ConfigurationError` naming the file and the key.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(str(path), f"is larger than {MAX_FILE_BYTES} bytes")
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(str(path), f"is not TOML: {error}") from error
    return scenario_from(raw, str(path))


def scenario_from(raw: Mapping[str, Any], source: str) -> Scenario:
    """A scenario from parsed TOML. Raises `ConfigurationError` naming `source` and the key."""
    unknown = sorted(set(raw) - {"model", "hardware", "layers", *_SECTIONS})
    if unknown:
        raise ConfigurationError(
            f"{source}: {unknown[0]}", "is unknown", f"there are model, hardware, layers, {', '.join(_SECTIONS)}"
        )
    parts: dict[str, Any] = {}
    for key in ("model", "hardware"):
        if key in raw:
            if not isinstance(raw[key], str):
                raise ConfigurationError(f"{source}: {key}", f"{raw[key]!r:.60} is not a name or a path")
            parts[key] = raw[key]
    if "layers" in raw:
        if type(raw["layers"]) is not int or raw["layers"] < 0:
            raise ConfigurationError(f"{source}: layers", f"{raw['layers']!r:.60} is no number of layers")
        parts["layers"] = raw["layers"]
    for section, (part, kind) in _SECTIONS.items():
        table = raw.get(section, {})
        if not isinstance(table, Mapping):
            raise ConfigurationError(f"{source}: {section}", "is not a table")
        parts[part] = options_from(kind, table, f"{source}: {section}")
    return Scenario(**parts)


def options_from(kind: type[T], table: Mapping[str, Any], source: str) -> T:
    """An instance of one of the classes here from the table of its options. Raises `ConfigurationError`."""
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # each is a dataclass
    for key in table:
        if key not in known:
            raise ConfigurationError(f"{source}.{key}", "is unknown", f"one of {', '.join(known)}")
    try:
        return replace(kind(), **table)  # type: ignore[type-var]
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}.{error.culprit}", error.problem, error.advice) from None


def _check_types(options: object) -> None:
    for each in fields(options):  # type: ignore[arg-type]  # every caller is a dataclass
        value = getattr(options, each.name)
        wanted = {"int": int, "bool": bool, "str": str}[str(each.type)]
        if type(value) is not wanted:
            words = {int: "an integer", bool: "true or false", str: "a name"}[wanted]
            raise ConfigurationError(each.name, f"{value!r:.60} is not {words}")


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigurationError(name, f"{value} is not in {least} .. {most}")
