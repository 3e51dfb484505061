"""What a device is made of: every figure the cost models use, read from TOML with the unit in its key's name."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfguard_suites.simulator.errors import HardwareError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS = ("a100", "h100", "h200", "npu-64")
MAX_FILE_BYTES = 1 << 20
DTYPE_BYTES: Mapping[str, int] = MappingProxyType({"fp8": 1, "int8": 1, "bf16": 2, "fp16": 2, "tf32": 4, "fp32": 4})
ACCUMULATOR_BYTES = 4
_FOLDER = Path(__file__).parent / "hardware_presets"


@dataclass(frozen=True)
class Link:
    """One level of the network: what one device gets within a group of `devices` of them, each way."""

    bandwidth_bytes_per_s: float
    latency_s: float
    devices: int


@dataclass(frozen=True, eq=False)
class Hardware:
    """One device and the links around it. Raises `HardwareError` naming the field that cannot be.

    A core is what runs one tile at a time: a streaming multiprocessor, or an NPU core. Its matrix unit does
    `cube_m * cube_n * cube_k` multiply-adds a cycle in bf16; `dtype_rates` says how many times that for other
    types. Of `sram_bytes_per_core`, `sram_usable_fraction` is free for the double-buffered tiles of A and B;
    the 4-byte sums of a tile of C live in `accumulator_bytes_per_core` (registers of a GPU, L0C of an NPU).
    `deals_tiles`: whether a core that is done takes the next tile of the whole product (the block scheduler of
    a GPU), or has its own part of the product from the start. A core asks the memory for at most
    `core_bandwidth_bytes_per_s`, so that few busy cores do not fill its bandwidth; `multicast_cores` neighbours
    share one fetch of the larger operand; `tile_start_s` passes before a tile's pipeline is full.
    `tiles_m`, `tiles_n`, `tiles_k`: the extents that kernels exist for.
    """

    name: str
    cores: int
    cube_m: int
    cube_n: int
    cube_k: int
    clock_hz: float
    vector_flops_per_s: float
    sram_bytes_per_core: int
    sram_usable_fraction: float
    accumulator_bytes_per_core: int
    core_bandwidth_bytes_per_s: float
    multicast_cores: int
    tile_start_s: float
    l2_bytes: int
    l2_bandwidth_bytes_per_s: float
    dram_bytes: int
    dram_bandwidth_bytes_per_s: float
    launch_overhead_s: float
    host_bandwidth_bytes_per_s: float
    host_latency_s: float
    lanes: int
    overlaps_dma: bool
    deals_tiles: bool
    tiles_m: tuple[int, ...]
    tiles_n: tuple[int, ...]
    tiles_k: tuple[int, ...]
    dtype_rates: Mapping[str, float]
    levels: tuple[Link, ...]
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        _check(self, self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hardware) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def peak_flops_per_s(self, dtype: str) -> float:
        """Two for each multiply-add of every core's matrix unit, without sparsity. Raises `HardwareError`."""
        macs_per_cycle = self.cores * self.cube_m * self.cube_n * self.cube_k
        return 2.0 * macs_per_cycle * self.clock_hz * self.rate(dtype)

    def rate(self, dtype: str) -> float:
        """Multiply-adds a cycle in `dtype` over those in bf16. Raises `HardwareError` where it has no such type."""
        if dtype not in self.dtype_rates or dtype not in DTYPE_BYTES:
            raise HardwareError(
                f"hardware {self.name}: dtype_rates", f"no {dtype!r:.40}", f"it has {', '.join(self.dtype_rates)}"
            )
        return self.dtype_rates[dtype]

    @cached_property
    def digest(self) -> str:
        """A short name of all figures together (without their sources): equal content, equal digest."""
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "sources"}
        content["dtype_rates"] = sorted(self.dtype_rates.items())
        return hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest()[:16]


def load_hardware(name_or_path: str | Path) -> Hardware:
    """The preset of that name, or the description in that TOML file. Raises `HardwareError`: file, key, what to do."""
    preset = str(name_or_path).lower()
    path = _FOLDER / f"{preset}.toml" if preset in PRESETS else Path(name_or_path)
    if preset not in PRESETS and path.suffix != ".toml":
        raise HardwareError(
            f"hardware {str(name_or_path)!r:.80}", "no such preset", f"take {', '.join(PRESETS)}, or a .toml file"
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HardwareError(str(path), error.strerror or str(error), "give a readable TOML file") from None
    if len(content) > MAX_FILE_BYTES:
        raise HardwareError(str(path), f"{len(content)} bytes are no hardware description")
    try:
        raw = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HardwareError(str(path), f"not TOML: {error}") from None
    return parse_hardware(raw, str(path))


def parse_hardware(raw: Mapping[str, Any], source: str) -> Hardware:
    """The description in a parsed TOML file called `source`. Raises `HardwareError`."""
    known = {field.name: str(field.type) for field in fields(Hardware)}
    for key in raw:
        if key not in known:
            raise HardwareError(f"{source}: {key}", "no such key", _advice(key, tuple(known)))
    values: dict[str, Any] = {}
    for key, kind in known.items():
        if key == "sources" and key not in raw:
            values[key] = MappingProxyType({})
            continue
        if key not in raw:
            raise HardwareError(f"{source}: {key}", "missing", f"write `{key} = ...`{_unit_hint(key)}")
        values[key] = _value(raw[key], kind, f"{source}: {key}")
    for key in values["sources"]:
        if key not in known:
            raise HardwareError(f"{source}: sources.{key}", "is the source of no key", _advice(key, tuple(known)))
    _check_values(values, source)
    return Hardware(**values)


def _advice(key: str, known: tuple[str, ...]) -> str:
    """The key with a unit that somebody meant who wrote one without, or another one."""
    stem = re.split("_bytes|_gb|_tb|_hz|_s$", key)[0]
    near = [name for name in known if stem and name.startswith(stem)]
    return f"the unit is part of the name: {', '.join(near)}" if near else f"keys are {', '.join(known)}"


def _unit_hint(key: str) -> str:
    for suffix, unit in (
        ("_bytes_per_s", "bytes a second"), ("_flops_per_s", "operations a second"), ("_hz", "hertz"),
        ("_bytes", "bytes"), ("_bytes_per_core", "bytes"), ("_s", "seconds"), ("_fraction", "0 to 1"),
    ):  # fmt: skip
        if key.endswith(suffix):
            return f", in {unit}"
    return ""


def _value(value: Any, kind: str, culprit: str) -> Any:
    """`value` as the field's type. Raises `HardwareError` for another, a text with a unit in it included."""
    if kind in {"int", "float"} and isinstance(value, str):
        raise HardwareError(culprit, f"{value!r:.40} is a text", f"write a bare number{_unit_hint(culprit)}")
    read = _READERS[kind]
    result = read(value, culprit)
    if result is None:
        raise HardwareError(culprit, f"{value!r:.40} is no {kind}")
    return result


def _table(value: Any, kind: str, culprit: str) -> Any:
    if not isinstance(value, dict):
        return None
    return MappingProxyType({str(key): _value(item, kind, f"{culprit}.{key}") for key, item in value.items()})


def _links(value: Any, culprit: str) -> Any:
    if not isinstance(value, list):
        return None
    return tuple(_link(item, f"{culprit}[{index}]") for index, item in enumerate(value))


def _integers(value: Any, _culprit: str) -> Any:
    return tuple(value) if isinstance(value, list) and all(type(item) is int for item in value) else None


# From a TOML value and its place to the field's value, or None.
_READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "str": lambda value, _: value if isinstance(value, str) and value else None,
    "bool": lambda value, _: value if isinstance(value, bool) else None,
    "int": lambda value, _: value if type(value) is int else None,
    "float": lambda value, _: float(value) if type(value) in {int, float} else None,
    "tuple[int, ...]": _integers,
    "tuple[Link, ...]": _links,
    "Mapping[str, float]": lambda value, culprit: _table(value, "float", culprit),
    "Mapping[str, str]": lambda value, culprit: _table(value, "str", culprit),
}


def _link(raw: Any, culprit: str) -> Link:
    if not isinstance(raw, dict):
        raise HardwareError(culprit, "is no table", "write [[levels]] with three keys")
    known = {field.name: str(field.type) for field in fields(Link)}
    for key in raw:
        if key not in known:
            raise HardwareError(f"{culprit}.{key}", "no such key", _advice(key, tuple(known)))
    for key in known:
        if key not in raw:
            raise HardwareError(f"{culprit}.{key}", "missing", f"write `{key} = ...`{_unit_hint(key)}")
    return Link(**{key: _value(raw[key], kind, f"{culprit}.{key}") for key, kind in known.items()})


def _check(hardware: Hardware, source: str) -> None:
    _check_values({field.name: getattr(hardware, field.name) for field in fields(hardware)}, f"hardware {source}")


_MAY_BE_ZERO = frozenset({"launch_overhead_s", "host_latency_s", "latency_s", "tile_start_s", "l2_bytes"})


def _check_values(values: Mapping[str, Any], source: str) -> None:
    for key, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            _check_number(key, value, f"{source}: {key}")
    for key in ("tiles_m", "tiles_n", "tiles_k"):
        extents = list(values[key])
        if not extents or extents != sorted(set(extents)) or extents[0] < 1:
            raise HardwareError(f"{source}: {key}", f"{extents} is no rising list of extents")
    for dtype, rate in values["dtype_rates"].items():
        if dtype not in DTYPE_BYTES:
            raise HardwareError(f"{source}: dtype_rates.{dtype}", "unknown", f"know {', '.join(DTYPE_BYTES)}")
        _check_number("dtype_rates", rate, f"{source}: dtype_rates.{dtype}")
    for index, link in enumerate(values["levels"]):
        for field in fields(link):
            _check_number(field.name, getattr(link, field.name), f"{source}: levels[{index}].{field.name}")
    if values["sram_usable_fraction"] > 1:
        raise HardwareError(f"{source}: sram_usable_fraction", f"{values['sram_usable_fraction']} is above 1")


def _check_number(key: str, value: float, culprit: str) -> None:
    if not math.isfinite(value) or value < 0 or (value == 0 and key not in _MAY_BE_ZERO):
        raise HardwareError(culprit, f"{value!r} is not a positive number", f"give its real figure{_unit_hint(key)}")
